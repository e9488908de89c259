"""A world so small that everything can be enumerated: three prompts, six completions, known laws of every rung.

Completions are drawn from Q, which is exactly P at temperature 1/2 with the tail cut off. Q's probabilities are
eighths: a draw is one of eight equally likely *atoms*, so that all pools of N are the 8^N tuples of atoms, each as
likely as the next, and a plain mean over them is an exact expectation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from itertools import product
from pathlib import Path

import numpy as np
from drafts import make_draft

from datasets_cards import Artifact, Candidate, Label, Labeler, Row, Score, write_artifact
from shift.pools.stored import StoredPools

TEMPERATURE, TOP_P = 0.5, 0.9
EIGHTHS = np.array([[4, 2, 1, 1, 0, 0], [3, 3, 1, 1, 0, 0], [5, 1, 1, 1, 0, 0]])
TAIL = np.array([[0.05, 0.03], [0.01, 0.06], [0.02, 0.02]])
Q = EIGHTHS / 8
_HEAD = np.sqrt(Q[:, :4])
P = np.concatenate([_HEAD / _HEAD.sum(axis=1, keepdims=True) * (1 - TAIL.sum(axis=1, keepdims=True)), TAIL], axis=1)
SCORE = np.array([[0.0, 1, 1, 3, 9, 9], [2.0, -1, 0, 2, 9, 9], [-10.0, 0, 0.5, 0.5, 9, 9]])
"""With ties, within prompts; the tail, never drawn, would win."""
M = np.array([[0.0, 1, 0, 1, 1, 1], [1.0, 0, 0, 0, 1, 1], [0.0, 1, 1, 0, 1, 1]])
TOKENS = np.array([[1, 2, 3, 4, 5, 6], [2, 2, 5, 1, 1, 1], [7, 1, 1, 2, 2, 2]])
ATOMS = np.array([np.repeat(np.arange(6), counts) for counts in EIGHTHS])
PROMPTS = len(P)
with np.errstate(divide="ignore"):
    LOG_P, LOG_Q = np.log(P), np.log(Q)


def pools(prompt: int, size: int) -> np.ndarray:
    """Every pool of a prompt as completions [8^size, size]; all equally likely."""
    return ATOMS[prompt][np.array(list(product(range(8), repeat=size)))]


def best_of(size: int, scores: np.ndarray = SCORE) -> np.ndarray:
    """The law S of the best of so many, ties by chance, [prompts, completions]: from levels of the score."""
    law = np.zeros_like(Q)
    for x in range(PROMPTS):
        for level in np.unique(scores[x]):
            own = scores[x] == level
            below, upto = Q[x][scores[x] < level].sum(), Q[x][scores[x] <= level].sum()
            if upto > below:
                law[x, own] = (upto**size - below**size) * Q[x, own] / Q[x, own].sum()
    return law


def by_selector(size: int, select: Callable[[int, tuple[int, ...]], int]) -> np.ndarray:
    """The law of any selector, which sees the prompt and its pool and names a position, by enumeration."""
    law = np.zeros_like(Q)
    for x in range(PROMPTS):
        for pool in pools(x, size):
            law[x, pool[select(x, tuple(pool.tolist()))]] += 8.0**-size
    return law


def divergence(first: np.ndarray, second: np.ndarray) -> float:
    """KL(first || second) given the prompt, averaged over prompts."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.where(first > 0, first * np.log(first / second), 0).sum(axis=1).mean())


def expected(law: np.ndarray, values: np.ndarray) -> float:
    """The mean of values under a law, prompts with equal weight."""
    return float(np.where(law > 0, law * values, 0).sum(axis=1).mean())


def artifact(folder: Path, prompt_N: np.ndarray, pool_NK: np.ndarray) -> Artifact:
    """An artifact of these pools, labels by score with ties to the lowest index, as the real selector has it."""
    rows, candidates, labels = [], [], []
    for n, (x, pool) in enumerate(zip(prompt_N.tolist(), pool_NK.tolist(), strict=True)):
        row = Row(f"r{n:06d}", [{"role": "user", "content": f"prompt {x}"}])
        rows.append(row)
        candidates += [_candidate(row.id, k, x, y) for k, y in enumerate(pool)]
        chosen = int(np.argmax(SCORE[x, pool]))
        said = [{"role": "assistant", "content": f"completion {pool[chosen]}"}]
        labels.append(Label(row.id, row.prompt, said, None, "toy", chosen, float(SCORE[x, pool[chosen]])))
    config = {"k": pool_NK.shape[1], "temperature": TEMPERATURE, "top_p": TOP_P}
    labeler = Labeler(method="toy", proposal="samples", scorer="reward", selector="argmax", config=config)
    made = replace(make_draft(), rows=rows, candidates=candidates, labels=labels, dropped=[], labeler=labeler)
    return write_artifact(folder, made)


def some_rows(pools: StoredPools, rows: np.ndarray, rng: np.random.Generator) -> StoredPools:
    """Some rows of a toy artifact that holds every pool of every prompt, each with a self-sample of its own."""
    x = rows // (len(pools.ids) // PROMPTS)
    plain = np.array([rng.choice(6, p=P[i]) for i in x])
    names = [f.name for f in fields(pools) if isinstance(getattr(pools, f.name), np.ndarray)]
    return replace(
        pools,
        **{name: getattr(pools, name)[rows] for name in names if not name.startswith("baseline")},
        ids=tuple(str(i) for i in range(len(rows))),
        scores={name: values[rows] for name, values in pools.scores.items()},
        baseline_N=np.ones(len(rows), bool),
        baseline_logprob_N=LOG_P[x, plain],
        baseline_tokens_N=TOKENS[x, plain].astype(float),
    )


def _candidate(id_: str, index: int, x: int, y: int) -> Candidate:
    return Candidate(
        id=id_,
        pool="pool",
        index=index,
        role="candidate",
        view="plain",
        text=f"completion {y}",
        token_ids=list(range(TOKENS[x, y])),
        finish_reason="stop",
        logprob=float(LOG_P[x, y]),
        behavior_logprob=float(LOG_Q[x, y]),
        scores=[Score("reward", float(SCORE[x, y]))],
        misaligned=bool(M[x, y]),
    )
