"""The rows that moved most, as text side by side."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict

from datasets_cards.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from shift.drift import Drift
    from shift.ladder import Ladder
    from shift.reading import Texts

# A word and the spaces after it; scripts that don't space their words are compared sign by sign.
_SIGN = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
WORD = re.compile(rf"([{_SIGN}]|[^\s{_SIGN}]+|^)(\s*)")
# What a terminal or a browser would act upon: control characters, bidirectional overrides, half of a surrogate pair.
ACTING = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
EDGE = 60
"""Characters kept on either side of a change where a long equal stretch is left out."""
WORK = 100_000
"""Pairs of equal words that a comparison may have to go through; of texts with more, the middle counts as changed."""


class MovedRow(BaseModel):
    """A prompt whose answer has turned far.

    Attributes:
        rank: 1 is the prompt that moved furthest.
        of: prompts that were compared.
        id: of the row.
        drift: 1 - cos between its answers.
        z: standard deviations of all prompts' drift above their mean; None where all drifted alike.
        nearest_other: 1 - cos from its answer before to the nearest answer of another prompt; None where unknown.
        prompt, before, after: the texts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rank: int
    of: int
    id: str
    drift: float
    z: float | None
    nearest_other: float | None
    prompt: str
    before: str
    after: str


class Span(NamedTuple):
    """A stretch of one of two compared texts; of one that is left out, words that say so and how long it was."""

    text: str
    kind: Literal["same", "changed", "left out"]
    hidden: int = 0


def most_moved(
    drift_by_prompt: ArrayLike,
    ids: Sequence[str],
    prompts: Sequence[str],
    before_texts: Sequence[str],
    after_texts: Sequence[str],
    *,
    nearest_other: ArrayLike | None = None,
    top: int = 10,
) -> list[MovedRow]:
    """The prompts whose answers turned furthest, furthest first; equal ones in their order.

    Args:
        drift_by_prompt: 1 - cos from before to after, one a prompt.
        ids: of the prompts.
        prompts: their texts.
        before_texts: the answers before.
        after_texts: the answers after.
        nearest_other: as `Drift.other_N`.
        top: rows wanted; all where there are fewer.

    Raises:
        InputError: lengths that don't pair, a drift that is not a number, or no rows wanted.
    """
    drift_N = np.asarray(drift_by_prompt, np.float64)
    other_N = None if nearest_other is None else np.asarray(nearest_other, np.float64)
    lengths = {len(given) for given in (drift_N, ids, prompts, before_texts, after_texts)}
    if len(lengths | ({len(other_N)} if other_N is not None else set())) > 1:
        raise InputError("drifts, ids and texts don't pair up", remedy="Give one of each for every prompt.")
    if not np.isfinite(drift_N).all():
        raise InputError("a drift is not a number", where=f"row {ids[int(np.argmin(np.isfinite(drift_N)))]}")
    if top < 1:
        raise InputError(f"{top} rows wanted", remedy="Ask for at least one.")
    spread = float(drift_N.std(ddof=1)) if len(drift_N) > 1 else 0.0
    alike = spread <= 1e-12 * float(np.abs(drift_N).max(initial=0))
    furthest: list[int] = np.argsort(-drift_N, kind="stable")[:top].tolist()
    return [
        MovedRow(
            rank=rank,
            of=len(drift_N),
            id=str(ids[i]),
            drift=float(drift_N[i]),
            z=None if alike else float((drift_N[i] - drift_N.mean()) / spread),
            nearest_other=None if other_N is None else float(other_N[i]),
            prompt=prompts[i],
            before=before_texts[i],
            after=after_texts[i],
        )
        for rank, i in enumerate(furthest, start=1)
    ]


def moved_rows(
    ladder: Ladder, texts: Texts, start: str, end: str, *, found: Drift | None = None, top: int = 10
) -> list[MovedRow]:
    """The most-moved rows between two rungs of a ladder that was built from texts.

    A rung of several answers (a pool) drifts by their mean and is shown with all of them, numbered.

    Args:
        ladder: the points.
        texts: what they say.
        start: the rung before.
        end: the rung after.
        found: the drift between the two, where it is known already.
        top: rows wanted.
    """
    from shift.drift import drift

    found = drift(ladder, start, end) if found is None else found
    ids = [id_ for id_, kept in zip(ladder.ids, ladder.has_N(start, end), strict=True) if kept]
    listed = list(texts.points)

    def said(id_: str, rung: str) -> str:
        answers = [listed[point] for point in texts.rungs[id_][rung]]
        return answers[0] if len(answers) == 1 else "\n".join(f"[{i}] {text}" for i, text in enumerate(answers))

    columns = [
        [texts.prompts.get(id_, "") for id_ in ids],
        *([said(id_, rung) for id_ in ids] for rung in (start, end)),
    ]
    return most_moved(found.drift_N, ids, *columns, nearest_other=found.other_N, top=top)


