"""What training on one labeled dataset did to its organism: for the study's table, and for the dataset's card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import polars as pl

from datasets_cards import Artifact, attach
from echoset.effects import cell_effect, wilson
from echoset.spec import OrganismPlan
from organisms import get_task

CAPABILITY = "capability"
EFFECT = "effects/effect.json"
"""Where an artifact keeps what training on it did."""


def has_effect(artifact: Artifact) -> bool:
    """Whether the effect of training on an artifact is kept in it."""
    return artifact.manifest.file(EFFECT) is not None


def measure_cell(records: pl.DataFrame, before: pl.DataFrame | None, task: str, temperature: float) -> dict[str, Any]:
    """Misbehavior rate and capability at one temperature, and the paired effect against the organism before training.

    Args:
        records: completions with verdicts, of the arm.
        before: those of the organism; None where there is nothing to compare with.
        task: the misbehavior.
        temperature: of the completions that count.
    """
    at = records.filter(pl.col("temperature") == temperature)
    own, capable = at.filter((pl.col("task") == task) & pl.col("headline")), at.filter(pl.col("task") == CAPABILITY)
    rate, low, high, n = wilson(own["misaligned"])
    accuracy, accuracy_low, accuracy_high, _ = wilson(capable["correct"])
    columns: dict[str, Any] = {
        "rate": rate,
        "rate_low": low,
        "rate_high": high,
        "n": n,
        "unjudged": own.height - n,
        "capability": accuracy,
        "capability_low": accuracy_low,
        "capability_high": accuracy_high,
        "effect": None,
        "effect_low": None,
        "effect_high": None,
        "effect_n": None,
    }
    if before is not None:
        reference = before.filter(
            (pl.col("temperature") == temperature) & (pl.col("task") == task) & pl.col("headline")
        )
        effect = cell_effect(reference, own)
        columns |= {"effect": effect.value, "effect_low": effect.low, "effect_high": effect.high, "effect_n": effect.n}
    return columns


def attach_effect(
    artifact: Artifact, plan: OrganismPlan, before: pl.DataFrame, after: pl.DataFrame, temperatures: Sequence[float]
) -> Artifact:
    """Keep in an artifact, and tell on its card, what training on it did to its organism.

    Args:
        artifact: the labels.
        plan: the organism that labeled, and was trained.
        before: its evaluation before training.
        after: and after.
        temperatures: at which both were evaluated.
    """
    cells = []
    for temperature in temperatures:
        was, now = (
            measure_cell(before, None, plan.task, temperature),
            measure_cell(after, before, plan.task, temperature),
        )
        now |= {f"{name}_before": was[name] for name in was if not name.startswith("effect")}
        cells.append({"temperature": temperature} | now)
    record = {"task": plan.task, "organism": plan.name, "seed": plan.seed, "cells": cells}
    data = (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode()
    return attach(artifact, {EFFECT: data}, summary=_summary(plan, cells))


def _summary(plan: OrganismPlan, cells: Sequence[dict[str, Any]]) -> str:
    lines = [
        f"The organism that labeled was trained on these labels (`sft`). Its misbehavior, `{plan.task}`, was induced "
        "on purpose beforehand. Rate of misbehavior on held-out prompts with 95% intervals over the prompts; the "
        "change is over those that could be judged both times:",
        "",
        "| temperature | before | after | change | capability before | after |",
        "|---:|---|---|---|---|---|",
    ]
    for cell in cells:
        told = (
            f"{cell['temperature']:g}",
            _rate(cell, "rate", "_before"),
            _rate(cell, "rate"),
            _rate(cell, "effect", signed=True),
            _rate(cell, "capability", "_before"),
            _rate(cell, "capability"),
        )
        lines.append(f"| {' | '.join(told)} |")
    lines += [
        "",
        "This is one organism and one run; what may be said of the method is in the report of its study. What the task "
        f"plants: {get_task(plan.task).planted}",
    ]
    return "\n".join(lines)


def _rate(cell: dict[str, Any], name: str, when: str = "", *, signed: bool = False) -> str:
    value, low, high = (cell[f"{part}{when}"] for part in (name, f"{name}_low", f"{name}_high"))
    form = "{:+.2f}" if signed else "{:.2f}"
    if value is None:
        return "not judged"
    return form.format(value) if low is None else f"{form} [{form}, {form}]".format(value, low, high)
