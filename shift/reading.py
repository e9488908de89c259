"""From artifacts and tables to ladders: which text stands on which rung."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from datasets_cards.errors import InputError, IntegrityError
from datasets_cards.records import SELF_SAMPLE
from shift.ladder import Ladder

if TYPE_CHECKING:
    from datasets_cards import Artifact

EMPTY = "(empty)"
"""What an empty completion is embedded as: it is behavior, and most embedders can't take an empty string."""

BETWEEN_RUNGS = {"A": "labels before", "UA": "pool before", "B": "labels after", "UB": "pool after"}

Embed = Callable[[list[str]], NDArray[np.float32]]
"""Maps distinct, non-empty texts to points [n, d]."""


@dataclass
class Texts:
    """The texts of a ladder: each distinct one is a point, and what a prompt has on a rung is a list of points.

    Attributes:
        points: text -> point.
        rungs: prompt -> rung -> points.
        prompts: prompt -> its own text.
    """

    points: dict[str, int] = field(default_factory=dict)
    rungs: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    prompts: dict[str, str] = field(default_factory=dict)
    blank: int = 0
    failed: int = 0

    def point(self, text: str) -> int:
        """The point of a text."""
        self.blank += not text.strip()
        return self.points.setdefault(text if text.strip() else EMPTY, len(self.points))

    def column(self, rung: str) -> dict[str, str]:
        """What each prompt has on a rung (the first of several), by prompt; those that lack it are left out."""
        listed = list(self.points)
        return {id_: listed[rungs[rung][0]] for id_, rungs in self.rungs.items() if rungs.get(rung)}

    def ladder(self, embed: Embed, *, titles: dict[str, str] | None = None, prompts: bool = False) -> Ladder:
        """Embed every text once; prompts are sorted by id, so that a file's row order changes nothing."""
        notes = []
        if self.blank:
            notes.append(f"{self.blank} completions are empty; they are embedded as the text {EMPTY!r}.")
        if self.failed:
            notes.append(f"{self.failed} candidates could not be generated and are left out of their pools.")
        ids = sorted(self.rungs)
        points_ND = embed(list(self.points))
        named: dict[str, Any] = {} if titles is None else {"rungs": titles}
        if prompts:
            of = {text: i for i, text in enumerate(dict.fromkeys(self.prompts[i] or EMPTY for i in ids))}
            named["prompts_ND"] = embed(list(of))[[of[self.prompts[i] or EMPTY] for i in ids]]
        return Ladder.from_entries(ids, points_ND, [self.rungs[i] for i in ids], notes, **named)


def read_texts(artifact: Artifact) -> Texts:
    """The ladder O, P, U, S of a labeled artifact.

    Rows that were dropped stay, without S, where their pool is stored: the filter leg needs them.

    Raises:
        IntegrityError: a label whose candidate is not in the stored pool.
        InputError: labels that a dose mixes with self-samples.
    """
    texts = Texts()
    pools = _read_pools(artifact, texts, "U", baseline="P")
    for id_, prompt, completion in artifact.original().select("id", "prompt", "completion").iter_rows():
        if id_ in texts.rungs:
            texts.prompts[id_] = _said(prompt)
            if completion:
                texts.rungs[id_]["O"] = [texts.point(_said(completion))]
    _read_labels(artifact, texts, pools, "S")
    return texts


def read_between(before: Artifact, after: Artifact) -> Texts:
    """The labels (A, B) and pools (UA, UB) of two artifacts, such as two versions of one, prompt by prompt.

    Prompts that only one of them has are left out of everything that needs both.

    Raises:
        IntegrityError: as `read_texts`.
        InputError: as `read_texts`; or the two have no prompt in common.
    """
    texts = Texts()
    for artifact, label, pool in ((before, "A", "UA"), (after, "B", "UB")):
        pools = _read_pools(artifact, texts, pool)
        for id_, prompt in artifact.original().select("id", "prompt").iter_rows():
            if id_ in texts.rungs and texts.prompts.setdefault(id_, _said(prompt)) != _said(prompt):
                raise InputError(
                    "asks something else in the second artifact",
                    where=f"row {id_}",
                    remedy="Compare artifacts of one source: rows pair by their id.",
                )
        _read_labels(artifact, texts, pools, label)
    if not any({"A", "B"} <= rungs.keys() for rungs in texts.rungs.values()):
        raise InputError("the two artifacts have no labeled row in common", remedy="Rows pair by their id.")
    return texts


def _read_pools(
    artifact: Artifact, texts: Texts, rung: str, *, baseline: str | None = None
) -> dict[str, dict[int, int]]:
    """Each prompt's candidates by index, noted on a rung; its self-sample on another, where that is wanted."""
    pools: dict[str, dict[int, int]] = {}
    columns = ["id", "index", "role", "text", "finish_reason"]
    for id_, index, role, text, finish in artifact.candidates().select(columns).sort("id", "index").iter_rows():
        if role not in ("candidate", "baseline"):
            continue  # views and drafts are how a candidate came about, not what could have been chosen
        if finish == "error":
            texts.failed += 1
            continue
        entry = texts.rungs.setdefault(id_, {})
        pool = pools.setdefault(id_, {})
        if role == "baseline":
            if baseline is not None:
                entry[baseline] = [texts.point(text)]
        elif index in pool:
            raise IntegrityError(f"two candidates have the index {index}", where=f"row {id_}")
        else:
            pool[index] = texts.point(text)
    for id_, pool in pools.items():
        texts.rungs[id_][rung] = list(pool.values())
    return pools


def _read_labels(artifact: Artifact, texts: Texts, pools: dict[str, dict[int, int]], rung: str) -> None:
    for id_, index in artifact.labels().select("id", "candidate").iter_rows():
        if index == SELF_SAMPLE:
            raise InputError(
                "its labels are mixed with self-samples, which were never in the pool: it has no selection leg",
                where=artifact.path.name,
                remedy="Measure the same labels without a dose (echoset relabel)",
            )
        if index not in pools.get(id_, {}):
            raise IntegrityError(
                f"the label is candidate {index}, which the stored pool lacks",
                where=f"row {id_}",
                remedy="Run `echoset verify` on the artifact, or label again.",
            )
        texts.rungs[id_][rung] = [pools[id_][index]]


def _said(messages: Iterable[dict[str, str]] | None) -> str:
    return "\n".join(message["content"] for message in messages or ())
