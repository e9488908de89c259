"""`run_study`: state the contrasts, run every organism of the grid side by side, put the results together, report."""

from __future__ import annotations

import gc
import json
import math
import multiprocessing
import os
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from filelock import FileLock, Timeout

from datasets_cards import EchosetError, StorageError, canonical_json, sha256_hex
from echoset import __version__
from echoset.cells import STEPS_A_METHOD, STEPS_AN_ORGANISM, Folder, Models, evaluate_base, read_steps, run_organism
from echoset.references import embedder_path, model_path, reward_path
from echoset.report import write_report
from echoset.results import assemble
from echoset.spec import StudySpec
from labelers import make_method
from organisms import get_task


@dataclass
class StudyOutcome:
    """What a finished run of a study left behind.

    Attributes:
        logical_digest: over every artifact's logical digest and every completion and verdict; the same for an
            undisturbed and an interrupted run.
        computed: steps done in this run; the rest were there already.
        failed: organism -> one-line reason, for organisms whose work stopped.
    """

    folder: Path
    report: Path
    logical_digest: str
    steps: int
    computed: int
    seconds: float
    failed: dict[str, str] = field(default_factory=dict)


def run_study(spec: StudySpec, out: str | Path, *, workers: int | None = None, progress: bool = False) -> StudyOutcome:
    """Run whatever of the study is not done yet, and write results and report.

    Args:
        workers: processes side by side, each with one thread; all processors by default.

    Raises:
        StorageError: the folder can't be written, holds another study, or another process is running it.
    """
    folder, start = Folder(Path(out)), time.perf_counter()
    workers = workers or len(os.sched_getaffinity(0))
    try:
        folder.root.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.root / ".lock", timeout=0):
            base = model_path(spec.model, progress=progress)
            embedder = embedder_path(spec.embedder, progress=progress)
            rewarded = any("reward" in make_method(method).needs for method in spec.methods)
            reward = reward_path(spec.reward_model, progress=progress) if rewarded else None
            _state(spec, folder, base)
            earlier = len(read_steps(folder.steps))
            failed = _run_all(spec, folder, Models(base, embedder, reward), workers, progress)
            if len(failed.keys() - {"base"}) == len(spec.organisms()):
                raise EchosetError("nothing of the study could be done", remedy=next(iter(failed.values())))
            digest = assemble(spec, folder)
            report = write_report(folder.root)
    except Timeout:
        raise StorageError("another process is running this study", where=str(folder.root)) from None
    except OSError as error:
        if isinstance(error, EchosetError) or error.strerror is None:
            raise
        raise StorageError(
            f"can't write the study: {error.strerror}",
            where=str(error.filename or folder.root),
            remedy="What is finished is kept; mend the cause and run the same command again.",
        ) from None
    steps = read_steps(folder.steps)[earlier:]
    return StudyOutcome(
        folder=folder.root,
        report=report,
        logical_digest=digest,
        steps=len(steps),
        computed=sum(step["computed"] for step in steps),
        seconds=time.perf_counter() - start,
        failed=failed,
    )


def _state(spec: StudySpec, folder: Folder, base: str) -> None:
    """Write `study.json`: the spec, what is planted, and the contrasts, before anything of the study has run.

    Raises:
        StorageError: another study is here.
    """
    file = folder.root / "study.json"
    digest = sha256_hex(canonical_json(spec.model_dump(mode="json")))
    if file.exists():
        if json.loads(file.read_text(encoding="utf-8"))["spec_digest"] != digest:
            raise StorageError(
                "this folder holds another study",
                where=str(folder.root),
                remedy="Choose another --out, or its own spec.",
            )
        return
    from labelers.engines.models import resolve_model

    reference = resolve_model(base)
    study = {
        "preset": spec.name,
        "spec": spec.model_dump(mode="json"),
        "spec_digest": digest,
        "seed": spec.seed,
        "echoset_version": __version__,
        "stated_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "tasks": {name: {"planted": get_task(name).planted} for name in spec.tasks},
        "methods": list(spec.methods),
        "organisms": [plan.name for plan in spec.organisms()],
        "contrasts": spec.contrasts(),
        "embedder": {"name": spec.embedder, "scope": "tiny world only" if spec.embedder == "tiny" else ""},
        "base": {"name": spec.model, "digest": reference.revision, "parameters": _parameters(base)},
    }
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(study, indent=2) + "\n", encoding="utf-8")
    partial.replace(file)


def _parameters(base: str) -> int | None:
    """Number of weights in a model directory, from the headers of its files; None for a Hub id."""
    from safetensors import safe_open

    files = sorted(Path(base).glob("*.safetensors"))
    count = 0
    for file in files:
        with safe_open(file, framework="numpy") as tensors:
            count += sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    return count if files else None


def _run_all(spec: StudySpec, folder: Folder, models: Models, workers: int, progress: bool) -> dict[str, str]:
    """Run base and organisms in a pool of processes; one that fails doesn't stop the others."""
    # One thread a process, set before the libraries load: contended OpenMP threads collapse.
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    plans = spec.organisms()
    total = len(spec.tasks) + len(plans) * (STEPS_AN_ORGANISM + STEPS_A_METHOD * len(spec.methods))
    failed: dict[str, str] = {}
    with (
        Ticker(folder.steps, total, shown=progress) as ticker,
        ProcessPoolExecutor(
            min(workers, len(plans) + 1), mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker
        ) as pool,
    ):
        root = str(folder.root)
        pending: dict[Future[str], str] = {}
        for plan in plans:
            pending[pool.submit(run_organism, plan, spec, models, root)] = plan.name
        pending[pool.submit(evaluate_base, spec, models.base, root)] = "base"
        while pending:
            done, _ = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
            ticker.look()
            for future in done:
                name = pending.pop(future)
                error = future.exception()
                if isinstance(error, EchosetError):
                    failed[name] = str(error)
                elif error is not None:
                    failed[name] = f"{type(error).__name__}: {error}"
    return failed


def _start_worker() -> None:
    """Load the libraries; end this worker when its study is gone, as a pool's would wait for work forever."""
    import_module("trainers.run")
    # Training collects garbage; what the libraries brought along is none, and looking through it takes 0.2 s each time.
    gc.freeze()
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class Ticker:
    """The progress bar, fed from the step log that the workers write."""

    def __init__(self, steps: Path, total: int, *, shown: bool) -> None:
        self.steps, self.total, self.shown = steps, total, shown
        self.earlier = len(read_steps(steps))

    def __enter__(self) -> Ticker:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
        self.bar = Progress(*columns, console=Console(stderr=True), disable=not (self.shown and sys.stderr.isatty()))
        self.bar.start()
        self.task = self.bar.add_task("starting", total=self.total)
        return self

    def look(self) -> None:
        """Read the log and move the bar."""
        steps = [] if self.bar.disable else read_steps(self.steps)[self.earlier :]
        if steps:
            last = steps[-1]
            self.bar.update(self.task, completed=len(steps), description=f"{last['organism']}: {last['step']}")

    def __exit__(self, *_: object) -> None:
        self.look()
        self.bar.stop()
