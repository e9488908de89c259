"""Nothing half-written: killed writers, full disks, forbidden folders, racing publishers."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest
from drafts import make_draft

from datasets_cards import (
    Artifact,
    ArtifactWriter,
    ConflictError,
    InputError,
    IntegrityError,
    LocalHub,
    MissingError,
    StorageError,
    attach,
    is_reference,
    resolve_ref,
    verify,
    write_artifact,
)

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
    from datasets_cards.storage import new_folder

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


# Stores.


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return write_artifact(tmp_path / "a", make_draft())


def with_note(artifact: Artifact, note: str) -> Artifact:
    return attach(artifact, {"effects/note.json": f'"{note}"'.encode()})


def test_versions_grow_and_never_change(artifact: Artifact, tmp_path: Path) -> None:
    hub = LocalHub(tmp_path / "store")
    first = hub.publish(artifact, "syc", "v1.0.0")
    assert (first.version, first.parent, first.changed) == ("v1.0.0", None, True)
    assert hub.resolve("syc@v1.0.0") == first.path
    assert verify(first.path) == []
    bytes_then = {path: path.read_bytes() for path in first.path.rglob("*") if path.is_file()}

    same = hub.publish(artifact, "syc", "v1.0.1")
    assert (same.version, same.changed) == ("v1.0.0", False)
    assert hub.versions("syc") == ["v1.0.0"]

    second = hub.publish(with_note(artifact, "x"), "syc", "v1.0.10", parent="v1.0.0")
    third = hub.publish(with_note(artifact, "y"), "syc", "v1.2.0")
    assert hub.versions("syc") == ["v1.0.0", "v1.0.10", "v1.2.0"]
    assert third.parent == second.version
    parent = Artifact.open(third.path).manifest.parent
    assert parent
    assert parent.version == "v1.0.10"
    assert Artifact.open(third.path).manifest.version == "v1.2.0"
    assert {path: path.read_bytes() for path in bytes_then} == bytes_then


def test_what_cannot_be_published_says_why(artifact: Artifact, tmp_path: Path) -> None:
    hub = LocalHub(tmp_path / "store")
    hub.publish(artifact, "syc", "v1.1.0")
    changed = with_note(artifact, "x")
    with pytest.raises(ConflictError, match="taken"):
        hub.publish(changed, "syc", "v1.1.0")
    with pytest.raises(InputError, match="below"):
        hub.publish(changed, "syc", "v1.0.9")
    with pytest.raises(ConflictError, match=r"moved on to v1\.1\.0"):
        hub.publish(changed, "syc", "v2.0.0", parent="v1.0.0")
    with pytest.raises(ConflictError, match="no version"):
        hub.publish(changed, "new", "v2.0.0", parent="v1.0.0")
    with pytest.raises(InputError, match="holds other files"):
        LocalHub(tmp_path / "a").publish(artifact, "syc", "v1.0.0")
    (changed.path / "labels" / "extra").write_text("x")
    with pytest.raises(IntegrityError, match="labels/extra"):
        hub.publish(changed, "syc", "v2.0.0")
    assert hub.versions("syc") == ["v1.1.0"]


def test_a_published_version_cannot_be_attached_to_or_overwritten(artifact: Artifact, tmp_path: Path) -> None:
    release = LocalHub(tmp_path / "store").publish(artifact, "syc", "v1.0.0")
    with pytest.raises(InputError, match="never changes"):
        attach(Artifact.open(release.path), {"shift/report.json": b"{}"})
    with pytest.raises(InputError, match="never changes"):
        write_artifact(release.path, make_draft(), overwrite=True)
    assert verify(release.path) == []


BAD_NAMES = [
    "..",
    "../x",
    "a/b",
    "/etc",
    "",
    ".hidden",
    "a..b",
    "a\0b",
    "a b",
    "ä",
    "x" * 97,
    "a\n",
    "store.json",
    "-x",
]
BAD_VERSIONS = [
    "1.0.0",
    "v1.0",
    "v1.0.0.0",
    "v01.0.0",
    "v1.0.x",
    "v1.0.0\n",
    "v٣.0.0",
    "latest",
    "",
    "../v1.0.0",
    "v1.0.0 ",
]


def test_names_and_versions_of_other_shapes_are_refused(artifact: Artifact, tmp_path: Path) -> None:
    hub = LocalHub(tmp_path / "store")
    hub.publish(artifact, "syc", "v1.0.0")
    for name in BAD_NAMES:
        for call in (lambda n=name: hub.publish(artifact, n, "v1.0.0"), lambda n=name: hub.resolve(f"{n}@v1.0.0")):
            with pytest.raises(InputError):
                call()
        with pytest.raises(InputError):
            hub.versions(name)
    for version in BAD_VERSIONS:
        with pytest.raises(InputError):
            hub.publish(artifact, "syc", version)
        with pytest.raises(InputError):
            hub.resolve(f"syc@{version}")
    assert sorted(os.listdir(tmp_path / "store")) == ["store.json", "syc"]


def test_references_resolve_or_say_what_there_is(artifact: Artifact, tmp_path: Path) -> None:
    store = tmp_path / "store"
    release = LocalHub(store).publish(artifact, "syc", "v1.0.0")
    assert resolve_ref(artifact.path) == artifact.path
    assert resolve_ref(f"{store}/syc@v1.0.0") == release.path
    assert is_reference(f"{store}/syc@v1.0.0")
    assert not is_reference(artifact.path)
    for ref, says in (
        (f"{store}/syc@v1.0.1", r"no syc@v1\.0\.1.*v1\.0\.0"),
        (f"{store}/sic@v1.0.0", r"no sic@v1\.0\.0.*syc"),
        (f"{tmp_path}/nowhere/syc@v1.0.0", "no such store"),
        (f"{tmp_path}/stoer", "no such artifact.*mean store"),
    ):
        with pytest.raises(MissingError, match=says):
            resolve_ref(ref)
    with pytest.raises(InputError, match="no manifest"):
        resolve_ref(store)


def test_links_out_of_a_store_are_not_followed(artifact: Artifact, tmp_path: Path) -> None:
    hub = LocalHub(tmp_path / "store")
    hub.publish(artifact, "syc", "v1.0.0")
    os.symlink(artifact.path, tmp_path / "store" / "syc" / "v1.1.0")
    with pytest.raises(IntegrityError, match="out of the store"):
        hub.resolve("syc@v1.1.0")
    os.symlink(tmp_path / "store" / "syc", tmp_path / "store" / "alias")
    with pytest.raises(MissingError):
        hub.resolve("alias@v1.0.0")
    with pytest.raises(IntegrityError, match="symbolic link"):
        hub.publish(artifact, "alias", "v9.0.0")


def test_of_racing_publishers_exactly_one_wins_each_round(tmp_path: Path) -> None:
    rounds, hub = 12, LocalHub(tmp_path / "store")
    hub.publish(write_artifact(tmp_path / "base", make_draft()), "syc", "v0.0.1")
    start, outcomes = threading.Barrier(3), {who: [] for who in "abc"}

    def publisher(who: str) -> None:
        mine = write_artifact(tmp_path / who, make_draft())
        for number in range(1, rounds + 1):
            mine = with_note(mine, f"{who}{number}")
            start.wait()
            # Half of the rounds they want one tag, half of them tags of their own on one parent.
            patch = 0 if number % 2 else ord(who) - ord("a")
            try:
                hub.publish(mine, "syc", f"v{number}.0.{patch}", parent=before[0])
                outcomes[who].append("won")
            except ConflictError:
                outcomes[who].append("told")
            if start.wait() == 0:
                before[0] = hub.versions("syc")[-1]
            start.wait()

    before = ["v0.0.1"]
    threads = [threading.Thread(target=publisher, args=(who,)) for who in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [sorted(result) for result in zip(*outcomes.values(), strict=True)] == [["told", "told", "won"]] * rounds
    versions = hub.versions("syc")
    assert len(versions) == rounds + 1
    for parent, version in pairwise(versions):
        manifest = Artifact.open(hub.resolve(f"syc@{version}")).manifest
        assert manifest.parent
        assert manifest.parent.version == parent
        assert verify(hub.resolve(f"syc@{version}")) == []
    assert [name for name in os.listdir(tmp_path / "store" / "syc") if name.startswith(".")] == []


def test_two_processes_racing_for_one_tag_have_one_winner(tmp_path: Path) -> None:
    script = """
import sys
from datasets_cards import Artifact, ConflictError, LocalHub, attach
who, root = sys.argv[1:]
artifact = Artifact.open(f"{root}/{who}")
print("ready", flush=True)
for line in sys.stdin:
    artifact = attach(artifact, {"effects/note.json": f'"{who}{line}"'.encode()})
    try:
        LocalHub(f"{root}/store").publish(artifact, "syc", f"v{line.strip()}.0.0")
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
    release = LocalHub(tmp_path / "store").publish(write_artifact(tmp_path / "a", make_draft()), "syc", "v1.0.0")
    version = LocalHub(tmp_path / "store").resolve("syc@v1.0.0")
    assert release
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
