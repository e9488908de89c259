"""What does the vllm engine cost over vLLM itself? The same requests through it and through bare `LLM.generate`.

    python -m benchmarks.labelers_vllm --model tiny

Both get k seeded requests a prompt, on one loaded model, turn by turn, with new seeds each turn. The engine starts
from messages and ends with completions: it encodes, decodes, and hands results over as they finish. `LLM.generate`
starts from token ids. It runs twice: as people call it, to get text and log-probabilities, and stripped of everything
that the engine doesn't use either (`detokenize=False`), which yields no text.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from echoset.references import model_path
from labelers.engines.prompts import Prompts
from labelers.engines.protocol import SampleRequest, Sampling, derive_seed
from labelers.engines.vllm_offline.engine import VllmEngine, folded
from organisms import get_task


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--k", type=int, default=4)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--max-new-tokens", type=int, default=64)
    arguments = parser.parse_args()

    engine = VllmEngine(Path(model_path(arguments.model)))
    sampling = Sampling(0.7, 0.9, arguments.max_new_tokens)
    rows = get_task("sycophancy").consistency(0, arguments.prompts)

    def requests(turn: int) -> list[SampleRequest]:
        return [
            SampleRequest(row.id, row.prompt, sampling, derive_seed(turn, row.id, "candidate/plain", i), i)
            for row in rows
            for i in range(arguments.k)
        ]

    run(engine, requests(-1), [])
    firsts: list[float] = []
    seconds: dict[str, list[float]] = {"engine": [], "generate": [], "stripped": []}
    for turn in range(arguments.turns):
        todo = requests(turn)
        ways: list[tuple[str, Callable[[], int]]] = [
            ("engine", lambda todo=todo: run(engine, todo, firsts)),
            ("generate", lambda todo=todo: bare(engine, todo, detokenize=True)),
            ("stripped", lambda todo=todo: bare(engine, todo, detokenize=False)),
        ]
        shift = turn % len(ways)
        tokens = set()
        for name, way in ways[shift:] + ways[:shift]:
            engine.model.llm.reset_prefix_cache()
            start = time.perf_counter()
            tokens.add(way())
            seconds[name].append(time.perf_counter() - start)
        print(f"turn {turn}: " + ", ".join(f"{name} {seconds[name][-1]:.3f} s" for name in seconds), tokens, flush=True)

    print(f"\n{len(rows)} prompts x {arguments.k} samples, medians of {arguments.turns} ratios")
    for name in ("generate", "stripped"):
        ratios = [ours / theirs for ours, theirs in zip(seconds["engine"], seconds[name], strict=True)]
        print(f"engine / {name}: {statistics.median(ratios):.3f}  ({min(ratios):.3f} to {max(ratios):.3f})")
    share = [first / whole for first, whole in zip(firsts, seconds["engine"], strict=True)]
    print(f"first completion after {statistics.median(share):.0%} of the engine's time")


def run(engine: VllmEngine, requests: list[SampleRequest], firsts: list[float]) -> int:
    """The engine, prompts encoded afresh; returns tokens drawn."""
    engine._prompts = Prompts(engine.tokenizer)
    start, tokens, first = time.perf_counter(), 0, 0.0
    for _, completion in engine.sample(requests):
        first = first or time.perf_counter() - start
        tokens += completion.token_count or 0
    firsts.append(first)
    return tokens


def bare(engine: VllmEngine, requests: list[SampleRequest], *, detokenize: bool) -> int:
    """`LLM.generate` on token ids that are at hand."""
    from vllm import SamplingParams, TokensPrompt

    prompts = [TokensPrompt(prompt_token_ids=engine.prompt_ids(request.messages)) for request in requests]
    parameters = [
        SamplingParams(
            temperature=request.sampling.temperature,
            top_p=request.sampling.top_p,
            max_tokens=request.sampling.max_new_tokens,
            seed=folded(request.seed),
            logprobs=0,
            detokenize=detokenize,
        )
        for request in requests
    ]
    outputs = engine.model.llm.generate(prompts, parameters, use_tqdm=False)
    return sum(len(output.outputs[0].token_ids) for output in outputs)


if __name__ == "__main__":
    main()
