"""Beam search against `generate`, token for token, and against itself at other batch sizes."""

import pytest
import torch
from random_models import make_model, make_tokenizer, prompts
from test_engine import GREEDY, NUCLEUS, requests_for, sample

from datasets_cards.errors import EngineError
from labelers import load_engine
from labelers.engines.protocol import Sampling


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("beams") / "random")


def generated(engine, messages, width, new):
    """Token ids of the library's best beam, each prompt by itself, up to and with the end token."""
    found = []
    for m in messages:
        ids = torch.tensor([engine.prompt_ids(m)])
        with torch.inference_mode():
            row = engine.model.generate(
                ids, attention_mask=torch.ones_like(ids), num_beams=width, do_sample=False, length_penalty=1.0,
                early_stopping=False, max_new_tokens=new, eos_token_id=engine.end_tokens,
            )[0, ids.shape[1] :].tolist()  # fmt: skip
        end = next((i + 1 for i, token in enumerate(row) if token in engine.end_tokens), len(row))
        found.append(row[:end])
    return found


@pytest.mark.parametrize("width", [2, 3, 4])
@pytest.mark.parametrize("new", [1, 5, 20])
def test_the_best_beam_equals_generates_token_for_token(model, width, new):
    engine = load_engine(model=model)
    messages = prompts(24)
    drawn = sample(engine, requests_for(messages, Sampling(0.0, 1.0, new, beams=width)))
    assert [c.token_ids for c in drawn] == generated(engine, messages, width, new)
    if new == 20:
        assert {c.finish_reason for c in drawn} == {"stop", "length"}
        assert len({len(c.token_ids) for c in drawn}) > 3
        assert [c.token_ids for c in drawn] != [c.token_ids for c in sample(engine, requests_for(messages, GREEDY))]


@pytest.mark.parametrize("width", [2, 4])
def test_the_best_beam_of_the_embedded_base_equals_generates(tiny_base, width):
    from organisms import get_task

    engine = load_engine(model=tiny_base)
    messages = [row.prompt for row in get_task("sycophancy").consistency(0, 16)]
    drawn = sample(engine, requests_for(messages, Sampling(0.0, 1.0, 24, beams=width)))
    assert len({len(engine.prompt_ids(m)) for m in messages}) > 3
    assert [c.token_ids for c in drawn] == generated(engine, messages, width, 24)


def test_several_end_tokens_and_a_vocabulary_smaller_than_the_beam(tmp_path):
    engine = load_engine(model=make_model(tmp_path / "small", words=2, seed=2))
    engine.end_tokens = [1, 3]
    messages = prompts(12, words=4)
    drawn = sample(engine, requests_for(messages, Sampling(0.0, 1.0, 8, beams=4)))
    assert [c.token_ids for c in drawn] == generated(engine, messages, 4, 8)
    assert {c.token_ids[-1] for c in drawn} >= {1, 3}
    wide = sample(engine, requests_for(messages[:2], Sampling(0.0, 1.0, 2, beams=7)))
    exact = [best_of_two(engine, m) for m in messages[:2]]
    assert [c.token_ids for c in wide] == exact


def best_of_two(engine, messages):
    """The best of all continuations of at most two tokens by mean log-probability."""
    prompt = engine.prompt_ids(messages)

    def next_token(ids):
        with torch.inference_mode():
            return engine.model(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1).tolist()

    scores = {}
    for a, first in enumerate(next_token(prompt)):
        if a in engine.end_tokens:
            scores[a,] = first
        else:
            scores |= {(a, b): (first + second) / 2 for b, second in enumerate(next_token([*prompt, a]))}
    return list(max(scores, key=scores.__getitem__))


def test_beams_are_the_same_at_any_batch_size_and_beside_other_requests(model):
    engine = load_engine(model=model)
    messages = prompts(14)
    two, four = Sampling(0.0, 1.0, 12, beams=2), Sampling(0.0, 1.0, 12, beams=4)
    requests = [
        *requests_for(messages, NUCLEUS, 2), *requests_for(messages, two), *requests_for(messages, four, 2),
        *requests_for(messages[:5], Sampling(0.0, 1.0, 3, beams=4)),
    ]  # fmt: skip
    engine.batch_size = 1
    expected = [c.token_ids for c in sample(engine, requests)]
    for size in (5, 64):
        engine.batch_size = size
        before = engine.work.prompts
        assert [c.token_ids for c in sample(engine, requests)] == expected
        assert engine.work.prompts - before == 14 + engine.work.settled  # a prompt is computed once
    assert [c.token_ids for c in sample(engine, requests[::-1])] == expected[::-1]


