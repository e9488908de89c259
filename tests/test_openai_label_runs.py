"""Whole labeling runs against a server that fails, and runs that are killed: nothing is lost, nothing is paid twice."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from datasets_cards import Artifact, verify

ROWS = 100
RUN = """
import sys
from labelers import label
from labelers.engines.openai_api.engine import OpenAIEngine
from labelers.engines.openai_api.retries import Retries
url, folder, method = sys.argv[1:]
engine = OpenAIEngine("stub", base_url=url, concurrency=16, timeout=2, retries=Retries(first=0.01, longest=0.1))
label(
    folder + "/rows.jsonl", engine=engine, method=method, seed=3,
    out=folder + "/artifact", store=folder + "/samples.sqlite",
)
"""


@contextmanager
def serving(*options):
    command = [sys.executable, str(Path(__file__).with_name("stub_server.py")), "--tagged", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def start(url, folder, method="self_confidence"):
    return subprocess.Popen(
        [sys.executable, "-c", RUN, url, str(folder), method],
        cwd=Path(__file__).parent.parent,
        env=os.environ | {"ECHOSET_CACHE": str(folder)},
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


def folder_of_rows(folder):
    folder.mkdir()
    with (folder / "rows.jsonl").open("w") as file:
        for i in range(ROWS):
            row = {"id": f"row-{i}", "prompt": f"question {i}", "completion": "an answer"}
            file.write(json.dumps(row) + "\n")
    return folder


def finished(folder):
    """The server's keys of the samples in the store: tagged texts begin with them."""
    path = folder / "samples.sqlite"
    if not path.exists():
        return set()
    with sqlite3.connect(path) as store:
        try:
            return {text.split()[0] for (text,) in store.execute("SELECT text FROM samples")}
        except sqlite3.OperationalError:  # killed before the table was there
            return set()


def asked(log):
    return [json.loads(line)["key"] for line in log.read_text().splitlines()] if log.exists() else []


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = folder_of_rows(tmp_path_factory.mktemp("runs") / "undisturbed")
    with serving() as url:
        finish(start(url, folder))
    artifact = Artifact.open(folder / "artifact")
    assert artifact.manifest.counts.labeled == ROWS
    return artifact


@pytest.mark.slow
def test_killed_ten_times_it_ends_the_same_and_asks_for_no_finished_sample_again(tmp_path, undisturbed):
    folder, log = folder_of_rows(tmp_path / "killed"), tmp_path / "log.jsonl"
    chance, total = random.Random(0), ROWS * 5
    kills = 0
    # The same address for every run: it is part of what a sample is. Faults are not.
    with serving("--log", str(log), "--latency", "0.02", "--fault-rate", "0.2") as url:
        for _ in range(10):
            before, stored = asked(log), finished(folder)
            run = start(url, folder)
            goal = len(before) + chance.randint(1, total // 12)
            while run.poll() is None and len(asked(log)) < goal:
                time.sleep(0.01)
            if run.poll() is None:
                kills += 1
                os.kill(run.pid, signal.SIGKILL)
            run.communicate()
            assert not stored & set(asked(log)[len(before) :])
        before, stored = asked(log), finished(folder)
        finish(start(url, folder))
        assert not stored & set(asked(log)[len(before) :])
    assert kills == 10 and 0 < len(stored) < total
    artifact = Artifact.open(folder / "artifact")
    assert artifact.manifest.logical_digest == undisturbed.manifest.logical_digest
    verify(folder / "artifact")


@pytest.mark.slow
def test_rows_of_a_server_that_keeps_failing_are_dropped_with_their_reason(tmp_path):
    folder = folder_of_rows(tmp_path / "failing")
    with serving("--fault-rate", "0.2", "--dead-rate", "0.12") as url:
        finish(start(url, folder, "greedy_self_training"))
    counts = Artifact.open(folder / "artifact").manifest.counts
    assert counts.labeled + sum(counts.dropped.values()) == ROWS
    assert set(counts.dropped) == {"server_error"} and 1 < counts.dropped["server_error"] < ROWS / 2
