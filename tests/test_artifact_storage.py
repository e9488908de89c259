"""Nothing half-written: killed writers, full disks, forbidden folders, racing publishers."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from drafts import make_draft

from datasets_cards import (
    Artifact,
    ArtifactWriter,
    InputError,
    LocalHub,
    StorageError,
    attach,
    check_target,
    publish,
    pull,
    verify,
    write_artifact,
)
from datasets_cards.storage import move_into_place, new_folder, storage_errors

TESTS = Path(__file__).parent
WRITER = """
import sys
from pathlib import Path
from drafts import make_draft
from datasets_cards import write_artifact
draft = make_draft(rows=int(sys.argv[2]))
print("ready", flush=True)
while True:
    write_artifact(Path(sys.argv[1]), draft, overwrite=True, shards=3)
    print("wrote", flush=True)
"""


def writer(out: Path, rows: int) -> subprocess.Popen:
    env = os.environ | {"PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"}
    command = [sys.executable, "-c", WRITER, str(out), str(rows)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("delay", [0.02, 0.15])
def test_a_writer_killed_in_the_middle_leaves_the_old_artifact_or_the_new(tmp_path: Path, delay: float) -> None:
    out = tmp_path / "a"
    process = writer(out, rows=400)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    assert process.stdout.readline() == "wrote\n"  # one is complete; the next are being written over it
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = [name for name in os.listdir(tmp_path) if name.startswith(".")]
    # Either it is there, whole; or it was killed between two renames, and the old one stands beside, whole.
    assert verify(out if out.exists() else next(tmp_path.glob(".a.old-*"))) == []
    assert write_artifact(out, make_draft(), overwrite=True).manifest.counts.rows == 6
    assert os.listdir(tmp_path) == ["a"], left


def test_a_first_write_that_is_killed_leaves_nothing_that_looks_like_an_artifact(tmp_path: Path) -> None:
    out = tmp_path / "a"
    process = writer(out, rows=20_000)
    assert process.stdout
    process.stdout.readline()
    while not list(tmp_path.glob(".a.new-*/*/*.parquet")):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    assert list(tmp_path.glob(".a.new-*"))
    write_artifact(out, make_draft())
    assert os.listdir(tmp_path) == ["a"]


def test_what_a_kill_between_two_renames_set_aside_comes_back(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a", make_draft()).path.rename(tmp_path / ".a.old-123")
    with pytest.raises(InputError, match="already here"):
        write_artifact(tmp_path / "a", make_draft(rows=3))
    assert Artifact.open(tmp_path / "a").manifest.counts.rows == 6


def test_a_living_writers_folder_is_left_alone(tmp_path: Path) -> None:
    with new_folder(tmp_path / "a") as work:
        (work / "x").write_text("mine")
        write_artifact(tmp_path / "a", make_draft())
        assert (work / "x").read_text() == "mine"


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    """On a real file system of 64 KiB, in a mount namespace of its own."""
    script = """
import os, sys
from drafts import make_draft
from datasets_cards import Artifact, StorageError, attach, verify, write_artifact
small = write_artifact("a", make_draft(rows=2))
try:
    write_artifact("b", make_draft(rows=3000))
except StorageError as error:
    assert "no space left" in str(error) and "b:" in str(error), error
else:
    sys.exit("it fitted")
assert os.listdir(".") == ["a"], os.listdir(".")
try:
    attach(small, {"shift/a.json": b"{}", "shift/report.json": os.urandom(100_000).hex().encode()})
except StorageError as error:
    assert "no space left" in str(error), error
