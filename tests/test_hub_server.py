"""The local Hub answers the real client as the Hub does: what it stores, whom it lets, and how requests fail."""

import functools
import hashlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from hub_client import client_environment, in_process
from hub_server import HubServer, hub
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    DatasetCard,
    HfApi,
    HfFileSystem,
    RepoFile,
    auth_check,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")  # between client and httpx2
NAME = "org/data"
CARD = b"---\nlicense: mit\n---\nRows\n"
ROWS = bytes(range(256)) * 40
FILES = {"README.md": CARD, "data/rows.parquet": ROWS}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HubServer]:
    with hub() as server, in_process(server.endpoint, "hf_me", tmp_path / "home"):
        yield server


@pytest.fixture
def api(server: HubServer) -> HfApi:
    return HfApi(endpoint=server.endpoint, token="hf_me")


def publish(api: HfApi, files: dict[str, bytes] = FILES, parent: str | None = None) -> str:
    operations = [CommitOperationAdd(path, data) for path, data in files.items()]
    return api.create_commit(
        NAME, operations, commit_message="rows", repo_type="dataset", parent_commit=parent, num_threads=1
    ).oid


def status_of(raised: pytest.ExceptionInfo[HfHubHTTPError]) -> int:
    return raised.value.response.status_code


def test_a_repository_is_created_once_with_a_first_commit(server: HubServer, api: HfApi) -> None:
    assert api.whoami()["name"] == "me"
    api.create_repo(NAME, repo_type="dataset", private=True)
    info = api.dataset_info(NAME)
    assert (info.sha, info.private, info.gated) == (server.head(NAME), True, False)
    assert api.list_repo_files(NAME, repo_type="dataset") == [".gitattributes"]
    with pytest.raises(HfHubHTTPError) as raised:
        api.create_repo(NAME, repo_type="dataset")
    assert status_of(raised) == 409
    assert api.create_repo(NAME, repo_type="dataset", exist_ok=True).repo_id == NAME
    api.update_repo_settings(NAME, repo_type="dataset", gated="manual", private=False)
    info = api.dataset_info(NAME)
    assert (info.private, info.gated) == (False, "manual")


def test_a_commit_is_the_head_and_is_listed_and_read_as_it_was_written(server: HubServer, api: HfApi) -> None:
    first = server.create(NAME).branches["main"]
    made = publish(api, FILES, first)
    assert made == server.head(NAME)
    assert server.files(NAME) == server.files(NAME, first) | FILES
    entries = {entry.path: entry for entry in api.list_repo_tree(NAME, repo_type="dataset", recursive=True)}
    assert list(entries) == ["data", ".gitattributes", "README.md", "data/rows.parquet"]
    rows = entries["data/rows.parquet"]
    assert isinstance(rows, RepoFile) and rows.lfs
    assert (rows.size, rows.lfs.sha256) == (len(ROWS), hashlib.sha256(ROWS).hexdigest())
    assert [entry.path for entry in api.list_repo_tree(NAME, "data", repo_type="dataset")] == ["data/rows.parquet"]
    [info] = api.get_paths_info(NAME, ["data/rows.parquet", "none"], repo_type="dataset")
    assert info == rows
    info = api.dataset_info(NAME, revision=made, files_metadata=True)
    assert info.card_data and info.card_data["license"] == "mit"
    assert {item.rfilename: item.size for item in info.siblings or ()}["data/rows.parquet"] == len(ROWS)
    assert api.dataset_info(NAME, revision=first).card_data is None
    assert [item.commit_id for item in api.list_repo_commits(NAME, repo_type="dataset")] == [made, first]


def test_a_commit_on_a_head_that_has_moved_is_refused_and_changes_nothing(server: HubServer, api: HfApi) -> None:
    old = server.create(NAME).branches["main"]
    head = server.commit(NAME, {"other.txt": b"first"})
    with pytest.raises(HfHubHTTPError, match="A commit has happened since") as raised:
        publish(api, FILES, old)
    assert status_of(raised) == 412
    assert server.head(NAME) == head


def race(server: HubServer, start: threading.Barrier, parent: str, path: str) -> str | int:
    api = HfApi(endpoint=server.endpoint, token="hf_me")
    start.wait()
    try:
        return publish(api, {path: b"rows"}, parent)
    except HfHubHTTPError as error:
        return error.response.status_code


