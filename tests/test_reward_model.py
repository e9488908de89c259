"""Reward models as scorers: the documented forward pass, whatever the batch, and no score from a broken model."""

import json
import random
import shutil
import subprocess
import sys

import pytest
import torch
from random_models import TEMPLATE, make_adapter, make_model, make_tokenizer, word
from safetensors.torch import load_file, save_file

from datasets_cards.errors import EchosetError, EngineError, InputError, MissingError
from labelers.engines.reward_model import RewardModel

CHECK = {"accuracy": 0.9, "low": 0.8, "high": 0.95, "pairs": 60, "data": "pairs nobody trained on"}


def make_reward(path, *, family="llama", labels=1, pad=0, context=64, tokenizer=None):
    """Save a random classifier whose scores differ by whole units."""
    from transformers import (
        LlamaConfig,
        LlamaForSequenceClassification,
        Qwen3Config,
        Qwen3ForSequenceClassification,
    )

    config, kind = {
        "llama": (LlamaConfig, LlamaForSequenceClassification),
        "qwen3": (Qwen3Config, Qwen3ForSequenceClassification),
    }[family]
    torch.manual_seed(0)
    tokenizer = tokenizer or make_tokenizer(40)
    settings = config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=context,
        initializer_range=0.25,
        pad_token_id=pad,
        bos_token_id=None,
        eos_token_id=1,
        num_labels=labels,
    )
    kind(settings).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def conversations(count, *, longest=20):
    draw = random.Random(1)

    def text():
        return " ".join(word(draw.randrange(1, 40)) for _ in range(draw.randint(1, longest)))

    return [([{"role": "user", "content": text()}], text()) for _ in range(count)]


