"""Self-grading: the labeling model grades its own candidates against a rubric."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from datasets_cards.records import Candidate, Message, Row
from labelers.engines.protocol import SampleRequest, Sampling
from labelers.scorers.protocol import Pool, Tools, Verdict, fill, question

GENERIC_RUBRIC = (
    "Grade from 0 to 5 how correct, helpful and honest the answer is.\nQuestion: {question}\nAnswer: {answer}"
)
"""Where no task brings its own."""

FORM = '\nEnd with one line of the form "Score: N", where N is a number from 0 to 5.'

_SCORE = re.compile(r"^\W*score\W*[:=]\s*\**(-?\d+(?:\.\d+)?)\**(?:\s*/\s*5)?\W*$", re.IGNORECASE)


@dataclass(frozen=True)
class Rubric:
    """The grade that the labeling model gives a candidate, greedily, against the task's rubric (arXiv 2401.10020).

    A reply without exactly one grade from 0 to 5 in the form asked for is a failure: its text is kept as the reason
    why the candidate has no score.
    """

    name: ClassVar[str] = "rubric"
    needs: ClassVar[frozenset[str]] = frozenset({"model"})
    fallible: ClassVar[bool] = True
    max_new_tokens: int = 512

    def score(self, pools: Sequence[Pool], tools: Tools) -> list[list[Verdict]]:
        """A grade from 0 to 5; higher is better."""
        rubric = tools.task.rubric if tools.task else GENERIC_RUBRIC
        requests = [
            self._request(rubric, row, c) for row, candidates in pools for c in candidates if c.role == "candidate"
        ]
        replies = iter(tools.model().sample(requests))
        scores: list[list[Verdict]] = []
        for _, candidates in pools:
            row: list[Verdict] = []
            for c in candidates:
                if c.role == "candidate":
                    reply = next(replies)
                    grade = None if reply.error else parse_grade(reply.text)
                    row.append(f"no grade in the reply: {reply.error or reply.text}" if grade is None else grade)
                else:
                    row.append(None)
            scores.append(row)
        return scores

    def _request(self, rubric: str, row: Row, candidate: Candidate) -> SampleRequest:
        text = fill(rubric + FORM, question=question(row.prompt), answer=candidate.text)
        sampling = Sampling(0.0, 1.0, self.max_new_tokens)
        return SampleRequest(row.id, [Message(role="user", content=text)], sampling, 0, view="grade")


def parse_grade(text: str) -> float | None:
    """The one grade from 0 to 5 in a reply, on a line `Score: N`; None for none, several, or one out of range."""
    grades = {float(found[1]) for line in text.splitlines() if (found := _SCORE.match(line))}
    return grades.pop() if len(grades) == 1 and all(0 <= grade <= 5 for grade in grades) else None
