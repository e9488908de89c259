"""The peers' own ways of comparing two samples, as their documentation has them. They run in the peers' environments.

Each function imports its library and returns the work: two arrays in, the peer's figures out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

Found = dict[str, Any]
Work = Callable[[np.ndarray, np.ndarray], Found]


def alibi_detect_mmd(permutations: int = 100, sigma: list[float] | None = None) -> Work:
    """Unbiased MMD^2. Several bandwidths are averaged over; without any it takes one, from the first sample."""
    import torch
    from alibi_detect.cd import MMDDrift

    torch.manual_seed(0)
    bandwidths = None if sigma is None else np.array(sigma)

    def work(x: np.ndarray, y: np.ndarray) -> Found:
        given = None if bandwidths is None else bandwidths.astype(x.dtype)
        detector = MMDDrift(
            x, backend="pytorch", n_permutations=permutations, sigma=given, configure_kernel_from_x_ref=given is None
        )
        found = detector.predict(y)["data"]
        return {"value": float(found["distance"]), "p": float(found["p_val"])}

    return work


def frouros_mmd(sigma: float, permutations: int = 0) -> Work:
    """Unbiased MMD^2 with one bandwidth. Permutations recompute all distances, in a pool of one process."""
    from frouros.callbacks import PermutationTestDistanceBased
    from frouros.detectors.data_drift import MMD
    from frouros.utils.kernels import rbf_kernel

    def work(x: np.ndarray, y: np.ndarray) -> Found:
        tests = [
            PermutationTestDistanceBased(num_permutations=permutations, num_jobs=1, random_state=0, name="test")
            for _ in range(permutations > 0)
        ]
        detector = MMD(kernel=partial(rbf_kernel, sigma=sigma), callbacks=tests or None)
        detector.fit(X=x)
        distance, logs = detector.compare(X=y)
        return {"value": float(distance.distance), "p": float(logs["test"]["p_value"]) if tests else None}

    return work


def frouros_energy() -> Work:
    """The root of the biased energy distance, of samples of width 1 only."""
    from frouros.detectors.data_drift import EnergyDistance

    def work(x: np.ndarray, y: np.ndarray) -> Found:
        detector = EnergyDistance()
        detector.fit(X=x.ravel())
        return {"value": float(detector.compare(X=y.ravel())[0].distance)}

    return work


def hyppo_mmd(permutations: int = 100) -> Work:
    """A scaled correlation between rows and labels: not MMD^2, though its p-value is that of MMD's permutation test."""
    from hyppo.ksample import MMD

    return _hyppo(MMD(), permutations)


def hyppo_energy(permutations: int = 100, bias: bool = False) -> Work:
    """Scaled distance covariance of rows and labels; the biased one is scaled after its root was taken."""
    from hyppo.ksample import Energy

    return _hyppo(Energy(bias=bias), permutations)


def _hyppo(test: Any, permutations: int) -> Work:
    def work(x: np.ndarray, y: np.ndarray) -> Found:
        x, y = x.astype(np.float64), y.astype(np.float64)
        if not permutations:
            return {"value": float(test.statistic(x, y)), "p": None}
        value, p = test.test(x, y, reps=permutations, auto=False, random_state=0)[:2]
        return {"value": float(value), "p": float(p)}

    return work


def torch_fidelity_fid() -> Work:
    _without_torchvision()
    import torch
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

    def work(x: np.ndarray, y: np.ndarray) -> Found:
        statistics = [fid_features_to_statistics(torch.from_numpy(side)) for side in (x, y)]
        return {"value": float(fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID])}

    return work


def torch_fidelity_precision_recall(k: int = 5) -> Work:
    """Improved precision and recall with `<=`; the first argument is the generated sample."""
    _without_torchvision()
    import torch
    from torch_fidelity.metric_prc import prc_features_to_metric

    def work(x: np.ndarray, y: np.ndarray) -> Found:
        sides = [torch.from_numpy(side) for side in (y, x)]
        found = prc_features_to_metric(
            *sides, prc_neighborhood=k, prc_batch_size=10_000, save_cpu_ram=False, verbose=False
        )
        return {"precision": float(found["precision"]), "recall": float(found["recall"])}

    return work


def _without_torchvision() -> None:
    """Import torch-fidelity without the networks for pictures: torchvision wants one certain build of torch."""
    import sys
    from unittest.mock import MagicMock

    for name in ("", ".transforms", ".transforms.functional", ".datasets", ".models"):
        sys.modules[f"torchvision{name}"] = MagicMock()


def pot_sliced(directions: int = 500, seed: int = 0) -> Work:
    """Independent directions, not orthogonal ones."""
    import os

    os.environ["POT_BACKEND_DISABLE_PYTORCH"] = "1"
    import ot

    def work(x: np.ndarray, y: np.ndarray) -> Found:
        return {"value": float(ot.sliced_wasserstein_distance(x, y, n_projections=directions, seed=seed))}

    return work


def pot_on_a_line() -> Work:
    """W2 of samples of width 1."""
    import os

    os.environ["POT_BACKEND_DISABLE_PYTORCH"] = "1"
    import ot

    return lambda x, y: {"value": float(ot.wasserstein_1d(x.ravel(), y.ravel(), p=2)) ** 0.5}


def prdc_all(k: int = 5) -> Work:
    from prdc import compute_prdc

    def work(x: np.ndarray, y: np.ndarray) -> Found:
        return {name: float(value) for name, value in compute_prdc(x, y, nearest_k=k).items()}

    return work


def sklearn_classifier(folds: int = 5, C: float = 1.0) -> Work:
    """Out-of-fold accuracy and AUC of a logistic regression that tells the samples apart."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    def work(x: np.ndarray, y: np.ndarray) -> Found:
        rows, labels = np.concatenate([x, y]), np.repeat([0, 1], [len(x), len(y)])
        dealt = StratifiedKFold(folds, shuffle=True, random_state=0)
        score = cross_val_predict(
            LogisticRegression(C=C, max_iter=1000), rows, labels, cv=dealt, method="decision_function"
        )
        return {"value": float(((score > 0) == labels).mean()), "auc": float(roc_auc_score(labels, score))}

    return work


def mauve_text(buckets: int | None = None, restarts: int = 5, seed: int = 25) -> Work:
    """MAUVE and the frontier integral; as many buckets as `shift` takes where none are given."""
    from mauve import compute_mauve

    def work(x: np.ndarray, y: np.ndarray) -> Found:
        taken = buckets or min(500, (len(x) + len(y)) // 20)
        found = compute_mauve(x, y, num_buckets=taken, kmeans_num_redo=restarts, seed=seed)
        return {"value": float(found.mauve), "frontier_integral": float(found.frontier_integral)}

    return work


def mauve_of_counts() -> Work:
    """MAUVE and the frontier integral of two given histograms, by the library's own parts."""
    from mauve.compute_mauve import (
        compute_area_under_curve,
        get_divergence_curve_for_multinomials,
        get_fronter_integral,
    )

    def work(x: np.ndarray, y: np.ndarray) -> Found:
        p, q = x / x.sum(), y / y.sum()
        u, v = get_divergence_curve_for_multinomials(p, q, np.linspace(1e-6, 1 - 1e-6, 25), 5).T
        by_u, by_v = np.argsort(u), np.argsort(v)
        areas = compute_area_under_curve(u[by_u], v[by_u]), compute_area_under_curve(v[by_v], u[by_v])
        return {"value": float(sum(areas)) / 2, "frontier_integral": float(get_fronter_integral(p, q))}

    return work
