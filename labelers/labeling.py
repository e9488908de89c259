"""Labeling: rows in, a labeled artifact out, a chunk of rows in memory at a time.

Drawing costs generation, and every candidate is kept; choosing from what is stored costs nothing (`relabeling.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets_cards import Artifact, ArtifactWriter, InputError, Row, cache_dir, check_target, scan_rows
from labelers.accuracy import check_scorer
from labelers.chunks import in_chunks
from labelers.engines import load_engine
from labelers.engines.protocol import Engine
from labelers.engines.reward_model import RewardModel
from labelers.method import Method, crossed
from labelers.methods import choose_method
from labelers.pools import draw_pool, score_candidates
from labelers.progress import Progress
from labelers.provenance import engine_part, labeler_part, model_part, scorer_settings
from labelers.sampler import Sampler
from labelers.scorers import Tools
from labelers.selection import select
from labelers.store import SampleStore
from labelers.task import LabelTask


def label(
    data: str | Path | Sequence[Row],
    *,
    model: str | Path | None = None,
    engine: str | Engine = "transformers",
    method: str | Method,
    out: str | Path,
    proposal: str | None = None,
    scorer: str | None = None,
    selector: str | None = None,
    dose: float | None = None,
    also_score: Sequence[str] = (),
    seed: int = 0,
    task: LabelTask | None = None,
    reward_model: str | Path | RewardModel | None = None,
    embedder: str | Path | None = None,
    force: bool = False,
    store: str | Path | None = None,
    limit: int | None = None,
    skip_bad: bool = False,
    baseline: bool = True,
    license: str | None = None,
    source: str = "rows in memory",
    batch_size: int | None = None,
    base_url: str | None = None,
    concurrency: int | None = None,
    timeout: float | None = None,
    progress: bool = False,
    **options: Any,
) -> Artifact:
    """Label rows with a model's own outputs.

    Args:
        data: a JSONL or Parquet file, a saved `datasets` folder, an artifact, `hub:ORG/NAME@REV`, or rows.
        model: model directory, LoRA adapter directory, Hub id, or the name that a server knows; not needed with an
            engine that is already loaded.
        engine: an engine's name, or a loaded engine.
        method: a method's name, or a method with its configuration.
        out: the artifact's folder, which must not be there yet.
        proposal: another proposal in place of the method's; see `crossed`.
        scorer: another scorer, or `none`.
        selector: another selector.
        dose: keep a label with this probability, and take the row's self-sample otherwise.
        also_score: further scorers, whose scores are stored so that labeling again under them needs no model.
        seed: seed of the run; every sample's own derives from it.
        task: finds answers, brings a rubric, judges every candidate (`misaligned`), and checks scorers.
        reward_model: directory or Hub id of a sequence classifier, for the scorer `reward`.
        embedder: directory or Hub id of a SentenceTransformer, for the scorer `similarity_agreement`.
        force: go on with a scorer that is at chance.
        store: sample store to reuse and add to; default one in `$ECHOSET_CACHE` shared by all runs.
        limit: the first so many usable rows.
        skip_bad: drop unusable rows with their reason instead of stopping at the first.
        baseline: draw one plain sample a row at T=1 beside the pool, the rung P of the shift ladder.
        license: the data's license, where the data doesn't say.
        source: what rows that come from no file are called in the manifest and on the card.
        batch_size: samples in flight, for an engine that is loaded here; it changes no sample.
        base_url: address of a server.
        concurrency: most requests to a server at once.
        timeout: seconds to wait for a server's answer before it is asked again.
        progress: a bar on stderr.
        **options: the method's own settings, such as `k`, `temperature` or `max_new_tokens`.

    Returns:
        The artifact at `out`.

    Raises:
        InputError: data, method or options that can't be used, or a scorer at chance.
        MissingError: a file or directory that isn't there.
        EngineError: the model can't be loaded or gives no numbers.
        StorageError: `out` or the store can't be written. Samples that were committed stay and are reused.
    """
    if dose is not None and (not 0 <= dose <= 1 or not baseline):
        raise InputError(
            f"a dose of {dose}, baseline {'drawn' if baseline else 'not drawn'}",
            where="dose",
            remedy="Use a probability from 0 to 1, and draw the baseline that it mixes with",
        )
    chosen = crossed(choose_method(method, options), proposal=proposal, scorer=scorer, selector=selector)
    check_target(out)
    scan = scan_rows(data, limit=limit, skip_bad=skip_bad, license=license, name=source)
    given = {"batch_size": batch_size, "base_url": base_url, "concurrency": concurrency, "timeout": timeout}
    loaded = load_engine(engine, model, **given) if isinstance(engine, str) else engine
    with SampleStore(store or cache_dir() / "samples.sqlite") as samples, Progress(len(scan), show=progress) as bar:
        sampler = Sampler(loaded, samples, bar)
        tools = Tools.of(sampler, task, reward_model, embedder)
        tools.check(chosen.needs, chosen.name)
        checks = check_scorer(chosen.scorer, tools, force=force)
        further = chosen.scorers_beside(also_score)
        for each in further:
            tools.check(each.needs, each.name)
            checks |= check_scorer(each, tools, force=True)  # nothing is selected by them yet
        with ArtifactWriter(out, rows=len(scan)) as writer:
            writer.add(rows=[], candidates=[], labels=[], dropped=scan.unread)
            for chunk in in_chunks(scan.rows()):
                bar.begin(len(chunk))
                drawn = draw_pool(chunk, chosen.proposal, sampler, seed=seed, task=task, baseline=baseline)
                for each in (chosen.scorer, *further):
                    score_candidates(chunk, drawn.candidates, each, tools)
                labels, dropped = select(chunk, drawn.candidates, chosen, seed=seed, dose=dose)
                writer.add(rows=chunk, candidates=drawn.candidates, labels=labels, dropped=dropped)
            return writer.finish(
                source=scan.source,
                model=model_part(loaded),
                labeler=labeler_part(chosen, scorer_settings(chosen.scorer, tools), dose),
                engine=engine_part(loaded),
                seeds={"run": seed},
                scorers=checks,
                scorer_settings={each.name: scorer_settings(each, tools) for each in (chosen.scorer, *further) if each},
                prompt_tokens=sampler.prompt_tokens,
            )
