"""Finding and loading models: every bad directory is one line that names it, digests follow what matters alone."""

import json
import shutil

import pytest
import torch
from random_models import make_adapter, make_model

from datasets_cards.errors import EchosetError, EngineError, InputError, MissingError
from labelers import load_engine
from labelers.engines.models import ModelRef, load_model, load_tokenizer, resolve_model


@pytest.fixture
def model(tmp_path):
    return make_model(tmp_path / "model")


def one_line(error: EchosetError) -> bool:
    return "\n" not in str(error) and len(str(error)) < 600


def test_a_directory_resolves_to_its_own_name_and_digest(model, tmp_path):
    found = resolve_model(model)
    assert (found.name, found.adapter, len(found.revision)) == ("model", None, 64)
    assert str(tmp_path) not in found.name
    shutil.copytree(model, tmp_path / "copy")
    (tmp_path / "copy" / "README.md").write_text("A card changes no output.")
    assert resolve_model(tmp_path / "copy").revision == found.revision


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors"])
def test_the_digest_follows_config_tokenizer_template_and_weights(model, name):
    before = ModelRef(str(model)).revision
    file = model / name
    file.write_bytes(file.read_bytes() + b" ")
    assert ModelRef(str(model)).revision != before


def test_an_adapter_brings_its_base_wherever_both_lie(model, tmp_path):
    make_adapter(tmp_path / "adapter", model)
    found = resolve_model(tmp_path / "adapter")
    assert (found.base, found.adapter) == (str(model), tmp_path / "adapter")
    assert found.without_adapter().adapter is None
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "../model"
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    relative = resolve_model(tmp_path / "adapter")
    assert relative.revision == found.revision
    assert relative.adapter_digest == found.adapter_digest  # the base's path is no part of it


def test_the_adapter_digest_follows_weights_and_scale(model, tmp_path):
    make_adapter(tmp_path / "a", model, seed=1)
    make_adapter(tmp_path / "b", model, seed=2)
    digests = {resolve_model(tmp_path / name).adapter_digest for name in "ab"}
    config = json.loads((tmp_path / "b" / "adapter_config.json").read_text())
    (tmp_path / "b" / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": 16}))
    digests.add(resolve_model(tmp_path / "b").adapter_digest)
    assert len(digests) == 3


def test_a_missing_directory_and_a_directory_without_model(tmp_path):
    for reference in (tmp_path / "absent", str(tmp_path / "absent"), "./absent", "absent"):
        with pytest.raises(MissingError, match=r"absent: no such model directory\. Name"):
            resolve_model(reference)
    with pytest.raises(InputError, match="config.json is missing"):
        resolve_model(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="a file, not a model"):
        resolve_model(tmp_path / "file")
    assert resolve_model("org/name@abc") == ModelRef("org/name", hub_revision="abc")


def test_a_model_without_chat_template(model):
    (model / "chat_template.jinja").unlink()
    with pytest.raises(EngineError, match="no chat template.*chat_template.jinja") as caught:
        load_engine(model=model)
    assert one_line(caught.value) and "model" in str(caught.value)


def test_a_model_without_pad_token_samples_and_does_not_train(model):
    tokenizer = load_tokenizer(model)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(model)
    assert load_tokenizer(model).pad_token_id is None
    with pytest.raises(EngineError, match="no pad token"):
        load_tokenizer(model, need_pad=True)
    assert load_engine(model=model).prompt_ids([{"role": "user", "content": "w1"}])


def test_weights_that_are_missing_broken_or_pickled(model):
    weights = model / "model.safetensors"
    whole = weights.read_bytes()
    weights.unlink()  # loaded weights may be mapped from the file: it is replaced, not written to
    weights.write_bytes(whole[:1000])
    with pytest.raises(EngineError, match="can't be loaded") as caught:
        load_model(model)
    assert one_line(caught.value)
    weights.unlink()
    torch.save({"lm_head.weight": torch.zeros(45, 32)}, model / "pytorch_model.bin")
    with pytest.raises(EngineError, match="can't be loaded.*safetensors"):
        load_model(model)
    (model / "tokenizer.json").write_text("{")
    with pytest.raises(EngineError, match="the tokenizer can't be loaded"):
        load_tokenizer(model)


def test_an_adapter_whose_base_is_gone_or_of_another_shape(model, tmp_path):
    make_adapter(tmp_path / "adapter", model)
    other = make_model(tmp_path / "other", hidden=48)
    shallow = make_model(tmp_path / "shallow", layers=1)
    for base in (other, shallow):
        with pytest.raises(EngineError, match="doesn't fit this base") as caught:
            load_engine(model=base, adapter=tmp_path / "adapter")
        assert one_line(caught.value)
    shutil.rmtree(model)
    with pytest.raises(MissingError, match="base model .* is missing.*base_model_name_or_path"):
        resolve_model(tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    with pytest.raises(InputError, match="adapter_model.safetensors is missing"):
        load_engine(model=other, adapter=tmp_path / "adapter")
    with pytest.raises(MissingError, match="no such adapter directory"):
        load_engine(model=other, adapter=tmp_path / "nowhere")
