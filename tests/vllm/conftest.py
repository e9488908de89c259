"""The vllm engine on this CPU: run by `make test-vllm`, in an environment that has vLLM; skipped elsewhere."""

import importlib.util
import os
import sys
from pathlib import Path

found = importlib.util.find_spec("vllm")  # this very folder, a package without origin, where there is no vLLM
collect_ignore_glob = [] if found and found.origin else ["test_*.py"]
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # random_models
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

import pytest  # noqa: E402

from labelers.engines.protocol import SampleRequest, derive_seed  # noqa: E402

WORDS = ["fox", "cat", "lamp", "river", "clock", "fern", "stone", "book", "door", "garden", "kettle", "bridge"]
QUESTIONS = ["Where is the {}?", "What color is the {}?", "Tell me about the {}.", "Is the {} larger than a house?"]


@pytest.fixture(scope="session")
def messages():
    """48 short prompts, in the manner of the embedded model's world."""
    return [[{"role": "user", "content": q.format(word)}] for word in WORDS for q in QUESTIONS]


@pytest.fixture(scope="session")
def adapter(tiny_base, tmp_path_factory):
    from random_models import make_adapter

    path = tmp_path_factory.mktemp("adapter") / "lora"
    make_adapter(path, tiny_base)
    return path


@pytest.fixture(scope="session")
def reference(tiny_base):
    from labelers.engines.hf.engine import TransformersEngine

    return TransformersEngine(tiny_base)


@pytest.fixture(scope="session")
def engine(tiny_base):
    from labelers.engines.vllm_offline.engine import VllmEngine

    return VllmEngine(tiny_base)


@pytest.fixture(scope="session")
def requests_for():
    def make(messages, sampling, k=1):
        return [
            SampleRequest(str(i), m, sampling, derive_seed(0, str(i), "candidate/plain", j), j)
            for i, m in enumerate(messages)
            for j in range(k)
        ]

    return make


@pytest.fixture(scope="session")
def draw():
    """All completions of an engine, in the order of the requests."""
    return lambda engine, requests: [c for _, c in sorted(engine.sample(requests), key=lambda pair: pair[0])]


@pytest.fixture(scope="session")
def gap_of():
    """The smallest lead of the most probable token over the next, along a greedy completion."""
    import torch

    def smallest(reference, prompt, tokens):
        with torch.inference_mode():
            logits_TV = reference.model(torch.tensor([[*prompt, *tokens[:-1]]])).logits[0, len(prompt) - 1 :]
        top_T2 = logits_TV.log_softmax(-1).topk(2, -1).values
        return float((top_T2[:, 0] - top_T2[:, 1]).min())

    return smallest
