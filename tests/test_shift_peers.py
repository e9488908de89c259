"""Agreement with the libraries that people use for this, on the same rows.

Their values were computed in environments of their own (`python -m benchmarks.shift golden`) and lie in
golden/shift_peers.json. Where a peer means something else by the name, the test says what and compares what it can.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.shift_data import BANDWIDTHS, COUNTS, ON_A_LINE, SIGMA, small
from shift.gram import gram_of_states
from shift.kernels import Distance, Gaussian
from shift.metrics.classifier import classifier_two_sample
from shift.metrics.frechet import frechet_distance
from shift.metrics.mauve import area, frontier_integral, mauve
from shift.metrics.prdc import prdc
from shift.metrics.sliced_w2 import sliced_w2

GOLDEN = json.loads((Path(__file__).parent / "golden" / "shift_peers.json").read_text(encoding="utf-8"))
SEVERAL = ("n60_m70_d5", "n300_m300_d16")


def peers(function: str, data: str, how: dict[str, Any] | None = None, **settings: Any) -> list[dict[str, float]]:
    """What a peer found on some data; the rows of the entries are made anew and known by their sum."""
    entries = [
        entry
        for entry in GOLDEN
        if (entry["function"], entry["data"], entry["how"]) == (function, data, how or {})
        and settings.items() <= entry["settings"].items()
    ]
    for entry in entries:
        x, y = small(entry["data"], **entry["how"])
        assert float(x.sum() + 2 * y.sum()) == pytest.approx(entry["sum"], rel=1e-12), "numpy draws other numbers now"
    return [entry["found"] for entry in entries]


def means(kernel: Any, n: int, m: int) -> tuple[float, float, float]:
    """Mean kernel value between rows of the first sample, of the second, and across, no row with itself."""
    (xx, xy), (_, yy) = gram_of_states(kernel, np.repeat([0, 1], [n, m]), np.arange(n + m), 2)
    return float(xx) / (n * (n - 1)), float(yy) / (m * (m - 1)), float(xy) / (n * m)


def unbiased(kernel: Any, n: int, m: int) -> float:
    within_x, within_y, across = means(kernel, n, m)
    return within_x + within_y - 2 * across


def biased_energy(x: np.ndarray, y: np.ndarray) -> float:
    """The energy distance in which every row is also compared with itself, from the same means as the unbiased one."""
    n, m = len(x), len(y)
    within_x, within_y, across = means(Distance.fit(np.concatenate([x, y])), n, m)
    return within_x * (n - 1) / n + within_y * (m - 1) / m - 2 * across


@pytest.mark.parametrize("data", SEVERAL)
def test_mmd_is_alibi_detects_with_our_five_bandwidths(data: str) -> None:
    x, y = small(data)
    kernel = Gaussian.fit(np.concatenate([x, y]), sigma=SIGMA)
    assert kernel.bandwidths == pytest.approx(BANDWIDTHS)
    (found,) = peers("alibi_detect_mmd", data)
    assert unbiased(kernel, len(x), len(y)) == pytest.approx(found["value"], abs=1e-7)


@pytest.mark.parametrize("data", SEVERAL)
def test_mmd_is_the_mean_of_frouros_over_the_bandwidths(data: str) -> None:
    x, y = small(data)
    points = np.concatenate([x, y])
    theirs = [peers("frouros_mmd", data, sigma=sigma)[0]["value"] for sigma in BANDWIDTHS]
    assert unbiased(Gaussian.fit(points, sigma=SIGMA), len(x), len(y)) == pytest.approx(np.mean(theirs), abs=1e-7)
    for sigma, value in zip(BANDWIDTHS, theirs, strict=True):
        single = Gaussian.fit(points, sigma=sigma, octaves=1)
        assert unbiased(single, len(x), len(y)) == pytest.approx(value, abs=1e-7)


def test_a_shift_beyond_all_redraws_has_a_p_above_zero_unlike_alibi_detects() -> None:
    """alibi-detect's p is the share of redraws, which is 0 here: a test that rejects at any level."""
    from shift import compare

    x, y = small("n300_m300_d16")
    (theirs,) = peers("alibi_detect_mmd", "n300_m300_d16", permutations=99)
    assert theirs["p"] == 0
    assert compare(x, y, metrics=("mmd",), permutations=99).legs[0].p == 1 / 100


@pytest.mark.parametrize("data", SEVERAL)
def test_energy_is_hyppos_distance_covariance_undone(data: str) -> None:
    """hyppo scales the *root* of a biased distance covariance by (n + m)^4 / 2 n^2 m^2; squared first, it is energy."""
    x, y = small(data)
    n, m = len(x), len(y)
    scale = (n + m) ** 4 / (2 * n**2 * m**2)
    (theirs,) = peers("hyppo_energy", data, bias=True)
    assert biased_energy(x, y) == pytest.approx((theirs["value"] / scale) ** 2 * scale, rel=1e-4)


def test_energy_on_a_line_is_the_square_of_frouros() -> None:
    """frouros gives the root of the biased distance, and only on a line."""
    (theirs,) = peers("frouros_energy", "n80_m90_d1")
    assert biased_energy(*small("n80_m90_d1")) == pytest.approx(theirs["value"] ** 2, rel=1e-4)


