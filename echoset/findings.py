"""What a study found, in sentences and small numbers: never more than its clusters allow.

The words of the report and of the terminal come from here, so that both say the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from echoset.association import Association
from echoset.effects import (
    ALPHA,
    CONTROLS,
    Contrast,
    Estimate,
    SignTest,
    arm_effect,
    contrasts,
    null_range,
    sign_tests,
)

DASH = "—"
SHOWN = 3  # contrasts told in the first paragraph; the table has them all


def number(value: float | None, digits: int = 2) -> str:
    """A rate, 0.53; a dash where it is unknown."""
    return DASH if value is None else f"{value:.{digits}f}".replace("-", "−")


def signed(value: float | None, digits: int = 2) -> str:
    """An effect, +0.12 or −0.03; a value that rounds to zero has no sign."""
    if value is None:
        return DASH
    text = f"{value:+.{digits}f}"
    return (text[1:] if float(text) == 0 else text).replace("-", "−")


def interval(low: float | None, high: float | None, digits: int = 2, *, sign: bool = True) -> str:
    """[−0.02, +0.24]; a dash where either end is unknown."""
    if low is None or high is None:
        return DASH
    form = signed if sign else number
    return f"[{form(low, digits)}, {form(high, digits)}]"


def p_value(p: float | None) -> str:
    """0.25, 0.031, 0.0005: a p of about two digits, never a bare zero."""
    if p is None:
        return DASH
    if p < 0.0001:
        return "<0.0001"
    return f"{p:.{2 if p >= 0.1 else 3 if p >= 0.01 else 4}f}"


def plural(count: int, noun: str) -> str:
    """3 organisms, 1 organism."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def temperature_name(temperature: float) -> str:
    """T=1, T=0, T=0.7."""
    return f"T={temperature:g}"


def decided(contrast: Contrast) -> bool:
    """Whether the corrected p is small enough to claim a difference."""
    return contrast.p_holm is not None and contrast.p_holm <= ALPHA


def verdict(contrast: Contrast) -> str:
    """One plain sentence about one contrast."""
    estimate = contrast.estimate
    if estimate.mean is None:
        return "No organism has both arms: nothing to compare."
    if estimate.n == 1:
        return "One organism: a single difference, no interval and no test."
    if decided(contrast):
        side = "above" if estimate.mean > 0 else "below"
        sentence = f"Misbehavior ends {side} that of {contrast.against}"
        low, high = contrast.null_low, contrast.null_high
        if low is not None and high is not None and low <= estimate.mean <= high:
            return f"{sentence}, by no more than null controls move single organisms."
        return f"{sentence}."
    if contrast.smallest_holm > ALPHA:
        floor = p_value(contrast.smallest_holm)
        return f"Undecidable: {plural(estimate.n, 'organism')} allow no corrected p below {floor}."
    return "No difference shown; the interval says what is not ruled out."


def sign_verdict(test: SignTest) -> str:
    """One plain sentence about one task's sign test; the claim rests on organisms, never on cells."""
    if test.falls + test.rises == 0:
        return "No cell with a non-zero effect."
    if test.smallest_p > ALPHA:
        return f"Undecidable: {plural(test.organisms, 'organism')} allow no p below {p_value(test.smallest_p)}."
    if _shown(test):
        return f"Misbehavior {'falls' if test.falls > test.rises else 'rises'} more often than not."
    return "No direction shown."


def association_verdict(found: Association) -> str:
    """One plain sentence about one rank correlation."""
    if found.rho is None or found.p is None or found.smallest_p is None:
        return f"Not computable: {found.reason}."
    if found.smallest_p > ALPHA:
        return f"Undecidable: {plural(found.methods, 'method')} allow no p below {p_value(found.smallest_p)}."
    if found.p <= ALPHA:
        return f"Methods that shift more have {'higher' if found.rho > 0 else 'lower'} effects (uncorrected p)."
    return "No association shown."


def outcome(contrast: Contrast) -> str:
    """+0.12 [+0.02, +0.22] over 12 organisms (p 0.012, after Holm 0.048; smallest possible p 0.0005)."""
    estimate = contrast.estimate
    between = f" {interval(estimate.low, estimate.high)}" if estimate.low is not None else ", no interval,"
    return (
        f"{signed(estimate.mean)}{between} over {plural(estimate.n, 'organism')} (p {p_value(estimate.p)}, "
        f"after Holm {p_value(contrast.p_holm)}; smallest possible p {p_value(estimate.smallest_p)})"
    )


