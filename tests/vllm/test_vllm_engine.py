"""The vllm engine against the transformers engine and the exact distribution, on the embedded model in float32."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from random_models import make_adapter, make_model
from scipy import stats

from datasets_cards.errors import EngineError, InputError, MissingError
from labelers import load_engine
from labelers.engines.protocol import SampleRequest, Sampling, derive_seed
from labelers.engines.vllm_offline.engine import VllmEngine, folded

GREEDY, PLAIN, NUCLEUS, WARM = Sampling(0, 1, 16), Sampling(1, 1, 16), Sampling(0.7, 0.9, 16), Sampling(0.5, 1, 16)


@pytest.mark.parametrize("adapted", [False, True])
def test_greedy_text_and_its_log_probability_equal_the_transformers_engine(
    engine, reference, messages, adapter, adapted, requests_for, draw, gap_of
):
    if adapted:
        engine, reference = engine.with_adapter(adapter), reference.with_adapter(adapter)
    ours, theirs = (draw(e, requests_for(messages, GREEDY)) for e in (engine, reference))
    clear = 0
    for m, a, b in zip(messages, ours, theirs, strict=True):
        if gap_of(reference, reference.prompt_ids(m), b.token_ids) > 1e-4:
            clear += 1
            assert (a.text, a.token_ids, a.finish_reason) == (b.text, b.token_ids, b.finish_reason)
            assert a.logprob == pytest.approx(b.logprob, abs=1e-4)
        assert a.behavior_logprob == b.behavior_logprob == 0
    assert clear > 40
    assert {a.finish_reason for a in ours} == {"stop", "length"}


@pytest.mark.parametrize("adapted", [False, True])
def test_teacher_forced_log_probabilities_equal_the_transformers_engine(
    engine, reference, messages, adapter, adapted, requests_for, draw
):
    if adapted:
        engine, reference = engine.with_adapter(adapter), reference.with_adapter(adapter)
    drawn = draw(reference, requests_for(messages, PLAIN))
    items = [(m, c.token_ids) for m, c in zip(messages, drawn, strict=True)]
    ours, theirs = engine.score([*items, (messages[0], [])]), reference.score([*items, (messages[0], [])])
    assert [len(s) for s in ours] == [*(len(c.token_ids) for c in drawn), 0]
    assert np.concatenate(ours) == pytest.approx(np.concatenate(theirs), abs=1e-4)
    base = engine.with_adapter(None).score(items)
    assert bool(np.abs(np.concatenate(ours) - np.concatenate(base)).max() > 0.5) is adapted


@pytest.mark.parametrize("sampling", [PLAIN, NUCLEUS, WARM])
def test_first_tokens_are_drawn_from_the_exact_distribution(engine, reference, messages, sampling):
    from transformers import TemperatureLogitsWarper, TopPLogitsWarper

    one = Sampling(sampling.temperature, sampling.top_p, 1)
    n = 400
    pvalues = []
    for m in messages[:6]:
        requests = [SampleRequest("r", m, one, derive_seed(1, str(m), "candidate/plain", i), i) for i in range(n)]
        drawn = Counter(c.token_ids[0] for _, c in engine.sample(requests))
        with torch.inference_mode():
            raw = reference.model(torch.tensor([reference.prompt_ids(m)])).logits[:, -1].double()
        warped = TopPLogitsWarper(one.top_p)(None, TemperatureLogitsWarper(float(one.temperature))(None, raw))
        expected = n * warped.softmax(-1)[0].numpy()
        observed = np.array([drawn[token] for token in range(len(expected))])
        assert not observed[expected == 0].any()
        rare = expected < 5
        folded_ = [np.append(x[~rare], x[rare].sum()) for x in (observed, expected)]
        kept = folded_[1] > 0
        if kept.sum() > 1:
            pvalues.append(stats.chisquare(*(x[kept] for x in folded_), sum_check=False).pvalue)
    assert len(pvalues) >= 2 and min(pvalues) * len(pvalues) > 1e-3


def test_short_answers_are_as_frequent_as_with_the_transformers_engine(engine, reference, messages, draw):
    short = Sampling(0.7, 0.9, 3)
    for m in messages[:4]:
        requests = [SampleRequest("r", m, short, derive_seed(2, "r", "candidate/plain", i), i) for i in range(400)]
        counts = [Counter(tuple(c.token_ids) for c in draw(e, requests)) for e in (engine, reference)]
        common = sorted(key for key in counts[0] | counts[1] if counts[0][key] + counts[1][key] >= 10)
        table = [[c[key] for key in common] + [400 - sum(c[key] for key in common)] for c in counts]
        table = np.array(table)[:, np.sum(table, 0) > 0]
        assert table.shape[1] < 2 or stats.chi2_contingency(table).pvalue > 1e-4


def test_log_probabilities_are_of_the_raw_model_and_unknown_ones_are_none(engine, messages, requests_for, draw):
    for sampling in (PLAIN, NUCLEUS, WARM, GREEDY):
        drawn = draw(engine, requests_for(messages[:12], sampling, 2))
        twice = [m for m in messages[:12] for _ in range(2)]
        scores = engine.score([(m, c.token_ids) for m, c in zip(twice, drawn, strict=True)])
        assert [c.logprob for c in drawn] == pytest.approx([sum(s) for s in scores], abs=1e-4)
        behavior = {PLAIN: [c.logprob for c in drawn], GREEDY: [0.0] * len(drawn)}.get(sampling, [None] * len(drawn))
        assert [c.behavior_logprob for c in drawn] == behavior
    assert set(engine.lacks) == {"behavior_logprob", "uncertainty"}
    with pytest.raises(InputError, match="whole distributions.*transformers engine"):
        engine.uncertainty([(messages[0], [5])])


def test_a_seed_is_a_sample_and_other_seeds_are_others(engine, reference, messages, requests_for, draw):
    requests = requests_for(messages[:8], Sampling(1.5, 1, 16), 8)
    first = [c.token_ids for c in draw(engine, requests)]
    assert [c.token_ids for c in draw(engine, requests[::-1])][::-1] == first
    assert [c.token_ids for c in draw(engine, requests[9:11])] == first[9:11]
    theirs = [c.token_ids for c in draw(reference, requests)]
    distinct = [sum(len(set(map(tuple, drawn[i : i + 8]))) for i in range(0, 64, 8)) for drawn in (first, theirs)]
    assert distinct[0] > 56 and abs(distinct[0] - distinct[1]) < 6
    upper = [SampleRequest("r", messages[0], Sampling(2, 1, 24), 5 + (i << 40)) for i in range(20)]
    assert len({tuple(c.token_ids) for c in draw(engine, upper)}) > 16  # on a CPU, torch looks at the lower half alone
    extremes = [0, 1, 1 << 32, 1 << 63, (1 << 64) - 1, ((1 << 64) - 1) ^ ((1 << 32) - 1)]
    assert all(-(1 << 63) <= folded(seed) < 1 << 63 and folded(seed) != -1 for seed in extremes)
    assert len(draw(engine, [SampleRequest("r", messages[0], PLAIN, seed) for seed in extremes])) == len(extremes)


def test_prompts_are_the_transformers_engines(engine, reference, messages):
    assert [engine.prompt(m) for m in messages] == [reference.prompt(m) for m in messages]
    same = ("model", "revision", "dtype", "chat_template", "end_tokens", "adapter", "quantization")
    assert [getattr(engine.identity, name) for name in same] == [getattr(reference.identity, name) for name in same]
    assert engine.identity.backend == "vllm/1"


def test_a_prompt_without_room_for_a_token_is_an_error_of_its_row_alone(engine, messages, requests_for, draw):
    long = [{"role": "user", "content": "Where is the fox? " * 200}]
    words = "fox " * 600
    fits = lambda n: [{"role": "user", "content": words[: 4 * n]}]  # noqa: E731
    snug = fits(next(n for n in range(600, 0, -1) if len(engine.prompt_ids(fits(n))) <= engine.context - 3))
    rows = [messages[0], long, snug, messages[1]]
    drawn = draw(engine, requests_for(rows, PLAIN))
    tokens = len(engine.prompt_ids(long))
    assert drawn[1].error == f"prompt_too_long: {tokens} tokens, the context holds {engine.context}"
    assert (drawn[1].finish_reason, drawn[1].token_ids, drawn[1].logprob) == ("error", [], None)
    assert 1 <= len(drawn[2].token_ids) <= engine.context - len(engine.prompt_ids(snug)) < 16
    assert [c.finish_reason == "error" for c in drawn] == [False, True, False, False]
    # A completion that fills the context can still be scored; one more token can't.
    filler = [7] * (engine.context - len(engine.prompt_ids(snug)))
    assert len(engine.score([(snug, filler)])[0]) == len(filler)
    with pytest.raises(InputError, match=f"{engine.context + 1} tokens to score"):
        engine.score([(snug, [*filler, 7])])
    beams = draw(engine, requests_for(rows, Sampling(0, 1, 16, beams=2)))
    assert [c.finish_reason == "error" for c in beams] == [False, True, False, False]


@pytest.mark.parametrize(("width", "adapted"), [(2, False), (4, False), (4, True)])
def test_the_best_beam_equals_the_transformers_engines(
    engine, reference, messages, adapter, requests_for, draw, width, adapted
):
    if adapted:
        engine, reference = engine.with_adapter(adapter), reference.with_adapter(adapter)
    requests = requests_for(messages[:24], Sampling(0, 1, 16, beams=width))
    ours, theirs = draw(engine, requests), draw(reference, requests)
    assert [c.token_ids for c in ours] == [c.token_ids for c in theirs]
    assert [c.logprob for c in ours] == pytest.approx([c.logprob for c in theirs], abs=1e-4)
    assert {c.behavior_logprob for c in ours} == {0.0}
    greedy = draw(engine, requests_for(messages[:24], GREEDY))
    means = [[c.logprob / len(c.token_ids) for c in drawn] for drawn in (ours, greedy)]
    better, worse = (sum(sign * (b - g) > 1e-4 for b, g in zip(*means, strict=True)) for sign in (1, -1))
    assert better > 5 > worse


def test_a_beam_may_be_wider_than_vllms_default_of_log_probabilities(engine, messages, requests_for, draw):
    (beam,) = draw(engine, requests_for(messages[:1], Sampling(0, 1, 6, beams=24)))
    assert beam.finish_reason == "length" and len(beam.token_ids) == 6


def test_adapters_share_one_model_and_stay_apart(engine, reference, messages, adapter, requests_for, draw, tmp_path):
    other = engine.with_adapter(adapter)
    assert other.model is engine.model
    assert engine.identity.adapter == "" != other.identity.adapter == reference.with_adapter(adapter).identity.adapter
    requests = requests_for(messages[:12], GREEDY)
    base, adapted = draw(engine, requests), draw(other, requests)
    assert [c.token_ids for c in base] != [c.token_ids for c in adapted]
    assert draw(other.with_adapter(None), requests) == base
    make_adapter(tmp_path / "second", engine.reference.base, seed=1)
    assert draw(engine.with_adapter(tmp_path / "second"), requests) not in (base, adapted)
    # One call after another, or one within another: never in one batch.
    half_done = engine.sample(requests)
    pairs = [next(half_done)]
    assert draw(other, requests) == adapted
    pairs += half_done
    assert [c for _, c in sorted(pairs, key=lambda pair: pair[0])] == base


def test_an_iterator_that_is_dropped_takes_its_requests_along(engine, messages, requests_for, draw):
    dropped = engine.sample(requests_for(messages, PLAIN, 4))
    next(dropped)
    dropped.close()
    assert not engine.model.llm.llm_engine.has_unfinished_requests()
    assert len(draw(engine, requests_for(messages[:3], PLAIN))) == 3


def test_adapters_that_vllm_cannot_put_on_are_refused_at_once(
    engine, tiny_base, tmp_path, messages, requests_for, draw
):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    def save(name, base=tiny_base, **options):
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **options)).save_pretrained(tmp_path / name)
        return tmp_path / name

    with pytest.raises(EngineError, match="lm_head"):
        engine.with_adapter(save("head", r=4, target_modules=["q_proj", "lm_head"]))
    with pytest.raises(EngineError, match="rank is 48, the loaded model has room for 32.*at once"):
        engine.with_adapter(save("high", r=48, target_modules=["q_proj"]))
    small = make_model(tmp_path / "small")
    with pytest.raises(EngineError, match="can't put this adapter on this base model.*down_proj"):
        engine.with_adapter(save("small_lora", small, r=4, target_modules="all-linear"))
    with pytest.raises(MissingError):
        engine.with_adapter(tmp_path / "nowhere")
    assert len(draw(engine, requests_for(messages[:3], PLAIN))) == 3


def test_what_vllm_cannot_draw_is_refused(engine, messages, requests_for, draw):
    for temperature in (0.001, 2.5):
        with pytest.raises(InputError, match=f"no temperature of {temperature}.*0.01 to 2"):
            draw(engine, requests_for(messages[:1], Sampling(temperature, 1, 4)))
    with pytest.raises(InputError, match="the vllm engine has no device"):
        load_engine("vllm", engine.reference.base, device="cpu")


def test_all_end_tokens_end_a_completion_and_special_ones_stay_out_of_the_text(tmp_path, requests_for, draw):
    import json

    from random_models import prompts

    from labelers.engines.hf.engine import TransformersEngine

    path = make_model(tmp_path / "two_ends", hidden=128, words=40)
    settings = json.loads((path / "generation_config.json").read_text())
    (path / "generation_config.json").write_text(json.dumps(settings | {"eos_token_id": [1, 9]}))
    engine, reference = VllmEngine(path, batch_size=3), TransformersEngine(path)
    assert engine.end_tokens == reference.end_tokens == [1, 9]
    messages = prompts(24)
    for sampling in (Sampling(1.5, 1, 16), GREEDY, Sampling(0, 1, 16, beams=3)):
        drawn = draw(engine, requests_for(messages, sampling, 2))
        ends = {c.token_ids[-1] for c in drawn if c.finish_reason == "stop"}
        assert ends == {1, 9} if sampling.temperature else ends <= {1, 9}
        assert not any(token in (1, 9) for c in drawn for token in c.token_ids[:-1])
        assert not any("<" in c.text for c in drawn)
        assert all(math.isfinite(c.logprob) for c in drawn)
    ours, theirs = (draw(e, requests_for(messages, GREEDY)) for e in (engine, reference))
    assert [c.token_ids for c in ours] == [c.token_ids for c in theirs]
    assert [c.text for c in ours] == [c.text for c in theirs]
