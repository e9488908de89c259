"""Verbs that label, and label again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from echoset.commands.options import ArtifactRef, Json, Limit, Model, Out, Quiet, Seed, TaskName, show_result

Scorer = Annotated[str | None, typer.Option("--scorer", help="Another scorer in the method's place, or `none`.")]
Selector = Annotated[str | None, typer.Option("--selector", help="Another selector in the method's place.")]
Dose = Annotated[
    float | None, typer.Option("--dose", help="Keep a label with this probability, else take the self-sample.")
]
Engine = Annotated[str, typer.Option("--engine", help="What generates: transformers, vllm or openai.")]
RewardModel = Annotated[
    str | None,
    typer.Option("--reward-model", help="Directory or Hub id of a reward model; `tiny` is the embedded one."),
]
AgreementEmbedder = Annotated[
    str | None, typer.Option("--embedder", help="SentenceTransformer, for agreement by similarity; `tiny` is embedded.")
]
BaseUrl = Annotated[str | None, typer.Option("--base-url", help="A server's address, for --engine openai.")]
Force = Annotated[bool, typer.Option("--force", help="Go on with a scorer that is at chance.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="A setting of the method, as name=value; may be repeated.")
]
Store = Annotated[Path | None, typer.Option("--store", help="Sample store to reuse and add to.")]


def label(
    model: Model,
    method: Annotated[str, typer.Option("--method", help="A labeling method; see the README's table.")],
    out: Annotated[Path | None, typer.Option("--out", help="Directory to write; must not exist yet.")] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data", help="JSONL, Parquet, a saved `datasets` folder, or hub:ORG/NAME; else the task's rows."
        ),
    ] = None,
    task: TaskName = None,
    engine: Engine = "transformers",
    proposal: Annotated[str | None, typer.Option("--proposal", help="Another proposal in the method's place.")] = None,
    scorer: Scorer = None,
    selector: Selector = None,
    dose: Dose = None,
    also_score: Annotated[
        list[str] | None, typer.Option("--also-score", help="A further scorer to store; may be repeated.")
    ] = None,
    k: Annotated[int | None, typer.Option("--k", help="Samples a prompt, for methods that draw several.")] = None,
    temperature: Annotated[float | None, typer.Option("--temperature", help="Of the samples; 0 is greedy.")] = None,
    top_p: Annotated[float | None, typer.Option("--top-p", help="Nucleus mass of the samples.")] = None,
    settings: Settings = None,
    max_new_tokens: Annotated[int | None, typer.Option("--max-new-tokens", help="Longest completion.")] = None,
    reward_model: RewardModel = None,
    embedder: AgreementEmbedder = None,
    force: Force = False,
    limit: Limit = None,
    skip_bad_rows: Annotated[bool, typer.Option("--skip-bad-rows", help="Record and drop unusable rows.")] = False,
    no_baseline: Annotated[bool, typer.Option("--no-baseline", help="Draw no self-sample beside the pool.")] = False,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=1, help="Samples in flight.")] = None,
    base_url: BaseUrl = None,
    concurrency: Annotated[int | None, typer.Option("--concurrency", min=1, help="Most requests at once.")] = None,
    timeout: Annotated[float | None, typer.Option("--timeout", help="Seconds to wait for a server's answer.")] = None,
    store: Store = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would ask for and how long it takes.")
    ] = False,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Label rows with a model's own outputs; every candidate is kept."""
    from datasets_cards import InputError
    from echoset.cells import source_of
    from echoset.references import data_or_task_rows, model_path, task_named
    from labelers import label as run
    from labelers import plan

    chosen = task_named(task)
    what: dict[str, Any] = {
        "data": data_or_task_rows(data, chosen, seed),
        "model": model if engine == "openai" else model_path(model, progress=not quiet),
        "engine": engine,
        "method": method,
        "proposal": proposal,
        "scorer": scorer,
        "selector": selector,
        "also_score": also_score or (),
        "seed": seed,
        "task": chosen,
        "store": store,
        "limit": limit,
        "skip_bad": skip_bad_rows,
        "baseline": not no_baseline,
        "batch_size": batch_size,
        "base_url": base_url,
        "concurrency": concurrency,
        "timeout": timeout,
        **method_settings(method, settings, k=k, temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens),
    }
    if dry_run:
        show_plan(vars(plan(**what)), as_json)
        return
    if out is None:
        raise InputError("no place to write to is named", where="--out", remedy="Name a new folder")
    provenance: dict[str, Any] = {}
    if chosen and not data:
        provenance = {"license": chosen.license, "source": source_of(chosen)}
    artifact = run(
        **what,
        out=out,
        dose=dose,
        force=force,
        reward_model=reward_reference(reward_model, quiet),
        embedder=embedder_reference(embedder, quiet),
        progress=not quiet,
        **provenance,
    )
    show_facts({"artifact": str(out), **artifact_summary(artifact)}, as_json)


