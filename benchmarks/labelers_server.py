"""What the openai engine and the sample store cost beside the bare requests, and how much memory a run takes.

    python -m benchmarks.labelers_server cpu --prompts 100000
    python -m benchmarks.labelers_server memory --rows 20000 50000 100000

`cpu`: CPU time (user and system, of the client alone) of prompts labeled through a stub server in another process, by
engine, sampler and store, beside a loop with the same HTTP client, the same bodies and as many requests at once. The
two alternate; the difference a request is printed for each pair, and the median.

`memory`: peak resident memory of whole `label` runs on a JSONL file, each in a process of its own, and what the slope
comes to at a million rows.
"""

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

STUB = Path(__file__).resolve().parent.parent / "tests" / "stub_server.py"
CHUNK = 2048
"""Requests handed to the sampler at once, as `label` hands them."""
RUN = """
import resource, sys, time
from labelers import label
began = time.monotonic()
artifact = label(
    sys.argv[1], model="stub", engine="openai", base_url=sys.argv[2], method="greedy_self_training",
    out=sys.argv[3] + "/out", store=sys.argv[3] + "/store.sqlite", baseline=False, max_new_tokens=16,
)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.monotonic() - began)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    cpu = commands.add_parser("cpu")
    cpu.add_argument("--prompts", type=int, default=100_000)
    cpu.add_argument("--repeats", type=int, default=5)
    cpu.add_argument("--concurrency", type=int, default=64)
    memory = commands.add_parser("memory")
    memory.add_argument("--rows", type=int, nargs="+", default=[20_000, 50_000, 100_000])
    arguments = parser.parse_args()
    if arguments.command == "cpu":
        measure_cpu(arguments.prompts, arguments.repeats, arguments.concurrency)
    else:
        measure_memory(arguments.rows)


def measure_cpu(prompts: int, repeats: int, concurrency: int) -> None:
    """Engine, sampler and store against the bare loop, by turns on fresh seeds."""
    from labelers.engines.openai_api.engine import OpenAIEngine

    above = []
    with stub() as url, tempfile.TemporaryDirectory() as scratch:
        engine = OpenAIEngine("stub", base_url=url, concurrency=concurrency)
        for repeat in range(repeats):
            bare = cpu_of(lambda r=repeat: bare_loop(engine, requests(prompts, r), concurrency))
            alone = cpu_of(lambda r=repeat: sum(1 for _ in engine.sample(list(requests(prompts, r)))))
            store = Path(scratch) / f"{repeat}.sqlite"
            whole = cpu_of(lambda r=repeat, s=store: through_the_store(engine, requests(prompts, r), s))
            above.append((whole - bare) / prompts * 1e3)
            print(
                f"{prompts:,} prompts: bare loop {bare / prompts * 1e3:.3f} ms a request, engine alone "
                f"{alone / prompts * 1e3:.3f}, with sampler and store {whole / prompts * 1e3:.3f}: "
                f"{above[-1]:.3f} above",
                flush=True,
            )
    print(f"median of {repeats}: {statistics.median(above):.3f} ms CPU a request above the bare loop (bar: 0.3)")


def requests(prompts: int, repeat: int) -> Iterator:
    """Prompts of some twenty words, each with a sample of its own."""
    from labelers.engines.protocol import SampleRequest, Sampling, derive_seed

    sampling = Sampling(0.7, 0.9, 16)
    for n in range(prompts):
        messages = [{"role": "user", "content": f"Question {n}: " + "how many of these words count as words, " * 2}]
        yield SampleRequest(str(n), messages, sampling, derive_seed(repeat, str(n), "candidate/plain", 0))


def bare_loop(engine, todo: Iterator, concurrency: int) -> None:
    """As many tasks as requests at once, each sending the next body and reading the answer's text."""
    import aiohttp

    url = f"{engine.identity.base_url}/chat/completions"
    headers = {"Content-Type": "application/json"}

    async def work(session: aiohttp.ClientSession) -> None:
        for request in todo:
            body = {
                "model": "stub",
                "messages": request.messages,
                "temperature": 0.7,
                "top_p": 0.9,
                "seed": request.seed & 0x7FFFFFFF,
                "max_tokens": 16,
                "logprobs": True,
                "return_token_ids": True,
            }
            async with session.post(url, data=json.dumps(body).encode(), headers=headers) as response:
                json.loads(await response.read())["choices"][0]["message"]["content"]

    async def run() -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency)) as session:
            await asyncio.gather(*(work(session) for _ in range(concurrency)))

    asyncio.run(run())


def through_the_store(engine, todo: Iterator, path: Path) -> None:
    """The same by engine, sampler and store, in chunks."""
    from labelers.sampler import Sampler
    from labelers.store import SampleStore

    with SampleStore(path) as store:
        sampler = Sampler(engine, store)
        chunk = []
        for request in todo:
            chunk.append(request)
            if len(chunk) == CHUNK:
                sampler.sample(chunk)
                chunk = []
        if chunk:
            sampler.sample(chunk)


def cpu_of(work: Callable[[], object]) -> float:
    """CPU seconds of this process, in user and system mode."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure_memory(rows: list[int]) -> None:
    """Peak resident memory by rows, and the line through first and last."""
    peaks = []
    for n in rows:
        with stub() as url, tempfile.TemporaryDirectory() as scratch:
            data = Path(scratch) / "rows.jsonl"
            with data.open("w") as file:
                for i in range(n):
                    prompt = f"Question {i}: " + "how many of these words count as words, " * 2
                    file.write(json.dumps({"id": str(i), "prompt": prompt, "completion": "about seven"}) + "\n")
            run = subprocess.run(
                [sys.executable, "-c", RUN, str(data), url, scratch],
                capture_output=True,
                text=True,
                env=os.environ | {"ECHOSET_CACHE": scratch},
            )
            if run.returncode:
                raise SystemExit(run.stderr)
            peak, seconds = map(float, run.stdout.split()[-2:])
        peaks.append(peak)
        print(f"{n:>9,} rows: {peak:6.0f} MB at the peak, {seconds:.0f} s", flush=True)
    if len(rows) > 1:
        slope = (peaks[-1] - peaks[0]) / (rows[-1] - rows[0])
        at_a_million = peaks[-1] + slope * (1_000_000 - rows[-1])
        print(f"{slope * 1000:.3f} MB a thousand rows: {at_a_million:.0f} MB at 1,000,000 rows (bar: 1024)")


@contextmanager
def stub() -> Iterator[str]:
    """The stub server in a process of its own; its address."""
    server = subprocess.Popen([sys.executable, str(STUB)], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout
        yield server.stdout.readline().strip()
    finally:
        server.terminate()
        server.wait(10)


if __name__ == "__main__":
    began = time.monotonic()
    main()
    print(f"{time.monotonic() - began:.0f} s in all")
