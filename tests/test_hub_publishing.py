"""What is the Hub's own in a release: commit, tag and all that can come between; access; what goes over the wire."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from drafts import make_draft
from hub_client import client_environment, in_process
from hub_http import Asked
from hub_server import HubServer, hub
from huggingface_hub import HfApi

from datasets_cards import (
    Artifact,
    ConflictError,
    Hub,
    InputError,
    IntegrityError,
    MissingError,
    StorageError,
    attach,
    publish,
    pull,
    verify,
    write_artifact,
)

NAME = "me/syc"
TESTS = Path(__file__).parent


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setenv("ECHOSET_CACHE", str(tmp_path / "cache"))
    with hub() as running, in_process(running.endpoint, None, tmp_path / "home"):
        yield running


@pytest.fixture
def store(server: HubServer) -> Hub:
    return Hub(token="hf_me")


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return write_artifact(tmp_path / "a", make_draft())


def with_note(artifact: Artifact, note: str) -> Artifact:
    return attach(artifact, {"effects/note.json": f'"{note}"'.encode()})


def test_a_release_is_one_commit_and_a_tag_on_it(server: HubServer, store: Hub, artifact: Artifact) -> None:
    publish(artifact, NAME, store=store)
    made = [path for method, path, _ in server.log if method == "POST" and "/commit/" in path]
    assert len(made) == 1
    assert server.tags(NAME) == {"v1.0.0": server.head(NAME)}
    files = server.files(NAME, "v1.0.0")
    assert set(files) - {".gitattributes"} == {"manifest.json", *(file.path for file in artifact.manifest.files)}
    assert json.loads(files["manifest.json"])["repository"] == NAME
    assert 'load_dataset("me/syc", "labels"' in files["README.md"].decode()


def test_who_may_not_write_is_told_before_anything_happens(server: HubServer, artifact: Artifact, store: Hub) -> None:
    with pytest.raises(InputError, match="no token.*hf auth login"):
        publish(artifact, NAME, store=Hub())
    with pytest.raises(InputError, match="knows no such token"):
        publish(artifact, NAME, store=Hub(token="hf_nobody"))
    with pytest.raises(InputError, match="no permission"):
        publish(artifact, NAME, store=Hub(token="hf_other"))
    assert store.head(NAME) is None
    publish(artifact, NAME, store=store)
    head = server.head(NAME)
    with pytest.raises(InputError, match="no permission"):
        publish(with_note(artifact, "x"), NAME, store=Hub(token="hf_other"))
    assert server.head(NAME) == head
    assert list(server.tags(NAME)) == ["v1.0.0"]


def test_private_is_private_and_never_by_accident_public(server: HubServer, artifact: Artifact) -> None:
    publish(artifact, NAME, store=Hub(token="hf_me", private=True, gated="manual"))
    info = HfApi(token="hf_me").dataset_info(NAME)
    assert (info.private, info.gated) == (True, "manual")
    with pytest.raises(MissingError, match="no such dataset on the Hub, or a private one"):
        Hub(token="hf_other").fetch(NAME, "v1.0.0")
    publish(artifact, "me/open", store=Hub(token="hf_me"))
    changed, closed = with_note(artifact, "x"), Hub(token="hf_me", private=True)
    with pytest.raises(InputError, match="is public already"):
        publish(changed, "me/open", store=closed)
    assert closed.versions("me/open") == ["v1.0.0"]


def test_a_gated_dataset_says_what_to_do(server: HubServer, artifact: Artifact) -> None:
    publish(artifact, NAME, store=Hub(token="hf_me", gated="auto"))
    with pytest.raises(InputError, match="gated.*Accept its terms"):
        Hub(token="hf_other").fetch(NAME, "v1.0.0")


def test_a_head_that_moves_during_a_publish_stops_it(server: HubServer, store: Hub, artifact: Artifact) -> None:
    publish(artifact, NAME, store=store)
    moved = []

    def move(request: Asked) -> None:
        if "/commit/" in request.path and request.method == "POST" and not moved:
            moved.append(True)
            server.commit(NAME, {"notes.txt": b"x"}, message="Edit on the web page")

    changed = with_note(artifact, "x")
    server.before = move
    with pytest.raises(ConflictError, match="moved on to Edit on the web page"):
        publish(changed, NAME, store=store)
    server.before = None
    assert list(server.tags(NAME)) == ["v1.0.0"]
    assert "effects/note.json" not in server.files(NAME, "main")
    assert publish(changed, NAME, store=store).version == "v1.0.1"
    assert server.files(NAME, "v1.0.1")["notes.txt"] == b"x"  # what people put there stays


def test_a_tag_taken_meanwhile_is_told(server: HubServer, store: Hub, artifact: Artifact) -> None:
    publish(artifact, NAME, store=store)
    first = server.head(NAME)

    def take(request: Asked) -> None:
        if request.method == "POST" and request.path.endswith("/preupload/main"):
            server.before = None
            server.tag(NAME, "v1.0.1", first)

    server.before = take
    with pytest.raises(ConflictError, match=r"v1\.0\.1 is taken"):
        publish(with_note(artifact, "x"), NAME, store=store)
    assert server.tags(NAME)["v1.0.1"] == first


def test_interrupted_between_commit_and_tag_the_next_run_finishes_it(
    server: HubServer, store: Hub, artifact: Artifact
) -> None:
    server.fail(r"POST .*/tag/", 403)
    with pytest.raises(InputError, match="no permission"):
        publish(artifact, NAME, store=store)
    assert server.tags(NAME) == {}
    commit = server.head(NAME)

    plan = publish(artifact, NAME, store=store, dry_run=True)
    assert (plan.finished, plan.published) == ("v1.0.0", False)
    assert server.tags(NAME) == {}
    release = publish(artifact, NAME, store=store)
    assert (release.finished, release.changed, release.version) == ("v1.0.0", False, "v1.0.0")
    assert server.tags(NAME) == {"v1.0.0": commit}

    # Somebody else with another artifact finishes the release too, and goes on to the next version.
    server.fail(r"POST .*/tag/", 403)
    with pytest.raises(InputError):
        publish(with_note(artifact, "x"), NAME, store=store)
    commit = server.head(NAME)
    server.commit(NAME, {"README.md": server.files(NAME)["README.md"] + b"\nBy hand.\n"})
    release = publish(with_note(artifact, "y"), NAME, store=store)
    assert (release.finished, release.version) == ("v1.0.1", "v1.0.2")
    assert server.tags(NAME)["v1.0.1"] == commit
    assert b"By hand." in server.files(NAME, "v1.0.2")["README.md"]
    assert [verify(store.fetch(NAME, version)) for version in store.versions(NAME)] == [[], [], []]


def test_a_torn_head_is_not_released(server: HubServer, store: Hub, artifact: Artifact) -> None:
    publish(artifact, NAME, store=store)
    later = json.loads(server.files(NAME, "main")["manifest.json"]) | {"version": "v1.5.0"}
    server.commit(NAME, {"manifest.json": json.dumps(later).encode()}, message="Release v1.5.0")
    release = publish(with_note(artifact, "x"), NAME, store=store)
    assert (release.finished, release.version) == (None, "v1.0.1")
    assert any("manifest on the branch was edited" in note for note in release.notes)
    assert list(server.tags(NAME)) == ["v1.0.0", "v1.0.1"]
    assert verify(store.fetch(NAME, "v1.0.1")) == []


@pytest.mark.parametrize("route", ["PUT /lfs/", "GET .*/resolve/.*labels", "POST .*/preupload", "POST .*/create"])
def test_a_hub_that_fails_is_one_line_and_the_next_publish_ends_clean(
    server: HubServer, store: Hub, artifact: Artifact, route: str
) -> None:
    server.fail(route, 503, times=99)
    with pytest.raises(StorageError, match=r"hub:me/syc: the Hub (answered 503|can't be reached)"):
        publish(artifact, NAME, store=store)
    server.faults.clear()
    assert publish(artifact, NAME, store=store).version == "v1.0.0"
    assert verify(store.fetch(NAME, "v1.0.0")) == []


def test_a_lost_answer_to_the_commit_is_not_a_lost_release(server: HubServer, store: Hub, artifact: Artifact) -> None:
    server.drop(r"POST .*/commit/", handled=True)
    try:
        publish(artifact, NAME, store=store)
    except StorageError as error:
        assert "can't be reached" in str(error)
    release = publish(artifact, NAME, store=store)
    assert release.version == "v1.0.0"
    assert list(server.tags(NAME)) == ["v1.0.0"]
    assert not publish(artifact, NAME, store=store).changed


def test_what_changes_during_a_publish_is_not_published(server: HubServer, store: Hub, artifact: Artifact) -> None:
    noted = with_note(artifact, "as it was checked")

    def change(request: Asked) -> None:
        if request.path.endswith("/preupload/main"):
            (noted.path / "effects" / "note.json").write_text('"as it was never checked"')

    server.before = change
    publish(noted, NAME, store=store)
    assert server.files(NAME, "v1.0.0")["effects/note.json"] == b'"as it was checked"'


def test_what_is_not_checked_yet_has_no_tag(server: HubServer, store: Hub, artifact: Artifact) -> None:
    server.fail(r"GET .*/resolve/.*/labels", 403)
    with pytest.raises(InputError, match="no permission"):
        publish(artifact, NAME, store=store)
    assert server.tags(NAME) == {}
    labels = server.files(NAME)["labels/00000-of-00001.parquet"]
    kept = next(path for path in server.folder.iterdir() if path.read_bytes() == labels)
    kept.write_bytes(labels[:-1] + b"x")  # the Hub's own disk fails
    with pytest.raises(IntegrityError, match=r"labels/.*the Hub gives other bytes than were sent"):
        publish(with_note(artifact, "x"), NAME, store=store)
    assert server.tags(NAME) == {}
    kept.write_bytes(labels)
    release = publish(artifact, NAME, store=store)
    assert (release.finished, release.changed) == ("v1.0.0", False)
    assert server.tags(NAME) == {"v1.0.0": server.head(NAME)}


def test_a_spoiled_cache_heals(server: HubServer, store: Hub, artifact: Artifact, tmp_path: Path) -> None:
    publish(artifact, NAME, store=store)
    for _ in range(2):
        cached = store.fetch(NAME, "v1.0.0") / "candidates" / "00000-of-00001.parquet"
        data = cached.read_bytes()
        cached.write_bytes(data[:-9] + b"x" + data[-8:])
    with in_process(server.endpoint, "hf_me", tmp_path / "home"):
        assert verify(pull(f"hub:{NAME}@v1.0.0", tmp_path / "copy").path) == []


def test_what_people_do_to_the_branch_is_mended_by_the_next_release(
    server: HubServer, store: Hub, artifact: Artifact
) -> None:
    publish(artifact, NAME, store=store)
    server.commit(NAME, {"labels/00000-of-00001.parquet": None})
    release = publish(artifact, NAME, store=store)
    assert (release.version, release.diff and release.diff.reason) == (
        "v1.0.1",
        "what the branch holds is not what was released",
    )
    server.commit(NAME, {"manifest.json": None})
    assert store.versions(NAME) == ["v1.0.0", "v1.0.1"]
    assert publish(artifact, NAME, store=store).version == "v1.0.2"
    server.commit(NAME, {"README.md": None})
    assert publish(artifact, NAME, store=store).version == "v1.0.3"
    assert not publish(artifact, NAME, store=store).changed


def test_a_tag_that_is_no_release_is_named(server: HubServer, store: Hub, artifact: Artifact) -> None:
    publish(artifact, NAME, store=store)
    server.tag(NAME, "v2.0.0")
    server.tag(NAME, "my-favorite")
    for call in (lambda: store.fetch(NAME, "v2.0.0"), lambda: publish(with_note(artifact, "x"), NAME, store=store)):
        with pytest.raises(IntegrityError, match=r"@v2\.0\.0: its tag is on a commit of v1\.0\.0.*Remove this tag"):
            call()


def test_what_was_taken_out_on_the_web_does_not_come_back(
    server: HubServer, store: Hub, artifact: Artifact, tmp_path: Path
) -> None:
    card = artifact.path / "README.md"
    card.write_text(card.read_text() + "\n## Notes\n\nOld words.\n\n## More\n\nTaken out later.\n")
    publish(artifact, NAME, store=store)
    with in_process(server.endpoint, "hf_me", tmp_path / "home"):
        pulled = pull(f"hub:{NAME}@v1.0.0", tmp_path / "copy")
    text = server.files(NAME)["README.md"].decode().split("\n## More")[0].replace("Old words", "New words")
    server.commit(NAME, {"README.md": text.encode()})
    publish(with_note(pulled, "x"), NAME, store=store)
    text = server.files(NAME, "v1.0.1")["README.md"].decode()
    assert "New words" in text
    assert "Old words" not in text
    assert "Taken out" not in text


def test_a_secret_in_a_report_is_not_published(
    server: HubServer, store: Hub, artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = with_note(artifact, "supersecretvalue99")
    monkeypatch.setenv("MY_API_KEY", "supersecretvalue99")
    with pytest.raises(InputError, match=r"effects/note\.json.*secret"):
        publish(noted, NAME, store=store)
    assert store.head(NAME) is None


def test_gates_are_set_though_nothing_changed(server: HubServer, store: Hub, artifact: Artifact) -> None:
    publish(artifact, NAME, store=store)
    publish(artifact, NAME, store=Hub(token="hf_me", gated="manual"), dry_run=True)
    assert HfApi(token="hf_me").dataset_info(NAME).gated is False
    assert not publish(artifact, NAME, store=Hub(token="hf_me", gated="manual")).changed
    assert HfApi(token="hf_me").dataset_info(NAME).gated == "manual"


def test_a_dry_run_tells_who_may_not_write(server: HubServer, store: Hub, artifact: Artifact) -> None:
    publish(artifact, NAME, store=store)
    changed = with_note(artifact, "x")
    for other, says in (
        (Hub(token="hf_other"), "no permission"),
        (Hub(), "no token"),
        (Hub(token="hf_me", private=True), "is public already"),
        (Hub(token="hf_\u00fc"), "holds what no token has"),
        (Hub(token="hf_a\nb"), "holds what no token has"),
    ):
        with pytest.raises(InputError, match=says):
            publish(changed, NAME, store=other, dry_run=True)


def test_a_stray_table_goes_with_the_next_release(server: HubServer, store: Hub, artifact: Artifact) -> None:
    def stray(request: Asked) -> None:
        if "/tag/" in request.path and request.method == "POST":
            server.before = None
            server.commit(NAME, {"labels/stray.parquet": b"PAR1"})

    server.before = stray
    publish(artifact, NAME, store=store)  # the tag is on our commit, not on the stray file's
    assert "labels/stray.parquet" not in server.files(NAME, "v1.0.0")
    release = publish(with_note(artifact, "x"), NAME, store=store)
    assert ("labels/stray.parquet", "remove") in {(file.path, file.action) for file in release.files}
    assert "labels/stray.parquet" not in server.files(NAME, release.version)


def test_a_repository_of_other_things_is_left_alone(server: HubServer, store: Hub, artifact: Artifact) -> None:
    server.create(NAME, files={"data/train.parquet": b"PAR1"})
    with pytest.raises(InputError, match=r"holds other files \(data/train\.parquet\)"):
        publish(artifact, NAME, store=store)


def test_a_readme_that_was_there_before_is_kept(server: HubServer, store: Hub, artifact: Artifact) -> None:
    server.create(NAME, files={"README.md": b"---\nannotations_creators: [nobody]\n---\n# My plans\n\nSoon.\n"})
    publish(artifact, NAME, store=store)
    card = server.files(NAME, "v1.0.0")["README.md"].decode()
    assert "annotations_creators" in card
    assert "Soon." in card
    assert "## How it was labeled" in card


def test_a_header_that_the_hub_refuses_is_told_before_anything_is_made(
    server: HubServer, store: Hub, artifact: Artifact
) -> None:
    server.fail(r"POST /api/validate-yaml", 400)
    with pytest.raises(InputError, match=r"README\.md: the Hub refuses the card"):
        publish(artifact, NAME, store=store)
    assert store.head(NAME) is None


def test_a_version_whose_tag_leads_elsewhere_is_no_artifact(server: HubServer, store: Hub, artifact: Artifact) -> None:
    server.create(NAME)
    server.tag(NAME, "v1.0.0")
    with pytest.raises(IntegrityError, match="no manifest"):
        store.fetch(NAME, "v1.0.0")


KILLED = """
import sys
from datasets_cards import Hub, publish
publish(sys.argv[1], "me/syc", store=Hub())
print("published", flush=True)
"""


def test_killed_at_any_request_the_next_one_ends_clean(server: HubServer, tmp_path: Path) -> None:
    """The publisher is killed when its n-th request that changes something arrives; the server still serves it."""
    environment = client_environment(server.endpoint, "hf_me", tmp_path / "other-home")
    environment |= {"PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}", "ECHOSET_CACHE": str(tmp_path / "cache")}
    store = Hub(token="hf_me")
    killed_at = []
    for number in range(1, 40):
        changed = write_artifact(tmp_path / f"a{number}", make_draft(rows=6 + number))
        command = [sys.executable, "-c", KILLED, str(changed.path)]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        seen = 0

        def kill(request: Asked, process: subprocess.Popen = process, number: int = number) -> None:
            nonlocal seen
            changes = request.method in ("POST", "PUT") and not request.path.endswith("/validate-yaml")
            seen += changes
            if seen == number and changes:
                killed_at.append(request.path.split("/")[-2])
                process.send_signal(signal.SIGKILL)
                process.wait()

        server.before = kill
        _, errors = process.communicate(timeout=60)
        server.before = None
        publish(changed, NAME, store=store)
        version, commit = list(server.tags(NAME).items())[-1]
        assert (version, commit) == (store.versions(NAME)[-1], server.head(NAME))
        found = Artifact.open(store.fetch(NAME, version))
        assert verify(found.path) == []
        assert found.manifest.logical_digest == changed.manifest.logical_digest
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, errors
    assert process.returncode == 0
    assert {"repos", "objects", "commit", "tag"} <= set(killed_at), killed_at
    assert len(store.versions(NAME)) == number
    for version in store.versions(NAME):
        assert verify(store.fetch(NAME, version)) == []
