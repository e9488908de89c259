"""The transformers engine against `generate`, peft and itself at other batch sizes."""

import time
from pathlib import Path

import pytest
import torch
from random_models import make_adapter, make_model, prompts

from datasets_cards.errors import EngineError, InputError, MissingError
from labelers import load_engine
from labelers.engines.hf.engine import TransformersEngine
from labelers.engines.protocol import SampleRequest, Sampling, derive_seed

GREEDY, PLAIN, NUCLEUS = Sampling(0.0, 1.0, 16), Sampling(1.0, 1.0, 16), Sampling(0.7, 0.9, 16)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return make_model(tmp_path_factory.mktemp("engine") / "random")


@pytest.fixture
def engine(model) -> TransformersEngine:
    return load_engine(model=model)


def requests_for(messages, sampling, k=1):
    return [
        SampleRequest(str(i), m, sampling, derive_seed(0, str(i), "candidate/plain", j), j)
        for i, m in enumerate(messages)
        for j in range(k)
    ]


def sample(engine, requests):
    return [c for _, c in sorted(engine.sample(requests), key=lambda pair: pair[0])]


def test_greedy_equals_generate_token_for_token(engine):
    messages = prompts(24)
    drawn = sample(engine, requests_for(messages, GREEDY))
    assert {c.finish_reason for c in drawn} == {"stop", "length"}
    for m, c in zip(messages, drawn, strict=True):
        ids = torch.tensor([engine.prompt_ids(m)])
        with torch.inference_mode():
            expected = engine.model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=16
            )
        assert c.token_ids == expected[0, ids.shape[1] :].tolist()


def test_tokens_are_the_same_at_any_batch_size_and_in_any_order(engine):
    messages = prompts(14)
    requests = requests_for(messages, NUCLEUS, 3) + requests_for(messages, PLAIN, 2) + requests_for(messages, GREEDY)
    engine.batch_size = 1
    expected = [c.token_ids for c in sample(engine, requests)]
    for size in (3, 32, 512):
        engine.batch_size = size
        assert [c.token_ids for c in sample(engine, requests)] == expected
    backwards = [c.token_ids for c in sample(engine, requests[::-1])]
    assert backwards[::-1] == expected
    assert [c.token_ids for c in sample(engine, requests[7:9])] == expected[7:9]


def test_a_prompt_is_computed_once_for_all_its_samples_and_repeats(engine):
    messages = prompts(4)
    for size in (None, 1, 4):
        engine.batch_size = size
        before = engine.work.prompts
        sample(engine, requests_for([*messages, *messages], NUCLEUS, 5))
        assert engine.work.prompts - before == 4


def test_settling_every_token_alone_changes_nothing(engine, monkeypatch):
    requests = requests_for(prompts(8), NUCLEUS, 2) + requests_for(prompts(8), GREEDY)
    expected = sample(engine, requests)
    assert engine.work.settled < 3
    monkeypatch.setattr("labelers.engines.hf.choice.TIE", 1e9)
    settled = sample(engine, requests)
    assert engine.work.settled >= sum(len(c.token_ids) for c in expected)
    assert [c.token_ids for c in settled] == [c.token_ids for c in expected]
    assert [c.behavior_logprob for c in settled] == pytest.approx([c.behavior_logprob for c in expected], abs=1e-4)


def test_exact_ties_go_to_the_lowest_token_whatever_the_batch(tmp_path):
    path = make_model(tmp_path / "tied")
    engine = load_engine(model=path)
    with torch.no_grad():  # every word of the upper half becomes the twin of one in the lower half
        engine.model.lm_head.weight[25:45] = engine.model.lm_head.weight[5:25]
    requests = requests_for(prompts(12), GREEDY)
    results = []
    for size in (1, 3, 32):
        engine.batch_size = size
        results.append([c.token_ids for c in sample(engine, requests)])
    assert engine.work.settled > 0
    assert results[0] == results[1] == results[2]
    assert all(token < 25 for tokens in results[0] for token in tokens)


def test_a_prompt_without_room_for_a_token_is_an_error_of_its_row_alone(engine):
    long = [{"role": "user", "content": "w1 " * 70}]
    snug = [{"role": "user", "content": " ".join(["w1"] * 57)}]
    refused = [{"role": "tool", "content": "w1"}]
    messages = [*prompts(2), long, snug, refused]
    drawn = sample(engine, requests_for(messages, PLAIN))
    tokens = len(engine.prompt_ids(long))
    assert drawn[2].finish_reason == "error"
    assert drawn[2].error == f"prompt_too_long: {tokens} tokens, the context holds 64"
    assert len(drawn[3].token_ids) <= 64 - len(engine.prompt_ids(snug)) < 16
    assert drawn[4].finish_reason == "error" and "no tools here" in drawn[4].error
    assert [c.finish_reason == "error" for c in drawn] == [False, False, True, False, True]
    assert drawn[0].token_ids == sample(engine, requests_for(messages[:2], PLAIN))[0].token_ids


