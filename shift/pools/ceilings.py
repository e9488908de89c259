"""What selection can do at most: any selector chooses among N candidates, and that alone bounds how far labels move.

Let U be what candidates are drawn from and S the law of the label. Whatever the selector does, also one that compares
the pool's members, S lies in an event A only if some candidate does. For N *independent* candidates that gives

    S(A) <= 1 - (1 - U(A))^N    for every event A,

so the density dS/dU is majorized by that of best-of-N under a score without ties, N (1 - u)^(N - 1) at the quantile u,
and every convex divergence is largest there:

    KL(S || U) <= log N - (N - 1) / N                          (for best-of-N: Beirami et al. 2024)
    TV(S, U)   <= max_u 1 - (1 - u)^N - u = N^(-1/(N - 1)) (1 - 1/N).

For candidates that are *not* independent (mixed pools, and pools given that they were kept), with U a uniform member of
the same pool, only S(A) <= N U(A) and S(A) - U(A) <= E[1 - 1/N] are left:

    KL(S || U) <= log N,    TV(S, U) <= 1 - 1/N.

Both carry over to mixtures over prompts, as KL and TV are convex. What follows from TV:

    accuracy of telling S from U (balanced classes, unseen rows) <= (1 + TV) / 2,    which is the Bayes accuracy;
    MMD(S, U) <= sqrt(2) TV for kernels in [0, 1]:    S - U = TV (A - B) for two laws A, B (Jordan), and
        |mu_A - mu_B|^2 = E k(a, a') + E k(b, b') - 2 E k(a, b) <= 1 + 1 - 0.

A filter has no such ceiling: the rows that it keeps, against all rows, can be any part of them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from datasets_cards.errors import InputError
from shift.estimates import Part
from shift.pools.stored import StoredPools

NOISE = 3.0
"""Standard errors above a ceiling that are still noise: with a few ceilings a report, a false alarm in hundreds."""


class Ceilings(Part):
    """The most that selection can have moved, from a uniform member of the pool to the label.

    Attributes:
        n: prompts with a label.
        independent: whether the sharper ceilings of independent candidates hold.
        kl: of KL(S || U), in nats.
        tv: of the total variation distance.
        c2st_accuracy: of a classifier that tells labels from uniform members, on rows that it has not seen.
        mmd_squared: of the squared MMD under a kernel with values in [0, 1].
        reason: why the ceilings are these, or why there are none (then they are None).
    """

    n: int
    independent: bool
    kl: float | None
    tv: float | None
    c2st_accuracy: float | None
    mmd_squared: float | None
    reason: str


class CeilingCheck(Part):
    """A measured figure beside its ceiling.

    Attributes:
        holds: below the ceiling, or above it by no more than noise.
        excess: how far above the ceiling, in standard errors; below it negative. None where the error is 0.
    """

    name: str
    value: float
    standard_error: float
    ceiling: float
    holds: bool
    excess: float | None


def kl_ceiling(size: int, *, independent: bool = True) -> float:
    """The most that any selector among so many candidates can reach, KL(S || U) in nats.

    Raises:
        InputError: fewer than one candidate.
    """
    _check_size(size)
    return float(np.log(size)) - ((size - 1) / size if independent else 0.0)


def tv_ceiling(size: int, *, independent: bool = True) -> float:
    """The most that any selector among so many candidates can reach, TV(S, U).

    Raises:
        InputError: fewer than one candidate.
    """
    _check_size(size)
    if size == 1:
        return 0.0
    return (1 - 1 / size) * (size ** (-1 / (size - 1)) if independent else 1.0)


def ceilings(pools: StoredPools) -> Ceilings:
    """The ceilings of an artifact's selection leg (U -> S, over the rows with a label), or why there are none."""
    kept_N = pools.selected_N >= 0
    if pools.labeler.dose is not None:
        return _none("labels are mixed with self-samples, which were never in the pool")
    if not kept_N.any():
        return _none("no row has a label")
    drawn_N = pools.size_N > 0
    gone = int((drawn_N & ~kept_N).sum())
    size_N = np.ones_like(pools.size_N) if pools.kind == "decode" else pools.size_N
    single = bool((size_N[kept_N] == 1).all())
    independent = single or (pools.kind == "samples" and not gone)
    if single:
        reason = "every pool has a single answer: nothing is selected"
    elif independent:
        reason = "candidates are independent: no selector moves further than best-of-N under a score without ties"
    elif gone:
        reason = (
            f"{gone} rows lost their label after their pools were drawn: given that, candidates are not independent"
        )
    else:
        reason = "candidates of a pool are not known to be independent draws of one distribution"
    return _ceilings(size_N[kept_N], independent, reason)


def against(
    found: Ceilings, measured: Mapping[str, tuple[float, float]], *, noise: float = NOISE
) -> list[CeilingCheck]:
    """Hold measured figures of the selection leg against their ceilings.

    Args:
        found: the ceilings.
        measured: value and standard error under the ceiling's name (`kl`, `tv`, `c2st_accuracy`, `mmd_squared`).
        noise: standard errors above a ceiling that still count as noise.

    Returns:
        A check for each figure, in their order; none where there are no ceilings. One that doesn't hold means a bug,
        or rows that are not what the manifest says.

    Raises:
        InputError: no such ceiling, or a value or standard error that can't be one.
    """
    checks = []
    for name, (value, error) in measured.items():
        if name not in ("kl", "tv", "c2st_accuracy", "mmd_squared"):
            raise InputError(f"no ceiling is called {name!r}", remedy="There are kl, tv, c2st_accuracy, mmd_squared.")
        if not np.isfinite(value) or not np.isfinite(error) or error < 0:
            raise InputError(f"{value} with a standard error of {error}", where=name, remedy="Give finite numbers.")
        if (ceiling := getattr(found, name)) is None:
            continue
        above = value - ceiling
        checks.append(
            CeilingCheck(
                name=name,
                value=value,
                standard_error=error,
                ceiling=ceiling,
                holds=above <= noise * error + 1e-9,  # a figure that attains its ceiling is rounded either way
                excess=above / error if error else None,
            )
        )
    return checks


def _ceilings(size_N: NDArray[np.int64], independent: bool, reason: str) -> Ceilings:
    sizes, counts = np.unique(size_N, return_counts=True)
    share = counts / counts.sum()
    kl = float(share @ [kl_ceiling(int(size), independent=independent) for size in sizes])
    tv = float(share @ [tv_ceiling(int(size), independent=independent) for size in sizes])
    return Ceilings(
        n=len(size_N),
        independent=independent,
        kl=kl,
        tv=tv,
        c2st_accuracy=(1 + tv) / 2,
        mmd_squared=2 * tv**2,
        reason=reason,
    )


def _none(reason: str) -> Ceilings:
    return Ceilings(n=0, independent=False, kl=None, tv=None, c2st_accuracy=None, mmd_squared=None, reason=reason)


def _check_size(size: int) -> None:
    if size < 1:
        raise InputError(f"a pool of {size} candidates", remedy="A pool has at least one.")
