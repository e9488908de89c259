"""What has to hold among the rows, candidates, labels and dropped rows that are written together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from datasets_cards.errors import InputError
from datasets_cards.leaks import refuse_leaks, texts_of_records
from datasets_cards.records import SELF_SAMPLE, Candidate, Dropped, Label, Row
from datasets_cards.tables.values import check_candidates, check_dropped, check_labels, check_rows


def in_row_order(
    rows: Sequence[Row], candidates: Iterable[Candidate], labels: Iterable[Label]
) -> tuple[list[Candidate], list[Label]]:
    """Candidates and labels in the order of the rows, so that bytes don't depend on which sample finished first.

    Raises:
        InputError: one is of a row that isn't there, two rows have one id, or a field holds what no table keeps.
    """
    candidates, labels = list(candidates), list(labels)
    check_rows(rows)
    check_candidates(candidates)
    check_labels(labels)
    position = {row.id: number for number, row in enumerate(rows)}
    if len(position) != len(rows):
        twice = next(name for name, count in Counter(row.id for row in rows).items() if count > 1)
        raise InputError("two rows have this id", where=twice, remedy="Ids are unique in a dataset")
    for record in (*labels, *candidates):
        if record.id not in position:
            raise InputError("a label or candidate of a row that isn't there", where=record.id)
    candidates.sort(key=lambda c: (position[c.id], c.role, c.pool, c.view, c.index))
    return candidates, sorted(labels, key=lambda label: position[label.id])


def check_batch(
    rows: Sequence[Row], candidates: Sequence[Candidate], labels: Sequence[Label], dropped: Sequence[Dropped]
) -> None:
    """Every row is labeled or dropped, once; every label is a candidate; no reason tells of this machine.

    The records are those that `in_row_order` took.

    Raises:
        InputError: naming the id.
    """
    check_dropped(dropped)
    told = Counter(record.id for record in (*labels, *dropped))
    for row in rows:
        if told[row.id] != 1:
            what = "labeled or dropped more than once" if told[row.id] else "neither labeled nor dropped"
            raise InputError(f"the row is {what}", where=row.id, remedy="Each row gets one label or one reason")
    refuse_leaks(texts_of_records(candidates, labels, dropped))
    keys: set[tuple[Any, ...]] = set()
    texts: dict[tuple[str, int], set[str]] = {}  # of what a label may name, over all pools
    for c in candidates:
        key = (c.id, c.pool, c.role, c.view, c.index)
        if key in keys:
            raise InputError(f"two candidates with index {c.index} ({c.role}, {c.view}) in one pool", where=c.id)
        if len({score.scorer for score in c.scores}) < len(c.scores):
            raise InputError(f"candidate {c.index} has two scores of one scorer", where=c.id, remedy="Keep one of them")
        keys.add(key)
        if c.finish_reason != "error" and (c.role == "candidate" or (c.role == "baseline" and c.index == 0)):
            name = c.index if c.role == "candidate" else SELF_SAMPLE
            texts.setdefault((c.id, name), set()).add(c.text)
    asked = {row.id: row for row in rows}
    for label in labels:
        row = asked[label.id]
        if label.prompt != row.prompt or label.original != row.original:
            raise InputError("the label's prompt or original is not its row's", where=label.id)
        if not label.completion or label.completion[-1]["content"] not in texts.get((label.id, label.candidate), ()):
            named = "the row's self-sample" if label.candidate == SELF_SAMPLE else f"candidate {label.candidate}"
            raise InputError(f"the label is not the text of {named}", where=label.id)
