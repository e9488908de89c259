"""What a streamed comparison found, and in words how."""

from __future__ import annotations

from dataclasses import dataclass

from shift.inference import Null

MOST_KEPT = 0.05
"""The share of a sample's rows that may stay where they are in every redraw."""


@dataclass(frozen=True)
class Tested:
    """A squared distance between means, unbiased, so slightly negative at times where nothing has shifted.

    Attributes:
        value: the estimate.
        low, high: a 95% interval; None where the value is not clear of its null.
        null: where it lies when bins are exchanged between the samples.
        p: of that permutation test.

    Null, p and interval are None where too many rows are in no bin: `Streamed.reason`.
    """

    value: float
    low: float | None
    high: float | None
    null: Null | None
    p: float | None


@dataclass(frozen=True)
class BlockMean:
    """The mean of exact, unbiased MMD^2 over blocks of rows.

    Attributes:
        value: the mean.
        low, high: its 95% interval (Student's t over blocks); None with a single block.
        blocks: how many there were.
        rows: how many rows of each sample they hold together.
    """

    value: float
    low: float | None
    high: float | None
    blocks: int
    rows: int


@dataclass(frozen=True)
class Frechet:
    """Frechet distance in its parts.

    Attributes:
        value: the parts together.
        mean_part: |mean difference|^2.
        covariance_part: the trace term; None for rows too wide to take it.
        null: where the value lies when groups of bins are redrawn; None with too few rows.
    """

    value: float
    mean_part: float
    covariance_part: float | None
    null: Null | None


@dataclass(frozen=True)
class Sliced:
    """Sliced Wasserstein-2 distance from histograms.

    Attributes:
        value: the root of the mean of W2^2 over directions, in the rows' units.
        error_bound: the distance between the rows themselves, over these directions, is no further from `value`.
        beyond: the share of values outside the ranges that the pilot set; the bound takes them in.
        directions: how many.
        null: where the value lies when groups of bins are redrawn; None with too few rows.
    """

    value: float
    error_bound: float
    beyond: float
    directions: int
    null: Null | None


@dataclass(frozen=True)
class Streamed:
    """Everything one pass measures.

    Attributes:
        n, m: rows of the first and of the second sample.
        width: of the rows.
        paired: whether row i of both samples belongs together.
        sigma: the middle bandwidth of the kernel.
        mmd: MMD^2 through random features.
        features: how many.
        feature_error: the standard error of `mmd.value` over the draw of features, at most; its interval takes it in.
        blocks: MMD^2 without approximation; None with fewer rows than a block has.
        centroid: the squared distance between the means.
        cosine: between the means; None where one is 0.
        frechet, sliced_w2: beside what redraws without a shift give.
        vendi: the effective number of directions in either sample; None for rows too wide.
        bins: how many bins each sample was divided into for the tests.
        rows_per_bin: how many rows each of them has.
        pilot: rows that set the scale (bandwidth, center, ranges).
        chunk: about how many rows of each sample were read at a time.
        bytes_read: in the pass, as stored.
        regime: in words.
    """

    n: int
    m: int
    width: int
    paired: bool
    sigma: float
    mmd: Tested
    features: int
    feature_error: float
    blocks: BlockMean | None
    centroid: Tested
    cosine: float | None
    frechet: Frechet
    sliced_w2: Sliced
    vendi: tuple[float, float] | None
    bins: tuple[int, int]
    rows_per_bin: int
    pilot: int
    chunk: int
    bytes_read: int

    @property
    def never_redrawn(self) -> tuple[int, int]:
        """Rows of either sample in no bin: they count, but stay in their sample in every redraw."""
        return self.n - self.bins[0] * self.rows_per_bin, self.m - self.bins[1] * self.rows_per_bin

    @property
    def reason(self) -> str | None:
        """Why MMD^2 and centroid have no null, p and interval; None where they have."""
        return untested((self.n, self.m), self.bins, self.rows_per_bin)

    @property
    def regime(self) -> str:
        """How the figures were made, in words."""
        rows = f"{self.n:,} pairs" if self.paired else f"{self.n:,} and {self.m:,} rows"
        exchanged = (
            f"swap {self.bins[0]} bins of {self.rows_per_bin:,} pairs"
            if self.paired
            else f"permute {self.bins[0]} and {self.bins[1]} bins of {self.rows_per_bin:,} rows"
        )
        stay = self.never_redrawn[0] if self.paired else sum(self.never_redrawn)
        words = [
            f"Streamed: {rows} were read once, and all of them count; memory does not grow with them.",
            f"A pilot of {self.pilot:,} rows set bandwidth, center and histogram ranges, nothing else.",
            f"MMD^2 is taken through {self.features:,} random features (standard error {self.feature_error:.2g}).",
            f"MMD^2 and the centroid's shift have no null, p and interval: {self.reason}."
            if self.reason
            else f"Its redraws and the centroid's {exchanged}"
            + (f"; {stay:,} left over stay where they are." if stay else "."),
            f"Sliced W2 comes from histograms along {self.sliced_w2.directions} directions "
            f"and is off by at most {self.sliced_w2.error_bound:.2g}.",
        ]
        if self.blocks is not None:
            words.append(
                f"The block mean averages the exact MMD^2 of {self.blocks.blocks:,} blocks, which hold "
                f"{self.blocks.rows:,} rows of each sample; it takes their order to carry no information."
            )
        if self.vendi is None:
            words.append(f"Rows {self.width:,} wide are too wide for covariances and the Vendi score.")
        return " ".join(words)


def untested(rows: tuple[int, int], bins: tuple[int, int], rows_per_bin: int) -> str | None:
    """Why bins so large can't test: so many rows are in none that their shift would be in every redraw."""
    for side, n, b in zip(("first", "second"), rows, bins, strict=True):
        kept = n - b * rows_per_bin
        if kept > MOST_KEPT * n:
            return (
                f"{kept:,} of {n:,} rows of the {side} sample are in no bin and could not be redrawn; sources of known "
                "length (files, arrays, lists of them) and of more equal size need not leave so many over"
            )
    return None
