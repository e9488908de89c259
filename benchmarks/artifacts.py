"""What an artifact costs: writing, verifying and comparing it, its bytes, and what one changed row makes new.

    python -m benchmarks.artifacts                     # 1,000,000 rows: 4 GB of disk, 13 GB of memory for the peer
    python -m benchmarks.artifacts --candidates 4 --change added --scratch /fast/disk

Each row has a prompt of 20 to 60 words under a system message, an original, and candidates of 30 to 90 words, each with
its tokens and a score; the first candidate is the label. Words are drawn from a vocabulary of 20,000 by Zipf's law.
Every step runs in a process of its own, with one thread for numbers. Seconds leave out making up the rows;
memory is the process's peak. The changed artifact differs from the first by one row's text (--change text), by one
row in the middle (--change added), or in every row of every table, so that no file is the same (--change all).

The peer is what `Dataset.push_to_hub` does with the labels: as many Parquet files, each of the next so many rows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.shift_worker import peak_gb
from datasets_cards import (
    Artifact,
    ArtifactWriter,
    Candidate,
    Engine,
    Label,
    Labeler,
    Message,
    Model,
    Row,
    Score,
    Source,
    file_digest,
    verify,
)
from datasets_cards.comparing.diff import diff

BATCH = 2_000
WORDS = 20_000
STREAM = 4_000_000
"""Words of the one long text that all texts are cut from."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--candidates", type=int, default=1, help="candidates a row")
    parser.add_argument("--change", choices=("text", "added", "all"), default="text", help="what differs")
    parser.add_argument("--scratch", type=Path, help="where the artifacts go, instead of the system's place")
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        name, *folders = arguments.step
        print("\n" + json.dumps(STEPS[name](arguments, *map(Path, folders))))
        return
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {arguments.rows:,} rows x {arguments.candidates}")
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        before, after, peer = (f"{scratch}/{name}" for name in ("before", "after", "peer"))
        written = step("write", before)
        for table in ("labels", "candidates", "original", "dropped"):
            print(f"  {table:10} {written[table] / 1e6:10,.1f} MB")
        step("verify", before)
        step("write", after, "changed")
        show_change("changed files", files(Path(before)), files(Path(after)))
        step("diff", before, after)
        if arguments.change == "all":
            return
        for artifact in (before, after):
            step("peer", artifact, f"{peer}-{Path(artifact).name}")
        show_change("changed files of the peer's labels", files(Path(f"{peer}-before")), files(Path(f"{peer}-after")))
        labels = [
            {path: entry for path, entry in files(Path(one)).items() if path.startswith("labels")}
            for one in (before, after)
        ]
        show_change("changed files of ours", *labels)


def step(name: str, *folders: str) -> dict[str, Any]:
    """Run one step in a process of its own, print what it cost, and return what it says."""
    command = [sys.executable, "-m", "benchmarks.artifacts", *sys.argv[1:], "--step", name, *folders]
    done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{name} failed")
    found = json.loads(done.stdout.splitlines()[-1])
    wall, cpu = found.pop("seconds")
    print(f"{name:8} {wall:8.1f} s {cpu:8.1f} CPU-s {found.pop('peak_gb'):6.2f} GB  {found.pop('said')}", flush=True)
    return found


def files(folder: Path) -> dict[str, tuple[str, int]]:
    """Hash and bytes of each Parquet file below a folder."""
    return {
        path.relative_to(folder).as_posix(): (file_digest(path), path.stat().st_size)
        for path in sorted(folder.rglob("*.parquet"))
    }


def show_change(title: str, before: dict[str, tuple[str, int]], after: dict[str, tuple[str, int]]) -> None:
    """Say how much a store that knows whole files, but not pieces of them, has to take in anew."""
    changed = [path for path, entry in after.items() if before.get(path) != entry]
    new, all_bytes = sum(after[path][1] for path in changed), sum(size for _, size in after.values())
    print(
        f"{title}: {len(changed)} of {len(after)}, {new / 1e6:,.1f} MB, {new / all_bytes:.2%} of the bytes", flush=True
    )


def clock() -> NDArray[np.float64]:
    """Seconds of wall time, and of CPU time on all cores."""
    return np.array([time.perf_counter(), time.process_time()])


