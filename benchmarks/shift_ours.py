"""What `shift` does of the work in benchmarks.shift_peers: each function imports, and returns the work proper."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np

Found = dict[str, Any]
Work = Callable[[np.ndarray, np.ndarray], Found]


def compared(permutations: int = 999) -> Work:
    """MMD^2 as people call it: with its test, and with an interval that none of the peers gives."""
    from shift import compare

    def work(x: np.ndarray, y: np.ndarray) -> Found:
        report = compare(x, y, metrics=("mmd",), permutations=permutations, seed=0)
        leg = report.legs[0]
        return {"value": leg.value, "p": leg.p, "low": leg.low, "high": leg.high}

    return work


def one_metric(name: str, permutations: int = 100) -> Work:
    """A registered metric with its test and nothing else."""
    from shift import METRICS, Samples
    from shift.metrics.running import measure_metrics

    assert name in METRICS, f"no metric is called {name}"

    def work(x: np.ndarray, y: np.ndarray) -> Found:
        found = measure_metrics(Samples.from_arrays(x, y), "A", "B", (name,), permutations=permutations, seed=0)[0]
        return {"value": found.value, "p": found.p, **found.parts}

    return work


def value_alone(kernel: str) -> Work:
    """MMD^2 (`Gaussian`) or energy distance (`Distance`) without a test: a state for each sample."""
    from shift import kernels
    from shift.gram import gram_of_states

    made = getattr(kernels, kernel)

    def work(x: np.ndarray, y: np.ndarray) -> Found:
        n, m = len(x), len(y)
        sums = gram_of_states(made.fit(np.concatenate([x, y])), np.repeat([0, 1], [n, m]), np.arange(n + m), 2)
        value = sums[0, 0] / (n * (n - 1)) + sums[1, 1] / (m * (m - 1)) - 2 * sums[0, 1] / (n * m)
        return {"value": float(value)}

    return work


def frechet() -> Work:
    from shift.metrics.frechet import frechet_distance

    return lambda x, y: figures(frechet_distance(x, y))


def sliced(directions: int = 500) -> Work:
    from shift.metrics.sliced_w2 import sliced_w2

    return lambda x, y: figures(sliced_w2(x, y, directions=directions, seed=0))


def prdc_all(k: int = 5) -> Work:
    from shift.metrics.prdc import prdc

    return lambda x, y: figures(prdc(x, y, k=k))


def classifier() -> Work:
    from shift.metrics.classifier import classifier_two_sample

    return lambda x, y: figures(classifier_two_sample(x, y, seed=0))


def mauve_score() -> Work:
    from shift.metrics.mauve import mauve

    return lambda x, y: figures(mauve(x, y))


def streamed() -> Work:
    """Everything that one pass over two files gives: MMD^2 by random features, Frechet, centroid, sliced W2, Vendi."""
    from shift.streaming import stream

    def work(x: np.ndarray, y: np.ndarray) -> Found:
        found = stream(*(getattr(side, "filename", side) for side in (x, y)), seed=0)
        return {"value": found.mmd.value, "p": found.mmd.p, "frechet": found.frechet.value, "n": found.n}

    work.from_disk = True  # pyright: ignore
    return work


def share_of_gemm(seconds: float = 0.1) -> Work:
    """The exact MMD^2 pass against bare float32 matrix products, turn by turn in one process.

    The pass needs a product of depth d for each pair of rows (i <= j), and evaluates five Gaussians on top. Bare
    products get the fastest of NumPy, torch's MKL and its oneDNN, in the shape of the pass's own blocks and square.
    """
    import torch

    from shift.kernels import inner

    torch.set_num_threads(1)
    measure = value_alone("Gaussian")

    def bare(rows: int, depth: int) -> dict[str, float]:
        a, b = (np.random.default_rng(i).normal(size=(rows, depth)).astype(np.float32) for i in range(2))
        torch_a, torch_b, out = torch.from_numpy(a), torch.from_numpy(b).T, torch.empty(rows, rows)
        space = np.empty((rows, rows), np.float32)
        calls: dict[str, Callable[[], Any]] = {
            "NumPy": lambda: np.matmul(a, b.T, out=space),
            "MKL": lambda: torch.mm(torch_a, torch_b, out=out),
            "oneDNN": lambda: inner.by_onednn(a, b),
        }
        return {name: 2 * rows**2 * depth / _seconds_each(call, seconds) / 1e9 for name, call in calls.items()}

    def work(x: np.ndarray, y: np.ndarray) -> Found:
        pairs = (len(x) + len(y)) * (len(x) + len(y) + 1) / 2
        passes, in_blocks, square = [], [], []
        for _ in range(3):
            start = time.process_time()
            value = measure(x, y)["value"]
            passes.append(2 * pairs * x.shape[1] / (time.process_time() - start) / 1e9)
            in_blocks.append(bare(1024, x.shape[1]))
            square.append(max(bare(2048, 2048).values()))
        rate = float(np.median(passes))
        own = {name: float(np.median([rates[name] for rates in in_blocks])) for name in in_blocks[0]}
        return {
            "value": value,
            "pass GFLOP/s": rate,
            **own,
            "share of own blocks": rate / max(own.values()),
            "share of square": rate / float(np.median(square)),
        }

    return work


def _seconds_each(call: Callable[[], Any], at_least: float) -> float:
    """Seconds of one call: the best of five rounds, each long enough to be timed."""
    call()
    best = np.inf
    for _ in range(5):
        start, calls = time.process_time(), 0
        while (spent := time.process_time() - start) < at_least:
            call()
            calls += 1
        best = min(best, spent / calls)
    return best


def figures(found: Any) -> Found:
    """A result as plain numbers by name."""
    if is_dataclass(found) and not isinstance(found, type):
        named = {name: value for name, value in asdict(found).items() if isinstance(value, int | float)}
        return named if "value" in named or not hasattr(found, "value") else {"value": found.value, **named}
    return dict(found) if isinstance(found, dict) else {"value": float(found)}
