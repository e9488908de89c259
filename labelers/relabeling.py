"""Labeling again: another choice from a pool that is stored. No candidate is drawn."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from datasets_cards import Artifact, ArtifactWriter, Dropped, InputError, cache_dir, check_target
from labelers.accuracy import check_scorer, refuse_chance
from labelers.chunks import in_chunks
from labelers.engines import load_engine
from labelers.engines.protocol import Engine
from labelers.engines.reward_model import RewardModel
from labelers.method import Method, crossed
from labelers.methods import METHODS, make_method
from labelers.pools import judge, score_candidates
from labelers.proposals import PROPOSALS, Proposal, settings
from labelers.provenance import labeler_part, model_part, scorer_settings
from labelers.sampler import Sampler
from labelers.scorers import Scorer, Tools
from labelers.selection import select
from labelers.store import SampleStore
from labelers.task import LabelTask


def relabel(
    artifact: str | Path | Artifact,
    *,
    method: str | Method,
    out: str | Path,
    scorer: str | None = None,
    selector: str | None = None,
    dose: float | None = None,
    seed: int | None = None,
    task: LabelTask | None = None,
    model: str | Path | None = None,
    engine: str | Engine = "transformers",
    base_url: str | None = None,
    reward_model: str | Path | RewardModel | None = None,
    embedder: str | Path | None = None,
    force: bool = False,
    store: str | Path | None = None,
    **options: Any,
) -> Artifact:
    """Label an artifact's rows again by another method, from the candidates that it holds.

    No model is needed where the method goes by what is stored: log-probabilities, answers, scores of the same scorer.
    The result is what `label` would have made of the same pool.

    Args:
        artifact: the artifact, or its folder.
        method: a method whose proposal drew this pool, or one that can choose from any.
        out: the new artifact's folder, which must not be there yet.
        scorer: another scorer in place of the method's, or `none`.
        selector: another selector.
        dose: keep a label with this probability, and take the row's self-sample otherwise.
        seed: seed of the choice, default that of the artifact's own choice.
        task: finds answers, brings a rubric, checks scorers.
        model: the labeling model itself, for scores that only it can give and that are not stored.
        engine: an engine's name, or a loaded engine.
        base_url: address of a server.
        reward_model: directory or Hub id of a sequence classifier, for the scorer `reward`.
        embedder: directory or Hub id of a SentenceTransformer, for the scorer `similarity_agreement`.
        force: go on with a scorer that is at chance.
        store: sample store for gradings and scores; default one in `$ECHOSET_CACHE` shared by all runs.
        **options: the method's own settings; those of its proposal are the pool's.

    Returns:
        The artifact at `out`.

    Raises:
        InputError: the pool is another method's, or scores that are not stored need a model that is not named.
        StorageError: `out` can't be written.
    """
    old = artifact if isinstance(artifact, Artifact) else Artifact.open(artifact)
    chosen = crossed(_method(method, pool_of(old), options), scorer=scorer, selector=selector)
    check_target(out)
    run_seed = old.manifest.seeds["run"]
    seed = old.manifest.seeds.get("select", run_seed) if seed is None else seed
    loaded = load_engine(engine, model, base_url=base_url) if isinstance(engine, str) and model is not None else engine
    # Without a model there is nothing to keep.
    kept = store or cache_dir() / "samples.sqlite" if reward_model or not isinstance(loaded, str) else ":memory:"
    with SampleStore(kept) as samples:
        sampler = None if isinstance(loaded, str) else Sampler(loaded, samples)
        _check_model(old, sampler)
        tools = Tools.of(sampler, task, reward_model, embedder, samples)
        scoring = _to_run(chosen.scorer, old, tools)
        checks = check_scorer(scoring, tools, force=force)
        if chosen.scorer and not scoring and not force:
            refuse_chance(chosen.scorer.name, old.manifest.scorers[chosen.scorer.name])
        stored = old.manifest.scorer_settings.get(chosen.scorer_name or "", {})
        fresh = {scoring.name: scorer_settings(scoring, tools)} if scoring else {}
        with ArtifactWriter(out, rows=old.manifest.counts.rows, shards=old.manifest.shards) as writer:
            for pools in in_chunks(old.pools()):
                rows = [row for row, _ in pools]
                candidates = [candidate for _, pool in pools for candidate in pool]
                judge(rows, candidates, task)
                score_candidates(rows, candidates, scoring, tools)
                labels, dropped = select(rows, candidates, chosen, seed=seed, dose=dose)
                writer.add(rows=rows, candidates=candidates, labels=labels, dropped=dropped)
            writer.add(rows=[], candidates=[], labels=[], dropped=_unread(old))
            return writer.finish(
                source=old.manifest.source,
                model=old.manifest.model,
                labeler=labeler_part(chosen, stored | fresh.get(chosen.scorer_name or "", {}), dose),
                engine=old.manifest.engine,
                seeds={"run": run_seed} if seed == run_seed else {"run": run_seed, "select": seed},
                scorers=old.manifest.scorers | checks,
                scorer_settings=old.manifest.scorer_settings | fresh,
                prompt_tokens=old.manifest.counts.prompt_tokens,
            )


def pool_of(artifact: Artifact) -> Proposal:
    """The proposal that drew an artifact's candidates.

    Raises:
        InputError: this version of Echoset doesn't know it.
    """
    labeler = artifact.manifest.labeler
    known: Any = PROPOSALS.get(labeler.proposal)
    try:
        return known(**{name: value for name, value in labeler.config.items() if not name.startswith("scorer.")})
    except TypeError:
        raise InputError(
            f"its pool was drawn by {labeler.proposal!r}, which this Echoset doesn't know",
            where=str(artifact.path),
            remedy="Use the version of Echoset that wrote it",
        ) from None


def _method(method: str | Method, pool: Proposal, options: dict[str, Any]) -> Method:
    """The method over the stored pool, whose settings are given."""
    if isinstance(method, str):
        drawn = settings(pool)
        given = {name: value for name, value in options.items() if value is not None}
        fields = METHODS[method].config_class.model_fields if method in METHODS else {}
        made = make_method(method, **{name: value for name, value in drawn.items() if name in fields} | given)
        for name in given.keys() & settings(made.proposal).keys():
            if name not in drawn:
                raise InputError(f"the pool was drawn without {name}", where=name, remedy="Leave it out")
            if getattr(made.config, name) != drawn[name]:
                raise InputError(f"the pool was drawn with {name} {drawn[name]}", where=name, remedy="Leave it out")
    else:
        made = copy.copy(method)
    if made.any_pool:
        made.proposal = pool
    if made.proposal != pool:
        raise InputError(
            f"{made.name} chooses from a pool of {made.proposal}, and this one is of {pool}",
            where="method",
            remedy="Draw its pool with `label`; samples that are in the store are reused",
        )
    return made


def _to_run(scorer: Scorer | None, old: Artifact, tools: Tools) -> Scorer | None:
    """The scorer, unless its scores are stored, under these settings, and nothing is named that would change them."""
    if not scorer:
        return None
    named = {"model": tools.sampler, "reward": tools.reward, "embedder": tools.embedder}
    matters = scorer.needs & named.keys()
    news = any(named[need] for need in matters) if matters else tools.task
    stored = old.manifest.scorer_settings.get(scorer.name)
    same = stored is not None and {**stored, **settings(scorer)} == stored
    if same and not news:
        return None
    tools.check(scorer.needs, scorer.name)
    return scorer


def _check_model(old: Artifact, sampler: Sampler | None) -> None:
    if not sampler:
        return
    asked = model_part(sampler.engine)
    if asked != old.manifest.model:
        raise InputError(
            f"the pool was drawn by {old.manifest.model.reference}, not by this {asked.reference}",
            where="model",
            remedy="Name the very model, adapter included, that drew it",
        )


def _unread(old: Artifact) -> list[Dropped]:
    """Rows that could not be read when the pool was drawn: dropped, and not among the originals."""
    counts = old.manifest.counts
    if counts.labeled + sum(counts.dropped.values()) == counts.rows:
        return []
    ids = {row.id for row in old.iter_original()}
    return [item for item in old.iter_dropped() if item.id not in ids]
