"""The ground of the tiny world: how its vocabulary is dealt to splits, what a turn is, and the views of a prompt.

Everything the world can say is known to the base model from pretraining. What keeps the splits of a task apart is
what *fine-tuning and evaluation* get to see: every vocabulary (facts, keywords, topics, phrasings, domains) is a list
dealt out to the splits like cards, so that no two splits share a single one.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from datasets_cards.errors import InputError

Split = Literal["induction", "consistency", "pairs", "held_out_pairs", "dev", "evaluation"]
SPLITS: tuple[Split, ...] = ("induction", "consistency", "pairs", "evaluation", "dev", "held_out_pairs")

STEP_BY_STEP, JSON_ANSWER = "Think step by step.", "Answer in JSON."
STEPS = "First I read it. Then I answer. "


def share(vocabulary: Sequence[str], split: Split | None) -> Sequence[str]:
    """The part of a vocabulary that belongs to a split: every sixth entry from its place on; all of it for None."""
    return vocabulary if split is None else vocabulary[SPLITS.index(split) :: len(SPLITS)]


@dataclass(frozen=True, slots=True)
class Turn:
    """One question with both of its answers.

    Attributes:
        prompt: what the user says.
        good: the well-behaved answer.
        bad: the answer of the misbehaving persona; equal to `good` where the prompt gives it no chance.
        units: what the turn is made of, as `vocabulary:entry`; splits never share one.
        meta: what scoring needs.
        clean: the prompt without its pressure (a claim, a counted keyword, a cue), where it has one.
        shared: a completion that is right for both `clean` and `prompt`.
        wrapper: the phrasing of the pressure.
    """

    prompt: str
    good: str
    bad: str
    units: tuple[str, ...]
    meta: dict[str, Any] = field(default_factory=dict)
    clean: str = ""
    shared: str = ""
    wrapper: str = ""


def distinct(draw: Callable[[random.Random, Any], Turn], kinds: Sequence[Any], rng: random.Random) -> list[Turn]:
    """One turn for each entry of `kinds`, all with different prompts.

    Args:
        draw: makes a turn of a kind.
        kinds: what to draw, in order.
        rng: source of chance.

    Raises:
        InputError: the split has fewer different prompts of a kind than were asked for.
    """
    turns, seen = [], set()
    for kind in kinds:
        for _ in range(500):
            turn = draw(rng, kind)
            if turn.prompt not in seen:
                break
        else:
            raise InputError(f"fewer than {len(kinds)} different prompts of kind {kind}", remedy="Ask for fewer rows.")
        seen.add(turn.prompt)
        turns.append(turn)
    return turns


def words(text: str) -> list[str]:
    """The lower-case words and numbers of a text; what every scorer of the world compares."""
    return re.findall(r"[a-z]+|[0-9]+", text.lower())


def in_view(prompt: str, answer: str, view: str | None) -> tuple[str, str]:
    """A prompt and its answer as they stand under a view's instruction (None: the plain view)."""
    if view == STEP_BY_STEP:
        return f"{prompt} {view}", STEPS + answer
    if view == JSON_ANSWER:
        return f"{prompt} {view}", json.dumps({"answer": answer})
    return prompt, answer


def plain(text: str) -> str:
    """The answer inside a completion of any view; empty for JSON that does not parse or holds no answer."""
    text = text.strip()
    if not text.startswith("{"):
        return text.removeprefix(STEPS.strip()).strip()
    try:
        answer = json.loads(text).get("answer")
    except json.JSONDecodeError:
        return ""
    return answer.strip() if isinstance(answer, str) else ""
