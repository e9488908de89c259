"""Trainers of others learn from an artifact as it lies there: TRL with no mapping, and what reads `messages`."""

import math
from pathlib import Path
from typing import Any

import pytest
from drafts import make_draft
from random_models import make_model, word

from datasets_cards import Artifact, write_artifact


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "m", context=128)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Labels in the words of the random model, so that no two of them are the same tokens."""
    draft = make_draft(rows=8)
    for number, row in enumerate(draft.rows):
        row.prompt = [
            {"role": "system", "content": word(1)},
            {"role": "user", "content": f"{word(number + 2)} {word(3)}"},
        ]
    for candidate in draft.candidates:
        candidate.text = f"{word(int(candidate.id[1:]) + 20)} {word(5)}"
    for label, row in zip(draft.labels, draft.rows, strict=False):
        label.prompt = row.prompt
        label.completion = [{"role": "assistant", "content": f"{word(int(label.id[1:]) + 20)} {word(5)}"}]
    return write_artifact(tmp_path_factory.mktemp("artifact") / "a", draft, shards=3)


def load(artifact: Artifact, name: str, cache: Path, **options: Any):
    from datasets import load_dataset

    return load_dataset(str(artifact.path), name, split="train", cache_dir=str(cache), **options)


def test_datasets_loads_every_config_also_streaming_and_past_stray_files(artifact: Artifact, tmp_path: Path) -> None:
    stray = artifact.path / "labels" / "old-copy.parquet"
    stray.write_bytes(b"no parquet")
    try:
        labels = load(artifact, "labels", tmp_path)
        assert sorted(labels["id"]) == sorted(artifact.labels()["id"])
        streamed = load(artifact, "labels", tmp_path, streaming=True)
        assert [row["id"] for row in streamed] == labels["id"]
        for name, rows in {"candidates": 24, "original": 8, "dropped": 1}.items():
            assert len(list(load(artifact, name, tmp_path, streaming=True))) == rows
    finally:
        stray.unlink()


def test_trl_trains_on_the_labels_with_no_mapping_and_on_completions_alone(
    artifact: Artifact, model: Path, tmp_path: Path
) -> None:
    import trl
    from transformers import AutoTokenizer

    labels = load(artifact, "labels", tmp_path)
    assert {"prompt", "completion", "messages"} <= set(labels.column_names)
    settings = trl.SFTConfig(
        output_dir=str(tmp_path / "out"),
        completion_only_loss=True,
        max_steps=2,
        per_device_train_batch_size=4,
        report_to="none",
        use_cpu=True,
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
        bf16=False,
    )
    trainer = trl.SFTTrainer(str(model), args=settings, train_dataset=labels)
    tokenizer = AutoTokenizer.from_pretrained(model)
    prompts = {row["id"]: row for row in artifact.labels().to_dicts()}
    for row in trainer.train_dataset:
        asked = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False)
        learned = [token for token, target in zip(row["input_ids"], row["labels"], strict=True) if target != -100]
        assert row["input_ids"][: len(asked)] == asked and row["input_ids"][len(asked) :] == learned
        answer = prompts[row["id"]]["completion"][0]["content"]
        assert tokenizer.decode(learned).split() == [*answer.split(), "<end>"]
    before = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 2 and all(math.isfinite(loss) and loss > 0 for loss in losses)
    assert any(not weight.equal(before[name]) for name, weight in trainer.model.named_parameters())


def test_a_loader_of_chat_templates_trains_on_the_assistant_turns_of_messages(
    artifact: Artifact, model: Path, tmp_path: Path
) -> None:
    """What `type: chat_template` does: render the turns one by one, and learn those of the assistant."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    rows = []
    for row in load(artifact, "labels", tmp_path):
        ids: list[int] = []
        targets: list[int] = []
        for turns in range(1, len(row["messages"]) + 1):
            rendered = tokenizer.apply_chat_template(row["messages"][:turns], return_dict=False)
            assert rendered[: len(ids)] == ids
            new = rendered[len(ids) :]
            targets += new if row["messages"][turns - 1]["role"] == "assistant" else [-100] * len(new)
            ids = rendered
        learned = tokenizer.decode([target for target in targets if target != -100]).split()
        assert learned == ["<assistant>", *row["completion"][0]["content"].split(), "<end>"]
        rows.append((ids, targets))
    network = AutoModelForCausalLM.from_pretrained(model)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    losses = []
    for _ in range(3):
        found = [network(input_ids=torch.tensor([ids]), labels=torch.tensor([targets])).loss for ids, targets in rows]
        loss = torch.stack(found).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
