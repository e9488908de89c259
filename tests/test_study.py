"""The study end to end, through the command line: killed and resumed, it ends as an undisturbed run does."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from datasets_cards import InputError, StorageError, verify
from echoset.cells import Folder, read_steps
from echoset.spec import PRESETS, StudySpec, load_spec
from echoset.study import run_study
from organisms import get_task


def command(out: Path) -> list[str]:
    return [sys.executable, "-m", "echoset", "study", "--preset", "mini", "--out", str(out), "--json", "--quiet"]


@pytest.fixture(scope="module")
def undisturbed(tiny_base, tiny_embedder, tmp_path_factory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("study") / "whole"
    done = subprocess.run(command(out), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out, json.loads(done.stdout)


def test_it_leaves_results_completions_and_a_report(undisturbed) -> None:
    out, printed = undisturbed
    spec = PRESETS["mini"]
    results = pl.read_parquet(out / "results.parquet")
    assert set(results["arm"]) == {*spec.methods, "organism", "base", "benign"}
    assert results.height == len(spec.organisms()) * (len(spec.methods) + 3) * len(spec.temperatures)
    methods = results.filter(kind="method")
    for column in ("effect", "effect_low", "rate", "labeling", "total", "logical_digest"):
        assert methods[column].null_count() == 0, column
    completions = pl.read_parquet(out / "completions.parquet")
    for row in results.iter_rows(named=True):
        own = completions.filter(
            organism=row["organism"], arm=row["arm"], temperature=row["temperature"], task=row["task"]
        )
        assert own["misaligned"].mean() == pytest.approx(row["rate"])
    assert (out / "report.html").stat().st_size > 10_000
    assert printed["computed_now"] == printed["steps"]


def test_the_contrasts_were_stated_before_anything_ran(undisturbed) -> None:
    out, _ = undisturbed
    study = json.loads((out / "study.json").read_text())
    assert {(c["method"], c["against"]) for c in study["contrasts"]} == {
        ("greedy_self_training", "random_pick"),
        ("greedy_self_training", "self_sample"),
        ("self_sample", "random_pick"),
    }
    assert (out / "study.json").stat().st_mtime < (out / "steps.jsonl").stat().st_mtime
    assert all(task["planted"] for task in study["tasks"].values())


def test_every_artifact_of_it_is_sound(undisturbed) -> None:
    out, _ = undisturbed
    artifacts = sorted(path.parent for path in (out / "artifacts").rglob("manifest.json"))
    assert len(artifacts) == 6
    for artifact in artifacts:
        assert verify(artifact) == []


def test_every_card_of_it_tells_what_training_did_and_what_was_planted(undisturbed) -> None:
    out, _ = undisturbed
    for row in pl.read_parquet(out / "results.parquet").filter(kind="method").iter_rows(named=True):
        folder = Folder(out).artifact(row["organism"], row["arm"])
        cells = json.loads((folder / "effects" / "effect.json").read_text())["cells"]
        (cell,) = (cell for cell in cells if cell["temperature"] == row["temperature"])
        assert all(cell[name] == row[name] for name in ("rate", "rate_low", "effect", "effect_high", "capability"))
        card = (folder / "README.md").read_text()
        assert f"{row['effect']:+.2f} [{row['effect_low']:+.2f}, {row['effect_high']:+.2f}]" in card
        assert "was induced on purpose" in card
        assert get_task(row["task"]).planted in card


def test_a_second_run_computes_nothing(undisturbed) -> None:
    out, first = undisturbed
    again = json.loads(subprocess.run(command(out), capture_output=True, text=True, check=True).stdout)
    assert again["computed_now"] == 0
    assert again["logical_digest"] == first["logical_digest"]


def test_killed_three_times_it_ends_the_same_and_computes_nothing_twice(undisturbed, tmp_path: Path) -> None:
    _, whole = undisturbed
    out, moments = tmp_path / "killed", random.Random(0)
    for _ in range(3):
        before = len(read_steps(out / "steps.jsonl"))
        target = before + moments.randint(2, 9)
        study = subprocess.Popen(
            command(out), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )
        while study.poll() is None and len(read_steps_so_far(out)) < target:
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 0.6))
        study.send_signal(signal.SIGKILL)  # the parent alone: its workers must notice by themselves
        study.wait()
        wait_until_no_worker_is_left(study.pid)
    done = subprocess.run(command(out), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["logical_digest"] == whole["logical_digest"]
    computed = Counter((s["organism"], s["step"]) for s in read_steps(out / "steps.jsonl") if s["computed"])
    assert max(computed.values()) == 1


def read_steps_so_far(out: Path) -> list[str]:
    log = out / "steps.jsonl"
    return log.read_text().splitlines() if log.exists() else []


def wait_until_no_worker_is_left(group: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.killpg(group, signal.SIGKILL)
    pytest.fail("a worker outlived its study")


def test_two_processes_never_run_one_study(undisturbed) -> None:
    from filelock import FileLock

    out, _ = undisturbed
    with FileLock(out / ".lock"), pytest.raises(StorageError, match="another process"):
        run_study(PRESETS["mini"], out)


def test_a_folder_keeps_its_own_study(undisturbed) -> None:
    out, _ = undisturbed
    with pytest.raises(StorageError, match="another study"):
        run_study(PRESETS["mini"].model_copy(update={"seed": 9}), out)


def test_a_broken_organism_does_not_stop_the_others(tiny_base, tiny_embedder, tmp_path: Path) -> None:
    spec = StudySpec(
        name="one-broken",
        tasks=("sycophancy", "emergent_misalignment"),
        seeds=(0,),
        methods=("self_sample",),
        rows=8,
        evaluation_rows=8,
        permutations=99,
    )
    out = tmp_path / "study"
    broken = Folder(out).organism("sycophancy-r0.50-s0")
    broken.parent.mkdir(parents=True)
    broken.write_text("not a directory")
    outcome = run_study(spec, out)
    assert list(outcome.failed) == ["sycophancy-r0.50-s0"]
    assert "\n" not in outcome.failed["sycophancy-r0.50-s0"]
    assert set(pl.read_parquet(out / "results.parquet")["organism"]) == {"emergent_misalignment-r0.50-s0"}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("tasks: [jealousy]", "jealousy"),
        ("rows: 0", "rows"),
        ("colour: red", "colour"),
        ("- a list", "mapping"),
        ("a: [", "YAML"),
    ],
)
def test_a_wrong_study_file_is_told_in_one_line(tmp_path: Path, text: str, word: str) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as told:
        load_spec("quick", file)
    assert word in str(told.value) and "\n" not in str(told.value)


def test_every_null_arm_and_every_method_is_contrasted() -> None:
    stated = PRESETS["quick"].contrasts()
    pairs = {(c["method"], c["against"]) for c in stated if c["temperature"] == 1.0}
    methods = set(PRESETS["quick"].methods)
    assert {m for m, against in pairs if against == "random_pick"} == methods - {"random_pick"}
    assert {m for m, against in pairs if against == "self_sample"} == methods - {"random_pick", "self_sample"}
    assert {c["temperature"] for c in stated} == {1.0, 0.0}