def write(arguments: argparse.Namespace, out: Path, changed: Path | None = None) -> dict[str, Any]:
    digest = "ab" * 32
    spent = np.zeros(2)
    with ArtifactWriter(out, rows=arguments.rows) as writer:
        for batch in batches(arguments.rows, arguments.candidates, arguments.change if changed else None):
            start = clock()
            writer.add(**batch)
            spent += clock() - start
        start = clock()
        artifact = writer.finish(
            source=Source(reference="made-up.jsonl", digest=digest, rows=arguments.rows, license="mit"),
            model=Model(reference="none", revision=digest, adapter=digest, dtype="float32"),
            labeler=Labeler(method="self_confidence", proposal="nucleus", scorer="mean_logprob", selector="argmax"),
            engine=Engine(name="none", version="1", determinism="Seeded."),
            seeds={"run": 0},
        )
    seconds = (spent + clock() - start).tolist()
    tables = {table: sum(path.stat().st_size for path in (out / table).iterdir()) for table in TABLES}
    return {"seconds": seconds, "peak_gb": peak_gb(), "said": f"{artifact.manifest.shards} shards"} | tables


def verified(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    start = clock()
    findings = verify(folder)
    return {"seconds": (clock() - start).tolist(), "peak_gb": peak_gb(), "said": f"{len(findings)} findings"}


def compared(arguments: argparse.Namespace, before: Path, after: Path) -> dict[str, Any]:
    start = clock()
    found = diff(Artifact.open(before), Artifact.open(after))
    return {"seconds": (clock() - start).tolist(), "peak_gb": peak_gb(), "said": f"bump {found.bump}"}


def pushed(arguments: argparse.Namespace, artifact: Path, out: Path) -> dict[str, Any]:
    """The labels in the order of the source, in files of the next so many rows."""
    import datasets

    datasets.disable_progress_bars()
    opened = Artifact.open(artifact)
    labels = datasets.Dataset.from_polars(opened.labels().sort("id"))
    shards = opened.manifest.shards
    out.mkdir()
    start = clock()
    for index in range(shards):
        labels.shard(shards, index, contiguous=True).to_parquet(out / f"{index:05d}.parquet")
    return {"seconds": (clock() - start).tolist(), "peak_gb": peak_gb(), "said": "the labels alone, in memory"}


STEPS = {"write": write, "verify": verified, "diff": compared, "peer": pushed}
TABLES = ("labels", "candidates", "original", "dropped")


def batches(rows: int, candidates: int, change: str | None) -> Iterator[dict[str, list[Any]]]:
    """Seeded rows with their candidates and labels, some at a time."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 10, WORDS)
    letters = rng.choice(list("etaoinshrdlucmfwypvbgkjqxz"), (WORDS, 10))
    words = ["".join(letters[n, :length]) for n, length in enumerate(lengths)]
    shares = 1 / np.arange(1, WORDS + 1)
    stream = rng.choice(WORDS, STREAM, p=shares / shares.sum()).astype(np.int32)

    def texts(count: int, least: int, most: int) -> list[tuple[str, list[int]]]:
        starts, sizes = rng.integers(0, STREAM - most, count).tolist(), rng.integers(least, most + 1, count).tolist()
        tokens = [stream[start : start + size].tolist() for start, size in zip(starts, sizes, strict=True)]
        return [(" ".join(map(words.__getitem__, ids)), ids) for ids in tokens]

    def answered(row: Row, drawn: list[tuple[str, list[int]]]) -> tuple[list[Candidate], Label]:
        pool = [
            Candidate(row.id, "cd" * 32, index, "candidate", "plain", text, ids, "stop", -1.37 * len(text) / 7)
            for index, (text, ids) in enumerate(drawn)
        ]
        for c in pool:
            c.scores = [Score("mean_logprob", -1.37 - len(c.text) / 977)]
        completion: list[Message] = [{"role": "assistant", "content": pool[0].text}]
        score = pool[0].scores[0].value
        return pool, Label(row.id, row.prompt, completion, row.original, "self_confidence", 0, score)

    for start in range(0, rows, BATCH):
        count = min(BATCH, rows - start)
        asked, said, drawn = texts(count, 20, 60), texts(count, 30, 90), texts(count * candidates, 30, 90)
        batch: dict[str, list[Any]] = {"rows": [], "candidates": [], "labels": []}
        for n in range(count):
            prompt: list[Message] = [
                {"role": "system", "content": "You are a helpful assistant."},
                {"role": "user", "content": asked[n][0]},
            ]
            original: list[Message] = [{"role": "assistant", "content": said[n][0]}]
            several = [Row(f"row-{start + n:08d}", prompt, original, {"source": start + n + (change == "all")})]
            own = drawn[n * candidates : (n + 1) * candidates]
            if change == "all":
                own = [(f"{text} Indeed.", ids) for text, ids in own]
            if start + n == rows // 2 and change == "text":
                own[0] = (own[0][0] + " And so on." * 20, own[0][1])
            if start + n == rows // 2 and change == "added":
                several.append(Row(f"row-{start + n:08d}-b", prompt, original))
            for row in several:
                pool, label = answered(row, own)
                batch["rows"].append(row)
                batch["candidates"] += pool
                batch["labels"].append(label)
        yield batch


if __name__ == "__main__":
    main()
