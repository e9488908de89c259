"""The study's report: one HTML page that needs nothing else, and the same findings as a small dict.

This module reads and writes; the statistics are in `effects.py` and `association.py`, the sentences in
`findings.py`, the pictures in `figures.py`, what each section shows in `sections.py`, the page in `report.html.j2`.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from datasets_cards.errors import InputError, MissingError, StorageError
from echoset import findings
from echoset.effects import contrasts, null_range, sign_tests
from echoset.sections import Study, page_context

REQUIRED = ("task", "organism", "arm", "kind", "temperature", "rate", "effect")
SPREADS = ("rate", "capability", "effect", "original_to_baseline", "labeling", "selection", "total")
OPTIONAL = (
    *("base", "seed", "target_rate", "n", "unjudged", "labeled", "dropped", "labeling_p", "selection_p"),
    *("drift_mean", "frechet", "logical_digest", "seconds"),
    *(f"{name}{end}" for name in SPREADS for end in ("", "_low", "_high")),
)


def read_study(folder: Path) -> Study:
    """Read `study.json`, `results.parquet` and, where it is there, `completions.parquet`.

    Raises:
        MissingError: the folder holds no study, or no results yet.
        InputError: a file can't be read or lacks a column.
    """
    spec_path, results_path, completions_path = (
        folder / name for name in ("study.json", "results.parquet", "completions.parquet")
    )
    for path in (spec_path, results_path):
        if not path.exists():
            raise MissingError(
                "not there", where=str(path), remedy="Give the --out folder of a finished `echoset study`."
            )
    try:
        spec = json.loads(spec_path.read_text(encoding="utf-8"))
        results = pl.read_parquet(results_path)
        completions = pl.read_parquet(completions_path) if completions_path.exists() else pl.DataFrame()
    except (ValueError, pl.exceptions.PolarsError) as error:
        raise InputError(f"can't be read ({error})", where=str(folder), remedy="Run the study again.") from error
    for column in REQUIRED:
        if column not in results.columns:
            raise InputError(f"no column {column!r}", where=str(results_path), remedy="Run the study again.")
    absent = [pl.lit(None).alias(column) for column in OPTIONAL if column not in results.columns]
    # A column that nobody could fill has no type of its own yet.
    numbers = {f"{name}{end}": pl.Float64 for name in SPREADS for end in ("", "_low", "_high")}
    results = results.with_columns(absent).cast({**numbers, "temperature": pl.Float64}).fill_nan(None)
    return Study(folder, spec, results, completions)


def write_report(folder: Path) -> Path:
    """Write `report.html` into a study's folder, whole or not at all.

    The page holds its pictures and styles, asks the network for nothing and runs no script.

    Returns:
        The page's path.

    Raises:
        MissingError: the folder holds no study, or no results yet.
        InputError: its files can't be used.
        StorageError: the page can't be written.
    """
    import jinja2

    study = read_study(Path(folder))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # completions are arbitrary text
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for shown in (findings.number, findings.signed, findings.p_value, findings.temperature_name, findings.plural):
        environment.filters[shown.__name__] = shown
    environment.globals["interval"] = findings.interval
    page = environment.get_template("report.html.j2").render(page_context(study))
    path = study.folder / "report.html"
    partial = path.with_suffix(".html.partial")
    try:
        partial.write_text(page, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        remedy = "Free some space, or make the folder writable."
        raise StorageError(f"can't be written ({error.strerror})", where=str(path), remedy=remedy) from error
    return path


def summarize(folder: Path) -> dict[str, Any]:
    """What the study found, JSON-like: the first paragraph, every stated contrast, null range and sign test."""
    study = read_study(Path(folder))
    main = findings.main_temperature(study.spec)
    low, high, cells = null_range(study.results, main)
    return {
        "organisms": study.results.filter(pl.col("kind") == "method").select("task", "organism").n_unique(),
        "tasks": study.tasks,
        "methods": study.methods,
        "found": " ".join(findings.headline(study.spec, study.results)),
        "contrasts": [
            {**asdict(found), "verdict": findings.verdict(found)}
            for found in contrasts(study.results, study.spec.get("contrasts") or [])
        ],
        "null_controls": {"temperature": main, "low": low, "high": high, "cells": cells},
        "sign_tests": [{**asdict(t), "verdict": findings.sign_verdict(t)} for t in sign_tests(study.results, main)],
        "embedder": study.spec.get("embedder") or {},
    }
