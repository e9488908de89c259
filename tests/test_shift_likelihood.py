"""Model shift and ceilings from stored log-probabilities, and everything that can't be told, with its reason."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from drafts import make_draft
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_cards import Candidate, Draft, InputError, IntegrityError, Labeler, write_artifact
from datasets_cards.records import SELF_SAMPLE
from labelers.proposals import PROPOSALS
from labelers.scorers import SCORERS
from shift.estimates import Interval, change, mean, ratio
from shift.pools.ceilings import Ceilings, against, ceilings
from shift.pools.likelihood import LikelihoodShift, likelihood_shift
from shift.pools.stored import KINDS, OF_ONE, OF_POOL, StoredPools

SAMPLES = Labeler(method="m", proposal="samples", scorer="reward", selector="argmax", config={"k": 2, "temperature": 1})


def draft(labeler: Labeler = SAMPLES, *, rows: int = 6, k: int = 2, dropped: int = 0, **engine) -> Draft:
    """Candidate j of every row has log U = -(j + 1), and log P two nats and a tenth of the row's number below."""
    made = make_draft(rows=rows, k=k, dropped=dropped)
    for c in made.candidates:
        behavior = -(c.index + 1.0)
        number = int(c.id[1:])
        c.logprob = behavior - (0.0 if c.role == "baseline" else 2 + number / 10)
        c.behavior_logprob = behavior
        c.scores = []
    return replace(made, labeler=labeler, engine=made.engine.model_copy(update={"lacks": engine}))


def read(folder: Path, made: Draft) -> StoredPools:
    return StoredPools.read(write_artifact(folder / "a", made))


def shift_of(folder: Path, made: Draft) -> LikelihoodShift:
    return likelihood_shift(read(folder, made))


def of(made: Draft, role: str) -> list[Candidate]:
    return [c for c in made.candidates if c.role == role]


def test_every_rung_has_its_nats_a_completion_and_a_token(tmp_path: Path) -> None:
    found = {rung.rung: rung for rung in shift_of(tmp_path, draft()).rungs}
    assert set(found) == {"P", "U", "S"}
    # Rows 0 to 5 add 0, .1, ..., .5: .25 on average. U is the mean of candidates 0 and 1; S is candidate 0.
    assert found["P"].per_completion.value == pytest.approx(1)
    assert found["U"].per_completion.value == pytest.approx(1.5 + 2.25)
    assert found["S"].per_completion.value == pytest.approx(1 + 2.25)
    assert found["S"].per_token.value == pytest.approx(3.25 / 3)
    assert found["P"].per_token.value == pytest.approx(1)
    error = np.std(np.arange(6) / 10, ddof=1) / math.sqrt(6)
    assert found["S"].per_completion.high == pytest.approx(3.25 + 2.570582 * error, abs=1e-6)
    assert all(rung.n == 6 and rung.reason is None for rung in found.values())


def test_changes_are_paired_by_prompt(tmp_path: Path) -> None:
    found = {(c.start, c.end): c for c in shift_of(tmp_path, draft()).changes}
    assert set(found) == {("P", "U"), ("U", "S"), ("P", "S")}
    # What differs between rows is shared by U and S: nothing is left of it.
    step = found["U", "S"].per_completion
    assert (step.value, step.low, step.high) == pytest.approx((-0.5, -0.5, -0.5))
    assert found["U", "S"].per_token.value == pytest.approx(-0.5 / 3)
    assert found["P", "U"].per_completion.value == pytest.approx(2.75)
    assert found["P", "U"].per_completion.low < 2.75


def test_the_originals_are_a_rung_where_the_plain_model_scored_them(tmp_path: Path) -> None:
    pools = read(tmp_path, draft())
    found = likelihood_shift(pools, original={id_: (-4.0 - n, 2) for n, id_ in enumerate(pools.ids[:5])})
    rung = found.rungs[0]
    assert (rung.rung, rung.n) == ("O", 5)
    assert rung.per_completion.value == pytest.approx(6)
    assert rung.per_token.value == pytest.approx(3)
    step = next(c for c in found.changes if (c.start, c.end) == ("O", "S"))
    assert step.n == 5 and step.per_completion.value == pytest.approx(1 + 2.2 - 6)


