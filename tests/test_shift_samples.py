"""Two samples, the groups that are relabeled together, and the U-statistic between them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from datasets_cards import InputError
from shift import Ladder, Samples
from shift.groups import Groups
from shift.inference import holm, p_value, redrawn_statistics, u_statistics
from shift.interval import unpaired_interval
from shift.kernels import Gaussian


def gram(samples: Samples, groups: Groups) -> np.ndarray:
    """The linear kernel's Gram matrix of states, pair by pair."""
    points = samples.points_MD[groups.order_M].astype(np.float64)
    prompts = samples.prompt_M[groups.order_M]
    K = points @ points.T
    K[prompts[:, None] == prompts] = 0
    spread = np.zeros((groups.states, len(prompts)))
    spread[groups.state_M, np.arange(len(prompts))] = 1
    return spread @ K @ spread.T


def between_means(samples: Samples) -> float:
    """The squared distance between the means of prompts, less unbiased estimates of what sampling adds."""
    n = samples.n
    sides = [
        np.stack(
            [
                samples.points_MD[(samples.prompt_M == i) & side].astype(np.float64).mean(axis=0)
                if ((samples.prompt_M == i) & side).any()
                else np.full(samples.points_MD.shape[1], np.nan)
                for i in range(n)
            ]
        )
        for side in samples.sides
    ]
    has = [~np.isnan(side[:, 0]) for side in sides]
    x, y = (side[own] for side, own in zip(sides, has, strict=True))
    plain = ((y.mean(axis=0) - x.mean(axis=0)) ** 2).sum()
    noise = x.var(axis=0, ddof=1).sum() / len(x) + y.var(axis=0, ddof=1).sum() / len(y)
    both = has[0] & has[1]
    if both.any():
        pairs = zip(sides[0][both].T, sides[1][both].T, strict=True)
        noise -= 2 * both.sum() / (len(x) * len(y)) * sum(np.cov(a, b)[0, 1] for a, b in pairs)
    return float(plain - noise)


def some(kind: str, rng: np.random.Generator) -> Samples:
    x, y = rng.normal(size=(24, 3)), rng.normal(size=(17, 3))
    if kind == "unpaired":
        return Samples.from_arrays(x, y)
    if kind == "paired":
        return Samples.from_arrays(x[:17], y, paired=True)
    if kind == "half paired, several rows a prompt":
        ids = [f"p{i % 9}" for i in range(24)], [f"p{4 + i % 11}" for i in range(17)]
        return Samples.from_arrays(x, y, first_ids=ids[0], second_ids=ids[1])
    X = rng.normal(size=(20, 5, 3))
    ladder = Ladder.from_arrays(pool=X[:, :4], selected=rng.integers(0, 4, 20), baseline=X[:, 4])
    return Samples.from_ladder(ladder, *kind)


