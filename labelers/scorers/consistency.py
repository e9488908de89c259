"""Universal self-consistency: the model says which of its candidates agrees most with the others (arXiv 2311.17311)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from datasets_cards.records import Candidate, Message, Row
from labelers.engines.protocol import SampleRequest, Sampling
from labelers.scorers.protocol import Pool, Tools, Verdict, fill, question

ASK = (
    "Below are {count} answers to one question. Which of them agrees most with the others? Think it over, and end with "
    'one line of the form "Most consistent: N", where N is the number of that answer.\n\n'
    "Question: {question}\n\n{answers}"
)

_CHOICE = re.compile(r"^\W*most consistent\W*[:=]\s*\W*(?:answer\s*)?(\d+)\W*$", re.IGNORECASE)


@dataclass(frozen=True)
class MostConsistent:
    """1 for the candidate that the labeling model, asked greedily, calls most consistent with the others, which get 0.

    A reply that names no candidate, or several, is a failure: its text is kept as the reason why the row's candidates
    have no score. One candidate alone is not asked about.
    """

    name: ClassVar[str] = "most_consistent"
    needs: ClassVar[frozenset[str]] = frozenset({"model"})
    fallible: ClassVar[bool] = False
    max_new_tokens: int = 256

    def score(self, pools: Sequence[Pool], tools: Tools) -> list[list[Verdict]]:
        """1 or 0."""
        members = [[c for c in candidates if c.role == "candidate"] for _, candidates in pools]
        asked = {
            r: self._request(row, mine) for r, ((row, _), mine) in enumerate(zip(pools, members, strict=True))
            if len(mine) > 1
        }  # fmt: skip
        replies = dict(zip(asked, tools.model().sample(list(asked.values())), strict=True))
        scores: list[list[Verdict]] = []
        for r, (_, candidates) in enumerate(pools):
            count, reply = len(members[r]), replies.get(r)
            chosen = 0 if reply is None else None if reply.error else parse_choice(reply.text, count)
            if chosen is None and reply:
                reason = f"no choice in the reply: {reply.error or reply.text}"
                scores.append([reason if c.role == "candidate" else None for c in candidates])
            else:
                winner = members[r][chosen or 0] if members[r] else None
                scores.append([float(c is winner) if c.role == "candidate" else None for c in candidates])
        return scores

    def _request(self, row: Row, members: Sequence[Candidate]) -> SampleRequest:
        answers = "\n\n".join(f"Answer {n}: {c.text}" for n, c in enumerate(members, 1))
        text = fill(ASK, count=str(len(members)), question=question(row.prompt), answers=answers)
        sampling = Sampling(0.0, 1.0, self.max_new_tokens)
        return SampleRequest(row.id, [Message(role="user", content=text)], sampling, 0, view="most_consistent")


def parse_choice(text: str, count: int) -> int | None:
    """The position, from 0, of the one answer that a reply names; None where it names none, several, or no such one."""
    named = {int(found[1]) for line in text.splitlines() if (found := _CHOICE.match(line))}
    return named.pop() - 1 if len(named) == 1 and 1 <= min(named) <= count else None
