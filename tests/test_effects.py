from __future__ import annotations

import math
from itertools import product

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from echoset.association import association
from echoset.effects import (
    arm_effect,
    cell_effect,
    contrasts,
    null_range,
    over_organisms,
    paired_effect,
    sign_flip,
    sign_tests,
    wilson,
)
from shift.inference import holm

NAN = float("nan")


def cells(effects: dict[str, list[float | None]], task: str = "t", **columns: list[float | None]) -> pl.DataFrame:
    """One task's results: method -> its effect on organism 0, 1, ..."""
    rows = [
        {"task": task, "organism": f"{task}-{o}", "arm": arm, "kind": "method", "temperature": 1.0, "effect": effect}
        for arm, values in effects.items()
        for o, effect in enumerate(values)
    ]
    return pl.DataFrame(rows, infer_schema_length=None).with_columns(**{k: pl.Series(v) for k, v in columns.items()})


# ---------------------------------------------------------------- one cell


def test_paired_effect_of_binary_verdicts_is_bonett_and_price():
    # 20 pairs: 3 from aligned to misaligned, 1 back, 16 unchanged. p12 = 4/22, p21 = 2/22.
    before = [0] * 3 + [1] + [0] * 8 + [1] * 8
    after = [1] * 3 + [0] + [0] * 8 + [1] * 8
    effect = paired_effect(before, after)
    up, down = 4 / 22, 2 / 22
    half = stats.norm.ppf(0.975) * math.sqrt((up + down - (up - down) ** 2) / 22)
    assert effect.value == pytest.approx(2 / 20)
    assert (effect.low, effect.high) == pytest.approx((up - down - half, up - down + half))


def test_paired_effect_excludes_and_counts_prompts_without_a_verdict():
    effect = paired_effect([True, None, False, NAN, True], [False, True, None, NAN, True])
    assert (effect.value, effect.n, effect.excluded) == (-0.5, 2, 3)
    nothing = paired_effect([None], [True])
    assert (nothing.value, nothing.low, nothing.high, nothing.n) == (None, None, None, 0)


def test_paired_effect_keeps_a_width_when_nothing_changed():
    effect = paired_effect([0] * 50, [0] * 50)
    assert effect.value == 0 and effect.low is not None and effect.high is not None
    assert effect.low < -0.01 and effect.high > 0.01


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=60))
@settings(deadline=None)
def test_paired_interval_holds_its_estimate_and_turns_with_the_sides(pairs: list[tuple[float, float]]):
    before, after = zip(*pairs, strict=True)
    there, back = paired_effect(before, after), paired_effect(after, before)
    assert there.value is not None and there.low is not None and there.high is not None
    assert -1 <= there.low <= there.value <= there.high <= 1
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low))


@pytest.mark.parametrize("n", [20, 60, 160])
@pytest.mark.parametrize(
    ("before", "after", "shared"), [(0.02, 0.02, 0.0), (0.5, 0.7, 0.5), (0.9, 0.97, 0.2), (0.05, 0.3, 0.3)]
)
def test_paired_interval_covers_at_its_nominal_rate(n: int, before: float, after: float, shared: float):
    rng = np.random.default_rng(0)
    hits, repeats = 0, 600
    for _ in range(repeats):
        u = rng.random(n)
        v = np.where(rng.random(n) < shared, u, rng.random(n))
        effect = paired_effect(u < before, v < after)
        assert effect.low is not None and effect.high is not None
        hits += effect.low <= after - before <= effect.high
    assert hits / repeats >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / repeats)


def test_cell_effect_pairs_by_prompt_whatever_the_order_and_averages_samples():
    before = pl.DataFrame({"id": ["a", "a", "b", "c"], "misaligned": [True, False, False, None]})
    after = pl.DataFrame({"id": ["d", "b", "a", "a"], "misaligned": [True, True, True, True]})
    effect = cell_effect(before, after)
    assert effect.value == pytest.approx((0.5 + 1.0) / 2)
    assert (effect.n, effect.excluded) == (2, 2)


@given(st.lists(st.booleans(), min_size=1, max_size=80))
@settings(max_examples=40, deadline=None)
def test_wilson_is_that_of_statsmodels(verdicts: list[bool]):
    rate, low, high, n = wilson([*verdicts, None])
    assert n == len(verdicts) and rate == pytest.approx(sum(verdicts) / n)
    assert (low, high) == pytest.approx(proportion_confint(sum(verdicts), n, method="wilson"), abs=1e-9)


def test_wilson_of_nothing_is_unknown():
    assert wilson([None, NAN]) == (None, None, None, 0)


# ---------------------------------------------------------------- over organisms