assert list(Artifact.open("a").iter_original())
assert Artifact.open("a").manifest.version == "v0.0.0"
assert verify("a") == [] and os.listdir("a/shift") == [], verify("a")
print("held")
"""
    env = os.environ | {"PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"}
    mounted = f'mount -t tmpfs -o size=64k none "{tmp_path}" && cd "{tmp_path}" && exec "$0" -c "$1"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mounted, sys.executable, script]
    if not shutil.which("unshare") or subprocess.run([*command[:4], "true"], capture_output=True).returncode:
        pytest.skip("no unprivileged mounts here")
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if "mount:" in done.stderr:
        pytest.skip("no unprivileged mounts here")
    assert done.stdout.strip() == "held", done.stderr[-3000:]


def test_an_unwritable_place_is_one_line(tmp_path: Path) -> None:
    for out in ("/proc/echoset", "/proc/echoset/deep"):
        with pytest.raises(StorageError) as caught:
            write_artifact(out, make_draft())
        assert "/proc/echoset" in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="no permission"):
        write_artifact(tmp_path / "a", make_draft())


def test_who_comes_second_to_one_place_is_told_so(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match="a: something is in the way by now. Look at what is there"),
        storage_errors(tmp_path / "a"),
        new_folder(tmp_path / "a") as work,
    ):
        write_artifact(tmp_path / "a", make_draft())
        move_into_place(work, tmp_path / "a")
    assert verify(tmp_path / "a") == [] and os.listdir(tmp_path) == ["a"]


# Stores.


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return write_artifact(tmp_path / "a", make_draft())


def test_a_published_version_cannot_be_attached_to_or_overwritten(artifact: Artifact, tmp_path: Path) -> None:
    publish(artifact, tmp_path / "store" / "syc")
    version = LocalHub(tmp_path / "store").fetch("syc", "v1.0.0")
    with pytest.raises(InputError, match="never changes"):
        attach(Artifact.open(version), {"shift/report.json": b"{}"})
    with pytest.raises(InputError, match="never changes"):
        write_artifact(version, make_draft(), overwrite=True)
    assert verify(version) == []


def test_nothing_but_publishing_makes_anything_in_a_store(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    publish(artifact, store / "x")
    before = sorted(store.rglob("*"))
    monkeypatch.chdir(store)
    (tmp_path / "link").symlink_to(store / "x")
    for out in (store / "x" / "v9.0.0", store / "y", store / "y" / "v1.0.0", store / "x" / "v1.0.0" / "z", Path("y"),
                tmp_path / "link" / "v2.0.0"):  # fmt: skip
        for attempt in (
            lambda out: write_artifact(out, make_draft()),
            lambda out: pull(artifact.path, out),
            lambda out: check_target(out, overwrite=True),
        ):
            with pytest.raises(InputError, match="lies in a store. Choose another place, and publish from there"):
                attempt(out)
    for overwrite in (False, True):
        with pytest.raises(InputError, match="published version never changes"):
            write_artifact(store / "x" / "v1.0.0", make_draft(), overwrite=overwrite)
    assert sorted(store.rglob("*")) == before
    assert LocalHub(store).versions("x") == ["v1.0.0"] and LocalHub(store).names() == ["x"]
    check_target(tmp_path / "beside")


def test_two_processes_racing_for_one_tag_have_one_winner(tmp_path: Path) -> None:
    script = """
import sys
from datasets_cards import Artifact, ConflictError, attach, publish
who, root = sys.argv[1:]
artifact = Artifact.open(f"{root}/{who}")
print("ready", flush=True)
for line in sys.stdin:
    artifact = attach(artifact, {"effects/note.json": f'"{who}{line}"'.encode()})
    try:
        publish(artifact, f"{root}/store/syc", version=f"v{line.strip()}.0.0")
        print("won", flush=True)
    except ConflictError:
        print("told", flush=True)
"""
    processes = []
    for who in "ab":
        write_artifact(tmp_path / who, make_draft())
        command = [sys.executable, "-c", script, who, str(tmp_path)]
        pipe = subprocess.PIPE
        processes.append(subprocess.Popen(command, cwd=TESTS.parent, stdin=pipe, stdout=pipe, text=True))
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for number in range(1, 9):
        for process in processes:
            process.stdin.write(f"{number}\n")
            process.stdin.flush()
        assert sorted(process.stdout.readline() for process in processes) == ["told\n", "won\n"]
    for process in processes:
        process.stdin.close()
        process.wait()
    assert len(LocalHub(tmp_path / "store").versions("syc")) == 8


def test_a_published_version_is_safe_from_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(write_artifact(tmp_path / "a", make_draft()), tmp_path / "store" / "syc")
    version = LocalHub(tmp_path / "store").fetch("syc", "v1.0.0")
    monkeypatch.chdir(version.parent)
    for attempt in (
        lambda: write_artifact(version.name, make_draft(), overwrite=True),
        lambda: attach(Artifact.open(version.name), {"shift/report.json": b"{}"}),
    ):
        with pytest.raises(InputError, match="published version never changes"):
            attempt()
    assert verify(version) == []


def test_overwriting_takes_no_other_programs_manifest_for_ours(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "an extension"}')
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(StorageError, match="holds other files, and no artifact"):
        write_artifact(tmp_path, make_draft(), overwrite=True)
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_a_writer_that_refused_a_batch_finishes_nothing(tmp_path: Path) -> None:
    draft = make_draft(rows=1, dropped=0)
    draft.candidates[0].logprob = float("nan")
    about = {name: getattr(draft, name) for name in ("source", "model", "labeler", "engine", "seeds")}
    with ArtifactWriter(tmp_path / "a", rows=1) as writer:
        with pytest.raises(InputError):
            writer.add(rows=draft.rows, candidates=draft.candidates, labels=draft.labels)
        for attempt in (lambda: writer.add(rows=[]), lambda: writer.finish(**about)):
            with pytest.raises(InputError, match="batch was refused"):
                attempt()
    assert not (tmp_path / "a").exists()


def test_killed_writers_are_cleared_up_after_whatever_the_name(tmp_path: Path) -> None:
    (tmp_path / ".sc[1].new-dead").mkdir()
    write_artifact(tmp_path / "sc[1]", make_draft())
    assert [p.name for p in tmp_path.iterdir()] == ["sc[1]"]
