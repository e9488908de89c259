"""From what the organisms left on disk to `results.parquet` and `completions.parquet`. Pure reading and counting."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import polars as pl

from datasets_cards import Artifact, canonical_json
from echoset.cell_effects import measure_cell
from echoset.cells import REPORT, Folder, has_report, read_steps
from echoset.induce import RECORD, organism_record
from echoset.spec import REFERENCES, OrganismPlan, StudySpec
from shift import ShiftReport


def assemble(spec: StudySpec, folder: Folder) -> str:
    """Write the study's two tables; return the logical digest over every artifact and every completion.

    An organism whose work stopped contributes what it has; a missing number is null.
    """
    results: list[dict[str, Any]] = []
    completions: list[pl.DataFrame] = []
    seconds = _seconds(folder)
    digests: list[str] = []
    for plan in spec.organisms():
        if not (folder.organism(plan.name) / RECORD).exists():
            continue
        arms = _evaluations(spec, folder, plan)
        for arm, records in arms.items():
            completions.append(records.with_columns(pl.lit(plan.name).alias("organism"), pl.lit(arm).alias("arm")))
            artifact = _artifact(folder, plan, arm)
            if artifact is not None:
                digests.append(artifact.manifest.logical_digest)
            shared = {
                **_organism(folder, plan),
                "arm": arm,
                "kind": "reference" if arm in REFERENCES else "method",
                **(_labels(artifact) if artifact is not None else {}),
                "seconds": seconds.get((plan.name, arm)),
            }
            before = arms.get("organism")
            for temperature in spec.temperatures:
                measured = measure_cell(records, None if arm in REFERENCES else before, plan.task, temperature)
                results.append({**shared, "temperature": temperature, **measured})
    table = pl.DataFrame(results, infer_schema_length=None) if results else pl.DataFrame()
    _write(table, folder.root / "results.parquet")
    everything = pl.concat(completions, how="diagonal_relaxed") if completions else pl.DataFrame()
    _write(everything, folder.root / "completions.parquet")
    return _digest(digests, everything)


def _evaluations(spec: StudySpec, folder: Folder, plan: OrganismPlan) -> dict[str, pl.DataFrame]:
    """Completions by arm, for the arms that have been evaluated; the base's stand under every organism of its task."""
    paths = {
        "base": folder.evaluation("base", plan.task),
        "benign": folder.evaluation(plan.name, "benign"),
        "organism": folder.evaluation(plan.name, "organism"),
        **{method: folder.evaluation(plan.name, method) for method in spec.methods},
    }
    return {arm: pl.read_parquet(path) for arm, path in paths.items() if path.exists()}


def _organism(folder: Folder, plan: OrganismPlan) -> dict[str, Any]:
    record = organism_record(folder.organism(plan.name))
    return {
        "task": plan.task,
        "base": record["base"]["name"],
        "organism": plan.name,
        "seed": plan.seed,
        "target_rate": plan.rate,
        "dev_rate": record["dev"]["rate"],
        "induction_steps": record["dev"]["step"],
    }


def _artifact(folder: Folder, plan: OrganismPlan, arm: str) -> Artifact | None:
    path = folder.artifact(plan.name, arm)
    return Artifact.open(path) if path.exists() else None


def _labels(artifact: Artifact) -> dict[str, Any]:
    """Counts, digest and shift of one labeled dataset."""
    counts = artifact.manifest.counts
    columns: dict[str, Any] = {
        "labeled": counts.labeled,
        "dropped": sum(counts.dropped.values()),
        "logical_digest": artifact.manifest.logical_digest,
    }
    if has_report(artifact):
        report = ShiftReport.from_json((artifact.path / REPORT).read_text(encoding="utf-8"))
        columns |= _shift(report)
    return columns


def _shift(report: ShiftReport) -> dict[str, Any]:
    """The ladder's legs as columns: value, interval, and p where the leg has a test; drift and Fréchet of P to S."""
    names = {"O->P": "original_to_baseline", "P->U": "labeling", "U->S": "selection", "P->S": "total"}
    columns: dict[str, Any] = {}
    for leg, name in names.items():
        if (measured := report.leg(leg)) is not None:
            columns |= {name: measured.value, f"{name}_low": measured.low, f"{name}_high": measured.high}
            columns[f"{name}_p"] = measured.p
    drift = next((pair for pair in report.drift if (pair.start, pair.end) == ("P", "S")), None)
    frechet = report.metric("frechet", "P", "S")
    columns["drift_mean"] = drift.mean if drift is not None else None
    columns["frechet"] = frechet.value if frechet is not None else None
    return columns


def _seconds(folder: Folder) -> dict[tuple[str, str], float]:
    """Computing time by (organism, arm), over all runs of the study."""
    spent: dict[tuple[str, str], float] = {}
    for step in read_steps(folder.steps):
        last_word: str = step["step"].rpartition(" ")[2]
        arm = "organism" if last_word == "induce" else last_word
        if step["computed"]:
            spent[step["organism"], arm] = round(spent.get((step["organism"], arm), 0.0) + step["seconds"], 3)
    return spent


def _digest(artifacts: list[str], completions: pl.DataFrame) -> str:
    """SHA-256 over the artifacts' logical digests and the completions with their verdicts; no float enters it."""
    digest = hashlib.sha256(canonical_json(artifacts))
    if not completions.is_empty():
        keys = ["organism", "arm", "task", "temperature", "id", "sample"]
        for row in completions.sort(keys).select(*keys, "text", "misaligned", "correct").iter_rows():
            digest.update(canonical_json([str(value) if isinstance(value, float) else value for value in row]))
    return digest.hexdigest()


def _write(table: pl.DataFrame, path: Path) -> None:
    partial = path.with_suffix(".partial")
    table.write_parquet(partial)
    partial.replace(path)
