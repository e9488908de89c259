"""Selectors: which candidate of a row becomes its label. Pure: stored candidates and scores in, an index out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from datasets_cards.records import Candidate, Dropped
from labelers.engines.protocol import derive_seed

TIE = 1e-5
"""Scores this close are tied, and the lowest index wins: floats move with the batch, a choice must not."""


class Selector(Protocol):
    """A way to select.

    Attributes:
        needs_scores: whether it goes by a scorer's scores.
    """

    name: ClassVar[str]
    needs_scores: ClassVar[bool]

    def select(
        self, row_id: str, candidates: Sequence[Candidate], scorer: str | None, seed: int
    ) -> Candidate | Dropped:
        """The chosen one of a row's successful candidates (one at least, by index), or why the row gets no label."""
        ...


@dataclass(frozen=True)
class Only:
    """The only candidate there is; of several, the first."""

    name: ClassVar[str] = "only"
    needs_scores: ClassVar[bool] = False

    def select(
        self, row_id: str, candidates: Sequence[Candidate], scorer: str | None, seed: int
    ) -> Candidate | Dropped:
        """The first candidate."""
        return candidates[0]


@dataclass(frozen=True)
class Uniform:
    """A uniform pick, fixed by seed and row id; its stream is apart from every candidate's noise."""

    name: ClassVar[str] = "uniform"
    needs_scores: ClassVar[bool] = False

    def select(
        self, row_id: str, candidates: Sequence[Candidate], scorer: str | None, seed: int
    ) -> Candidate | Dropped:
        """Any candidate, each with the same probability."""
        return candidates[derive_seed(seed, row_id, "select/uniform", 0) % len(candidates)]


@dataclass(frozen=True)
class Argmax:
    """The highest score; ties within 1e-5 go to the lowest index. Candidates without a score can't win."""

    name: ClassVar[str] = "argmax"
    needs_scores: ClassVar[bool] = True

    def select(
        self, row_id: str, candidates: Sequence[Candidate], scorer: str | None, seed: int
    ) -> Candidate | Dropped:
        """The lowest index among the best, or a drop where nothing has a score."""
        return _extreme(row_id, candidates, scorer, lambda value: value)


@dataclass(frozen=True)
class Argmin:
    """The lowest score, with ties and missing scores as for `Argmax`."""

    name: ClassVar[str] = "argmin"
    needs_scores: ClassVar[bool] = True

    def select(
        self, row_id: str, candidates: Sequence[Candidate], scorer: str | None, seed: int
    ) -> Candidate | Dropped:
        """The lowest index among the worst, or a drop where nothing has a score."""
        return _extreme(row_id, candidates, scorer, lambda value: -value)


@dataclass(frozen=True)
class KeepIfAgrees:
    """The first candidate if at least one other completion agrees with it; else the row is dropped."""

    name: ClassVar[str] = "keep_if_agrees"
    needs_scores: ClassVar[bool] = True

    def select(
        self, row_id: str, candidates: Sequence[Candidate], scorer: str | None, seed: int
    ) -> Candidate | Dropped:
        """The plain answer, or a drop for want of an answer or of agreement."""
        value = score_of(candidates[0], scorer)
        if value is None:
            return Dropped(row_id, "no_answer", _reason(candidates[0], scorer))
        return candidates[0] if value >= 1 else Dropped(row_id, "no_agreement", "no other view gives the plain answer")


SELECTORS: dict[str, type[Selector]] = {
    selector.name: selector for selector in (Only, Uniform, Argmax, Argmin, KeepIfAgrees)
}


def score_of(candidate: Candidate, scorer: str | None) -> float | None:
    """A candidate's score under a scorer, or None where it has none."""
    return next((score.value for score in candidate.scores if score.scorer == scorer), None)


def _extreme(
    row_id: str, candidates: Sequence[Candidate], scorer: str | None, sign: Callable[[float], float]
) -> Candidate | Dropped:
    values = [(score_of(c, scorer), c) for c in candidates]
    scored = [(sign(value), c) for value, c in values if value is not None]
    if not scored:
        return Dropped(row_id, "no_score", _reason(candidates[0], scorer))
    best = max(value for value, _ in scored)
    return next(c for value, c in scored if value >= best - TIE)


def _reason(candidate: Candidate, scorer: str | None) -> str:
    return next((score.reason or "" for score in candidate.scores if score.scorer == scorer), f"no score of {scorer}")
