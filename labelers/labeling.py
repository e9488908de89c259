"""Labeling: rows in, a labeled artifact out. Drawing the pool and choosing from it stand apart.

`draw_pool` costs generation and keeps every candidate; `select` is a pure step over stored candidates and scores, so
that the same pool can be labeled again under another selector for nothing.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets_cards import (
    Artifact,
    Candidate,
    Draft,
    Dropped,
    InputError,
    Label,
    Message,
    Row,
    Source,
    StorageError,
    cache_dir,
    describe_source,
    read_rows,
    write_artifact,
)
from datasets_cards import manifest as m
from datasets_cards.canonical import row_digest, table_digest
from labelers.engines import load_engine
from labelers.engines.protocol import Engine
from labelers.method import Method
from labelers.proposals import Proposal, Samples
from labelers.registry import make_method
from labelers.sampler import Sampler
from labelers.scorers import Scorer
from labelers.selectors import score_of
from labelers.store import SampleStore
from labelers.task import LabelTask


@dataclass(slots=True)
class Pool:
    """What was drawn for some rows.

    Attributes:
        candidates: of every row, in row order; the baseline rung's last.
        prompt_tokens: tokens of the distinct prompts that were sent.
        drawn: samples that were generated.
        reused: samples that the store had.
    """

    candidates: list[Candidate]
    prompt_tokens: int
    drawn: int
    reused: int


def label(
    data: str | Path | Sequence[Row],
    *,
    model: str | Path | None = None,
    engine: str | Engine = "transformers",
    method: str | Method,
    out: str | Path,
    k: int | None = None,
    seed: int = 0,
    task: LabelTask | None = None,
    store: str | Path | None = None,
    limit: int | None = None,
    skip_bad: bool = False,
    max_new_tokens: int | None = None,
    batch_size: int | None = None,
    baseline: bool = True,
    license: str | None = None,
    source: str = "rows in memory",
    progress: bool = False,
) -> Artifact:
    """Label rows with a model's own outputs.

    Args:
        data: a JSONL or Parquet file, a saved `datasets` folder, an artifact, or rows.
        model: model directory, LoRA adapter directory or Hub id; not needed with an engine that is already loaded.
        engine: an engine's name, or a loaded engine.
        method: a method's name, or a method with its configuration.
        out: the artifact's folder, which must not be there yet.
        k: samples a row, for methods that draw several.
        seed: seed of the run; every sample's own derives from it.
        task: finds answers for `multi_view` and judges every candidate (`misaligned`).
        store: sample store to reuse and add to; default one in `$ECHOSET_CACHE` shared by all runs.
        limit: the first so many usable rows.
        skip_bad: drop unusable rows with their reason instead of stopping at the first.
        max_new_tokens: longest completion, default 256.
        batch_size: samples in flight, for an engine that is loaded here; it changes no sample.
        baseline: draw one plain sample a row at T=1 beside the pool, the rung P of the shift ladder.
        license: the data's license, where the data doesn't say.
        source: what rows that come from no file are called in the manifest and on the card.
        progress: a bar on stderr.

    Returns:
        The artifact at `out`.

    Raises:
        InputError: data, method or options that can't be used.
        MissingError: a file or directory that isn't there.
        EngineError: the model can't be loaded or gives no numbers.
        StorageError: `out` or the store can't be written. Samples that were committed stay and are reused.
    """
    chosen = _method(method, k, max_new_tokens)
    _check_out(Path(out))
    rows, unread, described = _rows(data, limit, skip_bad, license, source)
    loaded = load_engine(engine, model, batch_size=batch_size) if isinstance(engine, str) else engine
    with SampleStore(store or cache_dir() / "samples.sqlite") as samples:
        pool = draw_pool(
            rows, chosen.proposal, loaded, samples, seed=seed, task=task, baseline=baseline, progress=progress
        )
    score_candidates(rows, pool.candidates, chosen.scorer, task)
    labels, dropped = select(rows, pool.candidates, chosen, seed=seed)
    identity = loaded.identity
    backend, _, version = identity.backend.partition("/")
    draft = Draft(
        rows=rows,
        candidates=pool.candidates,
        labels=labels,
        dropped=[*dropped, *unread],
        source=described,
        model=m.Model(
            reference=identity.model,
            revision=identity.revision,
            adapter=identity.adapter,
            dtype=identity.dtype,
            quantization=identity.quantization,
            chat_template=identity.chat_template,
        ),
        labeler=m.Labeler(
            method=chosen.name,
            proposal=chosen.proposal.name,
            scorer=chosen.scorer.name if chosen.scorer else None,
            selector=chosen.selector.name,
            config={**chosen.config.model_dump(), "task": task.name if task else None, "baseline": baseline},
        ),
        engine=m.Engine(name=backend, version=version, determinism=loaded.determinism),
        seeds={"run": seed},
        scorers={chosen.scorer.name: None} if chosen.scorer else {},
        prompt_tokens=pool.prompt_tokens,
    )
    return write_artifact(out, draft)


def draw_pool(
    rows: Sequence[Row],
    proposal: Proposal,
    engine: Engine,
    store: SampleStore,
    *,
    seed: int = 0,
    task: LabelTask | None = None,
    baseline: bool = True,
    progress: bool = False,
) -> Pool:
    """Draw a proposal's candidates for every row, the baseline rung beside them, and judge them where a task can.

    Args:
        store: what it has is reused, and what is drawn is added to it.
        baseline: one plain sample a row at T=1, top_p 1, of role `baseline`, from a stream of noise of its own.

    Raises:
        StorageError: the store can't be read or written.
    """
    sampler = Sampler(engine, store, progress=progress)
    drawn, reused = store.drawn, store.reused
    candidates = proposal.draw(rows, sampler, seed)
    if baseline:
        length = getattr(proposal, "max_new_tokens", 256)
        rung = Samples(k=1, temperature=1.0, top_p=1.0, max_new_tokens=length, role="baseline")
        candidates += rung.draw(rows, sampler, seed)
    if task:
        by_id = {row.id: row for row in rows}
        for candidate in candidates:
            if candidate.finish_reason != "error":
                candidate.misaligned = task.is_misaligned(by_id[candidate.id], candidate.text)
    return Pool(candidates, sampler.prompt_tokens, store.drawn - drawn, store.reused - reused)


def score_candidates(
    rows: Sequence[Row], candidates: Iterable[Candidate], scorer: Scorer | None, task: LabelTask | None = None
) -> None:
    """Put a scorer's score on every candidate but the baseline, in place of an earlier one of the same name."""
    if not scorer:
        return
    for row, pool in _by_row(rows, (c for c in candidates if c.role != "baseline")):
        for candidate, score in zip(pool, scorer.score(row, pool, task), strict=True):
            candidate.scores = [*(s for s in candidate.scores if s.scorer != scorer.name), score]


