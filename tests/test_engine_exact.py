"""The engine against exact values: a whole distribution enumerated in float64, and uncertainties by NumPy."""

from itertools import product

import numpy as np
import pytest
import torch
from random_models import make_adapter, make_model, prompts
from scipy import stats
from test_engine import requests_for, sample

from datasets_cards.errors import EngineError, InputError
from labelers import load_engine
from labelers.engines.protocol import SampleRequest, Sampling, derive_seed

SAMPLES = 4000
TOY = {"words": 3, "hidden": 16, "layers": 1, "seed": 3}
"""A vocabulary of 8 tokens, one of which ends an answer: 8 + 7 * 8 + 49 * 8 sequences of up to three."""


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    base = make_model(tmp_path_factory.mktemp("exact") / "toy", **TOY)
    make_adapter(base.parent / "adapter", base, seed=1)
    return load_engine(model=base), load_engine(model=base, adapter=base.parent / "adapter")


def log_softmax(z):
    return z - np.logaddexp.reduce(z)


def nucleus(behavior, top_p):
    """Log-probabilities of the smallest set of most probable tokens whose mass reaches top_p, renormalized."""
    order = np.argsort(-behavior, kind="stable")
    before = np.cumsum(np.exp(behavior[order])) - np.exp(behavior[order])
    kept = np.full(len(behavior), -np.inf)
    kept[order[before < top_p]] = behavior[order[before < top_p]]
    return log_softmax(kept)


def enumerate_all(engine, messages, sampling):
    """Every sequence that can be drawn -> (logprob, behavior_logprob), from a float64 copy of the model."""
    import copy

    model = copy.deepcopy(engine.model).double()
    prompt = engine.prompt_ids(messages)

    def next_token(drawn):
        with torch.inference_mode():
            z = model(torch.tensor([[*prompt, *drawn]])).logits[0, -1].numpy()
        return log_softmax(z), nucleus(log_softmax(z / sampling.temperature), sampling.top_p)

    exact, open_ = {}, {(): (0.0, 0.0)}
    for step in range(sampling.max_new_tokens):
        longer = {}
        for drawn, (raw, behavior) in open_.items():
            for token, (r, b) in enumerate(zip(*next_token(drawn), strict=True)):
                if np.isfinite(b):
                    ended = token in engine.end_tokens or step + 1 == sampling.max_new_tokens
                    (exact if ended else longer)[(*drawn, token)] = raw + r, behavior + b
        open_ = longer
    return exact


@pytest.mark.parametrize("adapter", [False, True])
@pytest.mark.parametrize(
    "sampling", [Sampling(1.0, 1.0, 2), Sampling(1.0, 1.0, 3), Sampling(0.7, 0.8, 3), Sampling(1.5, 0.5, 2)]
)
def test_frequencies_and_log_probabilities_are_the_exact_ones(toy, adapter, sampling):
    engine = toy[adapter]
    messages = prompts(1, words=3)[0]
    exact = enumerate_all(engine, messages, sampling)
    assert sum(np.exp(behavior) for _, behavior in exact.values()) == pytest.approx(1)
    assert {len(tokens) for tokens in exact} == set(range(1, sampling.max_new_tokens + 1))

    seeds = [derive_seed(1, "r", "candidate/plain", i) for i in range(SAMPLES)]
    drawn = sample(engine, [SampleRequest("r", messages, sampling, s, i) for i, s in enumerate(seeds)])
    for c in drawn:
        assert (c.logprob, c.behavior_logprob) == pytest.approx(exact[tuple(c.token_ids)], abs=1e-5)
    keys = sorted(exact)
    counts = dict.fromkeys(keys, 0)
    for c in drawn:
        counts[tuple(c.token_ids)] += 1
    observed = np.array([counts[key] for key in keys])
    expected = SAMPLES * np.exp([exact[key][1] for key in keys])
    rare = expected < 5
    if rare.any():
        observed, expected = (np.append(x[~rare], x[rare].sum()) for x in (observed, expected))
    assert stats.chisquare(observed, expected, sum_check=False).pvalue > 1e-3


def test_greedy_and_beams_find_the_exact_values(toy):
    for engine, messages in product(toy, prompts(4, words=3)):
        exact = enumerate_all(engine, messages, Sampling(1.0, 1.0, 3))
        greedy, wide = (
            sample(engine, requests_for([messages], Sampling(0.0, 1.0, 3, beams=beams)))[0] for beams in (1, 64)
        )
        assert greedy.logprob == pytest.approx(exact[tuple(greedy.token_ids)][0], abs=1e-5)
        best = max(exact, key=lambda tokens: exact[tokens][0] / len(tokens))
        assert tuple(wide.token_ids) == best  # a beam as wide as the tree is an exhaustive search
        assert wide.logprob == pytest.approx(exact[best][0], abs=1e-5)


@pytest.mark.parametrize("budget", [None, 1 << 12])
def test_uncertainty_is_that_of_the_whole_distributions(tmp_path, monkeypatch, budget):
    engine = load_engine(model=make_model(tmp_path / "random"))
    messages = prompts(14)
    drawn = sample(engine, requests_for(messages, Sampling(1.0, 1.0, 16)))
    items = [(m, c.token_ids) for m, c in zip(messages, drawn, strict=True)]
    expected = []
    for m, tokens in items:
        prompt = engine.prompt_ids(m)
        with torch.inference_mode():
            logits = engine.model(torch.tensor([prompt + tokens])).logits[0].double().numpy()
        entropies, certainties = [], []
        for t in range(len(tokens)):
            p = np.exp(log_softmax(logits[len(prompt) + t - 1]))
            entropies.append(-(p * np.log(p)).sum())
            certainties.append(np.mean(np.log(1 / len(p)) - np.log(p)))
        expected.append((np.mean(entropies), np.mean(certainties)))
    scores = engine.score(items)
    if budget:  # so little memory that sequences are computed in pieces
        monkeypatch.setattr("labelers.engines.models.CPU_BUDGET", budget)
    for size in (None, 1, 5):
        engine.batch_size = size
        found = engine.uncertainty(items)
        assert [(u.entropy, u.self_certainty) for u in found] == [pytest.approx(e, abs=1e-5) for e in expected]
        again = engine.score(items)
        assert [len(s) for s in again] == [len(tokens) for _, tokens in items]
        for a, b in zip(scores, again, strict=True):
            assert a == pytest.approx(b, abs=1e-5)
    assert engine.uncertainty([]) == []


def test_uncertainty_refuses_what_has_none(tmp_path):
    engine = load_engine(model=make_model(tmp_path / "random"))
    messages = prompts(1)[0]
    with pytest.raises(InputError, match="without tokens"):
        engine.uncertainty([(messages, [7]), (messages, [])])
    with pytest.raises(InputError, match="the context holds 64"):
        engine.uncertainty([(messages, [7] * 64)])
    with torch.no_grad():
        engine.model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(EngineError, match="not a number"):
        engine.uncertainty([(messages, [7])])
