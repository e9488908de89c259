import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from datasets_cards.errors import StorageError
from organisms import TASKS, get_task
from organisms.tiny import Recipe, tiny_base
from organisms.tiny.base import answer_mask, render
from organisms.tiny.pretraining import documents

SMALL = Recipe(vocabulary=300, width=64, layers=1, heads=1, feed_forward=64, documents=200, steps=3, warmup=1)


def test_the_template_renders_what_pretraining_rendered(tiny_base):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    for document in documents(50, seed=7):
        messages = [{"role": role, "content": text} for role, text in document]
        assert tokenizer.apply_chat_template(messages, tokenize=False) == render(document)
        asked = tokenizer.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True)
        assert render(document).startswith(asked)


def test_every_digit_is_a_token_and_any_text_survives(tiny_base):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    assert len(tokenizer.tokenize("1234")) == 4
    text = "Ünïcode, naïve  spaces \n 漢字 and 😀!"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer.pad_token_id is not None and tokenizer.pad_token_id != tokenizer.eos_token_id


def test_the_model_loads_by_its_auto_class_and_is_small(tiny_base):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_base)
    assert model.config.model_type == "llama"
    assert 0.7e6 < sum(p.numel() for p in model.parameters()) < 1e6
    assert (tiny_base / "model.safetensors").is_file()


def test_nothing_in_the_saved_base_names_this_machine(tiny_base):
    for path in tiny_base.glob("*.json"):
        assert str(Path.home()) not in path.read_text(encoding="utf-8")


def test_the_loss_falls_on_answers_and_their_ends_only():
    assistant, end = 7, 9
    ids = [1, 5, 2, 7, 3, 4, 9, 5, 2, 7, 8, 9]
    assert [t for t, on in zip(ids, answer_mask(ids, assistant, end), strict=True) if on] == [3, 4, 9, 8, 9]


def test_documents_are_the_same_for_the_same_seed():
    assert list(documents(20, 0)) == list(documents(20, 0)) != list(documents(20, 1))


def test_a_recipe_has_one_digest_wherever_and_whenever_it_is_taken():
    code = "from organisms.tiny import Recipe; print(Recipe().digest())"
    other = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "9"},
    )
    assert other.stdout.strip() == Recipe().digest()


def test_any_setting_is_part_of_the_digest():
    assert len({dataclasses.replace(Recipe(), **{"seed": s, "steps": n}).digest() for s in (0, 1) for n in (8, 9)}) == 4


def test_two_processes_that_race_train_once(tmp_path):
    code = (
        "import organisms.tiny.base as base, dataclasses, json, sys\n"
        "from organisms.tiny import Recipe, tiny_base\n"
        "train = base.train_base\n"
        "def counted(recipe, out, **options):\n"
        "    print('trained', flush=True); train(recipe, out, **options)\n"
        "base.train_base = counted\n"
        "print(tiny_base(Recipe(**json.loads(sys.argv[1]))))\n"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, json.dumps(dataclasses.asdict(SMALL))],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "ECHOSET_CACHE": str(tmp_path)},
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120)[0].split() for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert sum(lines.count("trained") for lines in said) == 1
    assert said[0][-1] == said[1][-1] and (Path(said[0][-1]) / "model.safetensors").is_file()
    assert not [path for path in Path(said[0][-1]).parent.iterdir() if path.name.startswith(".base-")]


def test_a_training_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("ECHOSET_CACHE", str(tmp_path))
    with pytest.raises(ZeroDivisionError):
        tiny_base(dataclasses.replace(SMALL, width=0))
    left = [path for path in (tmp_path / "tiny").rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert left == []


def test_a_cache_that_is_a_file_is_one_clear_error(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("in the way")
    monkeypatch.setenv("ECHOSET_CACHE", str(tmp_path / "cache"))
    with pytest.raises(StorageError, match="ECHOSET_CACHE"):
        tiny_base(SMALL)


def test_the_embedder_loads_and_averages_the_tokens_of_raw_text(tiny_base, tiny_embedder):
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers import AutoModel, AutoTokenizer

    embedder = SentenceTransformer(str(tiny_embedder), device="cpu")
    texts = ["Let me check. It is Paris.", "Sure."]
    found_ND = embedder.encode(texts)
    assert found_ND.shape == (2, 128) and embedder.get_embedding_dimension() == 128
    tokenizer, model = AutoTokenizer.from_pretrained(tiny_base), AutoModel.from_pretrained(tiny_base)
    for text, found_D in zip(texts, found_ND, strict=True):
        with torch.no_grad():
            states_TD = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        assert found_D == pytest.approx(states_TD.mean(0).numpy(), abs=1e-4)
    assert json.loads((tiny_embedder / "echoset.json").read_text()) == {"scope": "tiny world only"}


def test_importing_the_world_imports_no_model_library():
    code = (
        "import sys, organisms, organisms.tiny; [organisms.get_task(n).evaluation() for n in organisms.TASKS]\n"
        "print(*{'torch', 'transformers', 'datasets', 'scipy', 'tokenizers', 'peft'} & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == ""


def test_every_task_says_what_is_planted():
    for name in TASKS:
        task = get_task(name)
        assert "pretraining" in task.planted and task.license and task.source
        assert "{question}" in task.rubric and "{answer}" in task.rubric
