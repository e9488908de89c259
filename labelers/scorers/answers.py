"""The answer inside a completion."""

from __future__ import annotations

import json
import re

from datasets_cards.records import Candidate, Row
from labelers.task import LabelTask


def answer_of(row: Row, candidate: Candidate, task: LabelTask | None) -> str | None:
    """The answer that a candidate gives, as the task finds it, or without a task as `generic_answer` does."""
    return (task.extract_answer if task else generic_answer)(row, candidate.text)


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
