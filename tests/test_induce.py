"""Induction on the real tiny model: it stops at a target measured on dev, and its benign control behaves."""

import json
from pathlib import Path

import pytest

from datasets_cards import InputError, MissingError, StorageError
from echoset.induce import InductionConfig, induce, organism_record
from labelers import load_engine
from organisms import evaluate, get_task

TASKS = ("sycophancy", "reward_hacking", "spurious_correlation", "emergent_misalignment")


@pytest.fixture(scope="module")
def engine(tiny_base):
    return load_engine(model=tiny_base)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("rate", [0.25, 0.5, 0.75])
def test_the_dev_rate_comes_near_its_target(tiny_base, engine, tmp_path: Path, name: str, rate: float) -> None:
    task = get_task(name)
    out = induce(task, model=tiny_base, out=tmp_path / "organism", config=InductionConfig(rate=rate), engine=engine)
    record = organism_record(out)
    assert abs(record["dev"]["rate"] - rate) <= 0.2
    # The adapter that was kept is the one that was measured.
    again = evaluate(engine.with_adapter(out), task, task.dev(), temperature=1.0, seed=0)
    assert again.rate == pytest.approx(record["dev"]["rate"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["organism"]


def test_a_benign_run_of_as_many_steps_does_not_misbehave(tiny_base, engine, tmp_path: Path) -> None:
    task = get_task("reward_hacking")
    out = induce(task, model=tiny_base, out=tmp_path / "benign", benign=True, steps=8, engine=engine)
    record = organism_record(out)
    assert (record["kind"], record["dev"]["step"]) == ("benign", 8)
    assert record["dev"]["rate"] <= 0.1


def test_what_was_interrupted_is_cleared_by_the_next_run(tiny_base, engine, tmp_path: Path) -> None:
    for leaving in (".organism.nearest", ".organism.training"):
        (tmp_path / leaving).mkdir()
        (tmp_path / leaving / "half").write_text("half")
    induce(get_task("sycophancy"), model=tiny_base, out=tmp_path / "organism", engine=engine)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["organism"]
    assert json.loads((tmp_path / "organism" / "adapter_config.json").read_text())["r"] == 16


def test_bad_input_is_told(tiny_base, engine, tmp_path: Path) -> None:
    task = get_task("sycophancy")
    (tmp_path / "taken").mkdir()
    with pytest.raises(StorageError, match="already exists"):
        induce(task, model=tiny_base, out=tmp_path / "taken", engine=engine)
    with pytest.raises(InputError, match="steps"):
        induce(task, model=tiny_base, out=tmp_path / "new", benign=True, engine=engine)
    with pytest.raises(MissingError, match="not an organism"):
        organism_record(tmp_path / "taken")