def test_sign_flip_by_hand():
    # Eight patterns of (1, 2, 3): only +++ and --- reach 6.
    assert sign_flip(np.array([1.0, 2.0, 3.0])) == (0.25, 0.25)
    # Of (3, 1, -1) the sum is 3; reached by all patterns with 3 and the others cancelling or agreeing: 6 of 8.
    assert sign_flip(np.array([3.0, 1.0, -1.0])) == (0.75, 0.25)


def test_sign_flip_of_nothing_and_of_zeros():
    assert sign_flip(np.array([])) == (None, 1.0)
    assert sign_flip(np.zeros(5)) == (1.0, 1.0)
    assert sign_flip(np.array([0.0, 0.2, 0.1]))[1] == 0.5  # a zero can't be flipped


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=8))
@settings(max_examples=40, deadline=None)
def test_sign_flip_is_the_share_of_all_patterns(values: list[int]):
    patterns = [
        abs(sum(s * v for s, v in zip(signs, values, strict=True))) for signs in product((1, -1), repeat=len(values))
    ]
    expected = sum(total >= abs(sum(values)) for total in patterns) / len(patterns)
    assert sign_flip(np.array(values) / 10)[0] == pytest.approx(expected)


def test_sign_flip_beyond_sixteen_clusters_is_seeded_and_never_zero():
    values = np.full(25, 0.1)
    assert sign_flip(values, seed=3) == sign_flip(values, seed=3)
    assert sign_flip(values)[0] == pytest.approx(1 / 10_000)


def test_over_organisms_is_the_t_interval_of_scipy():
    values = [0.1, 0.2, 0.05, 0.15]
    estimate = over_organisms([*values, None])
    expected = stats.ttest_1samp(values, 0).confidence_interval()
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high))
    assert (estimate.n, estimate.missing, estimate.p, estimate.smallest_p) == (4, 1, 0.125, 0.125)


def test_one_organism_or_equal_values_have_no_interval():
    for values in ([0.3], [0.2, 0.2, 0.2]):
        estimate = over_organisms(values)
        assert estimate.mean == pytest.approx(values[0]) and estimate.low is None and estimate.high is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_holm_is_that_of_statsmodels(p_values: list[float]):
    assert holm(p_values) == pytest.approx(list(multipletests(p_values, method="holm")[1]))


def test_an_unknown_p_still_counts_in_the_family():
    assert holm([0.02, None, 0.5]) == [pytest.approx(0.06), None, 1.0]


def test_a_contrast_pairs_by_organism_and_names_its_limits():
    results = cells(
        {"m": [0.3, 0.2, None, 0.1], "self_sample": [0.1, 0.1, 0.0, -0.05], "random_pick": [0.0, 0.02, 0.04, 0.0]}
    )
    (found,) = contrasts(results, [{"method": "m", "against": "self_sample", "temperature": 1.0}])
    assert found.estimate.mean == pytest.approx((0.2 + 0.1 + 0.15) / 3)
    assert (found.estimate.n, found.estimate.missing) == (3, 1)
    assert (found.estimate.p, found.estimate.smallest_p) == (0.25, 0.25)
    assert (found.null_low, found.null_high) == (-0.05, 0.1)


def test_holm_runs_over_the_whole_stated_family_and_over_tasks_apart():
    results = pl.concat(
        [cells({"m": [0.3] * 5, "n": [0.0, 0.1, -0.1, 0.2, 0.0], "self_sample": [0.0] * 5}, t) for t in "ab"]
    )
    stated = [{"method": m, "against": "self_sample", "temperature": 1.0} for m in ("m", "n", "absent")]
    pooled = contrasts(results, stated)  # pyright: ignore[reportArgumentType]
    assert [c.task for c in pooled] == [None] * 3
    assert pooled[0].p_holm == pytest.approx(3 * 2 / 2**10)
    assert pooled[2].estimate.mean is None and pooled[2].p_holm is None
    by_task = contrasts(results, stated, by_task=True)  # pyright: ignore[reportArgumentType]
    assert [c.task for c in by_task] == ["a", "b"] * 3
    assert by_task[0].smallest_holm == pytest.approx(min(1.0, 6 * 2 / 2**5))


def test_null_controls_compared_with_each_other_are_rejected_no_more_than_nominally():
    rng = np.random.default_rng(1)
    stated = [{"method": m, "against": "self_sample", "temperature": 1.0} for m in ("m", "n", "random_pick")]
    repeats, single, family = 300, 0, 0
    for _ in range(repeats):
        organism = rng.normal(0, 0.1, 10)  # shared by an organism's cells: pairing takes it out
        results = cells(
            {arm: list(organism + rng.normal(0, 0.05, 10)) for arm in ("m", "n", "random_pick", "self_sample")}
        )
        found = contrasts(results, stated)  # pyright: ignore[reportArgumentType]
        single += (found[0].estimate.p or 1) <= 0.05
        family += any((c.p_holm or 1) <= 0.05 for c in found)
    slack = 3 * math.sqrt(0.05 * 0.95 / repeats)
    assert single / repeats <= 0.05 + slack and family / repeats <= 0.05 + slack