def test_divergences_of_a_best_of_k_are_an_estimate_and_two_bounds(tmp_path: Path) -> None:
    found = shift_of(tmp_path, draft())
    labeling, selection, total = found.divergences
    assert (labeling.kind, labeling.n) == ("estimate", 6)
    assert labeling.value.value == pytest.approx(2.25)
    assert selection.kind == "bounds" and selection.at_least.value == 0
    assert selection.at_most.value == pytest.approx(math.log(2) - 1 / 2)
    assert "upper bound" in selection.reason
    assert total.kind == "bounds" and total.value is None
    assert total.at_least.value == pytest.approx(2.25)
    assert total.at_most.value == pytest.approx(2.25 + math.log(2) - 1 / 2)
    for end in ("low", "high"):
        assert getattr(total.at_most, end) - getattr(total.at_least, end) == pytest.approx(math.log(2) - 1 / 2)


@pytest.mark.parametrize("selector", ["uniform", "only"])
def test_a_choice_that_looks_at_nothing_adds_exactly_nothing(tmp_path: Path, selector: str) -> None:
    labeler = SAMPLES.model_copy(update={"selector": selector, "scorer": None})
    _, selection, total = shift_of(tmp_path, draft(labeler)).divergences
    assert selection.kind == "exact" and selection.value == Interval.exactly(0.0)
    assert total.kind == "estimate" and total.value.value == pytest.approx(2.25)


@pytest.mark.parametrize(
    ("proposal", "config"),
    [("greedy", {}), ("views", {}), ("samples", {"temperature": 0.0, "k": 1}), ("refinement", {"temperature": 0.0})],
)
def test_a_deterministic_decode_is_as_far_as_it_is_unlikely(tmp_path: Path, proposal: str, config: dict) -> None:
    made = draft(Labeler(method="m", proposal=proposal, selector="only", config=config), k=1)
    for c in made.candidates:
        c.behavior_logprob = 0.0 if c.role == "candidate" else c.behavior_logprob
    labeling, selection, total = shift_of(tmp_path, made).divergences
    assert labeling.value.value == total.value.value == pytest.approx(1 + 2.25)
    assert labeling.kind == total.kind == "estimate" and "-log P" in total.reason
    assert (selection.kind, selection.value) == ("exact", Interval.exactly(0.0))


def test_a_decode_needs_no_probability_under_what_it_was_drawn_from(tmp_path: Path) -> None:
    made = draft(Labeler(method="m", proposal="greedy", selector="only"), k=1, behavior_logprob="not told")
    for c in made.candidates:
        c.behavior_logprob = None
    assert shift_of(tmp_path, made).divergence("KL(S||P)").value.value == pytest.approx(3.25)


def test_a_refinement_is_bounded_from_above_and_says_so(tmp_path: Path) -> None:
    made = draft(Labeler(method="m", proposal="refinement", selector="only", config={"temperature": 0.6}), k=1)
    labeling, selection, total = shift_of(tmp_path, made).divergences
    for found in (labeling, total):
        assert found.kind == "bounds" and found.value is None and found.at_least.value == 0
        assert found.at_most.value == pytest.approx(2.25)
        assert "upper bound" in found.reason and "draft" in found.reason
    assert selection.kind == "exact"


def test_a_mixed_pool_has_upper_bounds_only(tmp_path: Path) -> None:
    made = draft(Labeler(method="m", proposal="diverse", scorer="reward", selector="argmax"), k=3)
    labeling, selection, total = shift_of(tmp_path, made).divergences
    assert labeling.kind == "bounds" and labeling.at_most.value == pytest.approx(2.25)
    assert selection.at_most.value == pytest.approx(math.log(3))
    assert total.at_most.value == pytest.approx(3.25) and "entropy" in total.reason


