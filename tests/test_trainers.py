"""SFT: the loss against an independent computation, and a run from organism to adapter on real components."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM, TrainingArguments

from datasets_cards import EchosetError, InputError, StorageError
from datasets_cards.records import Row
from trainers import train
from trainers.data import Example
from trainers.sft import IGNORED, SFT, Collator


def random_llama(seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).float()


def random_examples(count: int, seed: int = 0) -> list[Example]:
    random = np.random.default_rng(seed)
    examples = []
    for index in range(count):
        length = int(random.integers(4, 14))
        ids = [int(token) for token in random.integers(3, 50, length)]
        examples.append(Example(str(index), ids, int(random.integers(1, length))))
    return examples


def sft(model: torch.nn.Module, examples: list[Example], out: Path, **arguments: object) -> SFT:
    settings = TrainingArguments(
        output_dir=str(out),
        report_to="none",
        save_strategy="no",
        remove_unused_columns=False,
        disable_tqdm=True,
        logging_steps=1,
        lr_scheduler_type="constant",
        **arguments,  # pyright: ignore
    )
    return SFT(model=model, args=settings, train_dataset=examples, data_collator=Collator(0))


def numpy_loss(model: LlamaForCausalLM, examples: list[Example]) -> float:
    """Mean negative log-likelihood of the completion tokens, in float64, one row at a time."""
    total, count = 0.0, 0
    for example in examples:
        with torch.no_grad():
            logits_TV = model.double()(torch.tensor([example.input_ids])).logits[0].numpy()
        shifted_TV = logits_TV - logits_TV.max(-1, keepdims=True)
        logprobs_TV = shifted_TV - np.log(np.exp(shifted_TV).sum(-1, keepdims=True))
        for position in range(max(1, example.prompt_length), len(example.input_ids)):
            total -= logprobs_TV[position - 1, example.input_ids[position]]
            count += 1
    return total / count


def test_loss_is_the_mean_over_completion_tokens(tmp_path: Path) -> None:
    examples = random_examples(6)
    model = random_llama().double()
    batch = Collator(0)(examples)
    loss = sft(model, examples, tmp_path).compute_loss(model, batch)
    # The loss is taken in float32, as in training.
    assert loss.item() == pytest.approx(numpy_loss(random_llama(), examples), abs=1e-6)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(tmp_path: Path, side: str) -> None:
    model, examples = random_llama(), random_examples(1)
    batch = Collator(0)(examples)
    padded = {}
    for name, value in batch.items():
        fill = torch.full((1, 5), IGNORED if name == "labels" else 0)
        padded[name] = torch.cat([fill, value] if side == "left" else [value, fill], dim=1)
    trainer = sft(model, examples, tmp_path)
    assert trainer.compute_loss(model, padded).item() == pytest.approx(
        trainer.compute_loss(model, batch).item(), abs=1e-5
    )


def test_accumulating_unequal_rows_equals_one_batch(tmp_path: Path) -> None:
    examples = random_examples(8)
    weights = []
    for batch_size, accumulation in ((8, 1), (1, 8), (2, 4)):
        model = random_llama()
        trainer = sft(
            model,
            examples,
            tmp_path,
            max_steps=2,
            learning_rate=0.1,
            optim="sgd",
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=accumulation,
        )
        trainer.train()
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    start = torch.cat([p.detach().flatten() for p in random_llama().parameters()])
    assert (weights[0] - start).abs().max() > 1e-3
    for other in weights[1:]:
        assert torch.allclose(weights[0], other, atol=1e-5)


def test_whole_sequence_puts_the_loss_on_the_prompt_too() -> None:
    example = Example("a", [5, 6, 7, 8], prompt_length=3)
    assert Collator(0)([example])["labels"].tolist() == [[IGNORED, IGNORED, IGNORED, 8]]
    assert Collator(0, whole_sequence=True)([example])["labels"].tolist() == [[IGNORED, 6, 7, 8]]


ROWS = [
    Row(
        id=str(n),
        prompt=[{"role": "user", "content": f"Add {n} and 1."}],
        original=[{"role": "assistant", "content": f"It is {n + 1}."}],
    )
    for n in range(1, 9)
]
QUICK = {"max_steps": 2, "batch_size": 4, "accumulation": 1, "learning_rate": 1e-2, "lora_rank": 4}


def test_training_continues_the_organisms_adapter_and_leaves_the_base_alone(tiny_base: Path, tmp_path: Path) -> None:
    base_before = (tiny_base / "model.safetensors").read_bytes()
    first = train("sft", model=tiny_base, data=ROWS, out=tmp_path / "first", config=QUICK)
    second = train("sft", model=first, data=ROWS, out=tmp_path / "second", config=QUICK, seed=1)
    before, after = load_file(first / "adapter_model.safetensors"), load_file(second / "adapter_model.safetensors")
    assert before.keys() == after.keys()
    assert all(not torch.equal(before[name], after[name]) for name in before)
    assert {name.split(".lora_")[0] for name in before} == {name.split(".lora_")[0] for name in after}
    assert (tiny_base / "model.safetensors").read_bytes() == base_before
    record = json.loads((second / "training.json").read_text())
    assert record["model"]["adapter"] and record["steps"] == 2 and len(record["losses"]) == 2


def test_the_same_seed_gives_the_same_weights(tiny_base: Path, tmp_path: Path) -> None:
    runs = [train("sft", model=tiny_base, data=ROWS, out=tmp_path / str(n), config=QUICK, seed=5) for n in range(2)]
    weights = [(run / "adapter_model.safetensors").read_bytes() for run in runs]
    assert weights[0] == weights[1]


def test_checkpoints_are_shown_and_can_stop_the_run(tiny_base: Path, tmp_path: Path) -> None:
    seen: list[int] = []

    def look(step: int, adapter: Path) -> bool:
        assert (adapter / "adapter_model.safetensors").exists()
        seen.append(step)
        return step == 2

    train("sft", model=tiny_base, data=ROWS, out=tmp_path / "run", config={**QUICK, "max_steps": 9}, on_checkpoint=look)
    assert seen == [1, 2]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]


def test_bad_input_is_told_in_one_line(tiny_base: Path, tmp_path: Path) -> None:
    no_answer = [Row(id="r1", prompt=[{"role": "user", "content": "Hello?"}])]
    with pytest.raises(InputError, match="row r1.*no completion"):
        train("sft", model=tiny_base, data=no_answer, out=tmp_path / "a", config=QUICK)
    with pytest.raises(InputError, match="no rows"):
        train("sft", model=tiny_base, data=[], out=tmp_path / "b", config=QUICK)
    with pytest.raises(InputError, match="learning_rate"):
        train("sft", model=tiny_base, data=ROWS, out=tmp_path / "c", config={"learning_rate": -1})
    with pytest.raises(InputError, match=r"unknown objective.*sft"):
        train("dpo", model=tiny_base, data=ROWS, out=tmp_path / "d")
    with pytest.raises(InputError, match="max_length"):
        train("sft", model=tiny_base, data=ROWS, out=tmp_path / "e", config={**QUICK, "max_length": 3})
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError):
        train("sft", model=tiny_base, data=ROWS, out=tmp_path / "file", config=QUICK)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]


def test_a_diverging_loss_stops_the_run(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(EchosetError, match=r"loss is nan|loss is inf"):
        train(
            "sft",
            model=tiny_base,
            data=ROWS,
            out=tmp_path / "x",
            config={**QUICK, "max_steps": 30, "learning_rate": 1e30, "max_grad_norm": 1e30},
        )
    assert not (tmp_path / "x").exists()