def test_of_two_commits_with_one_parent_exactly_one_wins_every_time(server: HubServer) -> None:
    server.create(NAME, files={f"{n}.txt": b"" for n in range(5000)})  # so that a commit takes long enough to meet
    for turn in range(20):
        parent, start = server.head(NAME), threading.Barrier(2)
        with ThreadPoolExecutor(2) as threads:
            outcomes = list(threads.map(functools.partial(race, server, start, parent), (f"{turn}.a", f"{turn}.b")))
        assert set(outcomes) == {412, server.head(NAME)}
    assert len(server.repositories[NAME].commits) == 22


def test_files_and_folders_are_deleted_and_what_is_not_there_cannot_be(server: HubServer, api: HfApi) -> None:
    server.create(NAME, files=FILES | {"old/a": b"a", "old/b/c": b"c", "old.txt": b"d"})
    gone = [CommitOperationDelete("old/"), CommitOperationDelete("README.md")]
    api.create_commit(NAME, gone, commit_message="less", repo_type="dataset")
    assert set(server.files(NAME)) == {".gitattributes", "data/rows.parquet", "old.txt"}
    with pytest.raises(EntryNotFoundError, match="A file with this name doesn't exist"):
        api.delete_file("README.md", NAME, repo_type="dataset")


def test_a_tag_holds_a_commit_and_its_name_is_taken(server: HubServer, api: HfApi) -> None:
    server.create(NAME, files=FILES)
    old = server.head(NAME)
    api.create_tag(NAME, tag="v1.0.0", repo_type="dataset", revision=old)
    new = server.commit(NAME, {"README.md": b"other"})
    with pytest.raises(HfHubHTTPError) as raised:
        api.create_tag(NAME, tag="v1.0.0", repo_type="dataset")
    assert status_of(raised) == 409
    refs = api.list_repo_refs(NAME, repo_type="dataset")
    assert [(ref.name, ref.target_commit) for ref in refs.branches + refs.tags] == [("main", new), ("v1.0.0", old)]
    assert Path(hf_hub_download(NAME, "README.md", repo_type="dataset", revision="v1.0.0")).read_bytes() == CARD
    api.delete_tag(NAME, tag="v1.0.0", repo_type="dataset")
    assert server.tags(NAME) == {}
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download(NAME, "README.md", repo_type="dataset", revision="v1.0.0")
    with pytest.raises(RevisionNotFoundError):
        api.create_tag(NAME, tag="v2.0.0", repo_type="dataset", revision="f" * 40)


def test_downloads_have_the_bytes_that_were_uploaded(server: HubServer, api: HfApi, tmp_path: Path) -> None:
    server.create(NAME)
    server.large = 1000
    files = FILES | {"empty.jsonl": b"", "notes/large.txt": b"long" * 1000}
    publish(api, files)
    assert {path for path, file in server.repositories[NAME].at("main").files.items() if file.sha256} == {
        "data/rows.parquet",
        "notes/large.txt",
    }
    folder = Path(snapshot_download(NAME, repo_type="dataset", local_dir=tmp_path / "local"))
    assert {path: (folder / path).read_bytes() for path in files} == files
    for path, data in files.items():
        assert Path(hf_hub_download(NAME, path, repo_type="dataset")).read_bytes() == data
    with pytest.raises(EntryNotFoundError):
        hf_hub_download(NAME, "none.txt", repo_type="dataset")


def test_parts_of_a_file_are_read_without_the_rest(server: HubServer) -> None:
    server.create(NAME, files=FILES)
    with HfFileSystem().open(f"datasets/{NAME}/data/rows.parquet", block_size=100) as file:
        file.seek(5000)
        assert file.read(300) == ROWS[5000:5300]
    url = f"{server.endpoint}/datasets/{NAME}/resolve/main/data/rows.parquet"
    for asked, start, end in (("0-9", 0, 10), ("10200-", 10200, 10240), ("-40", 10200, 10240), ("9-99999", 9, 10240)):
        answer = httpx2.get(url, headers={"Range": f"bytes={asked}"})
        assert (answer.status_code, answer.content) == (206, ROWS[start:end])
        assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/10240"
    assert httpx2.get(url, headers={"Range": "bytes=10240-"}).status_code == 416


