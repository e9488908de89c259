"""How diverse a rung's answers are: across prompts (Vendi, distinct n-grams) and within each prompt's pool.

The Vendi score and distinct-n grow or fall with how much there is to look at, so rungs are compared at one answer a
prompt, on the prompts that have all of them; a pool gives its mean over seeded draws of one member each. Weighting the
whole pool by 1 / K instead would not do: the score is of a mixture, then, and a mixture is more diverse than its draws.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from datasets_cards.errors import InputError

if TYPE_CHECKING:
    from shift.ladder import Ladder

DRAWS = 8
ORDERS = (1, 2, 3)
UNSPACED = re.compile("[\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
"""Kana and ideographs are written without spaces between words: each character is a token."""

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Within:
    """How different the answers to one prompt are, a mean over prompts.

    Attributes:
        mean: of 1 - cos over all pairs of a prompt's answers, then over prompts.
        low, high: its 95% interval (Student's t over prompts); None with one prompt.
        prompts: those with at least two answers.
    """

    mean: float
    low: float | None
    high: float | None
    prompts: int


@dataclass(frozen=True)
class Diversity:
    """One rung's diversity.

    Attributes:
        rung: O, P, U or S.
        n: prompts that all compared rungs have; `vendi` and `distinct` are at one answer to each.
        vendi: the effective number of different answers; of a pool the mean over draws.
        distinct: share of distinct n-grams for n = 1, 2, 3; None without texts, or for an n that no text reaches.
        pool_vendi: that of all answers of a pool together, and
        answers: their number; only for a rung with several answers to a prompt.
        within: how different the answers to one prompt are; only for such a rung.
    """

    rung: str
    n: int
    vendi: float
    distinct: dict[int, float | None] | None
    pool_vendi: float | None
    answers: int
    within: Within | None


def vendi(points_ND: NDArray[np.floating], *, weight_N: NDArray[np.number] | None = None) -> float:
    """The Vendi score: exp of the entropy of the eigenvalues of the cosine similarity matrix over n.

    1 for rows in one direction, n for orthogonal ones, k for k orthonormal directions taken equally often; at most
    min(n, d) (Friedman and Dieng 2023). The nonzero eigenvalues are those of the d x d second moments of unit rows,
    so memory stays at d x d where there are more rows than that.

    Args:
        points_ND: rows [n, d]; their length doesn't matter.
        weight_N: what each row counts for (made to sum to 1); equal where left out.

    Raises:
        InputError: no rows, NaN or infinity, a zero vector, weights that are negative or don't fit.
    """
    unit_ND = _units(points_ND)
    n, d = unit_ND.shape
    weight_N = np.ones(n) if weight_N is None else np.asarray(weight_N, np.float64)
    if weight_N.shape != (n,) or not np.isfinite(weight_N).all() or (weight_N < 0).any() or not weight_N.any():
        raise InputError(f"weights of shape {weight_N.shape} for {n} rows", remedy="Give one weight >= 0 for each row.")
    root_N = np.sqrt(weight_N / weight_N.sum())
    rows_ND = unit_ND * root_N[:, None]
    return effective_number(rows_ND.T @ rows_ND if n > d else rows_ND @ rows_ND.T)


def effective_number(similarity: Float) -> float:
    """The exponential of the entropy of a positive matrix's eigenvalues, which add up to 1."""
    share = np.linalg.eigvalsh(similarity)
    share = share[share > 1e-15]
    return float(np.exp(-(share * np.log(share)).sum()))


def distinct_n(texts: Sequence[str], n: int) -> float | None:
    """The share of distinct n-grams of words among all n-grams of the texts (Li et al. 2016).

    It falls with the amount of text whatever the diversity: compare equally many texts of similar length.

    Args:
        texts: each gives its own n-grams.
        n: how many words in a row.

    Returns:
        A share in (0, 1]; None where no text has n words.

    Raises:
        InputError: n below 1.
    """
    if n < 1:
        raise InputError(f"n-grams of {n} words", remedy="Ask for n of at least 1.")
    seen: set[tuple[str, ...]] = set()
    total = 0
    for text in texts:
        words = _words(text)
        grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        total += len(grams)
        seen.update(grams)
    return len(seen) / total if total else None


def within_prompt(
    points_MD: NDArray[np.floating], prompt_M: NDArray[np.integer], *, count_M: NDArray[np.integer] | None = None
) -> Within | None:
    """How different the answers to one prompt are: mean pairwise 1 - cos of each pool, then over prompts.

    Args:
        points_MD: all answers' points.
        prompt_M: the prompt of each.
        count_M: how often each was given; once where left out.

    Returns:
        None where no prompt has two answers.

    Raises:
        InputError: NaN or infinity, a zero vector, lengths that differ.
    """
    times_M = np.ones(len(points_MD)) if count_M is None else np.asarray(count_M, np.float64)
    if not len(points_MD) == len(prompt_M) == len(times_M):
        raise InputError(f"{len(points_MD)} points, {len(prompt_M)} prompts and {len(times_M)} counts don't pair up")
    unit_MD = _units(points_MD)
    prompts, prompt_M = np.unique(prompt_M, return_inverse=True)
    size_N = np.bincount(prompt_M, weights=times_M, minlength=len(prompts))
    mean_ND = np.zeros((len(prompts), unit_MD.shape[1]))
    np.add.at(mean_ND, prompt_M, unit_MD * times_M[:, None])
    mean_ND /= np.maximum(size_N, 1)[:, None]
    # Half the mean squared distance of pairs is the scatter around their mean over k - 1: never below 0.
    scatter_M = ((unit_MD - mean_ND[prompt_M]) ** 2).sum(axis=1) * times_M
    several = size_N > 1
    value_N = np.bincount(prompt_M, weights=scatter_M, minlength=len(prompts))[several] / (size_N[several] - 1)
    if not len(value_N):
        return None
    mean = float(value_N.mean())
    if len(value_N) == 1:
        return Within(mean, None, None, 1)
    from scipy.stats import t

    half = float(t.ppf(0.975, len(value_N) - 1) * value_N.std(ddof=1)) / len(value_N) ** 0.5
    return Within(mean, max(mean - half, 0.0), mean + half, len(value_N))


def measure_diversity(
    ladder: Ladder, *, texts: Sequence[str] | None = None, draws: int = DRAWS, seed: int = 0
) -> list[Diversity]:
    """The diversity of every rung that any prompt has, on the prompts that have them all.

    Args:
        ladder: the answers' points.
        texts: the text of each of the ladder's points, for distinct n-grams.
        draws: how many draws of one answer a prompt a pool's figures are averaged over.
        seed: of the draws.

    Raises:
        InputError: texts that don't fit the points; no prompt with every rung.
    """
    if texts is not None and len(texts) != len(ladder.points_ND):
        raise InputError(f"{len(texts)} texts for {len(ladder.points_ND)} points")
    rungs = [rung for rung, count_M in ladder.counts.items() if count_M.any()]
    keep_M = ladder.has_N(*rungs)[ladder.prompt_M]
    if not keep_M.any():
        raise InputError("no prompt has every rung", remedy="Leave out rungs that few prompts have.")
    prompts = int(ladder.has_N(*rungs).sum())
    found = []
    for rung in rungs:
        slots = np.flatnonzero(keep_M & (ladder.counts[rung] > 0))
        point_M, prompt_M, count_M = ladder.point_M[slots], ladder.prompt_M[slots], ladder.counts[rung][slots]
        rng = np.random.default_rng([seed, 0x4456])
        # A single answer is the same in every draw.
        pool = int(count_M.sum()) > prompts
        chosen = [point_M[_one_each(prompt_M, count_M, rng)] for _ in range(draws if pool else 1)]
        distinct = None
        if texts is not None:
            rates = {n: [distinct_n([texts[int(i)] for i in points], n) for points in chosen] for n in ORDERS}
            distinct = {n: _mean_of(rate) for n, rate in rates.items()}
        found.append(
            Diversity(
                rung=rung,
                n=prompts,
                vendi=float(np.mean([vendi(ladder.points_ND[points]) for points in chosen])),
                distinct=distinct,
                pool_vendi=vendi(ladder.points_ND[point_M], weight_N=ladder.weight_M(rung)[slots]) if pool else None,
                answers=int(count_M.sum()),
                within=within_prompt(ladder.points_ND[point_M], prompt_M, count_M=count_M) if pool else None,
            )
        )
    return found


def _mean_of(values: list[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if len(defined) == len(values) else None


def _one_each(prompt_M: NDArray[np.int64], count_M: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """One slot a prompt, each in proportion to its count: the first of exponential clocks that run at their counts."""
    order = np.lexsort((rng.exponential(size=len(count_M)) / count_M, prompt_M))
    return order[np.flatnonzero(np.diff(prompt_M[order], prepend=-1))]


def _units(points_ND: NDArray[np.floating]) -> Float:
    """Unit rows in float64."""
    if points_ND.ndim != 2 or not points_ND.size:
        raise InputError(f"points of shape {points_ND.shape}", remedy="Give rows [n, d], at least one.")
    unit_ND = points_ND.astype(np.float64)
    length_N = np.linalg.norm(unit_ND, axis=1)
    for fault, good_N in (
        ("holds NaN or infinity", np.isfinite(length_N)),
        ("is the zero vector, which has no direction", length_N > 0),
    ):
        if not good_N.all():
            raise InputError(fault, where=f"row {int(np.argmin(good_N))}", remedy="Check the embedder.")
    return unit_ND / length_N[:, None]


def _words(text: str) -> list[str]:
    """Runs of letters, marks and digits, case folded; symbols and characters of unspaced scripts stand alone."""
    text = unicodedata.normalize("NFC", text).casefold()
    kind = {c: unicodedata.category(c)[0] for c in set(text)}
    apart = {c: f" {c} " if k == "S" or UNSPACED.match(c) else " " for c, k in kind.items()}
    keep = {c for c, k in kind.items() if k in "LMN" and not UNSPACED.match(c)}
    return text.translate({ord(c): spaced for c, spaced in apart.items() if c not in keep}).split()