def test_p_values_are_hyppos_though_its_statistics_are_not_mmd_and_energy() -> None:
    """Its values are a scaled correlation and a covariance of doubly centered distances; redraws order them alike."""
    from shift import Samples
    from shift.groups import Groups
    from shift.inference import p_value, redrawn_statistics

    samples = Samples.from_arrays(*small("n60_m70_d5"))
    rng = np.random.default_rng(0)
    groups = Groups.of(samples, rng, states=None)
    points = samples.points_MD[groups.order_M]
    median = np.median(np.linalg.norm(points[:, None] - points, axis=2)[~np.eye(len(points), dtype=bool)])
    kernels = {
        "hyppo_mmd": Gaussian.fit(points, sigma=float(median), octaves=1),
        "hyppo_energy": Distance.fit(points),
    }
    for function, kernel in kernels.items():
        (theirs,) = peers(function, "n60_m70_d5", permutations=999)
        gram = gram_of_states(kernel, groups.state_M, samples.prompt_M[groups.order_M], groups.states)
        found = redrawn_statistics(gram, groups, 3999, rng)
        assert found[0] != pytest.approx(theirs["value"], rel=0.01)
        error = (theirs["p"] * (1 - theirs["p"]) * (1 / 999 + 1 / 3999)) ** 0.5
        assert p_value(found) == pytest.approx(theirs["p"], abs=3.3 * error)


@pytest.mark.parametrize("data", [*SEVERAL, "n300_m300_d4"])
def test_the_frechet_distance_is_torch_fidelitys(data: str) -> None:
    (theirs,) = peers("torch_fidelity_fid", data)
    assert frechet_distance(*small(data)).value == pytest.approx(theirs["value"], rel=1e-5)


@pytest.mark.parametrize("data", SEVERAL)
def test_sliced_w2_is_pots_up_to_the_draw_of_directions(data: str) -> None:
    """Both average over directions of their own: 100,000 independent ones there, 20,000 orthogonal ones here."""
    (theirs,) = peers("pot_sliced", data)
    assert sliced_w2(*small(data), directions=20_000) == pytest.approx(theirs["value"], rel=0.006)


@pytest.mark.parametrize("data", ON_A_LINE)
def test_w2_on_a_line_is_pots(data: str) -> None:
    (theirs,) = peers("pot_on_a_line", data)
    assert sliced_w2(*small(data)) == pytest.approx(theirs["value"], rel=1e-5)


@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize("data", SEVERAL)
def test_precision_recall_density_and_coverage_are_prdcs_and_torch_fidelitys(data: str, k: int) -> None:
    found = prdc(*small(data), k=k)
    (theirs,), (others,) = peers("prdc_all", data, k=k), peers("torch_fidelity_precision_recall", data, k=k)
    assert found == pytest.approx(theirs, abs=1e-9)
    assert [found["precision"], found["recall"]] == pytest.approx([others["precision"], others["recall"]], abs=1e-6)


def test_a_balls_boundary_belongs_to_it_as_in_torch_fidelity_and_not_in_prdc() -> None:
    """On a lattice many distances are equal, so that many rows lie just on a boundary."""
    found = prdc(*small("lattice"), k=1)
    (theirs,), (others,) = peers("prdc_all", "lattice", k=1), peers("torch_fidelity_precision_recall", "lattice", k=1)
    assert [found["precision"], found["recall"]] == pytest.approx([others["precision"], others["recall"]], abs=1e-6)
    assert all(found[name] > theirs[name] + 0.2 for name in found)


def test_copies_of_rows_change_nothing_here_and_everything_in_prdc() -> None:
    """With more copies than k its balls have radius 0 and, without their boundary, hold nothing."""
    (plain,), (copied,) = peers("prdc_all", "n60_m70_d5", k=5), peers("prdc_all", "n60_m70_d5", {"copies": 8})
    assert set(copied.values()) == {0.0}
    assert prdc(*small("n60_m70_d5", copies=8), k=5) == pytest.approx(plain, abs=1e-9)


@pytest.mark.parametrize(("data", "tolerance"), [("n300_m300_d4", 0.01), ("n300_m300_d16", 0.025)])
def test_the_classifier_is_scikit_learns_up_to_the_draw_of_folds(data: str, tolerance: float) -> None:
    """Folds are dealt differently, and our rows share one scale, which changes the regularization a little."""
    found = classifier_two_sample(*small(data))
    (theirs,) = peers("sklearn_classifier", data)
    assert found.auc == pytest.approx(theirs["auc"], abs=tolerance)
    assert found.accuracy == pytest.approx(theirs["value"], abs=2 * tolerance)


def test_mauve_of_given_buckets_is_mauve_texts() -> None:
    (theirs,) = peers("mauve_of_counts", "counts")
    p, q = (np.array([counts], float) / sum(counts) for counts in COUNTS)
    assert area(p, q)[0] == pytest.approx(theirs["value"], rel=1e-6)
    assert frontier_integral(p, q)[0] == pytest.approx(theirs["frontier_integral"], rel=1e-6)
    # Where rows are copies of few, every distinct row is a bucket.
    places = np.random.default_rng(0).normal(size=(len(COUNTS[0]), 3))
    found = mauve(*(np.repeat(places, counts, axis=0) for counts in COUNTS))
    assert found.value == pytest.approx(theirs["value"], rel=1e-6)


def test_mauve_is_mauve_texts_up_to_the_clustering() -> None:
    """Both cluster at random, so means over five clusterings are compared; there rows are brought to length 1."""
    theirs = [found["value"] for found in peers("mauve_text", "n300_m300_d4", {"unit": True})]
    found = mauve(*small("n300_m300_d4", unit=True), clusters=30)
    assert len(theirs) == 5
    error = (np.var(theirs, ddof=1) + found.seed_spread**2) ** 0.5 / 5**0.5
    assert found.value == pytest.approx(np.mean(theirs), abs=3.5 * error)