def test_candidates_of_several_forms_of_the_prompt_are_a_mixed_pool_whatever_the_manifest_says(tmp_path: Path) -> None:
    made = draft()
    of(made, "candidate")[0].view = "json"
    assert read(tmp_path, made).kind == "mixed"


def test_what_the_engine_can_not_tell_is_undefined_for_its_reason_and_never_zero(tmp_path: Path) -> None:
    made = draft(behavior_logprob="reports before temperature")
    for c in of(made, "candidate"):
        c.behavior_logprob = None
    found = shift_of(tmp_path, made)
    for name in ("KL(U||P)", "KL(S||P)"):
        part = found.divergence(name)
        assert (part.kind, part.value, part.at_least, part.at_most) == ("undefined", None, None, None)
        assert part.reason == "reports before temperature"
    assert found.divergence("KL(S||U)").kind == "bounds"
    assert found.rungs[1].per_completion is not None


def test_without_log_probabilities_every_rung_says_why(tmp_path: Path) -> None:
    made = draft(logprob="the server gives none", behavior_logprob="the server gives none")
    for c in made.candidates:
        c.logprob = c.behavior_logprob = None
    found = shift_of(tmp_path, made)
    assert all(part.reason == "the server gives none" and part.n == 0 for part in (*found.rungs, *found.changes))
    assert found.divergence("KL(U||P)").kind == found.divergence("KL(S||P)").kind == "undefined"
    bare = draft(Labeler(method="m", proposal="refinement", selector="only", config={"temperature": 1}), score="no")
    for c in of(bare, "candidate"):
        c.logprob = None
    assert "doesn't score" in shift_of(tmp_path / "b", bare).divergence("KL(U||P)").reason


def test_a_prompt_counts_only_where_all_of_its_pool_is_known(tmp_path: Path) -> None:
    made = draft()
    of(made, "candidate")[1].logprob = None  # row 0's second
    found = shift_of(tmp_path, made)
    assert [rung.n for rung in found.rungs] == [6, 5, 6]
    assert found.divergence("KL(U||P)").value.value == pytest.approx(2.3)
    assert found.divergence("KL(S||P)").at_least.value == pytest.approx(2.25)


def test_tokens_that_were_not_counted_leave_the_completion_figure(tmp_path: Path) -> None:
    made = draft()
    for c in made.candidates:
        c.token_count, c.token_ids = None, []
    found = shift_of(tmp_path, made)
    assert all(rung.per_token is None and rung.per_completion is not None for rung in found.rungs)


def test_a_completion_that_the_plain_model_gives_no_probability_is_infinitely_far(tmp_path: Path) -> None:
    pools = read(tmp_path, draft())
    pools.logprob_NK[2, 0] = -np.inf
    found = likelihood_shift(pools)
    for name in ("KL(U||P)", "KL(S||P)"):
        part = found.divergence(name)
        assert (part.kind, part.value, part.at_least, part.at_most) == ("infinite", None, None, None)
        assert "probability 0" in part.reason
    assert found.rungs[1].per_completion is None and "infinite" in found.rungs[1].reason
    assert found.rungs[0].per_completion is not None
    LikelihoodShift.model_validate_json(found.model_dump_json())


def test_failed_candidates_are_none_and_views_and_drafts_are_not_chosen_from(tmp_path: Path) -> None:
    made = draft()
    failed = of(made, "candidate")[3]  # row 1's second
    failed.finish_reason, failed.error, failed.logprob, failed.behavior_logprob = "error", "broken: it", None, None
    failed.text, failed.token_ids, failed.token_count = "", [], 0
    view = replace(of(made, "candidate")[0], role="view", view="json", index=5, logprob=-50.0)
    made.candidates.append(view)
    pools = read(tmp_path, made)
    assert pools.size_N.tolist() == [2, 1, 2, 2, 2, 2] and pools.drawn_NK.shape[1] == 2
    found = likelihood_shift(pools)
    assert found.divergence("KL(U||P)").n == 6
    assert found.divergence("KL(S||U)").at_most.value == pytest.approx(5 / 6 * (math.log(2) - 1 / 2))


