"""Every quantity of the ladder that needs no embedder, against its exact value on a world that can be enumerated."""

from itertools import product

import numpy as np
import pytest
import toy_ladder as toy
from hypothesis import given, settings
from hypothesis import strategies as st

from shift.pools.ceilings import ceilings, kl_ceiling, tv_ceiling
from shift.pools.eta import eta, eta_of
from shift.pools.k_curves import k_curve, k_curve_of_subsets, k_curves, votes
from shift.pools.likelihood import likelihood_shift
from shift.pools.stored import StoredPools

N = 3


@pytest.fixture(scope="module")
def every_pool(tmp_path_factory: pytest.TempPathFactory) -> StoredPools:
    """One row for each possible pool of each prompt: a mean over rows is an exact expectation."""
    prompts = np.repeat(np.arange(toy.PROMPTS), 8**N)
    pools = np.concatenate([toy.pools(x, N) for x in range(toy.PROMPTS)])
    return StoredPools.read(toy.artifact(tmp_path_factory.mktemp("toy") / "a", prompts, pools))


def test_the_toy_proposal_is_the_plain_model_at_its_temperature_and_top_p() -> None:
    tempered = toy.P ** (1 / toy.TEMPERATURE)
    tempered /= tempered.sum(axis=1, keepdims=True)
    for law, q in zip(tempered, toy.Q, strict=True):
        order = np.argsort(-law, kind="stable")
        before = np.cumsum(law[order]) - law[order]
        kept = np.zeros(6, bool)
        kept[order[before < toy.TOP_P]] = True
        np.testing.assert_allclose(np.where(kept, law, 0) / law[kept].sum(), q, atol=1e-12)
    np.testing.assert_allclose(toy.P.sum(axis=1), 1)


def test_best_of_k_has_the_law_that_enumeration_gives() -> None:
    for size in (1, 2, 3):
        # Ties by the first: the same law, as candidates are exchangeable.
        law = toy.by_selector(size, lambda x, pool: int(np.argmax(toy.SCORE[x, list(pool)])))
        np.testing.assert_allclose(toy.best_of(size), law, atol=1e-12)


def test_divergences_are_those_of_the_enumerated_laws(every_pool: StoredPools) -> None:
    S = toy.best_of(N)
    found = likelihood_shift(every_pool)
    labeling = found.divergence("KL(U||P)")
    assert labeling.kind == "estimate" and labeling.value is not None
    assert labeling.value.value == pytest.approx(toy.divergence(toy.Q, toy.P), abs=1e-9)
    selection, total = found.divergence("KL(S||U)"), found.divergence("KL(S||P)")
    assert selection.at_least is not None and selection.at_most is not None
    assert selection.at_least.value <= toy.divergence(S, toy.Q) <= selection.at_most.value
    assert selection.at_most.value == pytest.approx(np.log(3) - 2 / 3)
    assert total.at_least is not None and total.at_most is not None
    gap = toy.expected(S, np.where(toy.Q > 0, toy.LOG_Q, 0) - toy.LOG_P)
    assert total.at_least.value == pytest.approx(gap, abs=1e-9)
    exact = toy.divergence(S, toy.P)
    assert exact == pytest.approx(toy.divergence(S, toy.Q) + gap)
    assert total.at_least.value <= exact <= total.at_most.value


def test_likelihoods_of_the_rungs_are_the_exact_cross_entropies(every_pool: StoredPools) -> None:
    found = {rung.rung: rung for rung in likelihood_shift(every_pool).rungs}
    S = toy.best_of(N)
    for rung, law in (("U", toy.Q), ("S", S)):
        nats, tokens = toy.expected(law, -toy.LOG_P), toy.expected(law, toy.TOKENS)
        assert found[rung].per_completion.value == pytest.approx(nats, abs=1e-9)
        assert found[rung].per_token.value == pytest.approx(nats / tokens, abs=1e-9)
    change = next(c for c in likelihood_shift(every_pool).changes if (c.start, c.end) == ("U", "S"))
    assert change.per_completion.value == pytest.approx(
        toy.expected(S, -toy.LOG_P) - toy.expected(toy.Q, -toy.LOG_P), abs=1e-9
    )


