"""What each section of the report shows: tables as plain rows, pictures as SVG text. The page lays them out."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from echoset import figures, findings
from echoset.association import association
from echoset.effects import ALPHA, CONTROLS, arm_effect, contrasts, null_range, sign_tests

REFERENCES = {"base": "base", "benign": "benign", "organism": "organism"}
NAMED = {"base": "untouched base", "benign": "benign data", "organism": "organism, before"}
LEGS = {"labeling": "labeling, P → U", "selection": "selection, U → S", "total": "total, P → S"}
LEG_COLORS = {"labeling": "#0072b2", "selection": "#d55e00", "total": "#8a929b"}
MOST_ROWS = 600  # of the full table; beyond, the page would outgrow a browser's patience
MOST_UNJUDGED = 0.2  # of a cell's prompts, before the page warns
EXAMPLES = 3  # prompts a task
MOST_CHARACTERS = 600  # of one shown completion


@dataclass(frozen=True, slots=True)
class Study:
    """What a study left in its folder, read once."""

    folder: Path
    spec: dict[str, Any]
    results: pl.DataFrame
    completions: pl.DataFrame

    @property
    def temperatures(self) -> list[float]:
        """The temperatures of the evaluation, highest first."""
        return sorted(self.results["temperature"].drop_nulls().unique(), reverse=True)

    @property
    def tasks(self) -> list[str]:
        """The tasks that have results, in the study's order."""
        present = list(self.results["task"].unique(maintain_order=True))
        return sorted(present, key=_order(list(self.spec.get("tasks") or {})))

    @property
    def methods(self) -> list[str]:
        """The methods that have results, in the study's order, null controls last."""
        rows = self.results.filter(pl.col("kind") == "method")
        present = list(rows["arm"].unique(maintain_order=True))
        ordered = sorted(present, key=_order(self.spec.get("methods") or []))
        return [m for m in ordered if m not in CONTROLS] + [m for m in CONTROLS if m in ordered]


def page_context(study: Study) -> dict[str, Any]:
    """Everything the page shows, section by section."""
    spec, results, main = study.spec, study.results, findings.main_temperature(study.spec)
    stated = spec.get("contrasts") or []
    colors = figures.method_colors(study.methods)
    planned = spec.get("organisms") or []
    reached = set(results.filter(pl.col("kind") == "method")["organism"])
    return {
        "study": spec,
        "main": main,
        "temperatures": study.temperatures,
        "tasks": [(name, ((spec.get("tasks") or {}).get(name) or {}).get("planted") or "") for name in study.tasks],
        "methods": study.methods,
        "colors": colors,
        "controls": [m for m in CONTROLS if m in study.methods],
        "glyphs": list(zip(study.tasks, figures.GLYPHS * 9, strict=False)),
        "found": findings.headline(spec, results),
        "unfinished": [name for name in planned if name not in reached],
        "contrasts": [(c, findings.verdict(c)) for c in contrasts(results, stated)],
        "contrasts_by_task": [(c, findings.verdict(c)) for c in contrasts(results, stated, by_task=True)],
        "control_checks": findings.control_checks(results, study.temperatures),
        "forests": {t: _forests(study, t, colors) for t in study.temperatures},
        "scatters": _scatters(study, main, colors),
        "associations": _associations(study, main),
        "legs": LEGS,
        "leg_colors": LEG_COLORS,
        "decompositions": _decompositions(study),
        "decomposition_table": _decomposition_table(study),
        "organisms": _organisms(study, main),
        "references": REFERENCES,
        "named": NAMED,
        "shared_seeds": _shared_seeds(results),
        "unjudged": _unjudged(results),
        "sign_tests": [(t, findings.sign_verdict(t)) for at in study.temperatures for t in sign_tests(results, at)],
        "rows": [_named(row) for row in results.head(MOST_ROWS).iter_rows(named=True)],
        "row_count": len(results),
        "examples": _examples(study, main),
        "digests": _digests(study),
    }