def test_rows_that_lost_their_label_loosen_the_bounds_by_their_share(tmp_path: Path) -> None:
    found = shift_of(tmp_path, draft(dropped=2))
    lost = -math.log(4 / 6)
    assert found.divergence("KL(S||U)").at_most.value == pytest.approx(math.log(2) + lost)
    share = ratio(np.array([1.0, 1, 1, 1, 0, 0]), np.ones(6), share=True)
    assert found.divergence("KL(S||U)").at_most.low == pytest.approx(math.log(2) - math.log(share.high))
    assert found.divergence("KL(S||U)").at_most.high == pytest.approx(math.log(2) - math.log(share.low))
    total = found.divergence("KL(S||P)")
    assert total.n == 4 and total.at_least.value == pytest.approx(2.15)
    assert total.at_most.value == pytest.approx(2.15 + math.log(2) + lost)
    picked = SAMPLES.model_copy(update={"selector": "uniform", "scorer": None})
    found = shift_of(tmp_path / "b", draft(picked, dropped=2))
    assert found.divergence("KL(S||U)").kind == "bounds"
    assert found.divergence("KL(S||U)").at_most.value == pytest.approx(lost)


def test_a_dose_and_an_unknown_proposal_have_likelihoods_but_no_divergence(tmp_path: Path) -> None:
    made = draft(SAMPLES.model_copy(update={"dose": 0.5}))
    said = of(made, "baseline")[0].text
    made.labels[0] = replace(made.labels[0], candidate=SELF_SAMPLE, completion=[{"role": "assistant", "content": said}])
    found = shift_of(tmp_path, made)
    assert found.divergence("KL(S||P)").kind == found.divergence("KL(S||U)").kind == "undefined"
    assert "dose" in found.divergence("KL(S||P)").reason
    assert found.divergence("KL(U||P)").kind == "estimate"
    assert found.rungs[2].per_completion.value == pytest.approx((1 + 5 * 3.3) / 6)
    found = shift_of(tmp_path / "b", draft(SAMPLES.model_copy(update={"proposal": "nucleus"})))
    assert all(part.kind == "undefined" and "'nucleus'" in part.reason for part in found.divergences)


def test_no_baseline_and_no_label_are_reasons(tmp_path: Path) -> None:
    made = draft()
    bare = replace(made, candidates=of(made, "candidate"))
    found = shift_of(tmp_path, bare)
    assert found.rungs[0].reason == "no self-sample was drawn"
    assert next(c for c in found.changes if (c.start, c.end) == ("P", "S")).reason == "no self-sample was drawn"
    pools = read(tmp_path / "b", draft(dropped=6))
    assert likelihood_shift(pools).divergence("KL(S||U)").reason == "no row has a label"
    assert ceilings(pools).kl is None


@pytest.mark.parametrize(("field", "value"), [("logprob", math.nan), ("logprob", 0.5), ("behavior_logprob", -math.inf)])
def test_a_number_that_is_no_log_probability_is_refused_by_row(tmp_path: Path, field: str, value: float) -> None:
    artifact = write_artifact(tmp_path / "a", draft())
    frame = artifact.candidates()
    row, index, role = pl.col("id") == "r2", pl.col("index") == 1, pl.col("role") == "candidate"
    spoilt = frame.with_columns(pl.when(row & index & role).then(value).otherwise(pl.col(field)).alias(field))
    artifact.candidates = lambda: spoilt  # type: ignore[method-assign]
    with pytest.raises(InputError, match=f"row r2: {field} is"):
        StoredPools.read(artifact)


