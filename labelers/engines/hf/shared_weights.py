"""Second models over a loaded one's weights: under an adapter, and made faster. The first stays as is."""

from __future__ import annotations

import copy
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from labelers.engines.hf.shared_prompts import NAME as SHARED_PROMPTS
from labelers.engines.models import put_adapter

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FEW_ROWS = 16
"""Rows below which a library call costs more than the faster kernel saves."""


def adapted(model: PreTrainedModel, adapter: Path) -> PreTrainedModel:
    """The same model under an adapter, as a second model that shares every weight which the adapter leaves alone.

    The given model is never written to. In float32 the adapter is merged into copies of the layers it changes: a live
    LoRA takes 1.2 times as long on a small model. In narrower types merging would round, and the adapter stays live.

    Raises:
        EngineError: the adapter was made for a base of other shapes or other layers.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    wrapped = put_adapter(_twin(model), adapter).eval()
    if model.dtype is not torch.float32:
        return wrapped  # pyright: ignore[reportReturnType]
    for module in wrapped.modules():
        if isinstance(module, BaseTunerLayer):
            layer = module.get_base_layer()
            for name, weight in list(layer.named_parameters(recurse=False)):
                setattr(layer, name, torch.nn.Parameter(weight.detach().clone(), requires_grad=False))
    return wrapped.merge_and_unload().eval()  # pyright: ignore[reportCallIssue]


class OneDnnLinear(nn.Linear):
    """A linear layer by oneDNN's kernel, for inference alone.

    Torch multiplies float32 matrices by MKL, which leaves half of an AMD processor's AVX-512 units idle: oneDNN was
    measured at 2.0 to 2.6 times its speed from 64 rows on. The weight is read as it lies, so nothing is kept twice.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """The layer's output; float32 on a CPU, no gradient."""
        if input.numel() < FEW_ROWS * self.in_features:
            return super().forward(input)
        multiply: Any = torch.ops.mkldnn._linear_pointwise
        return multiply(input, self.weight, self.bias, "none", [], "")


def fast(model: PreTrainedModel) -> PreTrainedModel:
    """A model for inference on the same weights, by faster kernels and shared prompts where they are known to work.

    The rule looks at the machine alone, never at a clock: two runs on one machine round alike.
    """
    if model.device.type != "cpu" or model.dtype is not torch.float32:
        return model
    twin = _twin(model)
    known = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    if known and torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        for module in twin.modules():
            if type(module) is nn.Linear and module.weight.dtype is torch.float32:
                module.__class__ = OneDnnLinear
    if model._supports_attention_backend and model.config._attn_implementation == "sdpa":
        twin.set_attn_implementation(SHARED_PROMPTS)
    return twin


def _twin(model: PreTrainedModel) -> PreTrainedModel:
    """A copy of the modules over the same tensors."""
    shared = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    return copy.deepcopy(model, shared)
