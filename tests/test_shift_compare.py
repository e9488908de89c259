"""`compare` and the metrics of a leg: values beside their nulls, p-values, Holm, and versions of an artifact."""

import html
import json
from pathlib import Path

import numpy as np
import pytest
from drafts import make_draft

import shift.legs as legs_of_reports
from datasets_cards import InputError, write_artifact
from shift import METRICS, Ladder, ShiftReport, compare, examine, measure
from shift.metrics import BY_NAME_ONLY
from shift.reading import BETWEEN_RUNGS, read_between


def letters(texts: list[str]) -> np.ndarray:
    """A stand-in for an embedder: counts of some characters."""
    return np.array([[1 + text.count(c) for c in "aeinor0123456789."] for text in texts], np.float32)


def two(n: int = 60, m: int = 50, d: int = 5, moved: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([seed, 3])
    x, y = rng.normal(size=(n, d)) + 1, rng.normal(size=(m, d)) + 1
    y[:, 0] += moved
    return x, y


def test_every_metric_stands_beside_its_null_and_those_with_a_p_value_are_corrected_together() -> None:
    report = compare(*two(moved=1.5), permutations=99)
    (leg,) = report.legs
    assert (report.kind, leg.name, leg.paired) == ("samples", "A->B", 0)
    assert leg.low is not None and 0 < leg.low < leg.value
    names = [m.metric for m in report.metrics]
    assert names[0] == "mmd" and set(names) == set(METRICS) - {"conditional_mmd", *BY_NAME_ONLY}
    tested = [m for m in report.metrics if m.p is not None]
    assert {"mmd", "energy", "centroid", "sliced_w2"} <= {m.metric for m in tested}
    for m in report.metrics:
        assert m.null is not None and m.null.low <= m.null.mean <= m.null.high, m.metric
        assert (m.p is None) == (m.p_holm is None)
        assert m.p is None or (m.p_holm is not None and m.p_holm >= m.p)
    assert report.metrics[0].value == leg.value


@pytest.mark.parametrize("name", [name for name in METRICS if name not in ("mmd", "conditional_mmd", "knn_kl")])
def test_every_metric_sees_a_large_shift_and_no_shift_where_there_is_none(name: str) -> None:
    outside = []
    for moved in (2.5, 0.0):
        found = compare(*two(150, 130, moved=moved, seed=1), metrics=[name], permutations=99).metric(name, "A", "B")
        assert found is not None and found.value is not None and found.null is not None
        outside.append(found.value > found.null.high if found.grows else found.value < found.null.low)
        if found.p is not None:
            assert found.p <= 0.05 if moved else found.p > 0.01
    assert outside[0]


def test_pairs_are_found_by_position_or_by_id_and_half_paired_rows_are_all_used() -> None:
    x, y = two(40, 40, moved=0.5)
    by_position = compare(x, y, paired=True, metrics=["energy"], permutations=99)
    ids = [f"p{i:02d}" for i in range(40)]
    order = np.random.default_rng(0).permutation(40)
    by_id = compare(x, y[order], first_ids=ids, second_ids=[ids[i] for i in order], metrics=["energy"], permutations=99)
    assert by_id.legs[0].value == pytest.approx(by_position.legs[0].value, abs=1e-7)
    assert by_position.legs[0].paired == 40 and by_position.drift[0].n == 40
    half = compare(x, y, first_ids=ids, second_ids=[f"p{i:02d}" for i in range(20, 60)], permutations=99, metrics=[])
    assert (half.legs[0].paired, half.n, half.legs[0].low) == (20, 60, None)
    assert any("20 of 60 prompts are in both samples" in note for note in half.notes)


def test_identical_samples_are_exactly_zero_with_p_exactly_one() -> None:
    x, _ = two()
    report = compare(x, x, paired=True, permutations=99)
    assert (report.legs[0].value, report.legs[0].p) == (0, 1)
    assert {m.value for m in report.metrics if m.metric in ("energy", "centroid", "frechet", "sliced_w2")} == {0}
    assert {m.p for m in report.metrics if m.p is not None} == {1}


def test_prompts_and_answers_that_cannot_be_exchanged_give_a_value_and_the_reason() -> None:
    x, y = two(6, 6)
    report = compare(
        x, y, first_ids=list("abcdef"), second_ids=list("xxyyzz"), metrics=["energy", "frechet"], permutations=99
    )
    assert report.legs[0].p is None and "too few of their labels" in (report.legs[0].p_reason or "")
    assert all(m.p is None and m.null is None and m.value is not None for m in report.metrics)
    assert "too few of their labels" in report.summary()


def test_legs_from_the_original_have_metrics_without_p_values() -> None:
    rng = np.random.default_rng(0)
    ladder = Ladder.from_arrays(
        pool=rng.normal(size=(20, 3, 4)), selected=[0] * 20, baseline=rng.normal(size=(20, 4)),
        original=rng.normal(size=(20, 4)) + 1,
    )  # fmt: skip
    report = measure(ladder, metrics=["energy"], permutations=99)
    from_original = report.metric("energy", "O", "P")
    assert from_original is not None and from_original.p is None and "another author" in (from_original.reason or "")
    labeling = report.metric("energy", "P", "U")
    assert labeling is not None and labeling.p is not None and labeling.p_holm is not None


def test_conditional_mmd_needs_prompts_and_sees_shifts_that_cancel_over_them() -> None:
    rng = np.random.default_rng(0)
    n, d = 120, 4
    kind = np.arange(n) % 2
    prompts = np.eye(3)[kind] + 0.05 * rng.normal(size=(n, 3))
    x, y = rng.normal(size=(2, n, d)) + 3
    y[:, 0] += np.where(kind == 1, 0.9, -0.9)
    ladder = Ladder.from_arrays(pool=y[:, None], baseline=x)
    ladder = Ladder(**vars(ladder) | {"prompts_ND": prompts.astype(np.float32)})
    report = measure(ladder, metrics=["centroid", "conditional_mmd"], permutations=199)
    pooled, conditional = (report.metric(name, "P", "U") for name in ("centroid", "conditional_mmd"))
    assert pooled is not None and pooled.p is not None and pooled.p > 0.05
    assert conditional is not None and conditional.p is not None and conditional.p <= 0.01
    blind = compare(x, y, paired=True, metrics=["conditional_mmd"], permutations=99).metric("conditional_mmd", "A", "B")
    assert blind is not None and blind.value is None and "prompts were not embedded" in (blind.reason or "")


def test_two_versions_of_an_artifact_are_compared_row_by_row_and_in_words(tmp_path: Path) -> None:
    before = write_artifact(tmp_path / "a", make_draft(rows=24, k=3, dropped=0))
    draft = make_draft(rows=24, k=3, dropped=0)
    for candidate in draft.candidates:
        if candidate.role == "candidate":
            candidate.text += f" Or so: {candidate.id}, 7777 rain on a train."
    chosen = {c.id: c.text for c in draft.candidates if c.role == "candidate" and c.index == 0}
    for label in draft.labels:
        label.completion = [{"role": "assistant", "content": chosen[label.id]}]
    after = write_artifact(tmp_path / "b", draft)
    ladder = read_between(before, after).ladder(letters, titles=BETWEEN_RUNGS)
    assert ladder.size_N("A").tolist() == ladder.size_N("B").tolist() == [1] * 24
    from shift.figures import EmbedderReport
    from shift.measuring import BETWEEN, _of_ladder
    from shift.settings import Settings

    described = EmbedderReport(name="letters", digest=None, scope=None, width=17)
    report = _of_ladder(ladder, BETWEEN, described, Settings(permutations=199, metrics=["energy"]))
    assert [leg.name for leg in report.legs] == ["A->B", "UA->UB", "S-U"]
    total, labeling, selection = report.legs
    assert total.p == labeling.p == 1 / 200 and total.low is not None and total.low > 0
    said = report.summary()
    assert "labels after have moved away from the labels before" in said
    assert "pools that they were selected from moved" in said
    assert report.decomposition is not None
    parts = report.decomposition
    whole = parts.labeling.value + parts.selection.value + 2 * parts.cross.value
    assert whole == pytest.approx(parts.total.value, abs=1e-6)
    assert ShiftReport.from_json(report.to_json()) == report


def test_artifacts_that_share_no_row_or_ask_something_else_are_refused(tmp_path: Path) -> None:
    before = write_artifact(tmp_path / "a", make_draft(rows=6, dropped=0))
    other = make_draft(rows=6, dropped=0)
    for row in other.rows:
        row.prompt = [{"role": "user", "content": f"Something else about {row.id}?"}]
    for row, label in zip(other.rows, other.labels, strict=True):
        label.prompt = row.prompt
    with pytest.raises(InputError, match="row r0: asks something else"):
        read_between(before, write_artifact(tmp_path / "b", other))


def test_a_ladder_too_long_for_every_pair_gives_the_same_legs_through_random_features(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    X = np.sqrt(0.5) * rng.normal(size=(400, 1, 6)) + np.sqrt(0.5) * rng.normal(size=(400, 5, 6))
    X[:, 1:, 0] += 0.6
    picked = X[:, 1:, 1].argmax(axis=1)
    ladder = Ladder.from_arrays(baseline=X[:, 0], pool=X[:, 1:], selected=picked)
    exact = measure(ladder, metrics=[], permutations=199)
    monkeypatch.setattr(legs_of_reports, "EXACT", 100)
    long = measure(ladder, metrics=[], permutations=199)
    assert any("random features" in note for note in long.notes) and not any("random" in n for n in exact.notes)
    for one, other in zip(exact.legs, long.legs, strict=True):
        assert other.value == pytest.approx(one.value, rel=0.15)
        assert one.low is not None and one.high is not None and one.low < other.value < one.high
        assert other.low is not None and other.high is not None and other.low < one.value < other.high
        assert other.p == one.p == 1 / 200
    assert exact.decomposition is not None and long.decomposition is not None
    a, b = exact.decomposition.labeling_share, long.decomposition.labeling_share
    assert a is not None and b is not None and b.value == pytest.approx(a.value, abs=0.05)
    assert (b.high - b.low) == pytest.approx(a.high - a.low, rel=0.5)


def test_prompts_with_more_answers_on_one_side_are_tested_as_often_as_the_test_says() -> None:
    rejected = 0
    for seed in range(60):  # one answer against 20, a rare answer at 5%: swapping both sides rejects .37 of these
        rng = np.random.default_rng([seed, 9])
        ids = np.repeat(np.arange(20), 20).astype(str)
        x, y = np.eye(2)[(rng.random(20) < 0.05).astype(int)], np.eye(2)[(rng.random(400) < 0.05).astype(int)]
        report = compare(
            x, y, first_ids=np.arange(20).astype(str), second_ids=ids, metrics=[], permutations=99, seed=seed
        )
        assert report.legs[0].p is not None
        rejected += report.legs[0].p <= 0.05
    assert rejected <= 9  # 10 of 60 at .05 has probability .001


def test_redraws_that_tie_with_the_observation_count_as_ties_on_every_metric() -> None:
    x = np.random.default_rng(0).normal(size=(300, 5)) + 1
    y = x.copy()
    y[0] += 1  # swapping the two answers of the one pair that differs changes nothing
    report = compare(x, y, paired=True, metrics=["energy", "centroid"], permutations=199)
    assert {m.p for m in report.metrics} == {1.0}


def test_one_far_row_does_not_blind_the_kernel() -> None:
    x, y = two(60, 60, moved=2.0)
    x[0] = 1e7
    report = compare(x, y, metrics=[], permutations=199)
    assert report.bandwidths[2] < 10 and report.legs[0].p == 1 / 200


@pytest.mark.parametrize(("n", "said"), [(5, True), (6, False)])
def test_so_few_prompts_that_no_p_can_be_small_are_said(n: int, said: bool) -> None:
    x, y = two(n, n, moved=9.0)
    report = compare(x, y, paired=True, metrics=[], permutations=999)
    assert any(f"only {n} prompts" in note for note in report.notes) == said
    assert report.legs[0].p is not None and (report.legs[0].p > 0.05) == said


def test_settings_that_cannot_be_used_are_named() -> None:
    x, y = two(6, 6)
    with pytest.raises(InputError, match="no metric is called 'mdm'"):
        compare(x, y, metrics=["mdm"])
    with pytest.raises(InputError, match="at least 99"):
        compare(x, y, permutations=20)


@pytest.mark.parametrize("points", ["wide", "constant", "repeated", "one column"])
def test_degenerate_points_give_stated_results_and_never_nan(points: str) -> None:
    rng = np.random.default_rng(0)
    x, y = two(12, 12)
    if points == "wide":
        x, y = rng.normal(size=(2, 12, 300))
    elif points == "constant":
        x, y = np.ones((12, 3)), np.ones((12, 3))
    elif points == "repeated":
        x, y = (np.round(a) + 9 for a in (x, y))
    else:
        x, y = x[:, :1] + 9, y[:, :1] + 9
    report = compare(x, y, permutations=99)
    json.loads(report.to_json())  # would be refused with NaN or infinity
    for metric in report.metrics:
        assert metric.value is not None or metric.reason, metric.metric
    if points == "constant":
        assert any("every shift is exactly zero" in note for note in report.notes)
        assert abs(report.legs[0].value) < 1e-6 and report.legs[0].p == 1


def test_an_examination_holds_what_pictures_and_pages_need() -> None:
    rng = np.random.default_rng(0)
    ladder = Ladder.from_arrays(pool=rng.normal(size=(30, 3, 4)), selected=[0] * 30, baseline=rng.normal(size=(30, 4)))
    examined = examine(ladder, metrics=["energy"], permutations=99)
    assert examined.moved() == []  # points say no words
    names = [picture.name for picture in examined.pictures()]
    assert len(set(names)) == len(names) >= 4
    assert examined.report.summary()[:60] in html.unescape(examined.page())
