"""A server on loopback that speaks as much of the Hub's API as its real client needs to publish and read datasets."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from math import ceil
from pathlib import Path
from urllib.parse import parse_qs

from hub_http import CHUNK, Call, HubServer, hub, route
from hub_state import Commit, File, Refused, Repository, front_matter

__all__ = ["HubServer", "hub"]


@route("GET /api/whoami-v2")
def whoami(call: Call) -> None:
    if call.user is None:
        raise Refused(401, "Invalid username or password.")
    orgs = [{"name": name} for name in call.hub.namespaces(call.user)[1:]]
    token = {"type": "access_token", "accessToken": {"displayName": "test", "role": "write"}}
    call.reply({"type": "user", "name": call.user, "fullname": call.user, "orgs": orgs, "auth": token})


@route("POST /api/validate-yaml")
def validate_yaml(call: Call) -> None:
    try:
        data = front_matter(call.json()["content"])
    except ValueError as error:
        return call.reply({"errors": [{"message": str(error)}], "warnings": []}, 400)
    warnings = [] if data else [{"message": "empty or missing yaml metadata in repo card"}]
    call.reply({"errors": [], "warnings": warnings})


@route("POST /api/repos/create")
def create(call: Call) -> None:
    asked = call.json()
    if call.user is None:
        raise Refused(401, "Invalid username or password.")
    if asked.get("type") != "dataset":
        raise Refused(400, "this Hub has datasets only")
    namespace = asked.get("organization") or call.user
    if namespace not in call.hub.namespaces(call.user):
        raise Refused(403, f'You don\'t have the rights to create a dataset under the namespace "{namespace}"')
    name = f"{namespace}/{asked['name']}"
    url = f"{call.hub.endpoint}/datasets/{name}"
    try:
        call.hub.create(name, owner=call.user, private=asked.get("visibility") == "private")
    except Refused as refused:
        return call.reply({"error": refused.words, "url": url}, refused.status)
    call.reply({"url": url, "name": name, "id": name})


@route("PUT /api/datasets/NAME/settings")
def settings(call: Call, name: str) -> None:
    asked = call.json()
    with call.hub.lock:
        repository = call.hub.writable(call.user, name)
        gated = asked.get("gated", repository.gated)
        if gated not in ("auto", "manual", False):
            raise Refused(400, '"gated" must be one of auto, manual, false')
        repository.gated = gated
        repository.private = asked.get("visibility", "private" if repository.private else "public") == "private"
    call.reply({"gated": repository.gated, "private": repository.private})


@route("GET /api/datasets/NAME/auth-check(?P<write>/write)?")
def auth_check(call: Call, name: str, write: str) -> None:
    _ = call.hub.writable(call.user, name) if write else call.hub.opened(call.user, name)
    call.reply({})


@route("GET /api/datasets/NAME", "GET /api/datasets/NAME/revision/REV")
def information(call: Call, name: str, revision: str = "main") -> None:
    repository = call.hub.readable(call.user, name)
    commit = repository.at(revision)
    siblings = []
    for path, file in sorted(commit.files.items()):
        siblings.append({"rfilename": path})
        if "blobs" in call.query:
            siblings[-1] |= {"size": file.size, "blobId": file.oid}
            if file.sha256:
                siblings[-1]["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": file.pointer_size}
    call.reply(
        {
            "_id": name,
            "id": name,
            "author": name.split("/")[0],
            "sha": commit.id,
            "createdAt": next(iter(repository.commits.values())).date,
            "lastModified": commit.date,
            "private": repository.private,
            "gated": repository.gated,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "cardData": commit.card,
            "siblings": siblings,
        }
    )


@route("GET /api/datasets/NAME/refs")
def refs(call: Call, name: str) -> None:
    with call.hub.lock:
        repository = call.hub.readable(call.user, name)
        branches, tags = dict(repository.branches), dict(repository.tags)
    call.reply({"branches": listed(branches, "heads"), "converts": [], "tags": listed(tags, "tags")})


def listed(names: Mapping[str, str], kind: str) -> list[dict[str, str]]:
    return [
        {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit} for name, commit in sorted(names.items())
    ]


@route("POST /api/datasets/NAME/tag/REV")
def tag(call: Call, name: str, revision: str) -> None:
    call.hub.writable(call.user, name)
    call.hub.tag(name, call.json()["tag"], revision)
    call.reply({}, 201)


@route("DELETE /api/datasets/NAME/tag/REV")
def delete_tag(call: Call, name: str, revision: str) -> None:
    with call.hub.lock:
        repository = call.hub.writable(call.user, name)
        if repository.tags.pop(revision, None) is None:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    call.reply({})


@route("GET /api/datasets/NAME/commits/REV")
def commits(call: Call, name: str, revision: str) -> None:
    call.reply(
        [
            {
                "id": commit.id,
                "title": commit.title,
                "message": commit.description,
                "authors": [{"user": commit.author}],
                "date": commit.date,
            }
            for commit in call.hub.readable(call.user, name).history(revision)
        ]
    )


@route("GET /api/datasets/NAME/tree/REV(?:/(?P<folder>.*))?")
def tree(call: Call, name: str, revision: str, folder: str) -> None:
    entries = entries_of(call.hub.readable(call.user, name).at(revision), folder)
    if call.query.get("recursive", "false").lower() != "true":
        depth = len(folder.split("/")) if folder else 0
        entries = [entry for entry in entries if str(entry["path"]).count("/") == depth]
    if folder and not entries:
        raise Refused(404, f"{folder} does not exist", "EntryNotFound")
    call.reply(entries)


@route("POST /api/datasets/NAME/paths-info/REV")
def paths_info(call: Call, name: str, revision: str) -> None:
    data = b"".join(call.body)
    plain = call.headers.get("Content-Type", "").startswith("application/json")
    asked = json.loads(data)["paths"] if plain else parse_qs(data.decode()).get("paths", [])
    entries = entries_of(call.hub.readable(call.user, name).at(revision), "")
    call.reply([entry for entry in entries if entry["path"] in asked])


def entries_of(commit: Commit, folder: str) -> list[dict[str, object]]:
    """Everything below a folder, folders first, as the Hub lists it."""
    below = {path: file for path, file in sorted(commit.files.items()) if not folder or path.startswith(f"{folder}/")}
    depth = len(folder.split("/")) if folder else 0
    folders = {"/".join(path.split("/")[:end]) for path in below for end in range(depth + 1, len(path.split("/")))}
    entries: list[dict[str, object]] = [
        {"type": "directory", "path": path, "size": 0, "oid": hashlib.sha1(path.encode()).hexdigest()}
        for path in sorted(folders)
    ]
    for path, file in below.items():
        entries.append({"type": "file", "path": path, "size": file.size, "oid": file.oid})
        if file.sha256:
            entries[-1]["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": file.pointer_size}
    return entries


@route("POST /api/datasets/NAME/preupload/REV")
def preupload(call: Call, name: str, revision: str) -> None:
    known = call.hub.writable(call.user, name).at(revision).files
    answers = []
    for file in call.json()["files"]:
        mode = "lfs" if call.hub.is_large(file["path"], file["size"]) else "regular"
        answers.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False})
        if file["path"] in known:
            answers[-1]["oid"] = known[file["path"]].compared
    call.reply({"files": answers})


@route(r"POST /datasets/NAME\.git/info/lfs/objects/batch")
def lfs_batch(call: Call, name: str) -> None:
    repository = call.hub.writable(call.user, name)
    objects = [
        {"oid": asked["oid"], "size": asked["size"], **upload(call.hub, repository, asked["oid"], asked["size"])}
        for asked in call.json()["objects"]
    ]
    call.reply({"transfer": "basic", "objects": objects})


def upload(server: HubServer, repository: Repository, oid: str, size: int) -> dict[str, object]:
    """What a client has to do for an LFS object: nothing when the repository has it, one PUT, or one for each part."""
    if oid in repository.objects:
        return {}
    where = f"{server.endpoint}/lfs/{repository.name}/{oid}"
    put: dict[str, object] = {"href": where}
    if server.part_size and size > server.part_size:
        parts = {str(part): f"{where}/{part}" for part in range(1, ceil(size / server.part_size) + 1)}
        put["header"] = {"chunk_size": str(server.part_size), **parts}
    return {"actions": {"upload": put, "verify": {"href": f"{where}/verify"}}}


@route("PUT /lfs/NAME/(?P<oid>[0-9a-f]{64})")
def put_object(call: Call, name: str, oid: str) -> None:
    call.hub.keep(name, oid, call.body)
    call.reply({})


@route(r"PUT /lfs/NAME/(?P<oid>[0-9a-f]{64})/(?P<part>\d+)")
def put_part(call: Call, name: str, oid: str, part: str) -> None:
    with part_path(call.hub, oid, part).open("wb") as out:
        for piece in call.body:
            out.write(piece)
    call.reply({}, headers={"ETag": f'"{part}-{call.asked.received}"'})


def part_path(server: HubServer, oid: str, part: str) -> Path:
    return server.folder / f"{oid}.{part}"


@route("POST /lfs/NAME/(?P<oid>[0-9a-f]{64})")
def join_parts(call: Call, name: str, oid: str) -> None:
    paths = [part_path(call.hub, oid, str(part["partNumber"])) for part in call.json()["parts"]]
    call.hub.keep(name, oid, (piece for path in paths for piece in pieces(path, 0, path.stat().st_size)))
    for path in paths:
        path.unlink()
    call.reply({})


@route("POST /lfs/NAME/(?P<oid>[0-9a-f]{64})/verify")
def verify(call: Call, name: str, oid: str) -> None:
    repository = call.hub.writable(call.user, name)
    if oid not in repository.objects or call.hub.object_path(oid).stat().st_size != call.json()["size"]:
        raise Refused(404, f"object {oid} was not uploaded")
    call.reply({})


@route("POST /api/datasets/NAME/commit/REV")
def commit(call: Call, name: str, revision: str) -> None:
    lines = [json.loads(line) for line in b"".join(call.body).splitlines()]
    header, changes = lines[0]["value"], [change(line["key"], line["value"]) for line in lines[1:]]
    with call.hub.lock:
        repository = call.hub.writable(call.user, name)
        made = repository.append(
            changes,
            title=header["summary"],
            description=header.get("description", ""),
            author=str(call.user),
            branch=revision,
            parent=header.get("parentCommit"),
        )
    url = f"{call.hub.endpoint}/datasets/{name}/commit/{made.id}"
    call.reply({"success": True, "commitOid": made.id, "commitUrl": url, "hookOutput": ""})


def change(kind: str, value: dict) -> tuple[str, File | None]:
    if kind == "file":
        return value["path"], File.regular(base64.b64decode(value["content"]))
    if kind == "lfsFile":
        return value["path"], File.lfs(value["oid"], value["size"])
    return value["path"].rstrip("/") + ("/" if kind == "deletedFolder" else ""), None


@route("GET /datasets/NAME/resolve/REV/(?P<path>.+)")
def resolve(call: Call, name: str, revision: str, path: str) -> None:
    commit = call.hub.opened(call.user, name).at(revision)
    headers = {"X-Repo-Commit": commit.id, "Accept-Ranges": "bytes"}
    file = commit.files.get(path)
    if file is None:
        words = "Entry not found"
        return call.reply({"error": words}, 404, headers | {"X-Error-Code": "EntryNotFound", "X-Error-Message": words})
    headers["ETag"] = f'"{file.compared}"'
    if file.sha256:
        headers |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
    start, end, status = 0, file.size, 200
    if asked := re.fullmatch(r"bytes=(\d*)-(\d*)", call.headers.get("Range", "")):
        start = int(asked[1]) if asked[1] else max(0, file.size - int(asked[2]))
        end = min(int(asked[2]) + 1, file.size) if asked[1] and asked[2] else file.size
        if start >= file.size:
            return call.reply({}, 416, headers | {"Content-Range": f"bytes */{file.size}"})
        status, headers["Content-Range"] = 206, f"bytes {start}-{end - 1}/{file.size}"
    data = pieces(call.hub.object_path(file.sha256), start, end) if file.sha256 else [(file.data or b"")[start:end]]
    call.send(status, data, end - start, headers)


def pieces(path: Path, start: int, end: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        while piece := file.read(min(CHUNK, end - file.tell())):
            yield piece