def headline(study: dict[str, Any], results: pl.DataFrame) -> list[str]:
    """What a hurried reader takes away, sentence by sentence, composed from the numbers, whichever sign they have."""
    stated: Sequence[Any] = study.get("contrasts") or []
    main = main_temperature(study)
    cells = results.filter((pl.col("kind") == "method") & pl.col("effect").is_not_null())
    organisms = plural(cells.select("task", "organism").n_unique(), "model organism")
    kinds, methods = plural(cells["task"].n_unique(), "kind"), plural(cells["arm"].n_unique(), "labeling method")
    first, *sentences = _contrast_sentences(contrasts(results, stated)) if stated else ["no contrast was stated."]
    sentences = [
        f"{organisms} of {kinds}, each trained on labels of its own writing under {methods}: {first}",
        *sentences,
    ]
    low, high, count = null_range(results, main)
    if count:
        sentences.append(
            f"For scale: null controls moved single organisms by {signed(low)} to {signed(high)} "
            f"({plural(count, 'cell')}, {temperature_name(main)})."
        )
    sentences.append(_task_sentence(sign_tests(results, main), main))
    bases = results["base"].drop_nulls().n_unique()
    if bases <= 1:
        sentences.append("All organisms grow from one base model, so nothing here speaks of other models.")
    else:
        sentences.append(f"The organisms grow from {bases} base models.")
    return sentences


def main_temperature(study: dict[str, Any]) -> float:
    """The temperature of the first stated contrast; pictures show this one."""
    stated = study.get("contrasts") or []
    return float(stated[0]["temperature"]) if stated else 1.0


def _contrast_sentences(outcomes: Sequence[Contrast]) -> list[str]:
    """The stated contrasts that hold, largest first; or that none does, and how far the largest went."""
    known = sorted((c for c in outcomes if c.estimate.mean is not None), key=lambda c: -abs(c.estimate.mean or 0))
    if not known:
        return ["none of the stated contrasts could be computed."]
    family, held = plural(len(outcomes), "stated contrast"), [c for c in known if decided(c)]
    if held:
        more = "" if len(held) <= SHOWN else f" The {SHOWN} largest follow."
        return [
            f"of {family}, {len(held)} {'holds' if len(held) == 1 else 'hold'} after Holm correction.{more}",
            *(
                f"{c.method} left {'more' if (c.estimate.mean or 0) > 0 else 'less'} misbehavior than {c.against} "
                f"({temperature_name(c.temperature)}): {outcome(c)}."
                for c in held[:SHOWN]
            ),
        ]
    largest, floor = known[0], min(c.smallest_holm for c in known)
    reason = (
        f"with so few organisms none could have (no corrected p below {p_value(floor)} is possible)"
        if floor > ALPHA
        else "which doesn't show that there is no difference: see the intervals"
    )
    return [
        f"of {family}, none holds after Holm correction; {reason}.",
        f"The largest difference was {largest.method} against {largest.against} "
        f"({temperature_name(largest.temperature)}): {outcome(largest)}.",
    ]


def _task_sentence(tests: Sequence[SignTest], temperature: float) -> str:
    """What the sign tests count, and whether single tasks have organisms enough for a claim."""
    told = [t for t in tests if t.falls + t.rises]
    if not told:
        return "No task has a cell with a known, non-zero effect."
    counts = ", ".join(f"{t.task} {t.falls} of {t.falls + t.rises}" for t in told)
    sentence = f"Misbehavior fell, by task, in this many cells ({temperature_name(temperature)}): {counts}"
    floor = min(t.smallest_p for t in told)
    if floor > ALPHA:
        return f"{sentence}; the organisms of one task allow no p below {p_value(floor)}, so no single task is claimed."
    shown = [
        f"{t.task} ({'falls' if t.falls > t.rises else 'rises'}, p {p_value(t.p_cluster)})" for t in told if _shown(t)
    ]
    return f"{sentence}; with organisms as the unit a direction is shown for {', '.join(shown) or 'none of them'}."


def _shown(test: SignTest) -> bool:
    return test.p_cluster is not None and test.p_cluster <= ALPHA


def control_checks(results: pl.DataFrame, temperatures: Sequence[float]) -> list[tuple[str, float, Estimate]]:
    """Each null control's own mean effect, which should be near zero for `self_sample`."""
    present = set(results["arm"])
    return [(arm, t, arm_effect(results, arm, t)) for arm in CONTROLS if arm in present for t in temperatures]
