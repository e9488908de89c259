"""Selection: from stored candidates and scores to labels. Pure, so that labeling again costs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from datasets_cards.errors import InputError
from datasets_cards.records import SELF_SAMPLE, Candidate, Dropped, Label, Message, Row
from labelers.engines.protocol import derive_seed
from labelers.method import Method
from labelers.pools import by_row
from labelers.selectors import score_of


def select(
    rows: Sequence[Row],
    candidates: Iterable[Candidate],
    method: Method,
    *,
    seed: int = 0,
    dose: float | None = None,
) -> tuple[list[Label], list[Dropped]]:
    """Choose each row's label among its stored candidates; pure.

    Rows without a successful candidate are dropped under the failure's own code (such as `prompt_too_long`), and rows
    whose choice fell on an empty completion as `empty_completion`: nothing can be trained on it.

    Args:
        dose: keep the method's label with this probability, and take the row's self-sample (the baseline rung)
            otherwise, by a coin that row id and seed fix. Rows that the method drops stay dropped. None keeps all.

    Returns:
        Labels and dropped rows; together every row once, in order.

    Raises:
        InputError: a dose that is no probability, or a pool without self-samples.
    """
    candidates = list(candidates)
    if dose is not None and not 0 <= dose <= 1:
        raise InputError(f"a dose of {dose}", where="dose", remedy="Use a probability, from 0 to 1")
    if dose is not None and not any(c.role == "baseline" for c in candidates):
        raise InputError("a dose mixes with self-samples, and there are none", where="dose", remedy="Draw the baseline")
    labels: list[Label] = []
    dropped: list[Dropped] = []
    scorer = method.scorer.name if method.scorer else None
    for row, pool in by_row(rows, candidates):
        chosen = _choose(row, [c for c in pool if c.role == "candidate"], method, scorer, seed)
        if isinstance(chosen, Candidate) and dose is not None and not _keeps(row.id, seed, dose):
            chosen = _self_sample(row, pool)
        if isinstance(chosen, Candidate) and not chosen.text.strip():
            chosen = Dropped(row.id, "empty_completion", f"the {chosen.role} with index {chosen.index} says nothing")
        if isinstance(chosen, Dropped):
            dropped.append(chosen)
            continue
        index = SELF_SAMPLE if chosen.role == "baseline" else chosen.index
        completion = [Message(role="assistant", content=chosen.text)]
        score = score_of(chosen, scorer)
        labels.append(Label(row.id, row.prompt, completion, row.original, method.name, index, score))
    return labels, dropped


def _choose(row: Row, pool: Sequence[Candidate], method: Method, scorer: str | None, seed: int) -> Candidate | Dropped:
    usable = sorted((c for c in pool if c.finish_reason != "error"), key=lambda c: c.index)
    return method.selector.select(row.id, usable, scorer, seed) if usable else _failed(row, pool)


def _self_sample(row: Row, pool: Sequence[Candidate]) -> Candidate | Dropped:
    baseline = [c for c in pool if c.role == "baseline"]
    return next((c for c in baseline if c.finish_reason != "error"), None) or _failed(row, baseline)


def _failed(row: Row, pool: Sequence[Candidate]) -> Dropped:
    error = next((c.error for c in pool if c.error), None) or "no_candidate: nothing was drawn"
    code, _, detail = error.partition(":")
    return Dropped(row.id, code, detail.strip())


def _keeps(row_id: str, seed: int, dose: float) -> bool:
    return derive_seed(seed, row_id, "select/dose", 0) < dose * 2**64