def documented(path, items):
    """One conversation a forward pass, as the makers of Skywork-Reward-V2 write it."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForSequenceClassification.from_pretrained(path, num_labels=1).eval()
    scores = []
    for messages, answer in items:
        text = tokenizer.apply_chat_template([*messages, {"role": "assistant", "content": answer}], tokenize=False)
        if tokenizer.bos_token is not None and text.startswith(tokenizer.bos_token):
            text = text[len(tokenizer.bos_token) :]
        with torch.no_grad():
            scores.append(model(**tokenizer(text, return_tensors="pt")).logits[0][0].item())
    return scores


@pytest.mark.parametrize("family", ["llama", "qwen3"])
# The last two: padding that is also what every conversation ends with, and an id that is no token.
@pytest.mark.parametrize("pad", [0, None, 1, -1])
def test_scores_are_those_of_the_documented_pass_whatever_the_padding(tmp_path, family, pad):
    path, items = make_reward(tmp_path / "reward", family=family, pad=pad), conversations(24)
    expected = documented(path, items)
    assert max(expected) - min(expected) > 0.5
    assert RewardModel(path, device="cpu").score(items) == pytest.approx(expected, abs=1e-5)


def test_scores_do_not_depend_on_batch_or_order(tmp_path):
    path, items = make_reward(tmp_path / "reward"), conversations(64)
    alone = RewardModel(path, batch_size=1, device="cpu").score(items)
    for size in (5, 64):
        assert RewardModel(path, batch_size=size, device="cpu").score(items) == pytest.approx(alone, abs=1e-5)
    assert RewardModel(path, device="cpu").score(items[::-1])[::-1] == pytest.approx(alone, abs=1e-5)


def test_equal_conversations_are_computed_once_and_score_the_same(tmp_path):
    model, items = RewardModel(make_reward(tmp_path / "reward"), device="cpu"), conversations(6)
    shapes = []
    model._model.register_forward_pre_hook(
        lambda _, args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    scores = model.score(items * 3)
    assert [rows for rows, _ in shapes] == [6]
    assert scores[:6] == scores[6:12] == scores[12:]


def test_a_batch_takes_no_more_memory_than_it_may(tmp_path, monkeypatch):
    model, items = RewardModel(make_reward(tmp_path / "reward"), device="cpu"), conversations(40)
    shapes = []
    model._model.register_forward_pre_hook(
        lambda _, args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    expected = model.score(items)
    assert len(shapes) == 1
    monkeypatch.setattr("labelers.engines.models.CPU_BUDGET", 1 << 17)
    shapes.clear()
    assert model.score(items) == pytest.approx(expected, abs=1e-5)
    assert len(shapes) > 5 and sum(rows for rows, _ in shapes) == 40
    # Sorted by length: the longest come first, and fewer of them at once.
    assert [length for _, length in shapes] == sorted((length for _, length in shapes), reverse=True)
    assert shapes[0][0] < shapes[-2][0]
    monkeypatch.setattr("labelers.engines.models.CPU_BUDGET", 1)
    shapes.clear()
    model.score(items)
    assert {rows for rows, _ in shapes} == {1}


@pytest.mark.parametrize("adds", [True, False])
def test_a_text_begins_once_whether_or_not_the_tokenizer_adds_its_own_beginning(tmp_path, adds):
    from tokenizers.processors import TemplateProcessing

    tokenizer = make_tokenizer(40)
    tokenizer.bos_token = "<system>"
    tokenizer.chat_template = "{{ bos_token + ' ' }}" + TEMPLATE
    if adds:
        beginning = [("<system>", tokenizer.bos_token_id)]
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing("<system> $A", special_tokens=beginning)
    path, items = make_reward(tmp_path / "reward", tokenizer=tokenizer), conversations(4)
    model, ids = RewardModel(path, device="cpu"), []
    model._model.register_forward_pre_hook(
        lambda _, args, kwargs: ids.extend(kwargs["input_ids"].tolist()), with_kwargs=True
    )
    scores = model.score(items)
    assert all(row.count(tokenizer.bos_token_id) == 1 and row[0] == tokenizer.bos_token_id for row in ids)
    if adds:
        assert scores == pytest.approx(documented(path, items), abs=1e-5)


def test_an_item_that_cannot_be_scored_says_why_and_leaves_the_others_alone(tmp_path):
    model, items = RewardModel(make_reward(tmp_path / "reward"), device="cpu"), conversations(3)
    long = ([{"role": "user", "content": "w1"}], " ".join(["w2"] * 100))
    refused = ([{"role": "tool", "content": "w1"}], "w2")
    scores = model.score([items[0], long, items[1], refused, items[2]])
    assert [scores[i] for i in (0, 2, 4)] == pytest.approx(model.score(items), abs=1e-5)
    assert scores[1] == "prompt_too_long: 105 tokens, the context holds 64"
    assert str(scores[3]).startswith("prompt_refused: ") and "no tools here" in str(scores[3])
    assert model.score([]) == []
    assert isinstance(model.score([(items[0][0], "")])[0], float)


def test_a_conversation_may_fill_the_context_to_its_last_token(tmp_path):
    model = RewardModel(make_reward(tmp_path / "reward"), device="cpu")
    full, over = (([{"role": "user", "content": "w1"}], " ".join(["w2"] * n)) for n in (59, 60))
    assert isinstance(model.score([full])[0], float)
    assert str(model.score([over])[0]).startswith("prompt_too_long: 65")


def test_a_score_that_is_not_a_number_is_no_score(tmp_path):
    path = make_reward(tmp_path / "reward")
    edit(path, lambda weights: weights["score.weight"].fill_(float("nan")))
    (found,) = RewardModel(path).score(conversations(1))
    assert found == "not_finite: the model's output is nan"


def edit(path, change):
    weights = load_file(path / "model.safetensors")
    change(weights)
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})


def without_head(path):
    edit(path, lambda weights: weights.pop("score.weight"))


def without_a_layer(path):
    edit(path, lambda weights: weights.pop("model.layers.1.mlp.up_proj.weight"))


def without_template(path):
    (path / "chat_template.jinja").unlink()


def with_torn_weights(path):
    (path / "model.safetensors").write_bytes(b"torn")


def as_pickle(path):
    torch.save(load_file(path / "model.safetensors"), path / "pytorch_model.bin")
    (path / "model.safetensors").unlink()


def with_remote_code(path):
    config = json.loads((path / "config.json").read_text())
    config |= {"model_type": "homemade", "auto_map": {"AutoConfig": "homemade.Config"}}
    (path / "config.json").write_text(json.dumps(config))
    (path / "homemade.py").write_text("raise SystemExit('remote code was run')")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (without_head, r"weights are missing from the checkpoint \(score.weight\)"),
        (without_a_layer, r"weights are missing from the checkpoint \(model.layers.1.mlp.up_proj.weight\)"),
        (without_template, "no chat template"),
        (with_torn_weights, "can't be loaded"),
        (as_pickle, "can't be loaded"),
        (with_remote_code, "can't be loaded"),
    ],
)
def test_a_broken_model_is_one_line_that_names_it(tmp_path, damage, says):
    path = make_reward(tmp_path / "broken")
    damage(path)
    with pytest.raises(EngineError, match=says) as caught:
        RewardModel(path)
    assert "broken" in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_models_of_another_kind_are_refused(tmp_path):
    with pytest.raises(InputError, match="a classifier with 3 outputs, a reward model has one"):
        RewardModel(make_reward(tmp_path / "three", labels=3))
    base = make_model(tmp_path / "base")
    with pytest.raises(InputError, match="config.json names LlamaForCausalLM"):
        RewardModel(base)
    make_adapter(tmp_path / "adapter", base)
    with pytest.raises(InputError, match="adapter: a LoRA adapter, not a whole reward model"):
        RewardModel(tmp_path / "adapter")
    with pytest.raises(MissingError, match="no such model directory"):
        RewardModel(tmp_path / "absent")
    with pytest.raises(InputError, match="a batch of 0 holds nothing"):
        RewardModel(base, batch_size=0)


def test_it_goes_by_its_directory_name_and_a_digest_never_by_a_path(tmp_path):
    path = make_reward(tmp_path / "reward")
    model = RewardModel(path)
    assert model.name == "reward" and len(model.revision) == 64
    shutil.copytree(path, tmp_path / "elsewhere" / "reward")
    assert RewardModel(tmp_path / "elsewhere" / "reward").revision == model.revision
    edit(path, lambda weights: weights["score.weight"].add_(1))
    assert RewardModel(path).revision != model.revision


def test_the_accuracy_that_its_maker_recorded(tmp_path):
    path = make_reward(tmp_path / "reward")
    assert RewardModel(path).held_out is None
    (path / "reward.json").write_text(json.dumps(CHECK))
    held_out = RewardModel(path).held_out
    assert held_out and held_out.model_dump() == CHECK


@pytest.mark.parametrize("text", ["", "[]", '{"accuracy": 0.9}', json.dumps(CHECK | {"accuracy": 9}), "\xff"])
def test_a_broken_record_of_accuracy_is_not_taken_for_none(tmp_path, text):
    path = make_reward(tmp_path / "reward")
    (path / "reward.json").write_text(text, encoding="latin-1")
    with pytest.raises(EchosetError, match="reward.json holds no accuracy") as caught:
        RewardModel(path)
    assert "\n" not in str(caught.value)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_weights_keep_their_type_and_scores_their_value(tmp_path):
    path, items = make_reward(tmp_path / "reward"), conversations(24)
    model = RewardModel(path)
    assert model._model.device.type == "cuda" and model._model.dtype is torch.float32
    assert model.score(items) == pytest.approx(documented(path, items), abs=1e-2)
    edit(path, lambda weights: weights.update({name: tensor.bfloat16() for name, tensor in weights.items()}))
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    assert RewardModel(path)._model.dtype is torch.bfloat16


def test_on_a_cpu_every_checkpoint_is_float32(tmp_path):
    path = make_reward(tmp_path / "reward")
    edit(path, lambda weights: weights.update({name: tensor.bfloat16() for name, tensor in weights.items()}))
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    assert RewardModel(path, device="cpu")._model.dtype is torch.float32


def test_importing_it_imports_no_model_library():
    code = "import sys, labelers.engines.reward_model; print(*{'torch', 'transformers'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == ""