def test_an_artifact_without_candidates_is_refused(tmp_path: Path) -> None:
    made = draft(dropped=6)
    with pytest.raises(InputError, match="no candidate"):
        read(tmp_path, replace(made, candidates=of(made, "baseline")))


def test_every_proposal_and_scorer_of_the_house_is_known_here() -> None:
    assert set(KINDS) == set(PROPOSALS)
    assert set(SCORERS) == OF_ONE | OF_POOL and not OF_ONE & OF_POOL


def test_ceilings_follow_how_the_pool_was_drawn(tmp_path: Path) -> None:
    found = ceilings(read(tmp_path, draft(k=4)))
    assert found.independent and found.n == 6
    assert found.kl == pytest.approx(math.log(4) - 3 / 4)
    assert found.tv == pytest.approx(4 ** (-1 / 3) * 3 / 4)
    assert found.c2st_accuracy == pytest.approx((1 + found.tv) / 2)
    assert found.mmd_squared == pytest.approx(2 * found.tv**2)
    mixed = ceilings(read(tmp_path / "b", draft(SAMPLES.model_copy(update={"proposal": "diverse"}), k=3)))
    assert not mixed.independent and (mixed.kl, mixed.tv) == pytest.approx((math.log(3), 2 / 3))
    filtered = ceilings(read(tmp_path / "c", draft(k=4, dropped=1)))
    assert not filtered.independent and filtered.n == 5 and (filtered.kl, filtered.tv) == (math.log(4), 0.75)
    assert "lost their label" in filtered.reason
    dose = ceilings(read(tmp_path / "d", draft(SAMPLES.model_copy(update={"dose": 0.0}))))
    assert dose.tv is None and "self-samples" in dose.reason
    single = ceilings(read(tmp_path / "e", draft(Labeler(method="m", proposal="greedy", selector="only"), k=1)))
    greedy = Labeler(method="m", proposal="samples", selector="only", config={"k": 2, "temperature": 0})
    equal = ceilings(read(tmp_path / "f", draft(greedy, dropped=1)))
    for found in (single, equal):
        assert (found.kl, found.tv, found.c2st_accuracy, found.mmd_squared) == (0, 0, 0.5, 0)
        assert found.independent and "nothing is selected" in found.reason


def test_a_ceiling_is_exceeded_only_beyond_noise() -> None:
    limit = Ceilings(n=9, independent=True, kl=0.5, tv=0.25, c2st_accuracy=0.625, mmd_squared=0.125, reason="")
    figures = {"kl": (0.4, 0.01), "tv": (0.25, 0.0), "c2st_accuracy": (0.65, 0.01), "mmd_squared": (0.2, 0.02)}
    found = against(limit, figures)
    assert [check.holds for check in found] == [True, True, True, False]
    assert found[0].excess == pytest.approx(-10) and found[1].excess is None
    assert found[2].excess == pytest.approx(2.5) and found[3].excess == pytest.approx(3.75)
    assert [check.holds for check in against(limit, figures, noise=2)] == [True, True, False, False]
    assert against(limit.model_copy(update={"kl": None}), {"kl": (9.0, 0.1)}) == []
    for bad in ({"mmd": (0.1, 0.1)}, {"kl": (math.nan, 0.1)}, {"kl": (0.1, -1.0)}):
        with pytest.raises(InputError):
            against(limit, bad)


@given(seed=st.integers(0, 10**9), size=st.integers(2, 6))
@settings(max_examples=50, deadline=None)
def test_mmd_is_at_most_root_two_times_total_variation_and_reaches_it(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(size, 2)) * 10 ** rng.uniform(-1, 2)
    K = np.exp(-((x[:, None] - x[None]) ** 2).sum(axis=2))
    p, q = rng.dirichlet(np.full(size, 0.3), size=2)
    tv = abs(p - q).sum() / 2
    assert (p - q) @ K @ (p - q) <= 2 * tv**2 + 1e-12
    apart = np.eye(2)[0] - np.eye(2)[1]
    assert apart @ np.eye(2) @ apart == 2  # two points that the kernel tells apart wholly: TV = 1


