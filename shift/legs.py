"""The legs of a ladder in one report: sizes, intervals, tests within prompts, decomposition and filter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shift.figures import Decomposition, FilterReport, Interval, LegReport, NullRange
from shift.gram import gram_of_states
from shift.groups import NO_RELABELING, Groups
from shift.inference import Null, p_value, redrawn_statistics
from shift.interval import Parts, decompose, null_statistics, squared_norm_interval, unpaired_interval
from shift.kernels import Gaussian
from shift.ladder import Ladder
from shift.large import EXACT, features_of, measure_long, redrawn_long
from shift.mmd import Pass, measure_legs
from shift.samples import Samples

Float = NDArray[np.float64]

ANOTHER_AUTHOR = "another author wrote the original, so its null is false beforehand"
ZERO_SELECTION = "zero by construction, every pool has a single candidate"
FEWEST = 20
"""Groups on the smaller side below which an interval between unpaired samples is not given."""
SWAP, MEMBERS = "swap", "members"
UNEQUAL = "pools differ in size between the two, so swapping them is no symmetry of the null"


@dataclass(frozen=True)
class LegKind:
    """What a leg is.

    Attributes:
        name: in reports.
        start, end: the rungs that it goes from and to (two of them are added).
        meaning: in words.
        test: which relabeling of `shift.relabeling` tests it, or `swap`: whole prompts change sides; None where its
            null is false beforehand.
    """

    name: str
    start: tuple[str, ...]
    end: tuple[str, ...]
    meaning: str
    test: str | None


LADDER = (
    LegKind("O->P", ("O",), ("P",), "original to self-sample", None),
    LegKind("P->U", ("P",), ("U",), "labeling: self-sample to a uniform pick of the pool", "labeling"),
    LegKind("U->S", ("U",), ("S",), "selection: uniform pick to the label", "selection"),
    LegKind("P->S", ("P",), ("S",), "total: self-sample to the label", "total"),
    LegKind("O->S", ("O",), ("S",), "original to the label", None),
)
BETWEEN = (
    LegKind("A->B", ("A",), ("B",), "total: labels before to labels after", SWAP),
    LegKind("UA->UB", ("UA",), ("UB",), "labeling: a pick of the pool before to one of the pool after", SWAP),
    LegKind("S-U", ("A", "UB"), ("B", "UA"), "selection: how labels differ from their pools, before to after", SWAP),
)
PAIR = LegKind("A->B", ("A",), ("B",), "first sample to second sample", SWAP)
PARTS = {"ladder": ("P->U", "U->S", "P->S"), "between": ("UA->UB", "S-U", "A->B")}
"""Which legs are labeling, selection and their total."""


@dataclass(frozen=True)
class Legs:
    """The legs of one ladder as reported."""

    legs: list[LegReport]
    decomposition: Decomposition | None
    filter: FilterReport | None
    notes: list[str]


def report_legs(
    ladder: Ladder, kernel: Gaussian, kinds: tuple[LegKind, ...], *, permutations: int, seed: int, progress: bool
) -> Legs:
    """Measure every leg whose rungs at least two prompts have."""
    kinds = tuple(kind for kind in kinds if ladder.has_N(*kind.start, *kind.end).sum() >= 2)
    which = "ladder" if kinds[0] in LADDER else "between"
    legs = {kind.name: (kind.start, kind.end, ladder.has_N(*kind.start, *kind.end)) for kind in kinds}
    notes = []
    pools = [rung for rung in ("U", "UA", "UB") if rung in ladder.rungs]
    single = bool(all((ladder.size_N(rung) <= 1).all() for rung in pools))
    untested = {name for name in ("U->S", "S-U") if single and name in legs}

    # The three parts need the same prompts: those that have every rung.
    names, parts = PARTS[which], {}
    both_N = ladder.has_N(*(rung for kind in kinds if kind.name in names for rung in (*kind.start, *kind.end)))
    whole = set(names) <= legs.keys() and both_N.sum() >= 2
    for name in names:
        parts[name] = name
        if whole and (legs[name][2] != both_N).any():
            parts[name] = f"{name} kept"
            legs[parts[name]] = (*legs[name][:2], both_N)

    filtered = False
    if which == "ladder":
        has_U, kept_N = ladder.has_N("U"), ladder.has_N("U", "S")
        filtered = bool(kept_N.sum() >= 2 and (has_U & ~kept_N).sum() >= 2)
    tests = {k.name: k.test for k in kinds if k.test is not None and k.name not in untested}
    # Swapping the two ends is a symmetry of the null only where a prompt has as many answers on both.
    unequal = {k.name for k in kinds if k.test == SWAP and not _equal_sizes(ladder, k)}
    for name in unequal & tests.keys():
        tests[name] = MEMBERS
        if len(legs[name][0]) > 1:  # a change of a difference is no two sets of answers
            del tests[name]
    cross = (parts[names[0]], parts[names[1]]) if whole else None
    run = _Run(ladder, kernel, legs, tests, cross, permutations, seed, progress)
    found, decomposed, split = run.exactly(filtered) if len(ladder.point_M) <= EXACT else run.at_length()
    if len(ladder.point_M) > EXACT:
        notes.append(
            f"{len(ladder.point_M)} answers are too many to compare each with each: shifts are measured through random "
            "features of the kernel, every answer taken in; intervals and tests take prompts in groups."
        )
        if filtered:
            notes.append("The filter's own leg is not measured at this size.")
    if untested:
        notes.append(f"Selection is {ZERO_SELECTION}.")
    if filtered and whole:
        notes.append(
            "Rows were dropped after their pools were drawn: P->U is over all rows, "
            "the decomposition over the kept ones."
        )
    return Legs(
        [_leg(kind, found[kind.name], _why_untested(kind, untested, unequal)) for kind in kinds],
        None if decomposed is None else _decomposition(found, [parts[name] for name in names], decomposed),
        split,
        notes,
    )


@dataclass(frozen=True)
class _Found:
    """What was measured of one leg; `tested_B` has the observation first, and equal values within `rounding`."""

    n: int
    value: float
    low: float
    high: float
    null_B: Float
    tested_B: Float | None
    rounding: float = 0.0


@dataclass(frozen=True)
class _Run:
    """One measurement, pair by pair or through random features."""

    ladder: Ladder
    kernel: Gaussian
    legs: dict[str, tuple[tuple[str, ...], tuple[str, ...], NDArray[np.bool_]]]
    tests: dict[str, str]
    cross: tuple[str, str] | None
    permutations: int
    seed: int
    progress: bool

    def exactly(self, filtered: bool) -> tuple[dict[str, _Found], Parts | None, FilterReport | None]:
        passed = measure_legs(
            self.ladder,
            self.kernel,
            self.legs,
            redraws=tuple(test for test in self.tests.values() if test not in (SWAP, MEMBERS)),
            cross=self.cross,
            split=filtered,
            permutations=self.permutations,
            seed=self.seed,
            progress=self.progress,
        )
        found = {}
        for name, leg in passed.legs.items():
            test, tested_B = self.tests.get(name), None
            if test == MEMBERS:
                tested_B = self.redrawn(name)
            elif test is not None:
                tested_B = leg.swapped_B(passed.signs_NB) if test == SWAP else passed.redraws[test].quad_B
            interval = squared_norm_interval(leg, passed.signs_NB)
            # Where both ends are the same points, every redraw is 0 but for rounding.
            null_B = null_statistics(leg) * (not leg.zero)
            tested_B = None if tested_B is None else tested_B * (not leg.zero)
            rounding = 1e-6 * float(leg.diag_N.sum()) / (leg.n * (leg.n - 1))
            found[name] = _Found(leg.n, leg.value, *interval, null_B, tested_B, rounding)
        decomposed = None
        if passed.cross is not None and self.cross is not None:
            labeling, selection = self.cross
            decomposed = decompose(passed.legs[labeling], passed.legs[selection], passed.cross)
        return found, decomposed, _filter(passed)

    def redrawn(self, name: str) -> Float:
        """The U-form as observed, then with answers redrawn within their prompts."""
        (start,), (end,) = self.legs[name][:2]
        samples = Samples.from_ladder(self.ladder, start, end)
        rng = np.random.default_rng([self.seed, 5])
        groups = Groups.of(samples, rng)
        rows = groups.arranged(samples)
        gram_SS = gram_of_states(Gaussian.fit(rows.points_MD, sigma=self.kernel.sigma), *rows.layout)
        return redrawn_statistics(gram_SS, groups, self.permutations, rng) * (not samples.identical)

    def at_length(self) -> tuple[dict[str, _Found], Parts | None, None]:
        features = features_of(self.ladder, self.kernel.sigma, seed=self.seed)
        measured, decomposed = measure_long(
            self.ladder, features, self.legs, cross=self.cross, seed=self.seed, progress=self.progress
        )
        found = {}
        for name, leg in measured.items():
            rng = np.random.default_rng([self.seed, 8])
            test, tested_B = self.tests.get(name), None
            if test in (SWAP, "total"):
                tested_B = leg.swapped_B(self.permutations, rng)
            elif test is not None:
                start, end = (side[0] for side in self.legs[name][:2])
                tested_B = redrawn_long(
                    self.ladder, features, start, end, permutations=self.permutations, seed=self.seed
                )
            interval = leg.interval(self.permutations, rng) if leg.value else (0.0, 0.0)
            found[name] = _Found(leg.n, leg.value, *interval, leg.null_B(self.permutations, rng), tested_B)
        return found, decomposed, None


def report_unpaired(
    samples: Samples, kernel: Gaussian, *, permutations: int, seed: int, progress: bool = False
) -> LegReport:
    """The squared shift between two samples whose prompts are not, or not all, the same."""
    rng = np.random.default_rng([seed, 5])
    groups = Groups.of(samples, rng)
    rows = groups.arranged(samples)
    gram_SS = gram_of_states(Gaussian.fit(rows.points_MD, sigma=kernel.sigma), *rows.layout, progress=progress)
    statistic_B = redrawn_statistics(gram_SS, groups, permutations, rng)
    low = high = None
    if not samples.paired and samples.n == len(rows.state_M):
        with_self_SS = gram_SS + np.diag(np.bincount(groups.state_M, minlength=groups.states).astype(float))
        if groups.fewest >= FEWEST:
            low, high = unpaired_interval(with_self_SS, groups, statistic_B[0], redraws=permutations, rng=rng)
    return LegReport(
        name=PAIR.name,
        meaning=PAIR.meaning,
        start="A",
        end="B",
        n=samples.n,
        paired=samples.paired,
        value=float(statistic_B[0]),
        low=low,
        high=high,
        p=p_value(statistic_B) if groups.redrawable else None,
        p_reason=None if groups.redrawable else NO_RELABELING,
        null=NullRange.of(Null.of(statistic_B[1:])) if groups.redrawable else None,
    )


def _equal_sizes(ladder: Ladder, kind: LegKind) -> bool:
    """Whether each prompt has as many answers after as before, on every rung of a leg between two sets."""
    rungs, keep_N = {*kind.start, *kind.end}, ladder.has_N(*kind.start, *kind.end)
    pairs = [pair for pair in (("A", "B"), ("UA", "UB")) if rungs >= set(pair)]
    return all((ladder.size_N(a)[keep_N] == ladder.size_N(b)[keep_N]).all() for a, b in pairs)


def _why_untested(kind: LegKind, untested: set[str], unequal: set[str]) -> str | None:
    if kind.name in untested:
        return ZERO_SELECTION
    if kind.test is None:
        return ANOTHER_AUTHOR
    return UNEQUAL if kind.name in unequal and len(kind.start) > 1 else None


def _leg(kind: LegKind, found: _Found, reason: str | None) -> LegReport:
    null_B = found.null_B if found.tested_B is None else found.tested_B[1:]
    return LegReport(
        name=kind.name,
        meaning=kind.meaning,
        start="+".join(kind.start),
        end="+".join(kind.end),
        n=found.n,
        paired=found.n,
        value=found.value,
        low=found.low,
        high=found.high,
        p=None if found.tested_B is None else p_value(found.tested_B, rounding=found.rounding),
        p_reason=reason,
        null=NullRange.of(Null.of(null_B)),
    )


def _decomposition(found: dict[str, _Found], names: list[str], parts: Parts) -> Decomposition:
    labeling, selection, total = (found[name] for name in names)
    low, high = parts.cross_interval()
    shares, reason = [None, None], None
    if total.low <= 0:
        reason = "the total shift is not clear of zero"
    elif labeling.high == 0:
        shares = [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0)]  # both ends are the same answers
    elif selection.high == 0:
        shares = [(1.0, 1.0, 1.0), (0.0, 0.0, 0.0)]
    else:
        shares = [parts.share(part) for part in (0, 1)]
        if None in shares:
            reason = "the total shift is too uncertain to be divided"
    first, second = (None if s is None or reason else Interval(value=s[0], low=s[1], high=s[2]) for s in shares)
    return Decomposition(
        n=total.n,
        labeling=_interval(labeling),
        selection=_interval(selection),
        cross=Interval(value=float(parts.estimate[2]), low=low, high=high),
        total=_interval(total),
        labeling_share=first,
        selection_share=second,
        share_reason=reason,
    )


def _interval(found: _Found) -> Interval:
    return Interval(value=found.value, low=found.low, high=found.high)


def _filter(found: Pass) -> FilterReport | None:
    if (split := found.split) is None:
        return None
    return FilterReport(kept=split.kept, rows=split.rows, value=split.value, null=NullRange.of(split.null), p=split.p)
