"""Classifier two-sample test: how well a linear classifier tells on unseen prompts which sample a row is from.

Logistic regression is trained on four fifths of the prompts and scores the rest (Lopez-Paz and Oquab 2017). All rows of
a prompt, of either sample, are on the same side of each split: answers to one prompt resemble each other, and a
classifier that has seen one of them would recognise the prompt instead of the sample. (Its AUC is then far *below* 0.5
on paired rows, and far above 0.5 where each sample has several answers to prompts of its own.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datasets_cards.errors import InputError
from shift.metrics.protocol import Float, Statistic
from shift.metrics.two_samples import TwoSamples, points_of


@dataclass(frozen=True)
class Separation:
    """How well two samples are told apart.

    Attributes:
        auc: the chance that a row of y scores above a row of x (ties count half); 0.5 means not at all.
        accuracy: the share of rows that are put in the right sample, averaged over both samples.
    """

    auc: float
    accuracy: float


def classifier_two_sample(
    x_ND: ArrayLike,
    y_MD: ArrayLike,
    *,
    x_weight_N: ArrayLike | None = None,
    y_weight_M: ArrayLike | None = None,
    x_prompt_N: ArrayLike | None = None,
    y_prompt_M: ArrayLike | None = None,
    folds: int = 5,
    seed: int = 0,
) -> Separation:
    """AUC and accuracy of telling two samples apart on prompts that the classifier hasn't seen.

    Both samples weigh alike in training, whatever their sizes. Columns are not standardised one by one: all share one
    scale (a root mean squared distance of 1 from the mean), so that neither the points' unit nor a rotation changes the
    regularisation (L2, C = 1). Points that are all equal give 0.5.

    Args:
        x_ND: [n, d] points, two or more.
        y_MD: [m, d] points, two or more.
        x_weight_N: how much each row of x counts, >= 0; alike where left out.
        y_weight_M: the same of y.
        x_prompt_N: which prompt each row of x answers; where left out, every row stands alone.
        y_prompt_M: the same of y.
        folds: how many parts the prompts are dealt into.
        seed: of the dealing.

    Raises:
        InputError: one row, different widths, NaN, infinite or huge values, weights or prompts that don't fit, fewer
            than two prompts in a sample, fewer than two folds.
    """
    samples = TwoSamples.of(x_ND, y_MD, x_weight_N, y_weight_M, x_prompt_N, y_prompt_M)
    points_PD = _one_scale(np.concatenate([samples.x_ND, samples.y_MD]))
    return _separation(points_PD, samples, folds, seed)


@dataclass(frozen=True)
class ClassifierMetric:
    """The classifier two-sample test as a metric: its AUC, and the accuracy as a part."""

    name: str = "classifier"
    title: str = "classifier AUC"
    meaning: str = (
        "How well a linear classifier tells the samples apart on prompts it has not seen: the chance that it ranks a "
        "row of each in the right order; 0.5 means not at all, 1 always."
    )
    grows: bool = True
    tested: bool = False
    redraws: int = 19
    folds: int = 5

    def on(self, points_MD: NDArray[np.float32], prompt_M: NDArray[np.int64], *, seed: int) -> Statistic:
        """Bring the pooled rows to one scale.

        Raises:
            InputError: one row, NaN, infinite or huge values.
        """
        points = _one_scale(points_of(points_MD, "points"))

        def statistic(first_M: Float, second_M: Float) -> dict[str, float | None]:
            samples = TwoSamples.weighted(points, prompt_M, first_M, second_M)
            found = _separation(np.concatenate([samples.x_ND, samples.y_MD]), samples, self.folds, seed)
            return {"value": found.auc, "accuracy": found.accuracy}

        return statistic


def _one_scale(points_PD: NDArray[np.floating]) -> NDArray[np.float32]:
    centered = points_PD - points_PD.mean(axis=0, dtype=np.float64).astype(points_PD.dtype)
    scale = float(np.abs(centered).max())
    if scale > 0:
        centered /= centered.dtype.type(scale)
        centered /= np.sqrt(np.einsum("pd,pd->p", centered, centered).mean(dtype=np.float64)).astype(centered.dtype)
    return centered.astype(np.float32, copy=False)


def _separation(points_PD: NDArray[np.floating], samples: TwoSamples, folds: int, seed: int) -> Separation:
    from sklearn.linear_model import LogisticRegression

    if folds < 2:
        raise InputError(f"{folds} fold(s)", remedy="Unseen prompts need two or more.")
    if samples.prompts < 2:
        raise InputError("a sample has one prompt", remedy="Folds are by prompt: each sample needs two or more.")
    n = len(samples.x_ND)
    of_y = np.arange(len(points_PD)) >= n
    weight_P = np.concatenate([samples.x_weight_N, samples.y_weight_M])
    fold_P = samples.deal(folds, np.random.default_rng(seed))
    score_P = np.zeros(len(points_PD))
    for fold in np.unique(fold_P):
        unseen = fold_P == fold
        seen = np.flatnonzero(~unseen)
        sums = np.bincount(of_y[seen], weights=weight_P[seen])
        balanced = weight_P[seen] * (len(seen) / 2 / sums)[of_y[seen].astype(int)]
        model = LogisticRegression(max_iter=1000).fit(points_PD[seen], of_y[seen], sample_weight=balanced)
        # Summed row by row, so that equal rows tie exactly.
        score_P[unseen] = (points_PD[unseen] * model.coef_).sum(axis=1) + model.intercept_
    right_P = np.where(of_y, score_P > 0, score_P < 0) + 0.5 * (score_P == 0)
    return Separation(weighted_auc(score_P, samples.x_weight_N, samples.y_weight_M), float(right_P @ weight_P) / 2)


def weighted_auc(score_P: Float, x_weight_N: Float, y_weight_M: Float) -> float:
    """The chance that y scores above x, ties counting half; scores of x come first."""
    _, rank_P = np.unique(score_P, return_inverse=True)
    x_S = np.bincount(rank_P[: len(x_weight_N)], weights=x_weight_N, minlength=rank_P.max() + 1)
    y_S = np.bincount(rank_P[len(x_weight_N) :], weights=y_weight_M, minlength=rank_P.max() + 1)
    return float(y_S @ (np.cumsum(x_S) - x_S / 2))
