"""What a stranger does with a published dataset: `load_dataset` by version, streaming, every config."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from drafts import make_draft
from hub_client import client_environment, in_process
from hub_server import HubServer, hub

from datasets_cards import Artifact, Hub, attach, publish, write_artifact

NAME = "me/syc"
LOADED = """
import json, sys
from datasets import load_dataset
from datasets_cards import Artifact, resolve_ref

def texts(dataset):
    return [row["completion"][-1]["content"] for row in dataset]

found = {}
for version in ("v1.0.0", "v2.0.0"):
    labels = load_dataset("me/syc", "labels", revision=version, split="train")
    stream = load_dataset("me/syc", "labels", revision=version, split="train", streaming=True)
    found[version] = {
        "labels": texts(labels),
        "default": texts(load_dataset("me/syc", revision=version, split="train")),
        "streamed": texts(stream),
        "shards": stream.num_shards,
        "columns": sorted(labels.column_names),
        "rows": {
            config: load_dataset("me/syc", config, revision=version, split="train").num_rows
            for config in ("candidates", "original", "dropped")
        },
        "by reference": len(Artifact.open(resolve_ref(f"hub:me/syc@{version}")).labels()),
    }
found["newest"] = load_dataset("me/syc", split="train").num_rows
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What one process of a stranger sees of two versions; the newest has four shards."""
    folder = tmp_path_factory.mktemp("stranger")
    with hub() as server:
        with pytest.MonkeyPatch.context() as patch, in_process(server.endpoint, "hf_me", folder / "home"):
            patch.setenv("ECHOSET_CACHE", str(folder / "cache"))
            publish(write_artifact(folder / "one", make_draft()), NAME, store=Hub())
            publish(write_artifact(folder / "two", make_draft(rows=40, dropped=3), shards=4), NAME, store=Hub())
        # People put files there by hand, which no version may show.
        server.commit(NAME, {"labels/stray.parquet": server.files(NAME, "v1.0.0")["labels/00000-of-00001.parquet"]})
        environment = client_environment(server.endpoint, None, folder / "stranger")
        environment |= {"PYTHONPATH": str(Path(__file__).parent.parent), "ECHOSET_CACHE": str(folder / "theirs")}
        done = subprocess.run(
            [sys.executable, "-c", LOADED], env=environment, capture_output=True, text=True, timeout=120
        )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(("version", "labeled", "rows"), [("v1.0.0", 5, 6), ("v2.0.0", 37, 40)])
def test_every_version_and_config_loads_by_its_tag(found: dict, version: str, labeled: int, rows: int) -> None:
    one = found[version]
    assert sorted(one["labels"]) == sorted(f"Answer 0 of r{number}\n" for number in range(labeled))
    assert one["default"] == one["labels"] == one["streamed"]
    assert one["rows"] == {"candidates": 3 * rows, "original": rows, "dropped": rows - labeled}
    assert one["by reference"] == labeled
    assert one["shards"] == (1 if version == "v1.0.0" else 4)
    assert {"id", "prompt", "completion", "messages", "original"} <= set(one["columns"])


def test_a_stray_file_on_the_branch_is_not_loaded(found: dict) -> None:
    assert found["newest"] == 37


def test_only_what_changed_is_uploaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECHOSET_CACHE", str(tmp_path / "cache"))
    with hub() as server, in_process(server.endpoint, "hf_me", tmp_path / "home"):
        many = make_draft(rows=400)
        publish(write_artifact(tmp_path / "one", many, shards=16), NAME, store=Hub())
        first = uploaded(server)
        many.labels[7].completion[0]["content"] = many.candidates[14].text = "Another answer."
        release = publish(write_artifact(tmp_path / "two", many, shards=16), NAME, store=Hub())
        assert release.version == "v2.0.0"
        touched = {file.path.split("/")[0] for file in release.files if file.action == "replace" and "/" in file.path}
        assert touched == {"labels", "candidates"}
        assert sum(file.action == "replace" for file in release.files) == 2 + 3  # shards; card, Croissant and manifest
        second = uploaded(server) - first
        assert 0 < second < first / 8
        noted = attach(Artifact.open(tmp_path / "two"), {"shift/report.json": b"{}"})
        publish(noted, NAME, store=Hub())
        assert uploaded(server) == first + second


def uploaded(server: HubServer) -> int:
    return server.uploaded_bytes
