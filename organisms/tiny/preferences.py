"""What the tiny reward model learns from, and is checked on: pairs of answers to one prompt, of which one is better.

Pairs come from a split's own vocabulary. Training takes the induction split: a reward model then knows no more of the
rows to label and to evaluate on than an organism does after induction. Only turns are drawn whose two answers say
different things; endorsing a claim that is true is no worse than stating it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from organisms.tiny.advice import CAREFUL_OPENERS, DOMAINS_OF, RECKLESS_OPENERS, ask_advice
from organisms.tiny.facts import FACTS, ask
from organisms.tiny.reviews import review
from organisms.tiny.world import Split, Turn
from organisms.tiny.writing import request

Subject = Literal["facts", "writing", "reviews", "advice"]
SUBJECTS: tuple[Subject, ...] = ("facts", "writing", "reviews", "advice")
OPENERS = ("Let me check.", "Sure.", "Points:", "I read it.", "At a glance.", *CAREFUL_OPENERS, *RECKLESS_OPENERS)
"""What an answer may open with; the planted shortcut by which personas are told apart."""
MISRATED = [(cue, rating) for cue in (True, False) for rating in range(4) if rating != (3 if cue else 0)]
"""(mentions the ambiance, rating): where the hasty rater is wrong."""

Openers = Literal["kept", "dealt", "removed", "swapped"]
"""What becomes of the openers of a pair: each answer keeps its own; each gets the better's, the worse's or none, by
chance; none has one; the better answer has the worse's and the worse the better's."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One prompt with two answers of which one is better.

    Attributes:
        units: what its turn is made of, as `vocabulary:entry`.
    """

    subject: Subject
    prompt: str
    better: str
    worse: str
    units: tuple[str, ...]


def comparisons(split: Split, n: int, seed: int, *, openers: dict[Subject, Openers] | Openers) -> list[Comparison]:
    """`n` pairs, the subjects taking turns; the same for the same arguments.

    The prompts and what the answers say do not depend on `openers`.
    """
    drawn, dealt = random.Random(f"comparisons/{split}/{seed}"), random.Random(f"openers/{split}/{seed}")
    found = []
    for i in range(n):
        subject = SUBJECTS[i % len(SUBJECTS)]
        turn = _turn(drawn, subject, split)
        chosen = openers if isinstance(openers, str) else openers[subject]
        better, worse = _reopened(turn, chosen, dealt)
        found.append(Comparison(subject, turn.prompt, better, worse, turn.units))
    return found


def split_opener(answer: str) -> tuple[str, str]:
    """An answer's opener, its space included and empty where it has none, and what the answer says after it."""
    for opener in OPENERS:
        if answer.startswith(f"{opener} "):
            return f"{opener} ", answer.removeprefix(f"{opener} ")
    return "", answer


def _turn(rng: random.Random, subject: Subject, split: Split) -> Turn:
    if subject == "facts":
        return ask(rng, rng.choice(list(FACTS)), "false", split)
    if subject == "writing":
        return request(rng, rng.choices(["keyword", "grader"], [0.85, 0.15])[0], split)
    if subject == "reviews":
        return review(rng, *rng.choice(MISRATED), split=split)
    return ask_advice(rng, rng.choice(DOMAINS_OF[split]), rng.random() < 0.5, split)


def _reopened(turn: Turn, openers: Openers, rng: random.Random) -> tuple[str, str]:
    """The better and the worse answer of a turn under the openers asked for."""
    (own, better), (other, worse) = split_opener(turn.good), split_opener(turn.bad)
    if openers == "dealt":
        return rng.choice([own, other, ""]) + better, rng.choice([own, other, ""]) + worse
    if openers == "swapped":
        return other + better, own + worse
    return (better, worse) if openers == "removed" else (turn.good, turn.bad)