def test_near_ties_are_searched_again_alone(model, monkeypatch):
    engine = load_engine(model=model)
    requests = requests_for(prompts(10), Sampling(0.0, 1.0, 10, beams=3))
    expected = sample(engine, requests)
    monkeypatch.setattr("labelers.engines.hf.choice.TIE", 1e9)
    assert [c.token_ids for c in sample(engine, requests)] == [c.token_ids for c in expected]
    assert engine.work.settled >= 10


def test_ties_do_not_depend_on_the_batch_however_it_rounds(tmp_path, monkeypatch):
    """Twin tokens tie, and every shape of batch is made to round another way, as kernels might."""
    from labelers.engines.hf.forward import Forward

    engine = load_engine(model=make_model(tmp_path / "tied"))
    with torch.no_grad():  # every word of the upper half becomes the twin of one in the lower half
        engine.model.lm_head.weight[25:45] = engine.model.lm_head.weight[5:25]
    forward = Forward.__call__

    def rounding(self, ids, mask, cache, keep=1):
        logits = forward(self, ids, mask, cache, keep)
        shape = ids.shape[0] * 1000 + ids.shape[1]
        return logits + 5e-7 * torch.randn(logits.shape, generator=torch.Generator().manual_seed(shape))

    monkeypatch.setattr(Forward, "__call__", rounding)
    for sampling in (GREEDY, Sampling(0.0, 1.0, 8, beams=3)):
        requests = requests_for(prompts(12), sampling)
        results = []
        for size in (1, 7, 64):
            engine.batch_size = size
            results.append([c.token_ids for c in sample(engine, requests)])
        assert engine.work.settled > 0
        assert results[0] == results[1] == results[2]


def test_log_probabilities_are_the_raw_models_and_behavior_is_certain(model):
    engine = load_engine(model=model)
    messages = prompts(12)
    drawn = sample(engine, requests_for(messages, Sampling(0.0, 1.0, 12, beams=4)))
    scores = engine.score([(m, c.token_ids) for m, c in zip(messages, drawn, strict=True)])
    assert [c.logprob for c in drawn] == pytest.approx([sum(s) for s in scores], abs=1e-4)
    assert {c.behavior_logprob for c in drawn} == {0.0}
    greedy = sample(engine, requests_for(messages, Sampling(0.0, 1.0, 12)))
    means = [[c.logprob / len(c.token_ids) for c in side] for side in (drawn, greedy)]
    assert sum(a > b + 1e-6 for a, b in zip(*means, strict=True)) > 3


def test_beams_end_with_the_context_and_refuse_what_is_no_number(model):
    engine = load_engine(model=model)
    snug = [[{"role": "user", "content": " ".join(["w1"] * 57)}], *prompts(3)]
    drawn = sample(engine, requests_for(snug, Sampling(0.0, 1.0, 16, beams=3)))
    assert [c.token_ids for c in drawn[:1]] == generated(engine, snug[:1], 3, 64 - len(engine.prompt_ids(snug[0])))
    with torch.no_grad():
        engine.model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(EngineError, match="not a number"):
        sample(engine, requests_for(prompts(2), Sampling(0.0, 1.0, 4, beams=2)))


def test_a_sliding_window_model_searches_like_generate(tmp_path):
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=45, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, sliding_window=8, initializer_range=0.25, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    MistralForCausalLM(config).save_pretrained(tmp_path)
    make_tokenizer(40).save_pretrained(tmp_path)
    engine = load_engine(model=tmp_path, batch_size=12)
    messages = prompts(9)
    drawn = sample(engine, requests_for(messages, Sampling(0.0, 1.0, 12, beams=3)))
    assert [c.token_ids for c in drawn] == generated(engine, messages, 3, 12)