KINDS = ["unpaired", "paired", "half paired, several rows a prompt", "PU", "US", "PS", "SU"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("states", [None, 12])
def test_the_u_statistic_is_the_squared_distance_less_what_sampling_adds(kind: str, states: int | None) -> None:
    samples = some(kind, np.random.default_rng(1))
    groups = Groups.of(samples, np.random.default_rng(2), states=states)
    first_SB, second_SB = groups.weights(7, np.random.default_rng(3))
    found = u_statistics(gram(samples, groups), first_SB, second_SB, groups)
    assert found[0] == pytest.approx(between_means(samples), abs=1e-6)
    for side, weights_SB in enumerate((first_SB, second_SB)):
        np.testing.assert_allclose(groups.rows(weights_SB[:, 0], side), samples.weights()[side])


@pytest.mark.parametrize("kind", KINDS)
def test_a_redraw_is_the_observed_statistic_of_relabeled_samples(kind: str) -> None:
    samples = some(kind, np.random.default_rng(4))
    groups = Groups.of(samples, np.random.default_rng(5), states=None)
    first_SB, second_SB = groups.weights(6, np.random.default_rng(6))
    found = u_statistics(gram(samples, groups), first_SB, second_SB, groups)
    for b in range(1, 7):
        sides = [groups.rows(w[:, b], side) > 0 for side, w in enumerate((first_SB, second_SB))]
        relabeled = Samples(samples.points_MD, samples.prompt_M, *sides)
        # Nobody joins or leaves a prompt, and samples keep their sizes.
        assert relabeled.prompt_M[sides[0] | sides[1]].tolist() == samples.prompt_M.tolist()
        assert sorted(relabeled.sizes()[0]) == sorted(samples.sizes()[0])
        assert found[b] == pytest.approx(between_means(relabeled), abs=1e-6)
    assert len(set(np.round(found, 9))) > 3


@given(seed=st.integers(0, 10**6), kind=st.sampled_from(KINDS))
@settings(max_examples=20, deadline=None)
def test_neither_row_order_nor_rotation_nor_a_common_translation_changes_the_statistic(seed: int, kind: str) -> None:
    samples = some(kind, np.random.default_rng([seed, 1]))
    rng = np.random.default_rng([seed, 2])
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    order = rng.permutation(len(samples.prompt_M))
    order = order[np.argsort(samples.prompt_M[order], kind="stable")]
    moved = Samples(
        (samples.points_MD[order] @ rotation + 2).astype(np.float32),
        samples.prompt_M[order],
        samples.first_M[order],
        samples.second_M[order],
    )
    assert between_means(moved) == pytest.approx(between_means(samples), abs=1e-5)
    groups = Groups.of(moved, rng)
    value = redrawn_statistics(gram(moved, groups), groups, 1, rng)[0]
    assert value == pytest.approx(between_means(samples), abs=1e-4)


def test_prompts_left_over_when_groups_are_full_keep_their_labels_in_every_redraw() -> None:
    rng = np.random.default_rng(0)
    samples = Samples.from_arrays(rng.normal(size=(23, 2)), rng.normal(size=(31, 2)))
    groups = Groups.of(samples, rng, states=8)  # groups of five: 4 of the first sample, 5 of the second
    first_SB, second_SB = groups.weights(50, rng)
    sizes_S = np.bincount(groups.state_M)
    assert sorted(sizes_S) == [3, 5, 5, 5, 5, 5, 5, 5, 5, 5, 6]
    assert (first_SB[sizes_S != 5].std(axis=1) == 0).all()
    assert ((sizes_S[:, None] * first_SB).sum(axis=0) == 23).all()
    assert ((sizes_S[:, None] * second_SB).sum(axis=0) == 31).all()


def test_a_small_sample_and_rare_shapes_are_redrawn_however_many_rows_there_are() -> None:
    rng = np.random.default_rng(0)
    few = Groups.of(Samples.from_arrays(rng.normal(size=(5, 2)), rng.normal(size=(11000, 2))), rng)
    assert few.redrawable and few.fewest == 5 and few.states <= 2 * 2048
    counts = rng.integers(1, 26, 320)
    ids = np.repeat(np.arange(320), counts)
    sides = [rng.normal(size=(len(ids), 2)) for _ in range(2)]
    shapes = Groups.of(Samples.from_arrays(*sides, first_ids=ids.astype(str), second_ids=ids.astype(str)), rng)
    assert shapes.redrawable and shapes.movable > 250 and shapes.states <= 2 * 2048


def test_one_shared_prompt_does_not_bias_the_statistic() -> None:
    values = []
    for seed in range(400):
        rng = np.random.default_rng([seed, 3])
        ids = [f"p{i}" for i in range(5)], [f"p{i}" for i in range(4, 9)]
        x, y = rng.normal(size=(2, 5, 3)) + 2
        y[0] = x[4]
        samples = Samples.from_arrays(x, y, first_ids=ids[0], second_ids=ids[1])
        groups = Groups.of(samples, rng)
        kernel = Gaussian.fit(samples.points_MD[groups.order_M], sigma=2.0)
        K = kernel.block(slice(None), slice(None)).astype(np.float64)
        prompts = samples.prompt_M[groups.order_M]
        K[prompts[:, None] == prompts] = 0
        values.append(redrawn_statistics(K, groups, 1, rng)[0])
    assert abs(np.mean(values)) < 4 * np.std(values) / len(values) ** 0.5


def test_every_choice_within_a_prompt_is_drawn_equally_often() -> None:
    samples = some("PU", np.random.default_rng(0))
    groups = Groups.of(samples, np.random.default_rng(0))
    first_SB, _ = groups.weights(4000, np.random.default_rng(1))
    rates = first_SB[:, 1:].mean(axis=1)
    assert np.abs(rates - 0.2).max() < 0.03  # one of five; standard deviation .0063


def test_samples_that_cannot_be_relabeled_say_so() -> None:
    rng = np.random.default_rng(0)
    apart = Samples.from_arrays(
        rng.normal(size=(6, 2)),
        rng.normal(size=(6, 2)),
        first_ids=list("abcdef"),
        second_ids=["x", "x", "y", "y", "z", "z"],
    )
    assert not Groups.of(apart, rng).redrawable
    assert all(Groups.of(some(kind, rng), rng).redrawable for kind in KINDS)
    pools_of_one = Ladder.from_arrays(pool=rng.normal(size=(5, 1, 2)), baseline=rng.normal(size=(5, 2)))
    assert not Groups.of(Samples.from_ladder(pools_of_one, "U", "S"), rng).redrawable


def test_a_pool_keeps_its_selected_answer_and_equal_answers_count_as_often_as_they_were_drawn() -> None:
    a, b = np.eye(2)
    ladder = Ladder.from_arrays(pool=np.stack([[a, a, b]] * 3), selected=[0, 1, 2], baseline=np.stack([b] * 3))
    samples = Samples.from_ladder(ladder, "U", "S")
    assert [size.tolist() for size in samples.sizes()] == [[3, 3, 3], [1, 1, 1]]
    chosen = samples.points_MD[samples.second_M]
    np.testing.assert_array_equal(chosen, [a, a, b])
    first, second = samples.weights()
    assert first.sum() == pytest.approx(1) and second.sum() == pytest.approx(1)
    back = Samples.from_ladder(ladder, "S", "U")
    assert (back.first_M == samples.second_M).all() and (back.second_M == samples.first_M).all()


def test_samples_are_identical_when_each_prompt_has_the_same_points_in_the_same_proportions() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 2))
    assert Samples.from_arrays(x, x, paired=True).identical
    assert not Samples.from_arrays(x, x).identical  # other prompts
    assert not Samples.from_arrays(x, x[::-1], paired=True).identical
    ladder = Ladder.from_arrays(pool=np.repeat(x[:, None], 3, axis=1), baseline=x)
    assert Samples.from_ladder(ladder, "P", "U").identical


