"""A read-only server that speaks enough of the Hub's API for its real client: files in memory, on loopback."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class Repository:
    """A dataset repository: one commit a revision.

    Attributes:
        revisions: files by path, by branch or tag; `main` has to be among them.
        card: what the repository's information says of its card.
        gated: files need an accepted license.
    """

    revisions: dict[str, dict[str, bytes]]
    card: dict[str, object] = field(default_factory=dict)
    gated: bool = False

    def resolve(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        for name, files in self.revisions.items():
            if revision in (name, commit_of(files)):
                return commit_of(files), files
        return None


def commit_of(files: Mapping[str, bytes]) -> str:
    """40 hexadecimal digits that depend on every byte, like a commit."""
    return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()


@contextmanager
def serve(repositories: Mapping[str, Repository]) -> Iterator[str]:
    """Serve dataset repositories by id; yields the endpoint."""

    class Handler(HubHandler):
        known = repositories

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class HubHandler(BaseHTTPRequestHandler):
    known: Mapping[str, Repository]
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if match := re.fullmatch(
            r"/api/datasets/([^/]+/[^/]+)(?:/(revision|tree|paths-info|refs|auth-check)/?(.*))?", path
        ):
            self.answer_api(match[1], match[2] or "revision", match[3] or "main")
        elif match := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self.answer_file(*match.groups())
        else:
            self.fail(404, "EntryNotFound", "no such route")

    def find(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if name not in self.known:
            self.fail(401, "RepoNotFound", "Repository not found")
            return None
        found = self.known[name].resolve(revision)
        if found is None:
            self.fail(404, "RevisionNotFound", "Invalid rev id")
        return found

    def answer_api(self, name: str, kind: str, rest: str) -> None:
        revision, _, folder = (rest, "", "") if kind == "revision" else rest.partition("/")
        found = self.find(name, revision)
        if found is None:
            return
        commit, files = found
        repository = self.known[name]
        if kind == "revision":
            self.reply(
                {
                    "_id": "0",
                    "id": name,
                    "sha": commit,
                    "private": False,
                    "gated": "auto" if repository.gated else False,
                    "disabled": False,
                    "downloads": 0,
                    "likes": 0,
                    "tags": [],
                    "cardData": repository.card,
                    "siblings": [{"rfilename": path} for path in sorted(files)],
                }
            )
        elif kind == "auth-check" and repository.gated:
            self.fail(403, "GatedRepo", "Access to this dataset is restricted")
        elif kind == "tree":
            recursive = parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() == "true"
            entries = tree(files, folder, recursive)
            if entries or not folder:
                self.reply(entries)
            else:
                self.fail(404, "EntryNotFound", "no such folder")
        elif kind == "paths-info":
            asked = parse_qs(self.body.decode()).get("paths") or json.loads(self.body or b"{}").get("paths", [])
            self.reply([entry for entry in tree(files, "", True) if entry["path"] in asked])
        else:
            self.reply({"branches": [], "converts": [], "tags": []})

    def answer_file(self, name: str, revision: str, path: str) -> None:
        found = self.find(name, revision)
        if found is None:
            return
        commit, files = found
        if self.known[name].gated:
            return self.fail(403, "GatedRepo", "Access to this dataset is restricted")
        if path not in files:
            return self.fail(404, "EntryNotFound", "Entry not found")
        data = files[path]
        headers = {"X-Repo-Commit": commit, "ETag": f'"{blob_id(data)}"', "Accept-Ranges": "bytes"}
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if part and self.command == "GET":
            start, end = int(part[1]), min(int(part[2] or len(data) - 1), len(data) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
            return self.send(206, data[start : end + 1], headers)
        self.send(200, data, headers)

    def reply(self, value: object) -> None:
        self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def fail(self, status: int, code: str, words: str) -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": words, "Content-Type": "application/json"}
        self.send(status, json.dumps({"error": words}).encode(), headers)

    def send(self, status: int, data: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def tree(files: Mapping[str, bytes], folder: str, recursive: bool) -> list[dict[str, object]]:
    """The entries of a folder as the Hub lists them."""
    below = {path: data for path, data in files.items() if not folder or path.startswith(f"{folder}/")}
    depth = len(folder.split("/")) if folder else 0
    folders = {"/".join(path.split("/")[:end]) for path in below for end in range(depth + 1, len(path.split("/")))}
    entries: list[dict[str, object]] = [
        {"type": "directory", "path": path, "size": 0, "oid": hashlib.sha1(path.encode()).hexdigest()}
        for path in sorted(folders)
        if recursive or path.count("/") == depth
    ]
    return entries + [
        {"type": "file", "path": path, "size": len(data), "oid": blob_id(data)}
        for path, data in sorted(below.items())
        if recursive or path.count("/") == depth
    ]