def test_an_object_that_the_repository_has_is_not_uploaded_again(server: HubServer, api: HfApi) -> None:
    server.create(NAME)
    publish(api)
    assert server.uploaded_bytes == len(ROWS)
    head = server.head(NAME)
    assert publish(api, FILES, head) == head  # nothing changed: the client doesn't even commit
    publish(api, {"moved/rows.parquet": ROWS, "README.md": CARD + b"more\n"}, head)
    assert server.uploaded_bytes == len(ROWS)
    assert server.files(NAME)["moved/rows.parquet"] == ROWS
    server.create("org/second")
    api.upload_file(path_or_fileobj=ROWS, path_in_repo="a.parquet", repo_id="org/second", repo_type="dataset")
    assert server.uploaded_bytes == 2 * len(ROWS)  # objects belong to a repository


@pytest.mark.parametrize("size", [2999, 3000, 3001])
def test_a_large_object_is_uploaded_in_parts(server: HubServer, api: HfApi, tmp_path: Path, size: int) -> None:
    server.create(NAME)
    server.part_size = 1000
    (tmp_path / "a.parquet").write_bytes(ROWS[:size])
    api.upload_folder(folder_path=tmp_path, allow_patterns="*.parquet", repo_id=NAME, repo_type="dataset")
    assert server.files(NAME)["a.parquet"] == ROWS[:size]
    received = [received for method, _, received in server.log if method == "PUT"]
    assert received == [1000] * (size // 1000) + ([size % 1000] if size % 1000 else [])
    assert sorted(path.name for path in server.folder.iterdir()) == [hashlib.sha256(ROWS[:size]).hexdigest()]


def test_an_object_with_other_bytes_or_never_uploaded_is_refused(server: HubServer) -> None:
    head = server.create(NAME).branches["main"]
    oid = hashlib.sha256(ROWS).hexdigest()
    assert httpx2.put(f"{server.endpoint}/lfs/{NAME}/{oid}", content=ROWS[1:]).status_code == 400
    lines = [
        {"key": "header", "value": {"summary": "rows", "description": ""}},
        {"key": "lfsFile", "value": {"path": "a.parquet", "algo": "sha256", "oid": oid, "size": len(ROWS)}},
    ]
    answer = httpx2.post(
        f"{server.endpoint}/api/datasets/{NAME}/commit/main",
        content="\n".join(map(json.dumps, lines)),
        headers={"Authorization": "Bearer hf_me"},
    )
    assert (answer.status_code, server.head(NAME)) == (400, head)
    assert "does not exist" in answer.json()["error"]
    assert list(server.folder.iterdir()) == []


def test_an_upload_that_ends_halfway_leaves_nothing(server: HubServer) -> None:
    server.create(NAME)

    def half() -> Iterator[bytes]:
        yield ROWS[:5000]
        raise InterruptedError

    with pytest.raises(InterruptedError):
        httpx2.put(f"{server.endpoint}/lfs/{NAME}/{hashlib.sha256(ROWS).hexdigest()}", content=half())
    until = time.monotonic() + 10
    while (server.uploaded_bytes < 5000 or any(server.folder.iterdir())) and time.monotonic() < until:
        time.sleep(0.01)
    assert (server.uploaded_bytes, list(server.folder.iterdir())) == (5000, [])
    assert server.repositories[NAME].objects == set()


@pytest.mark.parametrize(
    ("front", "says"),
    [
        (b"license: [mit", "not valid"),
        (b"license: mit\nlicense: gpl", "duplicated mapping key 'license'"),
        (b"- mit", "has to be a mapping"),
        (b"language: no", '"language" must be a string or an array of strings'),
        (b"tags: chat", '"tags" must be an array'),
        (b"pretty_name: 3", '"pretty_name" must be a string'),
    ],
)
def test_a_card_that_the_hub_cannot_read_stops_the_commit(
    server: HubServer, api: HfApi, front: bytes, says: str
) -> None:
    head = server.create(NAME).branches["main"]
    with pytest.raises(ValueError, match="Invalid metadata in README.md") as raised:
        publish(api, FILES | {"README.md": b"---\n%s\n---\nRows\n" % front})
    assert says in str(raised.value)
    assert (server.head(NAME), server.uploaded_bytes) == (head, 0)


def test_a_card_is_validated_by_its_own_class_too(server: HubServer, api: HfApi) -> None:
    DatasetCard(CARD.decode()).validate()
    with pytest.raises(ValueError, match="must be an array"):
        DatasetCard("---\ntags: chat\n---\nRows\n").validate()
    server.create(NAME)
    with pytest.warns(UserWarning, match="empty or missing yaml metadata"):
        publish(api, {"README.md": b"Rows\n"})


ME, OTHER, NOBODY, WRONG = "hf_me", "hf_other", False, "hf_wrong"
ACCESS = {
    ("public", "read"): {ME: None, OTHER: None, NOBODY: None, WRONG: 401},
    ("public", "write"): {ME: None, OTHER: 403, NOBODY: RepositoryNotFoundError, WRONG: 401},
    ("private", "read"): {
        ME: None,
        OTHER: RepositoryNotFoundError,
        NOBODY: RepositoryNotFoundError,
    },
    ("private", "write"): {ME: None, OTHER: RepositoryNotFoundError, NOBODY: RepositoryNotFoundError},
    ("gated", "read"): {ME: None, OTHER: GatedRepoError, NOBODY: GatedRepoError},
    ("gated", "list"): {ME: None, OTHER: None, NOBODY: None},
    ("none", "read"): {ME: RepositoryNotFoundError, NOBODY: RepositoryNotFoundError},
    ("none", "write"): {ME: RepositoryNotFoundError, NOBODY: RepositoryNotFoundError},
}


@pytest.mark.parametrize(("kind", "action"), ACCESS)
def test_who_may_do_what_is_answered_in_the_errors_of_the_client(server: HubServer, kind: str, action: str) -> None:
    if kind != "none":
        server.create(NAME, private=kind == "private", gated="auto" if kind == "gated" else False, files=FILES)
    for token, expected in ACCESS[kind, action].items():
        api = HfApi(endpoint=server.endpoint, token=token)

        def act(api: HfApi = api, token: str | bool = token) -> None:
            if action == "read":
                api.auth_check(NAME, repo_type="dataset")
                api.hf_hub_download(NAME, "README.md", repo_type="dataset", force_download=True)
            elif action == "list":
                assert "README.md" in api.list_repo_files(NAME, repo_type="dataset")
            else:
                publish(api, {"by.txt": str(token).encode()})

        if expected is None:
            act()
            continue
        with pytest.raises(HfHubHTTPError) as raised:
            act()
        if isinstance(expected, int):
            assert (type(raised.value), status_of(raised)) == (HfHubHTTPError, expected)
        else:
            assert type(raised.value) is expected
            assert status_of(raised) == (401 if token is NOBODY else 403 if expected is GatedRepoError else 404)


def test_the_writers_are_checked_where_it_matters(server: HubServer) -> None:
    other = HfApi(endpoint=server.endpoint, token="hf_other")
    with pytest.raises(HfHubHTTPError, match="rights to create a dataset under the namespace") as raised:
        other.create_repo(NAME, repo_type="dataset")
    assert status_of(raised) == 403
    repository = server.create(NAME, gated="manual")
    for act in (
        lambda: other.create_tag(NAME, tag="v1.0.0", repo_type="dataset"),
        lambda: other.update_repo_settings(NAME, repo_type="dataset", private=True),
        lambda: other.auth_check(NAME, repo_type="dataset", write=True),
    ):
        with pytest.raises(HfHubHTTPError) as raised:
            act()
        assert status_of(raised) == 403
    repository.accepted.add("other")
    other.auth_check(NAME, repo_type="dataset")
    repository.collaborators.add("other")
    publish(other)
    auth_check(NAME, repo_type="dataset", token="hf_other", write=True)


def test_a_failing_preparation_is_tried_again_and_a_failing_commit_is_not(server: HubServer, api: HfApi) -> None:
    head = server.create(NAME).branches["main"]
    server.fail("POST .*/preupload/", 503)
    server.fail("PUT /lfs/", 500)
    server.fail("POST .*/commit/", 503)
    with pytest.raises(HfHubHTTPError) as raised:
        publish(api)
    assert (status_of(raised), server.head(NAME)) == (503, head)
    asked = [path.split("/")[-2] for _, path, _ in server.log]
    assert (asked.count("preupload"), asked.count("commit")) == (2, 1)
    assert server.uploaded_bytes == 2 * len(ROWS)
    publish(api)
    assert server.uploaded_bytes == 2 * len(ROWS)


def test_a_commit_whose_answer_is_lost_has_happened(server: HubServer, api: HfApi) -> None:
    head = server.create(NAME).branches["main"]
    server.drop("POST .*/commit/")
    with pytest.raises(httpx2.TransportError):
        publish(api)
    assert server.head(NAME) == head
    server.drop("POST .*/commit/", handled=True)
    with pytest.raises(httpx2.TransportError):
        publish(api)
    assert server.repositories[NAME].commits[server.head(NAME)].parent == head
    assert server.files(NAME)["data/rows.parquet"] == ROWS


def test_a_download_that_breaks_off_is_taken_up_where_it_ended(server: HubServer) -> None:
    server.create(NAME, files=FILES)
    server.drop("GET .*/resolve/", sent=4000)
    path = hf_hub_download(NAME, "data/rows.parquet", repo_type="dataset")
    assert Path(path).read_bytes() == ROWS
    assert [method for method, _, _ in server.log] == ["HEAD", "GET", "GET"]


def test_a_test_can_act_at_any_request(server: HubServer, api: HfApi) -> None:
    parent = server.create(NAME).branches["main"]
    seen = []

    def before(asked: object) -> None:
        seen.append(str(asked).partition("?")[0])
        if seen[-1].endswith("/commit/main"):
            server.commit(NAME, {"first.txt": b"first"})

    server.before = before
    with pytest.raises(HfHubHTTPError) as raised:
        publish(api, FILES, parent)
    assert status_of(raised) == 412
    assert "data/rows.parquet" not in server.files(NAME)
    where = f"/lfs/{NAME}/{hashlib.sha256(ROWS).hexdigest()}"
    assert seen == [
        "POST /api/validate-yaml",
        f"POST /api/datasets/{NAME}/preupload/main",
        f"POST /datasets/{NAME}.git/info/lfs/objects/batch",
        f"PUT {where}",
        f"POST {where}/verify",
        f"POST /api/datasets/{NAME}/commit/main",
    ]


def test_what_breaks_in_the_server_is_not_taken_for_an_answer() -> None:
    def before(asked: object) -> None:
        raise LookupError(str(asked))

    with pytest.raises(LookupError, match="GET /api/whoami-v2"), hub() as server:
        server.before = before
        with pytest.raises(httpx2.TransportError):
            httpx2.get(f"{server.endpoint}/api/whoami-v2")


def test_a_test_can_end_the_client_at_any_request_before_it_counts(tmp_path: Path) -> None:
    with hub() as server:
        head = server.create(NAME).branches["main"]
        env = client_environment(server.endpoint, "hf_me", tmp_path)
        started: list[subprocess.Popen] = []

        def before(asked: object) -> None:
            if "/commit/" in str(asked):
                started[0].kill()
                raise ConnectionAbortedError

        server.before = before
        script = UPLOAD.format(name=NAME)
        started.append(subprocess.Popen([sys.executable, "-c", script], env=env, stderr=subprocess.DEVNULL))
        assert started[0].wait(60) == -signal.SIGKILL
        assert server.head(NAME) == head
        server.before = None
        assert subprocess.run([sys.executable, "-c", script], env=env, stderr=subprocess.DEVNULL).returncode == 0
        assert server.repositories[NAME].commits[server.head(NAME)].parent == head
        assert server.uploaded_bytes == 1000  # the first client had uploaded it already


UPLOAD = """
import huggingface_hub as hub
hub.upload_file(path_or_fileobj=b"r" * 1000, path_in_repo="a.parquet", repo_id="{name}", repo_type="dataset")
"""
SCRIPT = """
import huggingface_hub as hub
from datasets import load_dataset
hub.create_repo("me/rows", repo_type="dataset")
rows = b'{"a": 1}\\n{"a": 2}\\n'
hub.upload_file(path_or_fileobj=rows, path_in_repo="train.jsonl", repo_id="me/rows", repo_type="dataset")
print([row["a"] for row in load_dataset("me/rows", split="train", streaming=True)])
"""


def test_a_process_with_the_environment_publishes_and_streams(tmp_path: Path) -> None:
    with hub() as server:
        env = client_environment(server.endpoint, "hf_me", tmp_path)
        done = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[1, 2]\n"), done.stderr
    assert server.files("me/rows")["train.jsonl"] == b'{"a": 1}\n{"a": 2}\n'