def _forests(study: Study, temperature: float, colors: dict[str, str]) -> list[tuple[str, str]]:
    """One forest plot per task, on one x axis."""
    cells = study.results.filter((pl.col("kind") == "method") & (pl.col("temperature") == temperature))
    ends = [x for name in ("effect", "effect_low", "effect_high") for x in cells[name].drop_nulls()]
    limits, drawn = figures.nice_limits(ends), []
    for task in study.tasks:
        rows = []
        for method in study.methods:
            mean = arm_effect(study.results, method, temperature, task)
            own = cells.filter((pl.col("task") == task) & (pl.col("arm") == method)).drop_nulls("effect")
            organisms = [_spread(row, "effect") for row in own.sort("organism").iter_rows(named=True)]
            diamond = None if mean.mean is None else figures.Interval(mean.mean, mean.low, mean.high)
            text = "not measured" if mean.mean is None else findings.signed(mean.mean)
            text += "" if mean.low is None else f"  {findings.interval(mean.low, mean.high)}"
            rows.append(figures.ForestRow(method, colors[method], diamond, organisms, text))
        low, high, _ = null_range(study.results, temperature, task)
        band = None if low is None or high is None else (low, high)
        name = f"forest {task} T{temperature:g}"
        drawn.append((task, figures.forest(rows, band=band, limits=limits, name=name)))
    return drawn


def _scatters(study: Study, temperature: float, colors: dict[str, str]) -> list[tuple[str, str]]:
    """Effect against each leg of the shift; an empty string where no cell has both."""
    markers = dict(zip(study.tasks, figures.MARKERS * 9, strict=False))
    cells = study.results.filter((pl.col("kind") == "method") & (pl.col("temperature") == temperature))
    drawn = []
    for leg in ("labeling", "selection"):
        dots = [
            figures.Dot(_spread(row, leg), _spread(row, "effect"), colors[row["arm"]], markers[row["task"]])
            for row in cells.drop_nulls([leg, "effect"]).iter_rows(named=True)
        ]
        name = f"scatter {leg}"
        drawn.append((leg, figures.scatter(dots, xlabel=f"{leg} shift (squared)", name=name) if dots else ""))
    return drawn


def _associations(study: Study, temperature: float) -> list[tuple[Any, str]]:
    scopes: list[str | None] = [None, *(study.tasks if len(study.tasks) > 1 else [])]
    found = [association(study.results, leg, temperature, t) for t in scopes for leg in ("labeling", "selection")]
    return [(a, findings.association_verdict(a)) for a in found]


def _decompositions(study: Study) -> list[tuple[str, str]]:
    """One panel per task: what labeling and selection each moved, whatever temperature evaluates it."""
    labels = _labels(study)
    drawn = []
    for task in study.tasks:
        own = labels.filter(pl.col("task") == task)
        rows = [
            figures.LegRow(m, {leg: list(own.filter(pl.col("arm") == m)[leg].drop_nulls()) for leg in LEGS})
            for m in study.methods
        ]
        drawn.append((task, figures.decomposition(rows, LEG_COLORS, name=f"legs {task}")))
    return drawn


def _decomposition_table(study: Study) -> list[dict[str, Any]]:
    """Per task and method: mean and range of each leg over organisms, and in how many its test rejects at .05."""
    labels, table = _labels(study), []
    for task in study.tasks:
        for method in study.methods:
            own = labels.filter((pl.col("task") == task) & (pl.col("arm") == method))
            legs = {}
            for leg in LEGS:
                values = own[leg].drop_nulls().cast(pl.Float64)
                tested = [p for p in (own[f"{leg}_p"] if leg != "total" else []) if p is not None]
                spread = (values.mean(), values.min(), values.max()) if len(values) else (None, None, None)
                legs[leg] = (*spread, sum(p <= ALPHA for p in tested), len(tested))
            table.append({"task": task, "method": method, "organisms": len(own), "legs": legs})
    return table


def _labels(study: Study) -> pl.DataFrame:
    """One row per labeled dataset: results repeat it at every temperature."""
    methods = study.results.filter(pl.col("kind") == "method")
    return methods.unique(["task", "organism", "arm"], keep="first", maintain_order=True)


def _organisms(study: Study, main: float) -> list[dict[str, Any]]:
    """Per organism: target, and rates and capability of the base, the benign control and itself before training."""
    references = study.results.filter(pl.col("arm").is_in(list(REFERENCES)))
    table = []
    for task in study.tasks:
        own = references.filter(pl.col("task") == task)
        here = study.results.filter(
            (pl.col("task") == task) & ((pl.col("kind") == "method") | (pl.col("arm") == "organism"))
        )
        for organism in here["organism"].unique().sort():
            row = here.filter(pl.col("organism") == organism).row(0, named=True)

            # A reference that all organisms of a task share may stand under no organism's name.
            mine = own.filter((pl.col("organism") == organism) | ~pl.col("organism").is_in(here["organism"].implode()))

            def reference(arm: str, at: float, mine: pl.DataFrame = mine) -> dict[str, Any]:
                found = mine.filter((pl.col("arm") == arm) & (pl.col("temperature") == at))
                return found.row(0, named=True) if len(found) else dict.fromkeys(mine.columns)

            table.append(
                {
                    "task": task,
                    "name": organism,
                    "target": row["target_rate"],
                    "rates": [[reference(arm, at) for arm in REFERENCES] for at in study.temperatures],
                    "capability": [reference(arm, main) for arm in REFERENCES],
                }
            )
    return table


