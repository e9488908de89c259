"""Datasets on the Hub are streamed at one commit, by the real client from a server on loopback."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_client import client_environment
from hub_server import HubServer, hub

CARD = b"""---
license: mit
configs:
- config_name: easy
  default: true
  data_files:
  - {split: train, path: easy/train.parquet}
  - {split: test, path: easy/test.parquet}
- config_name: hard
  data_files:
  - {split: train, path: hard/*.parquet}
---
"""


def parquet(records: list[dict]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records), buffer)
    return buffer.getvalue()


CHATS = [{"id": n, "messages": [{"role": "user", "content": f"Q{n}"}], "n": n} for n in range(2500)]
FILES = {
    "README.md": CARD,
    "easy/train.parquet": parquet(CHATS),
    "easy/test.parquet": parquet(CHATS[:2]),
    "hard/a.parquet": parquet([{"prompt": "one"}, {"prompt": " "}]),
    "hard/b.parquet": parquet([{"prompt": "two"}]),
}
TAGGED = {"README.md": b"---\nlicense: mit\n---\n", "data.jsonl": b'{"prompt": "old"}\n'}
SERVER = HubServer()
for name, files in {
    "me/chats": TAGGED,
    "me/several": FILES | {"README.md": CARD.replace(b"  default: true\n", b"")},
    "me/gated": TAGGED,
    "me/two-licenses": TAGGED | {"README.md": b"---\nlicense: [mit, apache-2.0]\n---\n"},
    "me/empty": {"README.md": b"x"},
}.items():
    SERVER.create(name, files=files, gated="auto" if name == "me/gated" else False)
SERVER.tag("me/chats", "v1.0.0")
SERVER.commit("me/chats", FILES | {"data.jsonl": None})
NEW, OLD, TWO = SERVER.head("me/chats"), SERVER.tags("me/chats")["v1.0.0"], SERVER.head("me/two-licenses")
SCRIPT = """
import json, sys
from datasets_cards import EchosetError, scan_rows
for reference in sys.argv[1:]:
    try:
        scan = scan_rows(reference, skip_bad=reference.endswith("hard"))
        rows = list(scan.rows())
        assert rows == list(scan.rows()) and len(rows) == len(scan)
        source, unread = scan.source, [[item.id, item.reason] for item in scan.unread]
        found = {"source": source.model_dump(), "prompts": [r.prompt[-1]["content"] for r in rows], "unread": unread}
    except EchosetError as error:
        found = {"error": type(error).__name__, "says": str(error)}
    print(json.dumps(found))
"""


def scanned(endpoint: str, home: Path, *references: str, **settings: str) -> dict[str, dict]:
    """What a fresh process makes of some references: the client reads its settings when it is imported."""
    env = client_environment(endpoint, None, home) | settings
    command = [sys.executable, "-c", SCRIPT, *references]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(zip(references, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    with hub(SERVER) as server:
        return scanned(server.endpoint, tmp_path_factory.mktemp("hub"), *READ, *REFUSED)


READ = {
    "hub:me/chats:easy/train": (f"me/chats@{NEW}:easy/train", NEW, "mit", [f"Q{n}" for n in range(2500)]),
    "hub:me/chats:/test": (f"me/chats@{NEW}:easy/test", NEW, "mit", ["Q0", "Q1"]),
    "hub:me/chats:hard": (f"me/chats@{NEW}:hard/train", NEW, "mit", ["one", "two"]),
    "hub:me/chats@main:/test": (f"me/chats@{NEW}:easy/test", NEW, "mit", ["Q0", "Q1"]),
    "hub:me/chats@v1.0.0": (f"me/chats@{OLD}:default/train", OLD, "mit", ["old"]),
    f"hub:me/chats@{OLD}": (f"me/chats@{OLD}:default/train", OLD, "mit", ["old"]),
    "hub:me/two-licenses": (f"me/two-licenses@{TWO}:default/train", TWO, "mit, apache-2.0", ["old"]),
}
REFUSED = {
    "hub:me/chats": ("InputError", "holds several splits (train, test). Name one, such as hub:me/chats:/train"),
    "hub:me/chats:easy/dev": ("MissingError", "has no split 'dev'. Its splits: train, test"),
    "hub:me/chats:soft/train": ("MissingError", "has no configuration 'soft'. Its configurations: easy, hard"),
    "hub:me/chats:hard/train": ("RowError", ":2, prompt[0]: content is empty"),
    "hub:me/several": ("InputError", "has several configurations and no default. Its configurations: easy, hard"),
    "hub:me/chats@v9": ("MissingError", "has no such revision"),
    "hub:me/none": ("MissingError", "no such dataset on the Hub"),
    "hub:me/gated": ("InputError", "is gated. Accept its terms"),
    "hub:me/empty": ("InputError", "can't be read"),
    "hub:me": ("InputError", "names no dataset on the Hub. Write hub:ORG/NAME[@REVISION][:CONFIG/SPLIT]"),
    "hub:me/a b": ("InputError", "names no dataset on the Hub"),
    "hub:../etc": ("InputError", "is no name of a dataset"),
    "hub:me/chats:a/b/c": ("InputError", "names no dataset on the Hub"),
}


@pytest.mark.parametrize("reference", READ)
def test_a_dataset_is_streamed_at_the_commit_that_is_recorded(found: dict[str, dict], reference: str) -> None:
    named, digest, license, prompts = READ[reference]
    source = {"reference": named, "digest": digest, "license": license, "rows": len(prompts)}
    unread = [["me/chats:2", "empty_content"]] if reference.endswith("hard") else []
    assert found[reference] == {"source": source, "prompts": prompts, "unread": unread}


@pytest.mark.parametrize("reference", REFUSED)
def test_what_cannot_be_read_is_one_line_that_says_why(found: dict[str, dict], reference: str) -> None:
    kind, says = REFUSED[reference]
    assert found[reference]["error"] == kind
    assert says in found[reference]["says"]
    assert reference in found[reference]["says"]
    assert "\n" not in found[reference]["says"]


def test_without_a_network_or_with_it_switched_off_it_says_so(tmp_path: Path) -> None:
    nobody = "http://127.0.0.1:9"  # the discard port: nothing listens
    away = scanned(nobody, tmp_path, "hub:me/chats")["hub:me/chats"]
    assert away["error"] == "StorageError"
    assert away["says"].startswith("hub:me/chats: the Hub can't be reached")
    off = scanned(nobody, tmp_path, "hub:me/chats", HF_HUB_OFFLINE="1")["hub:me/chats"]
    assert off == {
        "error": "StorageError",
        "says": "hub:me/chats: the Hub is switched off by HF_HUB_OFFLINE. Unset it, or give a file",
    }