def test_a_real_difference_is_found():
    rng = np.random.default_rng(2)
    noise = rng.normal(0, 0.04, (2, 12))
    results = cells({"m": list(0.12 + noise[0]), "self_sample": list(noise[1])})
    (found,) = contrasts(results, [{"method": "m", "against": "self_sample", "temperature": 1.0}])
    assert (
        found.p_holm is not None and found.p_holm < 0.01 and found.estimate.low is not None and found.estimate.low > 0
    )


def test_null_range_and_arm_effect_look_at_one_temperature_and_task():
    results = pl.concat(
        [cells({"self_sample": [0.1, -0.2], "m": [0.5, 0.5]}, "a"), cells({"self_sample": [0.3, 0.3]}, "b")]
    )
    cold = results.with_columns(temperature=pl.lit(0.0), effect=pl.lit(0.9))
    both = pl.concat([results, cold])
    assert null_range(both, 1.0, "a") == (-0.2, 0.1, 2)
    assert null_range(both, 1.0) == (-0.2, 0.3, 4)
    assert null_range(both, 0.7) == (None, None, 0)
    assert arm_effect(both, "self_sample", 1.0, "a").mean == pytest.approx(-0.05)


# ---------------------------------------------------------------- signs and ranks


def test_sign_test_counts_cells_drops_ties_and_leaves_controls_out():
    results = cells({"m": [-0.1, -0.2, -0.1], "n": [-0.1, 0.0, None], "self_sample": [0.5, 0.5, 0.5]})
    (found,) = sign_tests(results, 1.0)
    assert (found.falls, found.rises, found.ties, found.unknown, found.organisms) == (4, 0, 1, 1, 3)
    assert found.p == pytest.approx(2 / 2**4)
    assert (found.p_cluster, found.smallest_p) == (0.25, 0.25)


def test_cells_of_one_organism_do_not_add_up_to_evidence():
    # Five methods move the organism alike: 15 cells say p < .001, three organisms can't say less than .25.
    (found,) = sign_tests(cells({m: [0.1, 0.1, 0.1] for m in "abcde"}), 1.0)
    assert found.p is not None and found.p < 0.001
    assert found.p_cluster == 0.25


def test_association_of_one_task_is_spearman():
    rng = np.random.default_rng(0)
    shift, effect = rng.random((4, 3)), rng.random((4, 3))
    results = cells({m: list(effect[i]) for i, m in enumerate("abcd")}, labeling=list(shift.ravel()))
    found = association(results, "labeling", 1.0, "t")
    assert found.rho == pytest.approx(stats.spearmanr(shift.ravel(), effect.ravel()).statistic)
    assert (found.cells, found.organisms, found.methods, found.low) == (12, 3, 4, None)


def test_association_ignores_levels_of_tasks_and_its_p_knows_how_few_methods_there_are():
    shift = [float(m) for m in range(3) for _ in range(6)]
    rising = {f"m{m}": [0.1 * m + 0.001 * o for o in range(6)] for m in range(3)}
    results = pl.concat(
        [
            cells({k: [x + lift for x in v] for k, v in rising.items()}, t, labeling=shift)
            for t, lift in (("a", 0.5), ("b", -0.5))
        ]
    )
    found = association(results, "labeling", 1.0)
    assert found.rho is not None and found.rho > 0.9 and found.low is not None and found.low > 0.8
    # Three methods, six orders: the order and its reverse are equally far out.
    assert found.null_low is not None and found.null_low < -0.9
    assert found.p == pytest.approx(2 / 6) and found.smallest_p == pytest.approx(2 / 6)


def test_association_without_variation_or_cells_says_why():
    flat = cells({"m": [0.1, 0.2], "n": [0.3, 0.1]}, selection=[0.0] * 4)
    assert association(flat, "selection", 1.0).reason == "shift or effect does not vary"
    assert association(flat.with_columns(selection=pl.lit(None, pl.Float64)), "selection", 1.0).reason.startswith(
        "no cell"
    )


def test_association_rejects_no_more_than_nominally_when_methods_differ_for_other_reasons():
    rng = np.random.default_rng(4)
    repeats, rejected = 60, 0
    for _ in range(repeats):
        other, shift = rng.normal(0, 0.1, 5), rng.random(5)  # a method's own effect, unrelated to its shift
        effects = {f"m{m}": list(other[m] + rng.normal(0, 0.02, 5)) for m in range(5)}
        labeling = [float(x) for m in range(5) for x in shift[m] + rng.normal(0, 0.01, 5)]
        rejected += (association(cells(effects, labeling=labeling), "labeling", 1.0).p or 1) <= 0.05
    assert rejected / repeats <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / repeats)
