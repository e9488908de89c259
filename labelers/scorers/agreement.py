"""Scorers: a number, or the reason why there is none, for each candidate of a row."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from datasets_cards.records import Candidate, Row, Score
from labelers.task import LabelTask


class Scorer(Protocol):
    """A way to score; `name` is the column that its scores are stored under."""

    name: ClassVar[str]

    def score(self, row: Row, candidates: Sequence[Candidate], task: LabelTask | None) -> list[Score]:
        """One score a candidate of this row (views and drafts included), in their order."""
        ...


@dataclass(frozen=True)
class MeanLogprob:
    """Mean log-probability a token, under the raw model at T=1 given the plain prompt: the model's confidence in it.

    Candidates with one token sequence share one score, the first one's: log-probabilities move by about 1e-6 with the
    shape of the batch, and a choice must not.
    """

    name: ClassVar[str] = "mean_logprob"

    def score(self, row: Row, candidates: Sequence[Candidate], task: LabelTask | None) -> list[Score]:
        """Nats a token; higher is more confident."""
        seen: dict[tuple[int, ...], float] = {}
        scores = []
        for c in candidates:
            if c.logprob is None or not c.token_ids:
                reason = c.error or ("the engine gives no log-probability" if c.token_ids else "no tokens")
                scores.append(Score(self.name, None, reason))
            else:
                mean = seen.setdefault(tuple(c.token_ids), c.logprob / len(c.token_ids))
                scores.append(Score(self.name, mean))
        return scores


@dataclass(frozen=True)
class Agreement:
    """How many of the other views give the answer that this candidate gives.

    Answers are the task's (`extract_answer`), or without a task those of `generic_answer`. A view without an answer
    agrees with nothing.
    """

    name: ClassVar[str] = "agreement"

    def score(self, row: Row, candidates: Sequence[Candidate], task: LabelTask | None) -> list[Score]:
        """A count from 0 to the number of other views."""
        extract = task.extract_answer if task else generic_answer
        answers = [None if c.finish_reason == "error" else extract(row, c.text) for c in candidates]
        scores = []
        for i, (c, answer) in enumerate(zip(candidates, answers, strict=True)):
            if answer is None:
                scores.append(Score(self.name, None, c.error or "no answer in the text"))
            else:
                scores.append(Score(self.name, float(sum(a == answer for j, a in enumerate(answers) if j != i))))
        return scores


def generic_answer(row: Row, text: str) -> str | None:
    r"""The answer of a completion where no task says how to find it; None for an empty text.

    The first that applies, in lower case and without the punctuation around it: the `answer` of a JSON object; what
    follows the last "answer is" or "answer:"; the content of the last `\boxed{}`; the last number; the whole text.
    """
    for found in (_json_answer(text), _last(r"answer(?: is|:)\s*([^\n]+)", text), _last(r"\\boxed\{([^{}]*)\}", text)):
        if found is not None:
            text = found
            break
    number = _last(r"(-?\d[\d,]*(?:\.\d+)?)", text)
    answer = number.replace(",", "") if number else " ".join(text.lower().split())
    return answer.strip(" .,;:!?\"'`*()[]{}") or None


def _json_answer(text: str) -> str | None:
    for start in (match.start() for match in re.finditer(r"\{", text)):
        try:
            value, _ = json.JSONDecoder().raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        answer = {str(k).lower(): v for k, v in value.items()}.get("answer")
        if isinstance(answer, str | int | float) and not isinstance(answer, bool):
            return str(answer)
    return None


def _last(pattern: str, text: str) -> str | None:
    found = re.findall(pattern, text, re.IGNORECASE)
    return found[-1] if found else None
