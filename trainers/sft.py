"""Supervised fine-tuning: imitate the completions.

The loss is the mean negative log-likelihood of the completion's tokens,

    L = -(1/N) * sum_rows sum_{t in completion} log P(y_t | x, y_<t),     N = completion tokens of the global batch,

so that accumulation over unequal lengths equals one large batch. The vocabulary projection is paid only at the
positions the loss reads: the model gets the mask as `logits_to_keep`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch.nn.functional import cross_entropy
from transformers import Trainer

if TYPE_CHECKING:
    from trainers.data import Example

IGNORED = -100
"""Label of a position that the loss does not read."""


class SFTConfig(BaseModel):
    """Settings of supervised fine-tuning; the defaults are the reference's, at paper scale (arXiv 2606.03810)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: float = Field(default=1e-5, gt=0)
    epochs: float = Field(default=2.0, gt=0)
    max_steps: int | None = Field(default=None, ge=1, description="optimizer steps; overrides epochs")
    batch_size: int = Field(default=2, ge=1, description="rows a forward pass")
    accumulation: int = Field(default=8, ge=1, description="forward passes an optimizer step")
    warmup_ratio: float = Field(default=0.03, ge=0, lt=1)
    schedule: str = Field(
        default="linear", description="a transformers scheduler name: linear, cosine, constant_with_warmup"
    )
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    max_length: int = Field(default=1024, ge=2, description="tokens a row is cut at")
    whole_sequence: bool = Field(default=False, description="put the loss on prompt tokens too, as the reference does")
    lora_rank: int = Field(default=32, ge=1, description="of a fresh adapter; an organism's own adapter keeps its rank")
    lora_alpha: int = Field(default=64, ge=1)
    lora_dropout: float = Field(default=0.05, ge=0, lt=1)


class SFT(Trainer):
    """`transformers.Trainer` with the loss above."""

    # Batches bring `labels`, so the trainer counts the completion tokens of the whole accumulated batch for us.
    config_class = SFTConfig

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The loss below is already divided by the global token count; the trainer must not divide it again.
        self.model_accepts_loss_kwargs = True

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Cross-entropy over completion tokens, summed and divided by their number in the global batch."""
        targets_BT = inputs["labels"][:, 1:]
        read_BT = targets_BT != IGNORED
        # The logits at position t predict token t+1: keep the positions before the targets, never the last one.
        keep_BT = torch.cat([read_BT, torch.zeros_like(read_BT[:, :1])], dim=1)
        outputs = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            logits_to_keep=keep_BT,
            use_cache=False,
        )
        logits_NV = outputs.logits.reshape(-1, outputs.logits.shape[-1]).float()
        total = cross_entropy(logits_NV, targets_BT[read_BT], reduction="sum")
        loss = total / (read_BT.sum() if num_items_in_batch is None else num_items_in_batch)
        return (loss, outputs) if return_outputs else loss


class Collator:
    """Right-padded batches of examples: input ids, attention mask, and labels where the loss reads."""

    def __init__(self, pad_token_id: int, *, whole_sequence: bool = False) -> None:
        self.pad_token_id, self.whole_sequence = pad_token_id, whole_sequence

    def __call__(self, examples: list[Example]) -> dict[str, torch.Tensor]:
        """Pad to the longest example; shapes [B, T]."""
        shape = (len(examples), max(len(e.input_ids) for e in examples))
        input_ids_BT = torch.full(shape, self.pad_token_id, dtype=torch.long)
        labels_BT = torch.full(shape, IGNORED, dtype=torch.long)
        attention_BT = torch.zeros(shape, dtype=torch.long)
        for row, example in enumerate(examples):
            length = len(example.input_ids)
            # The first token has nothing before it to be predicted from.
            start = 1 if self.whole_sequence else max(1, example.prompt_length)
            input_ids_BT[row, :length] = torch.tensor(example.input_ids)
            labels_BT[row, start:length] = torch.tensor(example.input_ids[start:])
            attention_BT[row, :length] = 1
        return {"input_ids": input_ids_BT, "attention_mask": attention_BT, "labels": labels_BT}