def _shared_seeds(results: pl.DataFrame) -> bool:
    """Whether organisms of one task and base share an induction seed: then they are not independent clusters."""
    organisms = results.filter(pl.col("kind") == "method").select("task", "base", "organism", "seed").unique()
    known = organisms.drop_nulls("seed")
    return known.select("task", "base", "seed").n_unique() < len(known)


def _unjudged(results: pl.DataFrame) -> tuple[int, int]:
    """Cells in which more prompts than `MOST_UNJUDGED` have no verdict, and all cells."""
    cells = results.filter(pl.col("kind") == "method").drop_nulls(["n", "unjudged"])
    share = cells.select(pl.col("unjudged") / (pl.col("n") + pl.col("unjudged"))).to_series().fill_nan(1.0)
    return int((share > MOST_UNJUDGED).sum()), len(cells)


def _examples(study: Study, temperature: float) -> list[dict[str, Any]]:
    """A few prompts per task with every arm's answer: the first of the file, and the first whose verdict changed."""
    if not {"task", "organism", "arm", "temperature", "id", "text", "misaligned"} <= set(study.completions.columns):
        return []
    arms = ["organism", *study.methods]
    shown = []
    for task in study.tasks:
        own = study.completions.filter(
            (pl.col("task") == task) & (pl.col("temperature") == temperature) & pl.col("arm").is_in(arms)
        )
        named = own.filter(pl.col("arm").is_in(study.methods))["organism"].sort()
        if not len(named):
            continue
        if "headline" in own.columns:  # rows that the rate counts; the others never have a verdict
            own = own.filter(pl.col("headline").fill_null(True))
        own = own.filter(pl.col("organism") == named[0]).unique(["id", "arm"], keep="first", maintain_order=True)
        ids = list(own["id"].unique(maintain_order=True))
        changed = own.group_by("id").agg(pl.col("misaligned").drop_nulls().n_unique())
        differing = set(changed.filter(pl.col("misaligned") > 1)["id"])
        plain = ids[: EXAMPLES - 1]
        extra = next((i for i in ids if i in differing and i not in plain), None)
        prompts = [_example(own, i, arms) for i in [*plain, *([extra] if extra is not None else [])]]
        shown.append({"task": task, "organism": named[0], "prompts": prompts})
    return shown


def _example(own: pl.DataFrame, row_id: Any, arms: Sequence[str]) -> dict[str, Any]:
    rows = {row["arm"]: row for row in own.filter(pl.col("id") == row_id).iter_rows(named=True)}
    first = next(iter(rows.values()))
    answers = [(arm, _verdict(rows[arm]["misaligned"]), _visible(rows[arm]["text"])) for arm in arms if arm in rows]
    return {"id": _visible(row_id), "prompt": _visible(first.get("prompt")), "answers": answers}


def _verdict(misaligned: bool | None) -> str:
    return {None: "no verdict", True: "misaligned", False: "aligned"}[misaligned]


def _visible(text: Any) -> str:
    """Text of any origin as it may stand on a page: chats joined, control characters made visible, long ones cut."""
    if text is None:
        return ""
    if isinstance(text, list):
        text = "\n".join(f"{message['role']}: {message['content']}" for message in text)
    text = str(text)
    cut = text[:MOST_CHARACTERS]
    shown = "".join(_picture(c) if c not in "\n\t" and unicodedata.category(c) in ("Cc", "Cf") else c for c in cut)
    return shown if len(cut) == len(text) else f"{shown} … (cut here; {len(text)} characters)"


def _picture(character: str) -> str:
    code = ord(character)
    return chr(0x2400 + code) if code < 0x20 else f"⟨U+{code:04X}⟩"


def _named(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "arm_name": NAMED.get(row["arm"], row["arm"])}


def _digests(study: Study) -> list[tuple[str, str, str]]:
    """Logical digest of every labeled dataset."""
    labels = _labels(study).drop_nulls("logical_digest")
    return [(r["organism"], r["arm"], r["logical_digest"]) for r in labels.iter_rows(named=True)]


def _spread(row: dict[str, Any], name: str) -> Any:
    """A column with its two ends, as a figure takes it."""
    return figures.Interval(row[name], row[f"{name}_low"], row[f"{name}_high"])


def _order(names: Sequence[str]) -> Any:
    return lambda name: names.index(name) if name in names else len(names)