def test_intervals_are_student_s_over_prompts_and_wilson_s_for_shares() -> None:
    assert mean(np.array([1.0, 2, 3])).high == pytest.approx(2 + 4.302653 / math.sqrt(3), abs=1e-6)
    # Wilson 1927 with Student's 2.262157 (9 degrees of freedom) in place of 1.96, the denominator 10 * 9/10.
    none = ratio(np.zeros(10), np.ones(10), share=True)
    assert (none.value, none.low) == (0, 0) and none.high == pytest.approx(2.262157**2 / (10 + 2.262157**2), abs=1e-6)
    every = ratio(np.ones(10), np.ones(10), share=True)
    assert (every.value, every.high) == (1, 1) and every.low == pytest.approx(1 - none.high)
    some = ratio(np.array([1.0, 1, 1, 0, 0, 0, 0, 0, 0, 0]), np.ones(10), share=True)
    penalty = 2.262157**2 / 9  # the linearized variance is p (1 - p) / 9
    center, half = (0.3 + penalty / 2) / (1 + penalty), math.sqrt(penalty * 0.21 + penalty**2 / 4) / (1 + penalty)
    assert (some.low, some.high) == pytest.approx((center - half, center + half), abs=1e-6)
    # Prompts whose candidates agree are worth one candidate each, however many they have.
    assert ratio(7 * np.array([1.0, 0, 0, 0]), np.full(4, 7.0), share=True) == ratio(
        np.array([1.0, 0, 0, 0]), np.ones(4), share=True
    )
    assert ratio(np.full(3, 0.5), np.ones(3), share=True) == Interval.exactly(0.5)


def test_a_ratio_has_the_linearized_error_and_prompts_without_a_denominator_count_for_nothing() -> None:
    rng = np.random.default_rng(0)
    b = rng.uniform(1, 2, 400)
    t = 3 * b + rng.normal(size=400)
    found = ratio(t, b)
    assert found.value == pytest.approx(t.sum() / b.sum())
    jackknife = np.array([(t.sum() - t[i]) / (b.sum() - b[i]) for i in range(400)])
    error = math.sqrt(399 / 400 * ((jackknife - jackknife.mean()) ** 2).sum())
    assert found.high - found.value == pytest.approx(1.96593 * error, rel=0.01)
    padded = ratio(np.append(t, [0, 0]), np.append(b, [0, 0]))
    assert (padded.value, padded.low) == pytest.approx((found.value, found.low))
    assert change(t, b, t, b) == Interval.exactly(0.0)
    moved = change(t + b, b, t, b)
    assert (moved.value, moved.low, moved.high) == pytest.approx((1, 1, 1))
    # Of 20 prompts none differs: up to 1 - .025^(1/20) = 16.8% of them still may.
    still = change(np.zeros(20), np.ones(20), np.zeros(20), np.ones(20), share=True)
    assert (still.low, still.high) == pytest.approx((-0.168433, 0.168433), abs=1e-6)


def test_a_single_prompt_has_no_interval(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least two"):
        mean(np.array([1.0]))
    with pytest.raises(InputError, match="no prompt"):
        ratio(np.zeros(2), np.zeros(2))
    found = shift_of(tmp_path, draft(rows=1))
    assert found.rungs[0].reason == "a single prompt has it"
    assert found.divergence("KL(U||P)").kind == "undefined"


def test_a_label_that_the_pool_lacks_is_refused(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "a", draft())
    labels = artifact.labels()
    artifact.labels = lambda: labels.with_columns(candidate=labels["candidate"] + 7)  # type: ignore[method-assign]
    with pytest.raises(IntegrityError, match="row r0: the label is candidate 7"):
        StoredPools.read(artifact)
