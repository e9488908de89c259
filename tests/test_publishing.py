"""One path to a release, for a folder store and for the Hub: versions, steps, plans, cards, races."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
from drafts import make_draft
from hub_client import in_process
from hub_server import hub

from datasets_cards import (
    Artifact,
    ConflictError,
    Hub,
    InputError,
    IntegrityError,
    LocalHub,
    MissingError,
    Release,
    Store,
    attach,
    publish,
    pull,
    resolve_ref,
    verify,
    write_artifact,
)


@dataclass
class Place:
    """A dataset in a store of one of the two kinds."""

    store: Store
    name: str

    def publish(self, artifact: Artifact | Path, **options) -> Release:
        return publish(artifact, self.name, store=self.store, **options)

    def versions(self) -> list[str]:
        return self.store.versions(self.name)

    def fetch(self, version: str) -> Artifact:
        return Artifact.open(self.store.fetch(self.name, version))


@pytest.fixture(params=["folder", "hub"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    if request.param == "folder":
        yield Place(LocalHub(tmp_path / "store"), "syc")
        return
    monkeypatch.setenv("ECHOSET_CACHE", str(tmp_path / "cache"))
    with hub() as server, in_process(server.endpoint, "hf_me", tmp_path / "home"):
        yield Place(Hub(), "me/syc")


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return write_artifact(tmp_path / "a", make_draft())


def with_note(artifact: Artifact, note: str) -> Artifact:
    return attach(artifact, {"effects/note.json": f'"{note}"'.encode()})


def variant(tmp_path: Path, name: str, change: Callable) -> Artifact:
    """The artifact of the fixture with its draft changed."""
    draft = make_draft()
    change(draft)
    return write_artifact(tmp_path / name, draft)


def test_versions_grow_and_never_change(place: Place, artifact: Artifact) -> None:
    first = place.publish(artifact)
    assert (first.version, first.parent, first.published, first.changed) == ("v1.0.0", None, True, True)
    one = place.fetch("v1.0.0")
    assert verify(one.path) == []
    bytes_then = {path: path.read_bytes() for path in one.path.rglob("*") if path.is_file()}

    same = place.publish(artifact)
    assert (same.version, same.published, same.changed) == ("v1.0.0", False, False)
    assert place.versions() == ["v1.0.0"]

    second = place.publish(with_note(artifact, "x"), version="v1.0.10", parent="v1.0.0")
    third = place.publish(with_note(artifact, "y"), bump="minor")
    assert place.versions() == ["v1.0.0", "v1.0.10", "v1.1.0"]
    assert third.parent == second.version
    manifest = place.fetch("v1.1.0").manifest
    assert manifest.version == "v1.1.0"
    assert manifest.parent
    assert (manifest.parent.version, manifest.parent.logical_digest) == ("v1.0.10", artifact.manifest.logical_digest)
    assert manifest.repository == (None if isinstance(place.store, LocalHub) else "me/syc")
    assert {path: path.read_bytes() for path in bytes_then} == bytes_then


def test_what_changed_proposes_the_step_and_a_smaller_one_is_refused(
    place: Place, artifact: Artifact, tmp_path: Path
) -> None:
    place.publish(artifact)
    more = write_artifact(tmp_path / "more", make_draft(rows=7))
    assert make_draft(rows=7).rows[:6] == make_draft().rows

    def other_words(draft) -> None:
        draft.candidates[0] = replace(draft.candidates[0], text="Other")
        draft.labels[0].completion[0]["content"] = "Other"

    changed = variant(tmp_path, "changed", other_words)
    with pytest.raises(InputError, match=r"a patch step promises less than what changed.*major"):
        place.publish(changed, bump="patch")
    with pytest.raises(InputError, match="a minor step promises less"):
        place.publish(changed, version="v1.7.0")
    assert place.versions() == ["v1.0.0"]
    assert place.publish(with_note(artifact, "x")).version == "v1.0.1"
    release = place.publish(changed)
    assert release.version == "v2.0.0"
    assert release.diff
    assert release.diff.bump == "major"
    assert place.publish(more).version == "v3.0.0"  # the changed label changed back


def test_added_rows_are_a_minor_step(place: Place, tmp_path: Path) -> None:
    place.publish(write_artifact(tmp_path / "few", make_draft(rows=5, dropped=0)))
    assert place.publish(write_artifact(tmp_path / "more", make_draft(rows=9, dropped=0))).version == "v1.1.0"
    assert place.publish(write_artifact(tmp_path / "less", make_draft(rows=8, dropped=0))).version == "v2.0.0"


def test_what_cannot_be_published_says_why(place: Place, artifact: Artifact, tmp_path: Path) -> None:
    place.publish(artifact, version="v1.1.0")
    changed = with_note(artifact, "x")
    with pytest.raises(ConflictError, match=r"v1\.1\.0 is taken"):
        place.publish(changed, version="v1.1.0")
    with pytest.raises(InputError, match="below"):
        place.publish(changed, version="v1.0.9")
    with pytest.raises(ConflictError, match=r"moved on to v1\.1\.0"):
        place.publish(changed, parent="v1.0.0")
    with pytest.raises(InputError, match="both"):
        place.publish(changed, bump="minor", version="v1.2.0")
    new = Place(place.store, place.name + "-new")
    with pytest.raises(ConflictError, match="no version"):
        new.publish(changed, parent="v1.0.0")
    with pytest.raises(InputError, match="no version yet"):
        new.publish(changed, bump="minor")
    (changed.path / "labels" / "extra").write_text("x")
    with pytest.raises(IntegrityError, match="labels/extra"):
        place.publish(changed)
    assert place.versions() == ["v1.1.0"]
    assert new.versions() == []


def test_a_dry_run_says_all_and_changes_nothing(place: Place, artifact: Artifact, tmp_path: Path) -> None:
    plan = place.publish(artifact, dry_run=True)
    assert (plan.version, plan.published, plan.changed, plan.parent) == ("v1.0.0", False, True, None)
    assert place.versions() == []
    assert place.store.head(place.name) is None
    done = place.publish(artifact)
    assert done.files == plan.files
    assert {file.path for file in plan.files} == {"manifest.json", *(file.path for file in artifact.manifest.files)}

    before = place.store.head(place.name)
    plan = place.publish(with_note(artifact, "x"), dry_run=True)
    assert (plan.version, plan.published, plan.parent) == ("v1.0.1", False, "v1.0.0")
    actions = {file.path: file.action for file in plan.files}
    assert actions["effects/note.json"] == "add"
    assert actions["manifest.json"] == actions["README.md"] == "replace"
    assert actions["labels/00000-of-00001.parquet"] == "keep"
    assert 0 < plan.upload_bytes < sum(file.bytes or 0 for file in plan.files)
    assert place.store.head(place.name) == before
    assert place.publish(artifact, dry_run=True).version == "v1.0.1"


def test_what_people_wrote_into_the_card_is_published_and_stays(place: Place, artifact: Artifact) -> None:
    place.publish(artifact)
    card = artifact.path / "README.md"
    card.write_text(
        card.read_text().replace("---\n", "---\nfunding: a grant\n", 1) + "\n## Known problems\n\nRow r3 is odd.\n"
    )
    release = place.publish(artifact)
    assert release.version == "v1.0.1"
    assert release.diff
    assert release.diff.reason == "the card changed"
    for version in ("v1.0.1", place.publish(with_note(artifact, "x")).version):
        text = (place.fetch(version).path / "README.md").read_text()
        assert "funding: a grant" in text
        assert "Row r3 is odd." in text
        assert f"Version\n{version}" in text or f"Version {version}" in text
    again = place.publish(artifact)
    assert not again.changed


def test_a_pulled_copy_is_the_same_and_every_damage_to_it_is_named(
    place: Place, artifact: Artifact, tmp_path: Path
) -> None:
    place.publish(with_note(artifact, "x"))
    ref = f"{place.store.where(place.name)}@v1.0.0"
    copy = pull(ref, tmp_path / "copy")
    assert verify(copy.path) == []
    assert copy.manifest.logical_digest == artifact.manifest.logical_digest
    assert copy.manifest.scores_digest == artifact.manifest.scores_digest
    assert copy.labels().equals(artifact.labels())
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".")} == set()
    with pytest.raises(InputError, match="already here"):
        pull(ref, tmp_path / "copy")
    assert pull(ref, tmp_path / "copy", overwrite=True).manifest == copy.manifest

    def flip(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    damages = {
        "changed_file": lambda to: flip(to / "candidates" / "00000-of-00001.parquet"),
        "missing_file": lambda to: (to / "labels" / "00000-of-00001.parquet").unlink(),
        "extra_file": lambda to: (to / "labels" / "more.parquet").write_bytes(b"x"),
        "edited_manifest": lambda to: (to / "manifest.json").write_text(
            (to / "manifest.json").read_text().replace("organism-7", "organism-8")
        ),
    }
    for kind, damage in damages.items():
        shutil.rmtree(tmp_path / "copy")
        pull(ref, tmp_path / "copy")
        damage(tmp_path / "copy")
        assert kind in {finding.kind for finding in verify(tmp_path / "copy")}


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
BAD_NAMES = {
    LocalHub: ["..", "../x", "a/b", "/etc", "", ".hidden", "a..b", "a\0b", "a b", "ä", "x" * 97, "a\n", "store.json"],
    Hub: [
        "",
        "name",
        "a/b/c",
        "/x",
        "x/",
        "../x/y",
        "a/..",
        "a/b..c",
        "a/b--c",
        "-a/b",
        "a/b\n",
        "a b/c",
        "ä/b",
        "a/" + "x" * 97,
        "a/b.git",
        "a/b@v1.0.0",
        "a/b:c",
    ],
}


def test_names_and_versions_of_other_shapes_are_refused(place: Place, artifact: Artifact) -> None:
    place.publish(artifact)
    for name in BAD_NAMES[type(place.store)]:
        bad = Place(place.store, name)
        for call in (lambda bad=bad: bad.publish(artifact), lambda bad=bad: bad.fetch("v1.0.0"), bad.versions):
            with pytest.raises(InputError):
                call()
    for version in BAD_VERSIONS:
        with pytest.raises(InputError):
            place.publish(artifact, version=version)
        with pytest.raises(InputError):
            place.fetch(version)
    assert place.versions() == ["v1.0.0"]
    with pytest.raises(MissingError, match=r"no .*syc@v1\.0\.1.*v1\.0\.0"):
        place.fetch("v1.0.1")


def test_of_racing_publishers_exactly_one_wins_each_round(place: Place, tmp_path: Path) -> None:
    rounds = 50
    place.publish(write_artifact(tmp_path / "base", make_draft()), version="v0.0.1")
    start, outcomes = threading.Barrier(2), {who: [] for who in "ab"}
    before = ["v0.0.1"]

    def publisher(who: str) -> None:
        mine = write_artifact(tmp_path / who, make_draft())
        for number in range(1, rounds + 1):
            mine = with_note(mine, f"{who}{number}")
            start.wait()
            # Half of the rounds they want one version, half of them versions of their own on one parent.
            patch = 0 if number % 2 else ord(who) - ord("a")
            try:
                assert place.publish(mine, version=f"v{number}.0.{patch}", parent=before[0]).published
                outcomes[who].append("won")
            except ConflictError:
                outcomes[who].append("told")
            except BaseException as error:
                outcomes[who].append(repr(error))
            if start.wait() == 0:
                before[0] = place.versions()[-1]
            start.wait()

    threads = [threading.Thread(target=publisher, args=(who,)) for who in outcomes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [sorted(result) for result in zip(*outcomes.values(), strict=True)] == [["told", "won"]] * rounds
    versions = place.versions()
    assert len(versions) == rounds + 1
    winners = ["a" if of_a == "won" else "b" for of_a in outcomes["a"]]
    for number, (parent, version) in enumerate(pairwise(versions), 1):
        found = place.fetch(version)
        assert verify(found.path) == []
        assert found.manifest.parent
        assert found.manifest.parent.version == parent
        assert (found.path / "effects" / "note.json").read_text() == f'"{winners[number - 1]}{number}"'


def test_references_resolve_or_say_what_there_is(artifact: Artifact, tmp_path: Path) -> None:
    store = tmp_path / "store"
    publish(artifact, f"{store}/syc")
    assert resolve_ref(artifact.path) == artifact.path
    assert resolve_ref(f"{store}/syc@v1.0.0") == store / "syc" / "v1.0.0"
    for ref, error, says in (
        (f"{store}/syc@v1.0.1", MissingError, r"no syc@v1\.0\.1.*v1\.0\.0"),
        (f"{store}/sic@v1.0.0", MissingError, r"no sic@v1\.0\.0.*syc"),
        (f"{tmp_path}/nowhere/syc@v1.0.0", MissingError, "no such store"),
        (f"{tmp_path}/stoer", MissingError, "no such artifact.*mean store"),
        (store, InputError, "no manifest"),
        ("hub:me", InputError, "hub:ORG/NAME"),
        ("hub:me/x@main", InputError, "not a version"),
    ):
        with pytest.raises(error, match=says):
            resolve_ref(ref)
    with pytest.raises(InputError, match="names a version"):
        publish(artifact, f"{store}/syc@v1.0.0")
    with pytest.raises(InputError, match="only a repository on the Hub"):
        publish(artifact, f"{store}/syc", private=True)


def test_a_folder_of_other_things_is_no_store(artifact: Artifact, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds other files"):
        publish(artifact, artifact.path / "syc")


def test_links_out_of_a_store_are_not_followed(artifact: Artifact, tmp_path: Path) -> None:
    store = LocalHub(tmp_path / "store")
    publish(artifact, "syc", store=store)
    os.symlink(artifact.path, tmp_path / "store" / "syc" / "v1.1.0")
    with pytest.raises(IntegrityError, match="out of the store"):
        store.fetch("syc", "v1.1.0")
    os.symlink(tmp_path / "store" / "syc", tmp_path / "store" / "alias")
    with pytest.raises(MissingError):
        store.fetch("alias", "v1.0.0")
    with pytest.raises(IntegrityError, match="symbolic link"):
        publish(artifact, "alias", store=store)


PUBLISHER = """
import sys
from datasets_cards import publish
import datasets_cards.cards.merge, huggingface_hub, jinja2, rich.progress
print("ready", flush=True)
sys.stdin.readline()
publish(sys.argv[1], sys.argv[2])
"""


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.03, 0.06, 0.1, 0.2])
def test_killed_at_any_moment_a_folder_store_stays_whole(tmp_path: Path, delay: float) -> None:
    target = tmp_path / "store" / "syc"
    publish(write_artifact(tmp_path / "one", make_draft(rows=50)), target)
    changed = write_artifact(tmp_path / "two", make_draft(rows=300), shards=4)
    command = [sys.executable, "-c", PUBLISHER, str(changed.path), str(target)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)
    assert process.stdout
    assert process.stdin
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("go\n")
    process.stdin.flush()
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    store = LocalHub(tmp_path / "store")
    assert all(verify(store.fetch("syc", version)) == [] for version in store.versions("syc"))
    publish(changed, target)
    assert store.versions("syc") == ["v1.0.0", "v2.0.0"]
    assert verify(store.fetch("syc", "v2.0.0")) == []
    assert sorted(os.listdir(target)) == ["v1.0.0", "v2.0.0"]
