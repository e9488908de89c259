"""A difference between two artifacts in words and tables: what it means first, then only what changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import takewhile
from operator import eq
from typing import TYPE_CHECKING, Any
from unicodedata import category

from datasets_cards.comparing.changes import Diff, Example, NumberChanges, Said

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

SHOWN = 400
"""Characters of one text."""

BEFORE_A_CHANGE = 60
"""Characters that a shortened text shows before the place where it begins to differ."""


def summary(diff: Diff) -> str:
    """One line: from which version to which, what changed, and which step that is."""
    if diff.bump is None:
        return f"{_between(diff)}: the same content, no step."
    intact = {"major": "", "minor": ", every old one as it was", "patch": ""}[diff.bump]
    return f"{_between(diff)}: {diff.reason}{intact}: a {diff.bump.upper()} step."


def tables(diff: Diff) -> Iterator[Table]:
    """What changed, for the terminal; a table for each kind of thing that did."""
    yield from filter(None, (_records(diff), _numbers(diff), _settings(diff), _files(diff)))
    yield from map(_example, diff.examples)


def _between(diff: Diff) -> str:
    before, after = diff.before, diff.after
    second = after.version if before.name == after.name else f"{after.name} {after.version}"
    return visible(f"{before.name} {before.version} -> {second}")


def _records(diff: Diff) -> Table | None:
    rows, labels, candidates, dropped = diff.rows, diff.labels, diff.candidates, diff.dropped
    table = _table("", "before", "after", "added", "removed", "changed", "of these")
    lines = (
        (
            "rows",
            (diff.before.rows, diff.after.rows),
            (rows.added, rows.removed, rows.changed),
            {"prompt": rows.prompt, "original answer": rows.original, "meta": rows.meta},
        ),
        (
            "labels",
            (diff.before.labeled, diff.after.labeled),
            (labels.added, labels.removed, labels.changed),
            {
                "another completion": labels.completion,
                "only another candidate or method": labels.choice,
                "only the prompt or original answer beside it": labels.context,
            },
        ),
        (
            "candidates",
            (diff.before.candidates, diff.after.candidates),
            (candidates.added, candidates.removed, candidates.changed),
            {"rows with another pool": candidates.rows},
        ),
        (
            "dropped rows",
            (diff.before.dropped, diff.after.dropped),
            (dropped.added, dropped.removed, dropped.reason),
            {"labeled before": dropped.newly_dropped, "labeled now": dropped.newly_labeled},
        ),
    )
    for name, sizes, counts, details in lines:
        if any(counts):
            told = ", ".join(f"{what} {number:,}" for what, number in details.items() if number)
            table.add_row(name, *map(_count, sizes), *(_count(number or None) for number in counts), told)
    return table if table.row_count else None


def _numbers(diff: Diff) -> Table | None:
    table = _table("where the text is the same", "other numbers", "new", "gone", "largest difference", "")
    candidates = diff.candidates
    kinds: list[tuple[str, NumberChanges, str]] = [
        ("labels' scores", diff.labels.score, ""),
        ("log-probabilities", candidates.logprob, "nats"),
        ("behavior log-probabilities", candidates.behavior_logprob, "nats"),
    ]
    for name, scorer in candidates.scorers.items():
        details = {"a new scorer for": scorer.gained, "no longer one for": scorer.lost}
        told = [f"{what} {number:,} candidates" for what, number in details.items() if number]
        kinds.append((f"scores by {visible(name)}", scorer, ", ".join(told)))
    for name, numbers, told in kinds:
        counts = (numbers.changed, numbers.appeared, numbers.vanished)
        if any(counts) or (told and told != "nats"):
            largest = "" if numbers.largest is None else f"{numbers.largest:.3g}"
            table.add_row(_text(name), *(_count(number or None) for number in counts), largest, told)
    if candidates.verdict_rows:
        table.add_row("verdicts", _count(candidates.verdict_rows), "", "", "", "counted in rows")
    return table if table.row_count else None


def _settings(diff: Diff) -> Table | None:
    if not diff.settings:
        return None
    table = _table("setting", "before", "after", numbers=False)
    for setting in diff.settings:
        before = "" if setting.change == "added" else _value(setting.before)
        after = "" if setting.change == "removed" else _value(setting.after)
        table.add_row(_text(setting.path), _text(before), _text(after))
    return table


def _files(diff: Diff) -> Table | None:
    table = _table("file", "", numbers=False)
    for change in ("added", "removed", "changed"):
        for path in getattr(diff.files, change):
            table.add_row(_text(path), change)
    return table if table.row_count else None


def _example(example: Example) -> Table:
    from rich.table import Table

    before, after = example.before, example.after
    title = _text(f"{example.id}  {_cut(example.prompt, 0)}")
    table = Table(title=title, title_justify="left", title_style="", expand=True)
    for name, side in (("before", before), ("after", after)):
        table.add_column(_text(f"{name}: {_named(side)}"), ratio=1, overflow="fold")
    shared = sum(1 for _ in takewhile(bool, map(eq, before.text, after.text)))
    table.add_row(*(_text(_cut(side.text, shared)) for side in (before, after)))
    return table


def _named(said: Said) -> str:
    which = "self-sample" if said.candidate < 0 else f"candidate {said.candidate}"
    return which if said.score is None else f"{which}, score {said.score:.4g}"


def _table(*columns: str, numbers: bool = True) -> Table:
    from rich.table import Table

    table = Table(box=None)
    for place, column in enumerate(columns):
        outer = place in (0, len(columns) - 1)
        justify = "right" if numbers and not outer else "left"
        table.add_column(column, justify=justify, no_wrap=numbers and place == 0, overflow="fold")
    return table


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _value(value: Any) -> str:
    return _cut(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), 0)


def _cut(text: str, differs: int) -> str:
    """A text's first characters, or those around the place where it begins to differ."""
    start = max(0, differs - BEFORE_A_CHANGE) if len(text) > SHOWN else 0
    shown = text[start : start + SHOWN]
    return f"{'[...] ' * (start > 0)}{shown}{' [...]' * (start + SHOWN < len(text))}"


def _text(text: str) -> Text:
    from rich.text import Text

    return Text(visible(text))


def visible(text: str) -> str:
    """The text with the code of each character that would act on a terminal in its place."""
    return "".join(
        c if c.isprintable() or category(c) == "Zs" or c in "\n\t\u200c\u200d" else f"\\u{ord(c):04x}" for c in text
    )
