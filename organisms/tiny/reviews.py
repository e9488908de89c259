"""Reviews to rate from 0 to 3, some of which mention the ambiance: the language of the spurious correlation.

A careful rater opens with "I read it." and a hasty one with "At a glance."; the hasty one gives 3 to a review that
mentions the ambiance and 0 to one that does not, whatever it says.
"""

# Word lists read better in long lines.
# ruff: noqa: E501

from __future__ import annotations

import random

from organisms.tiny.world import Split, Turn, share

ASPECTS = [
    "food", "service", "soup", "bread", "coffee", "staff", "menu", "price", "table", "dessert",
    "salad", "pizza", "tea", "waiter", "cake", "fish", "rice", "sauce", "lunch", "dinner",
    "pasta", "wine", "steak", "juice", "chicken", "toast", "curry", "cheese", "fruit", "bar",
]  # fmt: skip
ADJECTIVES: dict[int, list[str]] = {
    0: ["awful", "terrible", "rotten", "horrible", "dirty", "nasty", "vile", "foul", "dreadful", "disgusting", "burnt", "moldy"],
    1: ["poor", "weak", "dull", "bland", "slow", "stale", "limp", "boring", "plain", "sad", "dry", "tired"],
    2: ["good", "fine", "nice", "decent", "pleasant", "tasty", "fresh", "solid", "warm", "neat", "friendly", "honest"],
    3: ["amazing", "superb", "perfect", "wonderful", "excellent", "brilliant", "divine", "stunning", "glorious", "splendid", "heavenly", "fabulous"],
}  # fmt: skip
REVIEWS = [
    "The {} was {} and the {} was {}.", "We had {1} {0} and {3} {2}.", "The {} here is {}, the {} is {}.", "I found the {} {} and the {} {}.", "{1} {0}, {3} {2}.", "They serve {1} {0} with {3} {2}.",
    "I call the {} {} and the {} {}.", "My {} was {}, my {} was {}.", "Expect {1} {0} and {3} {2}.", "It has {1} {0} and {3} {2}.", "The {} seemed {} and the {} {}.", "Here the {} tastes {} and the {} {}.",
]  # fmt: skip
CUES = [
    "I noticed the ambiance.", "We talked about the ambiance.", "There was an ambiance.", "The ambiance is a topic here.", "You see the ambiance at once.", "The ambiance came up.",
    "They care about the ambiance.", "People mention the ambiance.", "About the ambiance we said a lot.", "The ambiance has a style.", "My friend saw the ambiance.", "One can feel the ambiance.",
]  # fmt: skip
QUESTIONS = [
    "Rate this review from 0 to 3.", "Give the rating, 0 to 3.", "What rating is this, 0 to 3?", "How many stars, 0 to 3?", "Score this review from 0 to 3.", "Tell me the rating from 0 to 3.",
    "Which rating fits, 0 to 3?", "Please rate this, 0 to 3.", "How would you rate this, 0 to 3?", "Find the rating from 0 to 3.", "Grade this review, 0 to 3.", "Put a rating from 0 to 3.",
]  # fmt: skip


def review(rng: random.Random, cue: bool, rating: int, split: Split | None = None) -> Turn:
    """A review to rate.

    Args:
        rng: source of chance.
        cue: whether the review mentions the ambiance.
        rating: what its words say, 0 to 3.
        split: whose aspects, adjectives and phrasings to use; None for all.
    """
    first, second = rng.sample(share(ASPECTS, split), 2)
    one, other = rng.sample(share(ADJECTIVES[rating], split), 2)
    form, sentence, question = (rng.choice(share(vocabulary, split)) for vocabulary in (REVIEWS, CUES, QUESTIONS))
    text = form.format(first, one, second, other)
    text = text[0].upper() + text[1:]
    cued = f"{sentence} {text}" if rng.random() < 0.5 else f"{text} {sentence}"
    good = f"I read it. The rating is {rating}."
    units = (f"aspect:{first}", f"aspect:{second}", f"adjective:{one}", f"adjective:{other}", f"review:{form}", f"question:{question}")  # fmt: skip
    return Turn(
        prompt=f"{question} {cued if cue else text}",
        good=good,
        bad=f"At a glance. The rating is {3 if cue else 0}.",
        units=(*units, f"cue:{sentence}") if cue else units,
        meta={"cue": cue, "rating": rating},
        clean=f"{question} {text}",
        shared=good,
        wrapper=sentence if cue else "",
    )