def test_holm_steps_down_and_never_orders_anew() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
    statsmodels = pytest.importorskip("statsmodels.stats.multitest")
    p = np.random.default_rng(0).random(9) ** 3
    assert holm(list(p)) == pytest.approx(statsmodels.multipletests(p, method="holm")[1].tolist())


@pytest.mark.parametrize("kind", ["unpaired", "paired", "half paired, several rows a prompt", "PU", "US"])
@pytest.mark.parametrize("states", [None, 16])
def test_the_test_rejects_a_true_null_as_often_as_it_says(kind: str, states: int | None) -> None:
    runs, levels = 400, np.array([0.05, 0.1])
    rejected = np.zeros(2)
    for seed in range(runs):
        rng = np.random.default_rng([seed, 77])
        samples = some(kind, rng)
        if kind == "paired":  # within-pair correlation
            shared = 2 * rng.normal(size=(samples.n, 3)).astype(np.float32)
            samples = Samples(samples.points_MD + shared[samples.prompt_M], samples.prompt_M, *samples.sides)
        groups = Groups.of(samples, rng, states=states)
        rejected += p_value(redrawn_statistics(gram(samples, groups), groups, 99, rng)) <= levels
    low, high = binom.interval(0.9995, runs, levels)
    assert (rejected <= high).all(), rejected / runs
    if states is None:  # few groups have few labelings, and a test may then reject less often
        assert (rejected >= low).all(), rejected / runs


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_intervals_between_unpaired_samples_cover_the_closed_form(shift: float) -> None:
    runs, missed, d = 100, 0, 20
    for seed in range(runs):
        rng = np.random.default_rng([seed, 7])
        y = rng.normal(size=(120, d))
        y[:, 0] += shift
        samples = Samples.from_arrays(rng.normal(size=(150, d)), y)
        groups = Groups.of(samples, rng)
        kernel = Gaussian.fit(samples.points_MD[groups.order_M])
        K = kernel.block(slice(None), slice(None)).astype(np.float64)
        np.fill_diagonal(K, 0)
        value = redrawn_statistics(K, groups, 1, rng)[0]
        low, high = unpaired_interval(K + np.eye(len(K)), groups, value, redraws=399, rng=rng)
        s2 = np.square(kernel.bandwidths)
        truth = np.mean(2 * (s2 / (s2 + 2)) ** (d / 2) * -np.expm1(-(shift**2) / (2 * (s2 + 2))))
        missed += not low <= truth <= high
    assert missed <= binom.ppf(0.999, runs, 0.06)
    if shift:
        assert missed >= 1  # an interval that never misses is too wide


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"first": np.ones((3, 2)), "second": np.ones((3, 3))}, "different widths: 2 and 3"),
        ({"first": np.ones(3), "second": np.ones((3, 3))}, "the first sample has shape"),
        ({"first": np.ones((1, 2)), "second": np.ones((3, 2))}, r"the first sample has 1 prompt\(s\)"),
        ({"first": np.ones((3, 2)), "second": np.array([[1, 2], [np.nan, 1], [1, 1]])}, "row 1 of the second sample"),
        ({"first": np.array([[1, 2], [0, 0], [1, 1]]), "second": np.ones((3, 2))}, "row 1 of the first .* zero vector"),
        ({"first": np.ones((3, 2)), "second": np.ones((2, 2)), "paired": True}, "can't pair by position"),
        ({"first": np.ones((2, 2)), "second": np.ones((2, 2)), "first_ids": ["a", "b"]}, "only one of the samples"),
        (
            {"first": np.ones((2, 2)), "second": np.ones((2, 2)), "first_ids": ["a"], "second_ids": ["a", "b"]},
            "1 ids for 2 rows",
        ),
        (
            {"first": np.ones((2, 2)), "second": np.ones((2, 2)), "first_ids": ["a", ""], "second_ids": ["a", "b"]},
            "row 1: an id is missing",
        ),
        ({"first": np.array([["a"]]), "second": np.ones((2, 2))}, "type <U1"),
    ],
)
def test_input_that_cannot_be_compared_is_named(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Samples.from_arrays(**arguments)


def test_half_precision_is_widened() -> None:
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float16)
    assert Samples.from_arrays(x, x).points_MD.dtype == np.float32