def test_k_curves_are_the_exact_expectations_of_best_of_k(every_pool: StoredPools) -> None:
    found = {curve.outcome: curve for curve in k_curves(every_pool).curves}
    assert set(found) == {"reward", "mean_logprob", "tokens", "misaligned"}
    for outcome, values in (
        ("misaligned", toy.M),
        ("reward", toy.SCORE),
        ("tokens", toy.TOKENS),
        ("mean_logprob", toy.LOG_P / toy.TOKENS),
    ):
        exact = [toy.expected(toy.best_of(k), values) for k in (1, 2, 3)]
        assert [point.value.value for point in found[outcome].points] == pytest.approx(exact, abs=1e-9)
        assert found[outcome].change.value == pytest.approx(exact[2] - exact[0], abs=1e-9)


def test_eta_and_its_slope_are_the_exact_risk_and_covariance(every_pool: StoredPools) -> None:
    found = eta_of(every_pool, bins=100)
    covariance = toy.expected(toy.Q, toy.M * toy.SCORE) - float(
        ((toy.Q * toy.M).sum(axis=1) * (toy.Q * toy.SCORE).sum(axis=1)).mean()
    )
    assert found.slope.value == pytest.approx(covariance, abs=1e-9)
    for part in found.pooled:
        own = (part.low - 1e-9 <= toy.SCORE) & (part.high + 1e-9 >= toy.SCORE) & (toy.Q > 0)
        assert part.risk.value == pytest.approx((toy.Q * toy.M * own).sum() / (toy.Q * own).sum(), abs=1e-9)
    assert sum(part.candidates for part in found.pooled) == toy.PROMPTS * 8**N * N
    exact = toy.expected(toy.best_of(N), toy.M) - toy.expected(toy.Q, toy.M)
    assert found.effect.value == pytest.approx(exact, abs=1e-9)
    # The highest of N is best-of-N itself.
    assert found.within[-1].risk.value == pytest.approx(toy.expected(toy.best_of(N), toy.M), abs=1e-9)


def test_the_slope_is_the_derivative_of_the_risk_under_a_tilt(every_pool: StoredPools) -> None:
    def risk(beta: float) -> float:
        law = toy.Q * np.exp(beta * toy.SCORE)
        return toy.expected(law / law.sum(axis=1, keepdims=True), toy.M)

    assert eta_of(every_pool).slope.value == pytest.approx((risk(1e-5) - risk(-1e-5)) / 2e-5, rel=1e-6)


def test_a_rising_slope_does_not_mean_that_best_of_k_raises_the_risk() -> None:
    s, p, m = np.array([-10.0, 0, 1]), (1, 6, 3), np.array([0.0, 1, 0])
    pools = np.repeat(np.arange(3), p)[np.array(list(product(range(10), repeat=4)))]
    curve = k_curve(s[pools], m[pools])
    assert [point.value.value for point in curve.points] == pytest.approx([0.7**k - 0.1**k for k in (1, 2, 3, 4)])
    found = eta(s[pools].ravel(), m[pools].ravel(), np.repeat(np.arange(len(pools)), 4))
    assert found.slope.value == pytest.approx(0.42)
    assert found.effect.value == pytest.approx(0.24 - 0.6)
    assert found.slope.low > 0 and found.call == "lowers"


def test_majority_votes_on_subsets_have_the_exact_law_of_a_majority_of_k() -> None:
    answer = np.array([[0, 1, 1, 2, 3, 3], [0, 0, 1, 2, 3, 3], [0, 1, 2, -1, 3, 3]])  # the last has no answer
    prompts = np.repeat(np.arange(toy.PROMPTS), 8**N)
    pools = np.concatenate([toy.pools(x, N) for x in range(toy.PROMPTS)])
    codes, outcome = answer[prompts[:, None], pools], toy.M[prompts[:, None], pools]
    curve = k_curve_of_subsets(votes(codes), outcome)

    def majority(x: int, pool: tuple[int, ...]) -> int:
        said = answer[x, list(pool)].tolist()
        return max(range(len(pool)), key=lambda i: (said.count(said[i]) if said[i] >= 0 else 0, -i))

    for k in (1, 2, 3):
        top = bottom = 0.0
        for x in range(toy.PROMPTS):
            for pool in toy.pools(x, k).tolist():
                chosen = pool[majority(x, tuple(pool))]
                if answer[x, chosen] >= 0:
                    top, bottom = top + toy.M[x, chosen] / 8**k, bottom + 8.0**-k
        assert curve.points[k - 1].value.value == pytest.approx(top / bottom, abs=1e-9)
        assert curve.points[k - 1].known == pytest.approx(bottom / toy.PROMPTS, abs=1e-9)