def select(
    rows: Sequence[Row], candidates: Iterable[Candidate], method: Method, *, seed: int = 0
) -> tuple[list[Label], list[Dropped]]:
    """Choose each row's label among its stored candidates; pure.

    Rows without a successful candidate are dropped under the failure's own code (such as `prompt_too_long`).

    Returns:
        Labels and dropped rows; together every row once, in order.
    """
    labels: list[Label] = []
    dropped: list[Dropped] = []
    scorer = method.scorer.name if method.scorer else None
    for row, pool in _by_row(rows, (c for c in candidates if c.role == "candidate")):
        usable = sorted((c for c in pool if c.finish_reason != "error"), key=lambda c: c.index)
        if not usable:
            error = next((c.error for c in pool if c.error), None) or "no_candidate: nothing was drawn"
            code, _, detail = error.partition(":")
            dropped.append(Dropped(row.id, code, detail.strip()))
            continue
        choice = method.selector.select(row.id, usable, scorer, seed)
        if isinstance(choice, Dropped):
            dropped.append(choice)
            continue
        completion = [Message(role="assistant", content=choice.text)]
        labels.append(
            Label(row.id, row.prompt, completion, row.original, method.name, choice.index, score_of(choice, scorer))
        )
    return labels, dropped


def _by_row(rows: Sequence[Row], candidates: Iterable[Candidate]) -> Iterable[tuple[Row, list[Candidate]]]:
    pools: Mapping[str, list[Candidate]] = {row.id: [] for row in rows}
    for candidate in candidates:
        pools[candidate.id].append(candidate)
    return ((row, pools[row.id]) for row in rows)


def _method(method: str | Method, k: int | None, max_new_tokens: int | None) -> Method:
    if isinstance(method, str):
        return make_method(method, k=k, max_new_tokens=max_new_tokens)
    if k is not None or max_new_tokens is not None:
        raise InputError("the method brings its own configuration", where="k, max_new_tokens", remedy="Set them there")
    return method


def _check_out(out: Path) -> None:
    """Find out before anything is spent that the result could not be written."""
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise InputError("something is already here", where=str(out), remedy="Name a folder that isn't there yet")
    parent = next((p for p in (out, *out.absolute().parents) if p.exists()), None)
    if parent is None or not parent.is_dir() or not os.access(parent, os.W_OK):
        raise StorageError("can't be written", where=str(out), remedy="Name a folder in a place that you may write to")


def _rows(
    data: str | Path | Sequence[Row], limit: int | None, skip_bad: bool, license: str | None, source: str
) -> tuple[list[Row], list[Dropped], Source]:
    if isinstance(data, str | Path):
        rows, unread = read_rows(data, limit=limit, skip_bad=skip_bad)
        return rows, unread, describe_source(data, len(rows), license)
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}", remedy="Ask for at least one row")
    rows = list(data)[:limit]
    if not rows:
        raise InputError("there are no rows to label", where="data", remedy="Give at least one")
    twice = [name for name, count in Counter(row.id for row in rows).items() if count > 1]
    if twice:
        raise InputError("two rows have this id", where=f"row {twice[0]}", remedy="Ids are unique in a dataset")
    digest = table_digest("logical", "original", map(row_digest, rows))
    return rows, [], Source(reference=source, digest=digest, rows=len(rows), license=license)
