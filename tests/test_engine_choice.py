"""Noise and choice by themselves: the right distribution, and doubt wherever rounding could decide."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from labelers.engines.hf.choice import _nucleus, choose, settle
from labelers.engines.hf.noise import gumbel

SEEDS = st.integers(0, 2**64 - 1)


def noise_of(seed: int, step: int, vocabulary: int) -> torch.Tensor:
    return gumbel(np.array([seed], np.uint64), step, vocabulary)


def one_choice(logits, noise, temperature=1.0, top_p=1.0):
    rows = torch.tensor([logits], dtype=torch.float32), torch.tensor([noise], dtype=torch.float32)
    return choose(*rows, torch.tensor([temperature]), torch.tensor([top_p]))


@settings(deadline=None)
@given(st.lists(SEEDS, min_size=1, max_size=20), st.integers(0, 10_000), st.integers(2, 300))
def test_noise_depends_on_seed_step_and_token_alone(seeds, step, vocabulary):
    together = gumbel(np.array(seeds, np.uint64), step, vocabulary)
    assert torch.isfinite(together).all()
    # Vectorized logarithms may round the last bit another way at another place of the vector, and that is all.
    torch.testing.assert_close(together[-1], noise_of(seeds[-1], step, vocabulary)[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(together[:, :2], gumbel(np.array(seeds, np.uint64), step, 2), rtol=0, atol=1e-5)


def test_noise_is_gumbel_and_independent_across_seeds_steps_and_tokens():
    seeds = np.arange(200, dtype=np.uint64)
    noise = gumbel(seeds, 0, 500).double().numpy()
    assert stats.kstest(noise.ravel(), "gumbel_r").pvalue > 1e-3
    others = gumbel(seeds + np.uint64(1), 0, 500), gumbel(seeds, 1, 500), gumbel(seeds << np.uint64(32), 0, 500)
    for other in (*others, np.roll(noise, 1, axis=1)):
        both = noise[1:].ravel(), np.asarray(other, dtype=float)[1:].ravel()
        same_seed_shifted = np.array_equal(both[0][500:], both[1][:-500])
        assert same_seed_shifted or abs(stats.pearsonr(*both).statistic) < 0.015


@settings(deadline=None)
@given(SEEDS, st.floats(0.1, 3), st.floats(0.05, 1), st.integers(2, 40))
def test_a_sure_choice_is_the_one_that_the_definition_gives(seed, temperature, top_p, vocabulary):
    draw = np.random.default_rng(seed)
    logits = torch.tensor(draw.normal(0, 3, (4, vocabulary)), dtype=torch.float32)
    noise = gumbel(draw.integers(0, 2**63, 4).astype(np.uint64), 0, vocabulary)
    choice = choose(logits, noise, torch.full((4,), temperature), torch.full((4,), top_p))
    for r in range(4):
        if not choice.unsure_R[r]:
            token, logprob, behavior = settle(logits[r], noise[r], temperature, top_p)
            assert int(choice.token_R[r]) == token
            assert abs(float(choice.logprob_R[r]) - logprob) < 1e-4
            near_edge = choose(logits[[r]], noise[[r]], torch.tensor([temperature]), torch.tensor([top_p + 2e-6]))
            assert abs(float(choice.behavior_R[r]) - behavior) < 1e-4 or near_edge.behavior_R[0] != choice.behavior_R[r]


@settings(deadline=None)
@given(SEEDS)
def test_rows_of_different_settings_do_not_touch_each_other(seed):
    draw = np.random.default_rng(seed)
    logits = torch.tensor(draw.normal(0, 2, (4, 12)), dtype=torch.float32)
    noise = gumbel(np.arange(4, dtype=np.uint64), 3, 12)
    temperature, top_p = torch.tensor([0.0, 1.0, 0.5, 0.7]), torch.tensor([1.0, 1.0, 0.6, 1.0])
    together = choose(logits, noise, temperature, top_p)
    for r in range(4):
        alone = choose(logits[r : r + 1], noise[r : r + 1], temperature[r : r + 1], top_p[r : r + 1])
        assert int(together.token_R[r]) == int(alone.token_R[0])
        torch.testing.assert_close(together.behavior_R[r], alone.behavior_R[0])
        torch.testing.assert_close(together.logprob_R[r], alone.logprob_R[0])


@settings(deadline=None)
@given(SEEDS, st.floats(0.05, 1), st.floats(0.3, 4), st.integers(3, 9))
def test_sorting_the_head_alone_changes_no_nucleus(seed, top_p, spread, head):
    from unittest.mock import patch

    draw = np.random.default_rng(seed)
    logits = draw.normal(0, spread, (5, 30)).round()  # many are equally probable
    probability = torch.tensor(logits, dtype=torch.float32).softmax(-1)
    whole = _nucleus(probability, torch.full((5,), top_p))
    with patch("labelers.engines.hf.choice.HEAD", head):
        part = _nucleus(probability, torch.full((5,), top_p))
    assert all(torch.equal(a, b) for a, b in zip(whole, part, strict=True))


def test_a_lead_below_the_tolerance_is_unsure_and_above_it_is_not():
    assert one_choice([1.0, 1.0 + 4e-6], [0.0, 0.0], temperature=0.0).unsure_R.item()
    assert not one_choice([1.0, 1.0 + 4e-5], [0.0, 0.0], temperature=0.0).unsure_R.item()
    assert one_choice([1.0, 2.0], [1.000004, 0.0]).unsure_R.item()
    assert not one_choice([1.0, 2.0], [1.00004, 0.0]).unsure_R.item()


def test_a_winner_at_the_edge_of_the_nucleus_is_unsure_and_one_inside_is_not():
    logits = np.log([0.5, 0.3, 0.2]).tolist()
    edge = 0.8  # the third token's mass-before is .8: it may fall on either side
    assert one_choice(logits, [0.0, 0.0, 9.0], top_p=edge).unsure_R.item()
    assert not one_choice(logits, [9.0, 0.0, 0.0], top_p=edge).unsure_R.item()
    out = one_choice(logits, [0.0, 0.0, 9.0], top_p=0.79)
    assert not out.unsure_R.item() and out.token_R.item() == 0
    assert not one_choice(logits, [0.0, 0.0, 9.0], top_p=0.81).unsure_R.item()


def test_equal_probabilities_at_the_edge_are_unsure_and_settle_on_the_lower_ids():
    logits = torch.tensor([0.4, 0.2, 0.2, 0.2]).log()
    for winner in (1, 2, 3):
        noise = torch.zeros(4)
        noise[winner] = 9.0
        assert one_choice(logits.tolist(), noise.tolist(), top_p=0.7).unsure_R.item()
        assert settle(logits, noise, 1.0, 0.7)[0] == (winner if winner < 3 else 0)


def test_a_nucleus_keeps_at_least_the_most_probable_token():
    out = one_choice([0.0, 1.0, 0.5], [9.0, 0.0, 9.0], top_p=1e-9)
    assert out.token_R.item() == 1 and abs(out.behavior_R.item()) < 1e-6


def test_the_largest_noise_is_told_apart():
    """Tokens of one in ten million are drawn at their rate only if the top of the noise is finely graded."""
    top = np.concatenate(
        [np.sort(gumbel(np.array([seed], np.uint64), 0, 1 << 20)[0].numpy())[-100:] for seed in range(16)]
    )
    top = np.sort(top)[-1000:]
    assert len(np.unique(top)) > 980  # on a grid of 2^-25 in probability some 200 of them would coincide
    assert stats.kstest(np.exp(-top.astype(np.float64)) / np.exp(-float(top[0])), "uniform").pvalue > 1e-3