def relabel(
    artifact: ArtifactRef,
    method: Annotated[str, typer.Option("--method", help="A labeling method over the stored pool.")],
    out: Out,
    scorer: Scorer = None,
    selector: Selector = None,
    dose: Dose = None,
    settings: Settings = None,
    task: TaskName = None,
    model: Annotated[
        str | None, typer.Option("--model", help="The labeling model, for scores that only it can give.")
    ] = None,
    engine: Engine = "transformers",
    base_url: BaseUrl = None,
    reward_model: RewardModel = None,
    embedder: AgreementEmbedder = None,
    force: Force = False,
    store: Store = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of the choice; default: the artifact's.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Label an artifact's rows again, from the candidates that it holds.

    No model is needed where the scores are stored.
    """
    from datasets_cards import resolve_ref
    from echoset.references import model_path, task_named
    from labelers import relabel as run

    made = run(
        resolve_ref(artifact),
        method=method,
        out=out,
        scorer=scorer,
        selector=selector,
        dose=dose,
        seed=seed,
        task=task_named(task),
        model=model if engine == "openai" or not model else model_path(model, progress=not quiet),
        engine=engine,
        base_url=base_url,
        reward_model=reward_reference(reward_model, quiet),
        embedder=embedder_reference(embedder, quiet),
        force=force,
        store=store,
        **method_settings(method, settings),
    )
    show_facts({"artifact": str(out), **artifact_summary(made)}, as_json)


def method_settings(method: str, settings: list[str] | None, **named: Any) -> dict[str, Any]:
    """The method's settings, those given as `name=value` beside those that have an option of their own.

    Raises:
        InputError: not of this form, no setting of the method's, or given twice.
    """
    from datasets_cards import InputError
    from labelers import METHODS

    found = dict(named)
    known = METHODS[method].config_class.model_fields if method in METHODS else {}
    for text in settings or []:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise InputError(f"{text!r} is not a setting", where="--set", remedy="Write name=value, such as beams=8")
        if name not in known:
            raise InputError(f"{method} has no setting {name!r}", where="--set", remedy=f"It has: {', '.join(known)}")
        if found.get(name) is not None:
            raise InputError(f"{name} is given twice", where="--set", remedy="Give it once")
        found[name] = value
    return found


def reward_reference(name: str | None, quiet: bool) -> Path | str | None:
    """A reward model's directory or Hub id."""
    from echoset.references import reward_path

    return reward_path(name, progress=not quiet) if name else None


def embedder_reference(name: str | None, quiet: bool) -> Path | str | None:
    """An embedder's directory or Hub id."""
    from echoset.references import embedder_path

    return embedder_path(name, progress=not quiet) if name else None


def show_plan(plan: dict[str, Any], as_json: bool) -> None:
    """Print a dry run: what is not known says so."""
    if not as_json:
        seconds = plan["seconds"]
        plan["seconds"] = "not known: this model has drawn nothing yet" if seconds is None else f"about {seconds:,.1f}"
        if plan["prompt_tokens"] is None:
            plan["prompt_tokens"] = "only the server knows"
    show_result(plan, as_json)


def show_facts(facts: dict[str, Any], as_json: bool) -> None:
    """Print an artifact's facts; what a stranger wrote into it does nothing to the terminal."""
    from datasets_cards.errors import one_line

    show_result(facts if as_json else {name: one_line(str(fact)) for name, fact in facts.items()}, as_json)


def artifact_summary(artifact: Any) -> dict[str, Any]:
    """The few facts of an artifact that a person wants to see."""
    manifest = artifact.manifest
    return {
        "version": manifest.version,
        "method": manifest.labeler.method,
        "model": manifest.model.reference,
        **{key: value for key, value in manifest.counts.model_dump().items() if value != {}},
        "logical_digest": manifest.logical_digest,
    }