def test_a_huge_prompt_is_refused_fast_and_control_characters_pass(engine):
    huge = [{"role": "user", "content": "w1 w2 w3 w" * 10_000}]
    assert len(huge[0]["content"]) == 100_000
    odd = [{"role": "user", "content": "w1\x00\x1b[2J\u202e w2\r\n\ufeff w3"}]
    start = time.perf_counter()
    drawn = sample(engine, requests_for([huge, odd, *prompts(1)], PLAIN, 4))
    assert time.perf_counter() - start < 5
    assert all(c.error.startswith("prompt_too_long: ") and c.logprob is None for c in drawn[:4])
    assert [c.error for c in drawn[4:]] == [None] * 8
    assert all(c.token_ids for c in drawn[4:])


def test_a_completion_of_special_tokens_alone_has_an_empty_text_and_all_its_numbers(engine):
    with torch.no_grad():  # whatever came before, the model ends at once
        engine.model.lm_head.weight.zero_()
        engine.model.lm_head.weight[1] = 1.0
        engine.model.model.norm.weight.fill_(1.0)
    drawn = sample(
        engine, requests_for(prompts(40), GREEDY) + requests_for(prompts(40), Sampling(0.0, 1.0, 4, beams=2))
    )
    only_end = [c for c in drawn if c.token_ids == [1]]
    assert only_end
    for c in only_end:
        assert (c.text, c.finish_reason, c.token_count, c.error) == ("", "stop", 1, None)
        assert c.logprob is not None and c.behavior_logprob == 0


def test_prompts_are_remembered_up_to_a_bound(engine, monkeypatch):
    monkeypatch.setattr("labelers.engines.prompts.REMEMBERED", 40)
    for m in prompts(30):
        assert engine.prompt_ids(m) == engine.prompt_ids(m)
        assert sum(map(len, engine._prompts._ids.values())) <= 40


def test_sharing_prompts_and_faster_layers_are_in_use_and_can_be_absent(engine, model, monkeypatch):
    """Without either, logits are those of the library's own modules; tokens are the same."""
    requests = requests_for(prompts(12), NUCLEUS, 3) + requests_for(prompts(12), Sampling(0.0, 1.0, 8, beams=3))
    expected = [c.token_ids for c in sample(engine, requests)]
    assert engine._forward._shares
    assert engine.model.config._attn_implementation == "sdpa"  # the loaded model is left as it was
    assert {type(m) for m in engine.model.modules() if isinstance(m, torch.nn.Linear)} == {torch.nn.Linear}
    monkeypatch.setattr("labelers.engines.hf.forward.fast", lambda model: model)
    plain = load_engine(model=model)
    assert not plain._forward._shares
    assert [c.token_ids for c in sample(plain, requests)] == expected


