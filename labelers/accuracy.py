"""A scorer's held-out accuracy: how often it prefers the better of two answers. At chance it is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datasets_cards.errors import InputError
from datasets_cards.manifest import ScorerCheck
from datasets_cards.records import Candidate
from labelers.scorers import Scorer, Tools
from labelers.selectors import TIE
from labelers.task import Preference


def held_out_accuracy(
    scorer: Scorer, preferences: Sequence[Preference], tools: Tools, data: str
) -> tuple[ScorerCheck, int]:
    """Share of pairs in which the scorer puts the better answer first; a tie, or a pair without scores, counts half.

    Args:
        preferences: pairs that neither the scorer nor any run has been fitted to.
        data: what the pairs are called in the manifest.

    Returns:
        The accuracy with its Wilson 95% interval (Wilson 1927), and in how many pairs an answer got no score.

    Raises:
        InputError: no pairs, or something that the scorer needs is not at hand.
    """
    if not preferences:
        raise InputError("there are no pairs to check the scorer on", where=data)
    pools = []
    for pair in preferences:
        texts = enumerate((pair.better, pair.worse))
        pools.append(
            (
                pair.row,
                [Candidate(pair.row.id, "check", i, "candidate", "plain", text, [], "stop") for i, text in texts],
            )
        )
    won, unscored = 0.0, 0
    for better, worse in scorer.score(pools, tools):
        if not isinstance(better, float | int) or not isinstance(worse, float | int):
            won, unscored = won + 0.5, unscored + 1
        else:
            won += 0.5 if abs(better - worse) <= TIE else float(better > worse)
    from statsmodels.stats.proportion import proportion_confint  # slow to import

    pairs = len(preferences)
    interval: Any = proportion_confint(won, pairs, method="wilson")
    low, high = map(float, interval)
    rate = won / pairs
    # At 0 and 1 rounding may leave the rate a hair outside.
    check = ScorerCheck(accuracy=rate, low=min(low, rate), high=max(high, rate), pairs=pairs, data=data)
    return check, unscored


def check_scorer(scorer: Scorer | None, tools: Tools, *, force: bool = False) -> dict[str, ScorerCheck | None]:
    """What the manifest says of a method's scorer, after refusing one that is at chance.

    Scorers that judge quality are checked on the task's preferences, or taken at the accuracy that a reward model
    brings; of others there is nothing to check.

    Raises:
        InputError: the interval of its accuracy reaches down to chance, and it isn't forced.
    """
    if not scorer:
        return {}
    check, unscored = None, 0
    if scorer.fallible and tools.task:
        name = f"{tools.task.name}, held-out preferences"
        check, unscored = held_out_accuracy(scorer, tools.task.preferences(), tools, name)
    elif scorer.name == "reward" and tools.reward:
        check = tools.reward.held_out
    unread = f"; no score in {unscored} of {check.pairs} pairs" if check and unscored else ""
    if not force:
        refuse_chance(scorer.name, check, unread)
    return {scorer.name: check}


def refuse_chance(scorer: str, check: ScorerCheck | None, more: str = "") -> None:
    """Refuse a scorer whose accuracy may be that of a coin; one that nobody measured passes, and the manifest says so.

    Raises:
        InputError: the interval of its accuracy reaches down to chance.
    """
    if check and check.low <= 0.5:
        raise InputError(
            f"is at chance: it prefers the better answer in {check.accuracy:.0%} "
            f"[{check.low:.0%}, {check.high:.0%}] of {check.data}{more}",
            where=f"scorer {scorer}",
            remedy="Choose another scorer, or force it (--force) and say so",
        )