@given(seed=st.integers(0, 10**9), size=st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_no_selector_whatever_exceeds_the_ceilings_of_independent_candidates(seed: int, size: int) -> None:
    def whim(x: int, pool: tuple[int, ...]) -> int:
        return int(np.random.default_rng([seed, x, *pool]).integers(size))

    def rarest(x: int, pool: tuple[int, ...]) -> int:
        return int(np.argmin(toy.Q[x, list(pool)]))

    for selector in (whim, rarest):
        law = toy.by_selector(size, selector)
        assert toy.divergence(law, toy.Q) <= kl_ceiling(size) + 1e-12
        assert abs(law - toy.Q).sum(axis=1).max() / 2 <= tv_ceiling(size) + 1e-12


def test_ceilings_are_reached_by_a_score_without_ties_and_not_before() -> None:
    # Best of 4 among ever more equally likely completions: the law is ((j+1)/A)^4 - (j/A)^4.
    gaps = []
    for atoms in (10, 100, 5000):
        law = np.diff(np.linspace(0, 1, atoms + 1) ** 4)
        kl, tv = float((law * np.log(law * atoms)).sum()), float(abs(law - 1 / atoms).sum() / 2)
        assert kl < kl_ceiling(4) and tv < tv_ceiling(4)
        gaps.append((kl_ceiling(4) - kl, tv_ceiling(4) - tv))
    assert max(gaps[-1]) < 1e-3 < min(gaps[0])


def test_a_mixed_pool_can_exceed_the_ceilings_of_independent_candidates_but_not_its_own() -> None:
    # Two decodes that always differ, and a selector that always takes the second: S is a point, U half of it.
    tv, kl = 0.5, np.log(2)
    assert tv > tv_ceiling(2) and kl > kl_ceiling(2)
    assert (tv, kl) == (tv_ceiling(2, independent=False), kl_ceiling(2, independent=False))


def test_intervals_cover_the_exact_values(every_pool: StoredPools) -> None:
    n, runs = 150, 400
    S = toy.best_of(N)
    covariance = [
        float((q * m * s).sum() - (q * m).sum() * (q * s).sum())
        for q, m, s in zip(toy.Q, toy.M, toy.SCORE, strict=True)
    ]
    nats = {rung: toy.expected(law, -toy.LOG_P) for rung, law in (("P", toy.P), ("U", toy.Q), ("S", S))}
    truth = {
        "risk at 1": toy.expected(toy.Q, toy.M),
        "risk at N": toy.expected(S, toy.M),
        "score at 2": toy.expected(toy.best_of(2), toy.SCORE),
        "change": toy.expected(S, toy.M) - toy.expected(toy.Q, toy.M),
        "slope": float(np.mean(covariance)),
        "KL(U||P)": toy.divergence(toy.Q, toy.P),
        "P": nats["P"],
        "P->U": nats["U"] - nats["P"],
        "U->S a token": nats["S"] / toy.expected(S, toy.TOKENS) - nats["U"] / toy.expected(toy.Q, toy.TOKENS),
    }
    covered = dict.fromkeys(truth, 0)
    for seed in range(runs):
        rng = np.random.default_rng([seed, 5])
        pools = toy.some_rows(every_pool, rng.integers(len(every_pool.ids), size=n), rng)
        curves = {curve.outcome: curve for curve in k_curves(pools).curves}
        likelihood = likelihood_shift(pools)
        changes = {(c.start, c.end): c for c in likelihood.changes}
        found = {
            "risk at 1": curves["misaligned"].points[0].value,
            "risk at N": curves["misaligned"].points[-1].value,
            "score at 2": curves["reward"].points[1].value,
            "change": curves["misaligned"].change,
            "slope": eta_of(pools).slope,
            "KL(U||P)": likelihood.divergence("KL(U||P)").value,
            "P": likelihood.rungs[0].per_completion,
            "P->U": changes["P", "U"].per_completion,
            "U->S a token": changes["U", "S"].per_token,
        }
        for name, interval in found.items():
            covered[name] += interval.low <= truth[name] <= interval.high
    assert all(0.92 <= count / runs <= 0.98 for count in covered.values()), covered


def test_the_artifact_of_best_of_three_has_the_ceilings_of_three_independent_candidates(
    every_pool: StoredPools,
) -> None:
    found = ceilings(every_pool)
    assert found.independent
    assert found.kl == pytest.approx(np.log(3) - 2 / 3)
    assert found.tv == pytest.approx(3**-0.5 * 2 / 3)
    law = toy.best_of(N)
    assert abs(law - toy.Q).sum(axis=1).mean() / 2 <= found.tv
    assert toy.divergence(law, toy.Q) <= found.kl