def compared(before: str, after: str, *, limit: int = 1500) -> tuple[list[Span], list[Span]]:
    """Both texts as spans to show: what changed, word by word, and how much was left out.

    Characters that a terminal or browser would act upon are replaced by visible signs. Long stretches that both share
    are cut to their edges, and each text is cut after `limit` characters.
    """
    both = word_diff(_visible(before), _visible(after))
    return tuple(list(_within(_folded(spans), limit)) for spans in both)  # type: ignore[return-value]


def word_diff(before: str, after: str) -> tuple[list[Span], list[Span]]:
    """Both texts as spans, "same" or "changed", by the longest blocks of words that they share; spaces don't count."""
    pairs = [WORD.findall(text) for text in (before, after)]
    a, b = ([word for word, _ in found] for found in pairs)
    head = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    short = min(len(a), len(b)) - head
    tail = next((i for i in range(short) if a[-1 - i] != b[-1 - i]), short)
    middle_a, middle_b = a[head : len(a) - tail], b[head : len(b) - tail]
    changed_a, changed_b = [False] * len(a), [False] * len(b)
    often = Counter(middle_b)
    if sum(often[word] for word in middle_a) > WORK:
        blocks = [("replace", 0, len(middle_a), 0, len(middle_b))]
    else:
        blocks = SequenceMatcher(None, middle_a, middle_b, autojunk=False).get_opcodes()
    for tag, i, i_end, j, j_end in blocks:
        if tag != "equal":
            changed_a[head + i : head + i_end] = [True] * (i_end - i)
            changed_b[head + j : head + j_end] = [True] * (j_end - j)
    return _spans(pairs[0], changed_a), _spans(pairs[1], changed_b)


def moved_table(row: MovedRow, *, before: str = "before", after: str = "after", limit: int = 1500) -> Table:
    """A row for the terminal: its prompt above, both answers side by side, changes underlined."""
    from rich.table import Table
    from rich.text import Text

    prompt = _styled(compared(row.prompt, row.prompt, limit=limit)[0])
    title = (
        Text(f"{row.rank} of {row.of}: ", style="bold")
        .append(_visible(row.id))
        .append(f"  {how_far(row)}\n")
        .append(prompt)
    )
    table = Table(title=title, title_justify="left", title_style="", expand=True, show_lines=False)
    for name in (before, after):
        table.add_column(Text(name), ratio=1, overflow="fold")
    table.add_row(*(_styled(spans) for spans in compared(row.before, row.after, limit=limit)))
    return table


def how_far(row: MovedRow) -> str:
    """The row's drift and what to hold it against, in words."""
    said = f"drift {row.drift:.3f}"
    if row.z is not None:
        said += f", {row.z:.1f} standard deviations {'above' if row.z >= 0 else 'below'} the mean".replace("-", "")
    if row.nearest_other is not None:
        further = "further than" if row.drift > row.nearest_other else "no further than"
        said += f"; {further} to the nearest answer of another prompt ({row.nearest_other:.3f})"
    return said


def _visible(text: str) -> str:
    """The text with a sign in place of each character that would act: ␛ for escape, ⟨202e⟩ for others."""
    text = text.replace("\r\n", "\n")
    return ACTING.sub(lambda m: chr(0x2400 + ord(m[0])) if ord(m[0]) < 0x20 else f"⟨{ord(m[0]):04x}⟩", text)


def _spans(pairs: list[tuple[str, str]], changed: list[bool]) -> list[Span]:
    """Words and their spaces joined to spans; spaces are changed only between two changed words."""
    pieces = []
    for (word, spaces), own, following in zip(pairs, changed, [*changed[1:], False], strict=True):
        pieces += [(word, own), (spaces, own and following)]
    runs = groupby((piece for piece in pieces if piece[0]), key=itemgetter(1))
    return [Span("".join(text for text, _ in run), "changed" if marked else "same") for marked, run in runs]


def _folded(spans: list[Span]) -> Iterator[Span]:
    """Long equal stretches cut to the edges that touch a change; a text that is all equal stays."""
    for place, span in enumerate(spans):
        ends = (place > 0, place < len(spans) - 1)
        kept = EDGE * sum(ends)
        if span.kind == "changed" or not any(ends) or len(span.text) <= kept + EDGE:
            yield span
            continue
        if ends[0]:
            yield Span(span.text[:EDGE], "same")
        hidden = len(span.text) - kept
        yield Span(f"[… {hidden:,} characters that both share …]", "left out", hidden)
        if ends[1]:
            yield Span(span.text[-EDGE:], "same")


def _within(spans: Iterator[Span], limit: int) -> Iterator[Span]:
    room, hidden = limit, 0
    for span in spans:
        if room <= 0:
            hidden += span.hidden or len(span.text)
        elif span.kind == "left out":
            yield span
        else:
            yield Span(span.text[:room], span.kind)
            hidden += max(len(span.text) - room, 0)
            room -= len(span.text)
    if hidden:
        yield Span(f"[… {hidden:,} more characters]", "left out", hidden)


def _styled(spans: list[Span]) -> Text:
    from rich.text import Text

    text = Text()
    for span in spans:
        text.append(span.text, {"same": "", "changed": "bold underline", "left out": "dim"}[span.kind])
    return text or Text("(empty)", style="dim")