def test_grouped_query_attention_shares_prompts_like_generate(tmp_path):
    from random_models import make_tokenizer
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=45, hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, initializer_range=0.2, pad_token_id=0, bos_token_id=None, eos_token_id=1,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    make_tokenizer(40).save_pretrained(tmp_path)
    engine = load_engine(model=tmp_path)
    assert engine._forward._shares
    messages = prompts(9)
    together = sample(engine, requests_for(messages, NUCLEUS, 3) + requests_for(messages, GREEDY))
    for m, c in zip(messages, together[27:], strict=True):
        ids = torch.tensor([engine.prompt_ids(m)])
        expected = engine.model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=16)
        assert c.token_ids == expected[0, ids.shape[1] :].tolist()
    scores = engine.score([(messages[i // 3], c.token_ids) for i, c in enumerate(together[:27])])
    assert [c.logprob for c in together[:27]] == pytest.approx([sum(s) for s in scores], abs=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_draws_and_searches_what_the_cpu_does(model):
    cpu, gpu = load_engine(model=model, device="cpu"), load_engine(model=model, device="cuda")
    requests = requests_for(prompts(10), NUCLEUS, 2) + requests_for(prompts(10), Sampling(0.0, 1.0, 8, beams=3))
    both = [sample(engine, requests) for engine in (cpu, gpu)]
    same = sum(a.token_ids == b.token_ids for a, b in zip(*both, strict=True))
    assert same >= 0.9 * len(requests)  # noise and kernels round another way there
    items = [(m, [7, 8, 9]) for m in prompts(4)]
    for a, b in zip(cpu.uncertainty(items), gpu.uncertainty(items), strict=True):
        assert (a.entropy, a.self_certainty) == pytest.approx((b.entropy, b.self_certainty), abs=1e-3)


def test_text_never_shows_special_tokens(engine):
    drawn = sample(engine, requests_for(prompts(40), Sampling(1.5, 1.0, 16)))
    ids = {token for c in drawn for token in c.token_ids}
    assert {0, 1, 2, 3, 4} <= ids
    assert not any("<" in c.text for c in drawn)


def test_score_gives_the_log_probability_of_sampling_at_any_batch_size(engine):
    messages = prompts(20)
    drawn = sample(engine, requests_for(messages, PLAIN))
    items = [(m, c.token_ids) for m, c in zip(messages, drawn, strict=True)]
    for size in (None, 1, 3):
        engine.batch_size = size
        scores = engine.score([*items, (messages[0], [])])
        assert [len(s) for s in scores] == [*(len(c.token_ids) for c in drawn), 0]
        assert [sum(s) for s in scores[:-1]] == pytest.approx([c.logprob for c in drawn], abs=1e-4)
    with pytest.raises(InputError, match="the context holds 64"):
        engine.score([(messages[0], [7] * 64)])


def test_greedy_behavior_is_certain_and_plain_behavior_is_the_model(engine):
    assert {c.behavior_logprob for c in sample(engine, requests_for(prompts(5), GREEDY))} == {0.0}
    for c in sample(engine, requests_for(prompts(5), PLAIN)):
        assert c.behavior_logprob == pytest.approx(c.logprob, abs=1e-5)


def test_an_adapter_matches_peft_shares_the_base_and_leaves_it_bitwise_alone(engine, model, tmp_path):
    pefts = make_adapter(tmp_path / "adapter", model)
    before = {name: weight.clone() for name, weight in engine.model.state_dict().items()}
    adapted = engine.with_adapter(tmp_path / "adapter")
    ids = torch.tensor([engine.prompt_ids(m) for m in prompts(1)])
    with torch.inference_mode():
        own, expected, base = (m(ids).logits for m in (adapted.model, pefts, engine.model))
    assert torch.allclose(own, expected, atol=1e-4) and not torch.allclose(own, base, atol=0.1)
    sample(adapted, requests_for(prompts(3), NUCLEUS))
    assert all(torch.equal(weight, before[name]) for name, weight in engine.model.state_dict().items())
    assert adapted.model.get_input_embeddings().weight is engine.model.get_input_embeddings().weight
    assert engine.identity.adapter == "" != adapted.identity.adapter
    again = adapted.with_adapter(None)
    assert again.identity == engine.identity and again.model is engine.model
    direct = load_engine(model=tmp_path / "adapter")
    assert direct.identity == adapted.identity
    requests = requests_for(prompts(5), NUCLEUS)
    assert [c.token_ids for c in sample(direct, requests)] == [c.token_ids for c in sample(adapted, requests)]


def test_a_narrow_model_keeps_its_adapter_live(model, tmp_path):
    from labelers.engines.hf.shared_weights import adapted
    from labelers.engines.models import load_model

    make_adapter(tmp_path / "adapter", model)
    base = load_model(model, dtype=torch.bfloat16)
    before = {name: weight.clone() for name, weight in base.state_dict().items()}
    wrapped = adapted(base, tmp_path / "adapter")
    assert any("lora_A" in name for name, _ in wrapped.named_parameters())
    assert not any("lora" in name for name, _ in base.named_parameters())
    assert all(torch.equal(weight, before[name]) for name, weight in base.state_dict().items())


def test_a_sliding_window_model_samples_like_generate(tmp_path):
    from random_models import make_tokenizer
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=45, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, sliding_window=8, initializer_range=0.25, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    MistralForCausalLM(config).save_pretrained(tmp_path)
    make_tokenizer(40).save_pretrained(tmp_path)
    engine = load_engine(model=tmp_path, batch_size=5)
    messages = prompts(9)
    for m, c in zip(messages, sample(engine, requests_for(messages, GREEDY)), strict=True):
        ids = torch.tensor([engine.prompt_ids(m)])
        expected = engine.model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=16)
        assert c.token_ids == expected[0, ids.shape[1] :].tolist()


def test_a_model_that_gives_no_numbers_is_an_error(engine):
    with torch.no_grad():
        engine.model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(EngineError, match="not a number"):
        sample(engine, requests_for(prompts(2), PLAIN))


def test_engines_are_refused_in_one_line(model):
    with pytest.raises(InputError, match="no engine is called 'magic'.*transformers"):
        load_engine("magic", model)
    with pytest.raises(InputError, match="no model is named"):
        load_engine()
    with pytest.raises(InputError, match="batch of 0"):
        load_engine(model=model, batch_size=0)
    with pytest.raises(MissingError, match="no such model directory"):
        load_engine(model="no/such/directory/here")
