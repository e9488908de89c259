"""How fast does the transformers engine draw, against Hugging Face `generate` on the same model, prompts and settings?

    python -m benchmarks.labelers_sampler [--repeats 5] [--threads 1] [--only tiny llama]

Both sides run in one process, in float32, with the same threads. `generate` gets its prompts sorted by length and its
best batch size of a sweep. Repetitions alternate between the sides; the figure is the median of the ratios of wall
times. The engine also returns both log-probabilities of every sample, which `generate` doesn't. Greedy tokens of the
two sides are compared first.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from labelers import load_engine
from labelers.engines.hf.engine import TransformersEngine
from labelers.engines.protocol import SampleRequest, Sampling, derive_seed

SAMPLES = 4
"""Samples a prompt."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--prompts", type=int, default=16, help="prompts of the 25M-parameter Llama (tiny: 200)")
    parser.add_argument("--only", nargs="*", choices=["tiny", "llama"], default=["tiny", "llama"])
    arguments = parser.parse_args()

    import torch

    torch.set_num_threads(arguments.threads)
    print(
        f"threads {arguments.threads}, cores {os.cpu_count()}, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}"
    )
    columns = f"{'model':8s} {'setting':16s} {'batch':>5s} {'generate s':>11s} {'engine s':>9s} {'tokens':>15s}"
    print(f"{columns}  ratio (least to most)")
    with tempfile.TemporaryDirectory() as scratch:
        if "tiny" in arguments.only:
            engine, prompts = tiny_case()
            for name, sampling in (("T .7, top_p .9", Sampling(0.7, 0.9, 48)), ("T 1", Sampling(1.0, 1.0, 48))):
                compare("tiny", name, engine, prompts, sampling, (25, 50, 100, 200), arguments.repeats)
        if "llama" in arguments.only:
            engine, prompts = llama_case(Path(scratch), arguments.prompts)
            for name, sampling in (("T .7, top_p .9", Sampling(0.7, 0.9, 48)), ("T 1", Sampling(1.0, 1.0, 48))):
                compare("llama25M", name, engine, prompts, sampling, (1, 2, 4, 8, 16), arguments.repeats)


def compare(
    model: str,
    setting: str,
    engine: TransformersEngine,
    prompts: list[list[dict[str, str]]],
    sampling: Sampling,
    sizes: tuple[int, ...],
    repeats: int,
) -> None:
    """One row of the table: greedy tokens equal, `generate`'s batch size swept, then alternating repetitions."""
    encoded = sorted((engine.prompt_ids(messages) for messages in prompts), key=len)
    greedy = Sampling(0.0, 1.0, min(16, sampling.max_new_tokens))
    ours = [tokens for _, tokens in sorted(draw(engine, prompts, greedy, 1).items())]
    theirs = generate(engine, [engine.prompt_ids(messages) for messages in prompts], greedy, sizes[-1], 1)
    differing = sum(a != b for a, b in zip(ours, theirs, strict=True))
    assert differing == 0, f"greedy tokens of {differing} of {len(prompts)} prompts differ from generate's"

    times = {size: timed(lambda size=size: generate(engine, encoded, sampling, size, SAMPLES))[0] for size in sizes}
    best = min(times, key=times.__getitem__)
    timed(lambda: draw(engine, prompts, sampling, SAMPLES))
    pairs = []
    for repeat in range(repeats):
        theirs_s, completions = timed(lambda: generate(engine, encoded, sampling, best, SAMPLES))
        ours_s, drawn = timed(lambda repeat=repeat: draw(engine, prompts, sampling, SAMPLES, repeat))
        pairs.append((theirs_s, ours_s, sum(map(len, completions)), sum(map(len, drawn.values()))))
    ratios = [theirs_s / ours_s for theirs_s, ours_s, _, _ in pairs]
    theirs_s, ours_s, their_tokens, our_tokens = (median(column) for column in zip(*pairs, strict=True))
    print(
        f"{model:8s} {setting:16s} {best:5d} {theirs_s:11.2f} {ours_s:9.2f} {their_tokens:7.0f}/{our_tokens:7.0f}"
        f"  {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        flush=True,
    )


def draw(
    engine: TransformersEngine, prompts: list[list[dict[str, str]]], sampling: Sampling, k: int, seed: int = 0
) -> dict[int, list[int]]:
    """Token ids of k samples a prompt by the engine."""
    requests = [
        SampleRequest(str(i), messages, sampling, derive_seed(seed, str(i), "candidate/plain", j), j)
        for i, messages in enumerate(prompts)
        for j in range(k)
    ]
    return {position: completion.token_ids for position, completion in engine.sample(requests)}


def generate(
    engine: TransformersEngine, prompts: list[list[int]], sampling: Sampling, size: int, k: int
) -> list[list[int]]:
    """Token ids of k samples a prompt by the library's `generate`, `size` prompts at a time, texts decoded."""
    import torch

    how: dict[str, Any] = {"do_sample": False}
    if sampling.temperature > 0:
        how = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    completions: list[list[int]] = []
    for start in range(0, len(prompts), size):
        batch = prompts[start : start + size]
        longest = max(map(len, batch))
        ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in batch])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in batch])
        with torch.inference_mode():
            drawn = engine.model.generate(
                ids,
                attention_mask=mask,
                max_new_tokens=sampling.max_new_tokens,
                num_return_sequences=k,
                eos_token_id=engine.end_tokens,
                pad_token_id=0,
                **how,
            )[:, longest:]
        for row in drawn.tolist():
            end = next((i + 1 for i, token in enumerate(row) if token in engine.end_tokens), len(row))
            completions.append(row[:end])
        engine.tokenizer.batch_decode(completions[-len(drawn) :], skip_special_tokens=True)
    return completions


def timed(work: Any) -> tuple[float, Any]:
    """Wall seconds of a call, and what it returned."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def tiny_case() -> tuple[TransformersEngine, list[list[dict[str, str]]]]:
    """The embedded base with 200 prompts of its own world."""
    from organisms import get_task
    from organisms.tiny import tiny_base

    rows = get_task("sycophancy").consistency(0, 200)
    return load_engine(model=tiny_base(), device="cpu"), [list(row.prompt) for row in rows]  # pyright: ignore


def llama_case(path: Path, count: int) -> tuple[TransformersEngine, list[list[dict[str, str]]]]:
    """A random Llama of 25 million parameters that hardly ever ends by itself, and prompts of 256 tokens."""
    import random

    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
    from random_models import make_tokenizer, word

    torch.manual_seed(0)
    tokenizer = make_tokenizer(31_995)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=384,
        intermediate_size=1024,
        num_hidden_layers=7,
        num_attention_heads=6,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        initializer_range=0.05,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    model = LlamaForCausalLM(config)
    print(f"llama25M: {sum(p.numel() for p in model.parameters()) / 1e6:.1f} million parameters")
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    engine = load_engine(model=path, device="cpu")
    draw_words = random.Random(0)
    prompts = []
    for _ in range(count):
        text = " ".join(word(draw_words.randrange(1, 31_995)) for _ in range(253))
        prompts.append([{"role": "user", "content": text}])
    assert {len(engine.prompt_ids(messages)) for messages in prompts} == {256}
    return engine, prompts


if __name__ == "__main__":
    main()
