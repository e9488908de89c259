"""Pictures and page: what they draw is what was measured, nothing overlaps, nothing is fetched or obeyed."""

import re
from html.parser import HTMLParser
from itertools import combinations
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shift import Ladder, Samples, compare, measure
from shift.figures import Decomposition, Interval, MetricReport, NullRange
from shift.moved import most_moved
from shift.pictures import Picture, decomposition_bars, draw, drift_histogram, forest, ladder_strip, page
from shift.pictures.canvas import fit, number, text_width
from shift.pictures.directions import by_shift, by_variance, displacements, principal
from shift.pictures.drifts import bin_edges
from shift.pictures.forest import axis_limits, in_floors
from shift.pictures.projection import ARROWS, LONGEST, MANY, chosen_arrows, hexagons, projection


def ladder(n: int = 30, d: int = 6, *, shift: float = 0.5, seed: int = 0, baseline: bool = True) -> Ladder:
    rng = np.random.default_rng([seed, 11])
    X = rng.normal(size=(n, 1, d)) + rng.normal(size=(n, 5, d))
    X[:, 2:, 0] += shift
    picked = X[:, 2:, -1].argmax(axis=1).tolist()
    return Ladder.from_arrays(
        original=X[:, 0] + 0.3, baseline=X[:, 1] if baseline else None, pool=X[:, 2:], selected=picked
    )


def sides(
    X: np.ndarray, Y: np.ndarray, *, paired: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    samples = Samples.from_arrays(X, Y, paired=paired)
    return samples.points_MD, samples.prompt_M, *samples.weights()


def project(X: np.ndarray, Y: np.ndarray, *, paired: bool = True, after: str = "after") -> Picture:
    return projection(*sides(X, Y, paired=paired), before="before", after=after)


def metric(title: str = "a metric", value: float | None = 0.5, null=(-1.0, 0.0, 1.0), **changes) -> MetricReport:
    low, mean, high = null or (0.0, 0.0, 0.0)
    given = {"metric": title, "title": title, "meaning": "", "start": "P", "end": "S", "value": value, "parts": {}}
    given |= {"null": NullRange(low=low, mean=mean, high=high, redraws=99) if null else None, "grows": True}
    return MetricReport(**(given | {"p": 0.02, "p_holm": 0.04, "reason": None} | changes))


def parts(labeling: float, selection: float, cross: float, half: float = 0.01) -> Decomposition:
    def around(value: float) -> Interval:
        return Interval(value=value, low=value - half, high=value + half)

    total = around(labeling + selection + 2 * cross)
    shares = {"labeling_share": None, "selection_share": None, "share_reason": "small"}
    cross_ = Interval(value=cross, low=cross - half / 2, high=cross + half / 2)
    return Decomposition(
        n=50, labeling=around(labeling), selection=around(selection), cross=cross_, total=total, **shares
    )


def legs(*rows: tuple[str, str, float, float | None]) -> list:
    return [SimpleNamespace(start=a, end=b, value=v, low=v - 0.01, high=v + 0.01, p=p) for a, b, v, p in rows]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng([seed, 12])


MANY_METRICS = [
    metric("MMD²", 0.06, (-0.002, 0.0, 0.003)),
    metric("Fréchet distance with a name far too long to be printed in one line of a picture", 1.2, p=None),
    metric("constant", 3.0, (0.0, 0.0, 0.0)),
    metric("negative and far", -4000.0, p=1.0, p_holm=1.0),
    metric("undefined", None, p=None, p_holm=None),
    metric("no null", 123456.0, None, p=None, p_holm=None),
    metric("other leg", 1e5, start="U"),
]
FULL = legs(("O", "P", 0.2, None), ("P", "U", 0.05, 0.001), ("U", "S", -0.0001, 0.2), ("P", "S", 0.06, 0.001))
FULL += legs(("O", "S", 0.3, None))
CASES = {
    "projection of 30": lambda: project(rng().normal(size=(30, 8)), rng(1).normal(size=(30, 8)) + 1),
    "projection of 2000": lambda: project(rng().normal(size=(2000, 5)), rng(1).normal(size=(2000, 5)), after="x" * 200),
    "projection, all equal": lambda: project(np.ones((5, 4)), np.ones((5, 4))),
    "projection, d = 1": lambda: project(rng().normal(size=(9, 1)), rng(1).normal(size=(9, 1))),
    "projection, unpaired": lambda: project(rng().normal(size=(9, 3)), rng(1).normal(size=(7, 3)), paired=False),
    "drift of 30": lambda: drift_histogram(rng().random(30), rng(1).random(30), before="b" * 150, after="a"),
    "drift of 5000": lambda: drift_histogram(rng().random(5000), rng(1).random(5000), before="P", after="S"),
    "drift of none": lambda: drift_histogram(np.zeros(4), np.zeros(4), before="P", after="S"),
    "drift with outliers": lambda: drift_histogram(
        np.append(rng().random(300) / 50, [0.5, 1.2]), rng(1).random(302) / 30, before="P", after="S"
    ),
    "forest of many": lambda: forest(MANY_METRICS),
    "forest of one": lambda: forest(MANY_METRICS[:1]),
    "forest, undefined": lambda: forest([metric(value=None, null=None, p=None, p_holm=None)]),
    "decomposition": lambda: decomposition_bars(parts(0.05, 0.03, 0.01)),
    "decomposition, cancelling": lambda: decomposition_bars(parts(0.05, 0.045, -0.045)),
    "decomposition, tiny": lambda: decomposition_bars(parts(-1.234e-5, 2.345e-5, 1e-6, 9.87e-5)),
    "decomposition of nothing": lambda: decomposition_bars(parts(0, 0, 0, 0)),
    "ladder": lambda: ladder_strip(FULL),
    "ladder of one leg": lambda: ladder_strip(legs(("U", "S", 0.0, None))),
}


@pytest.mark.parametrize("case", CASES)
def test_no_words_overlap_or_leave_the_sheet(case: str) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    figure = CASES[case]().figure
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    # Axes keep tick labels that they never draw: what counts is what stands in the picture.
    svg = ElementTree.fromstring(Picture("x", "x", "", figure).svg())
    drawn = {text.text for text in svg.iter("{http://www.w3.org/2000/svg}text")}
    boxes = [(t.get_text(), t.get_window_extent(canvas.get_renderer())) for t in figure.findobj(Text)]
    boxes = [(text, box) for text, box in boxes if text.strip() and text in drawn]
    assert len(boxes) > 3
    for text, box in boxes:
        assert box.x0 >= -1 and box.y0 >= -1, text
        assert box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1, text
    for (text, box), (other, there) in combinations(boxes, 2):
        apart = box.x1 <= there.x0 + 1 or there.x1 <= box.x0 + 1 or box.y1 <= there.y0 + 1 or there.y1 <= box.y0 + 1
        assert apart, (text, other)


@pytest.mark.parametrize("case", ["projection of 30", "drift of 30", "forest of many", "decomposition", "ladder"])
def test_the_same_picture_is_the_same_bytes(case: str) -> None:
    first, second = CASES[case](), CASES[case]()
    assert first.svg() == first.svg() == second.svg() and first.png() == second.png()
    assert first.inline() == second.inline()
    assert b"<dc:date>" not in first.svg() and b"matplotlib" not in first.png().lower()
    ElementTree.fromstring(first.svg())
    assert first.png()[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_user_s_own_settings_change_nothing() -> None:
    import matplotlib as mpl

    plain = CASES["decomposition"]().svg()
    with mpl.rc_context({"font.family": "serif", "axes.grid": True, "lines.linestyle": ":"}):
        assert CASES["decomposition"]().svg() == plain


@pytest.mark.parametrize("shape", [(40, 6), (12, 50)], ids=["tall", "wide"])
def test_principal_directions_are_those_of_the_weighted_covariance(shape: tuple[int, int]) -> None:
    X = (rng().normal(size=shape) * np.linspace(5, 1, shape[1]) + 1e4).astype(np.float32)
    weights = rng(1).random(shape[0])
    weights /= weights.sum()
    covariance = np.cov(X.astype(np.float64).T, aweights=weights, ddof=0)
    expected = np.linalg.eigh(covariance)[1][:, ::-1][:, :2]
    found = principal(X, weights, 2)
    assert np.abs((found * expected).sum(axis=0)) == pytest.approx([1, 1], abs=1e-6)
    out = np.linalg.eigh(covariance)[1][:, -1:]
    rest = principal(X, weights, 1, without_DE=out)
    assert np.abs((rest * expected[:, 1:]).sum()) == pytest.approx(1, abs=1e-6)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000))
def test_neither_the_order_of_rows_nor_a_rotation_changes_what_is_seen(seed: int) -> None:
    random = rng(seed)
    X = random.normal(size=(20, 5)) * [5, 3, 1, 1, 1]
    Y = X + random.normal(size=(20, 5)) + [1, 2, 1, 0, 0]
    points, prompt, first, second = sides(X, Y)
    turned = (points @ np.linalg.qr(random.normal(size=(5, 5)))[0] + 3).astype(np.float32)
    order = random.permutation(len(points))
    for view in (by_variance, by_shift):
        seen, rotated = (view(p, prompt, first, second) for p in (points, turned))
        mixed = view(points[order], prompt[order], first[order], second[order])
        assert seen is not None and rotated is not None and mixed is not None
        assert mixed.xy_M2 == pytest.approx(seen.xy_M2[order], abs=1e-4)
        assert rotated.xy_M2[:, 0] == pytest.approx(seen.xy_M2[:, 0], abs=1e-3)
        assert np.abs(rotated.xy_M2[:, 1]) == pytest.approx(np.abs(seen.xy_M2[:, 1]), abs=1e-3)


def test_shares_of_the_variance_are_those_of_the_spectrum_and_the_shift_points_right_and_up() -> None:
    X = rng().normal(size=(500, 4)) * [4, 2, 1, 1]
    Y = X - [1, 1, 0, 0]
    points, prompt, first, second = sides(X, Y)
    view = by_variance(points, prompt, first, second)
    spectrum = np.sort(np.linalg.eigvalsh(np.cov(points.T)))[::-1]
    shares = [f"{share:.0%}" for share in spectrum[:2] / spectrum.sum()]
    assert [label.split(": ")[1].split(" ")[0] for label in view.labels] == shares
    assert ((second - first) @ view.xy_M2 > 0.5).all()


def test_a_direction_of_shift_shows_nothing_where_nothing_has_shifted_and_all_of_what_has() -> None:
    n, d = 60, 384
    X, Y = rng().normal(size=(n, d)), rng(1).normal(size=(n, d))
    points, prompt, first, second = sides(X, Y)
    naive = Y.mean(axis=0) - X.mean(axis=0)
    assert np.linalg.norm(naive) > 3  # along its own direction, pure noise looks three standard deviations apart
    seen = by_shift(points, prompt, first, second)
    assert seen is not None and abs((second - first) @ seen.xy_M2[:, 0]) < 0.8
    shifted = by_shift(*sides(X, Y + 8 * np.eye(d)[3]))
    assert shifted is not None and (second - first) @ shifted.xy_M2[:, 0] == pytest.approx(8, rel=0.15)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_second_axis_of_the_shift_is_at_right_angles_to_it(seed: int) -> None:
    random = rng(seed)
    points, prompt, first, second = sides(random.normal(size=(50, 5)), random.normal(size=(50, 5)) + 3 * np.eye(5)[0])
    moved = by_shift(points, prompt, first, second)
    assert moved is not None
    halves = [prompt % 2 == half for half in (0, 1)]
    shifts = [(second * half) @ points / (second @ half) - (first * half) @ points / (first @ half) for half in halves]
    for half, other in ((0, 1), (1, 0)):
        unit = shifts[other] / np.linalg.norm(shifts[other])
        centered = points - (first + second) @ points / 2
        assert moved.xy_M2[halves[half], 0] == pytest.approx((centered @ unit)[halves[half]], abs=1e-4)
    across = np.linalg.lstsq(points - points.mean(axis=0), moved.xy_M2[:, 1] - moved.xy_M2[:, 1].mean(), rcond=None)[0]
    assert np.array(shifts) @ across == pytest.approx([0, 0], abs=1e-3)


def test_no_direction_of_shift_where_there_is_none_to_speak_of() -> None:
    X = rng().normal(size=(10, 5))
    assert by_shift(*sides(X, X)) is None
    assert by_shift(*sides(X[:, :2], X[:, :2] + 1)) is None
    points, prompt, first, second = sides(X, X + 1)
    assert by_shift(points, 2 * prompt, first, second) is None  # no odd prompt


def test_points_without_a_second_direction_are_spread_by_prompt_and_the_axis_says_so() -> None:
    line = np.arange(1, 7)[:, None] * np.ones((1, 3))
    for X in (np.arange(1.0, 7)[:, None], line):
        view = by_variance(*sides(X, X + 1))
        assert (
            view.labels[0] == "principal component 1: 100% of the variance" and "one direction only" in view.labels[1]
        )
        assert len(set(view.xy_M2[:, 1].round(6))) == 6
    equal = by_variance(*sides(np.ones((4, 3)), np.ones((4, 3))))
    assert equal.labels[0] == "all answers are one point" and (equal.xy_M2[:, 0] == 0).all()


def test_a_prompt_moves_by_the_difference_of_its_mean_answers() -> None:
    samples = Samples.from_ladder(ladder(8), "P", "U")
    points, prompt = samples.points_MD, samples.prompt_M
    first, second = samples.weights()
    paired, length = displacements(points, prompt, first, second)
    assert paired.tolist() == list(range(8))
    for i in range(8):
        own = prompt == i
        move = points[own & (second > 0)].mean(axis=0) - points[own & (first > 0)].mean(axis=0)
        assert length[i] == pytest.approx(np.linalg.norm(move), rel=1e-5)
    assert displacements(*sides(np.eye(4), np.eye(4) + 1, paired=False))[0].size == 0


@pytest.mark.parametrize("n", [1, LONGEST, LONGEST + ARROWS, LONGEST + ARROWS + 1, 5000])
def test_arrows_are_all_or_the_longest_and_evenly_spaced_others(n: int) -> None:
    lengths = rng().permutation(n).astype(float)
    longest, others = chosen_arrows(lengths)
    drawn = np.concatenate([lengths[longest], lengths[others]])
    assert len(set(drawn)) == len(drawn) == min(n, LONGEST + ARROWS)
    assert lengths[longest].tolist() == list(range(n - 1, n - 1 - min(n, LONGEST), -1))
    if len(others) > 1:
        gaps = -np.diff(lengths[others])
        assert gaps.max() - gaps.min() <= 1 and lengths[others][-1] == 0


def test_every_row_is_drawn_and_the_caption_says_which_arrows_are() -> None:
    n = MANY // 2
    few = project(rng().normal(size=(n, 4)), rng(1).normal(size=(n, 4)))
    marks = [line for line in few.figure.axes[0].lines if len(line.get_xdata()) > 1]
    assert [len(line.get_xdata()) for line in marks] == [n, n]
    assert f"{LONGEST + ARROWS} of {n:,} prompts" in few.caption
    dense = project(rng().normal(size=(n + 1, 4)), rng(1).normal(size=(n + 1, 4)))
    assert f"All {2 * n + 2:,} answers" in dense.caption and "hexagons" in dense.caption
    assert "each of the 12 prompts" in project(rng().normal(size=(12, 4)), rng(1).normal(size=(12, 4))).caption
    assert "No prompt's answer has moved" in project(np.eye(4), np.eye(4)).caption


def test_each_row_is_in_the_hexagon_whose_center_is_nearest() -> None:
    xy = rng().uniform(0, 6, size=(800, 2))
    centers, index = hexagons(xy)
    grid = np.array([(i, j) for i in np.arange(-1, 8, 0.5) for j in np.arange(-1, 8, 0.5) if (i - j) % 1 == 0])
    nearest = grid[(((xy[:, None] - grid) ** 2) @ [1, 3]).argmin(axis=1)]
    assert centers[index] == pytest.approx(nearest)
    assert len(np.bincount(index)) == len(centers) and np.bincount(index).sum() == 800


def test_the_color_of_a_hexagon_is_the_sample_that_has_more_there() -> None:
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import to_rgb

    n = MANY
    picture = project(rng().normal(size=(n, 2)), rng(1).normal(size=(n, 2)) + 30 * np.eye(2)[0])
    (hexes,) = (c for c in picture.figure.axes[0].collections if type(c) is PolyCollection)
    left = np.array([path.vertices[:, 0].mean() for path in hexes.get_paths()]) < 0
    colors = hexes.get_facecolor()
    assert left.any() and not left.all()
    assert np.allclose(colors[left, :3], to_rgb("#0072b2")) and np.allclose(colors[~left, :3], to_rgb("#d55e00"))


def test_histograms_hold_every_answer() -> None:
    drift, other = rng().random(333), rng(1).random(333) * 2
    picture = drift_histogram(drift, other, before="P", after="S")
    axes = picture.figure.axes[0]
    assert sum(p.get_height() for p in axes.patches if hasattr(p, "get_height")) == pytest.approx(1)
    assert f"{(drift > other).mean():.0%} of 333 answers" in picture.svg().decode()
    assert "0% of 4 answers" in CASES["drift of none"]().svg().decode()  # as far is not further
    edges = bin_edges(np.concatenate([drift, other]), 333)
    assert edges[0] == 0 and edges[-1] == max(drift.max(), other.max()) and len(edges) == 19
    assert [len(bin_edges(np.ones(2), n)) - 1 for n in (4, 10_000)] == [10, 50]
    assert bin_edges(np.zeros(3), 3)[-1] > 0


def test_an_outlier_neither_squeezes_a_histogram_nor_is_lost() -> None:
    drift, other = rng().random(500) * 0.05, rng(1).random(500) * 0.05
    drift[:3] = 0.505
    picture = drift_histogram(drift, other, before="P", after="S")
    axes = picture.figure.axes[0]
    bars = [patch for patch in axes.patches if hasattr(patch, "get_height")]
    assert axes.get_xlim()[1] < 0.06 and sum(bar.get_height() > 0 for bar in bars) > 15
    assert sum(bar.get_height() for bar in bars) == pytest.approx(1)
    end = np.sort(np.concatenate([drift, other]))[989]
    assert bars[-1].get_x() == pytest.approx(end)
    assert bars[-1].get_height() == pytest.approx((drift >= end).mean()) and 3 / 500 <= bars[-1].get_height() < 0.03
    assert "and beyond" in picture.svg().decode()
    said = f"up to 0.505: {(drift >= end).sum()} answers (filled) and {(other >= end).sum()} nearest"
    assert said in picture.caption and "mean lies" not in picture.caption
    outline = next(patch for patch in axes.patches if not hasattr(patch, "get_height")).get_xy()
    assert outline[:, 1].max() < 0.12 and outline[-3:, 0].max() == pytest.approx(axes.get_xlim()[1])

    drift[:] = 1e-4
    drift[:9] = 1.9
    far = drift_histogram(drift, np.full(500, 2e-4), before="P", after="S")
    assert "The mean lies there too" in far.caption
    (mean, *_) = [line for line in far.figure.axes[0].lines if line.get_color() == "#d55e00"]
    assert mean.get_xdata()[0] < far.figure.axes[0].get_xlim()[1]
    nearly = np.zeros(500)
    nearly[0] = 0.5
    assert bin_edges(nearly, 500)[-1] == 0.5  # all others are equal: there is nothing to squeeze
    assert bin_edges(np.array([0.1] * 99 + [0.19]), 99)[-1] == 0.19


def test_a_metric_is_placed_in_units_of_its_own_null() -> None:
    assert in_floors(metric(value=5.0, null=(0.0, 1.0, 3.0))) == 2.0
    assert in_floors(metric(value=1.0, null=(0.0, 1.0, 3.0))) == 0.0
    assert in_floors(metric(value=0.7, null=(0.8, 0.9, 0.92), grows=False)) == pytest.approx(2.0)
    assert in_floors(metric(value=1.0, null=(0.8, 0.9, 0.92), grows=False)) == pytest.approx(-1.0)
    assert in_floors(metric(value=None)) is None and in_floors(metric(null=None)) is None
    still = {"null": (2.0, 2.0, 2.0)}
    assert [in_floors(metric(value=v, **still)) for v in (2.0, 3.0, 1.0)] == [0.0, np.inf, -np.inf]
    assert [in_floors(metric(value=v, grows=False, **still)) for v in (3.0, 1.0)] == [-np.inf, np.inf]


def test_the_axis_reaches_every_metric_up_to_a_limit() -> None:
    assert axis_limits([]) == axis_limits([0.5, np.inf, -np.inf]) == (-2, 3)
    assert axis_limits([40.0, -4.0]) == (-5, 50)
    assert axis_limits([1e6, -1e6]) == (-10, 1000)


def test_the_forest_tells_tested_from_untested_and_clipped() -> None:
    rows = [
        metric("found", 3.0, p=0.001, p_holm=0.04),
        metric("not after Holm", 2.0, p=0.04, p_holm=0.2),
        metric("alone", 2.0, p=0.04, p_holm=None),
        metric("untested", 2.0, p=None, p_holm=None),
        metric("far", 1e9),
        metric("nowhere", None),
    ]
    picture = forest(rows)
    axes = picture.figure.axes[0]
    marks = [line for line in axes.lines if line.get_marker() in "D<>"]
    assert [m.get_marker() for m in marks] == ["D", "D", "D", "D", ">"]
    assert [m.get_markerfacecolor() for m in marks][:4] == ["#d55e00", "#0072b2", "#d55e00", "none"]
    assert [float(m.get_xdata()[0]) for m in marks] == [3, 2, 2, 2, 1000]
    assert len([patch for patch in axes.patches if patch.get_width() > 0]) == len(rows)  # each one's null


def test_bars_and_intervals_all_begin_at_zero_and_add_up_to_the_total() -> None:
    found = parts(0.05, 0.045, -0.045)
    picture = decomposition_bars(found)
    bars = picture.figure.axes[0].patches
    spans = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars]
    assert np.allclose(spans, [(0, 0.05), (0, 0.045), (0, -0.09), (0, found.total.value)])
    assert "sum of the three" in picture.caption and "its own bar" in picture.caption
    lines = picture.figure.axes[0].lines
    ends = [tuple(line.get_xdata()) for line in lines if line.get_linewidth() == 1.4]
    expected = [(0.04, 0.06), (0.035, 0.055), (-0.1, -0.08), (-0.005, 0.015)]
    assert np.allclose(ends, expected)


@pytest.mark.parametrize(
    ("cross", "words"),
    [(0.01, "both move the same way"), (-0.01, "against each other"), (0.001, "no common direction")],
)
def test_the_sign_of_the_cross_term_is_said(cross: float, words: str) -> None:
    assert words in decomposition_bars(parts(0.1, 0.1, cross)).svg().decode()


def test_the_strip_draws_distances_and_their_verdicts() -> None:
    lines = ladder_strip(FULL).figure.axes[0].lines
    thick = {line.get_linewidth(): line.get_color() for line in lines if line.get_solid_capstyle() == "butt"}
    assert max(thick) == pytest.approx(13.5) and min(thick) == 1.5
    assert thick[1.5] == "#0072b2"  # a negative estimate
    assert sorted(thick.values()) == ["#0072b2", "#8a929b", "#8a929b", "#d55e00", "#d55e00"]
    ratio = sorted(w - 1.5 for w in thick)
    assert ratio[-2] / ratio[-1] == pytest.approx((0.2 / 0.3) ** 0.5)
    strip = ladder_strip(FULL).figure  # one unit is one pixel
    numbers = [t for t in strip.texts if ", " in t.get_text()]
    for leg, words in zip(FULL, numbers, strict=True):
        assert words.get_text() == f"{number(leg.value)}, " + (f"p = {leg.p:.3f}" if leg.p else "no test")
        baseline = (1 - words.get_position()[1]) * strip.bbox.height
        bars = [line.get_ydata()[0] - line.get_linewidth() / 2 for line in lines if line.get_solid_capstyle() == "butt"]
        assert min(abs(top - baseline - 4) for top in bars) < 10 and all(not 0 < baseline - top < 12 for top in bars)
    shown = ladder_strip(legs(("P", "U", 0.1, 0.5))).svg().decode()
    assert ">self-sample<" in shown and ">selected<" not in shown


def test_words_are_cut_to_their_room_and_numbers_are_readable() -> None:
    assert fit("short", 100) == "short"
    cut = fit("a rather long name $x_1$", 60)
    assert cut.endswith("…") and text_width(cut) <= 60 < text_width("a rather long name")
    assert [number(v) for v in (0.0, -0.0001234, 1.5e-5, 12.345, 54321.0, 2.5e7)] == [
        *("0", "−0.000123", "1.5e−05", "12.3"),
        *("54,321", "2.5e+07"),
    ]


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.ids, self.links, self.handlers, self.words = set(), [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        for name, value in attrs:
            self.handlers += [name] if name.startswith("on") else []
            self.ids += [value] if name == "id" else []
            self.links += [value] if name in ("href", "src", "xlink:href") else []
            self.links += re.findall(r"url\(([^)]*)\)", value or "")

    def handle_data(self, data):
        self.words.append(data)


EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)>'


def evil_page() -> tuple[str, Page]:
    given = ladder()
    report = measure(given, permutations=99, metrics=("energy", "centroid"))
    embedder = report.embedder.model_copy(update={"name": EVIL, "scope": EVIL, "digest": EVIL})
    rungs = {rung: f"{name} {EVIL}" for rung, name in report.rungs.items()}
    report = report.model_copy(update={"embedder": embedder, "notes": [EVIL, *report.notes], "rungs": rungs})
    texts = [EVIL] * 3
    moved = most_moved([0.1, 0.2, 0.3], texts, texts, texts, ["new \u202e words", "", EVIL + " more"])
    text = page(report, draw(report, given), moved, title=EVIL, names=(EVIL, "after"))
    return text, Page(text)


def test_a_page_holds_everything_and_obeys_nothing() -> None:
    text, found = evil_page()
    assert not found.tags & {"script", "img", "image", "link", "iframe", "object", "embed", "base"}
    assert not found.handlers and "default-src 'none'" in text and "@import" not in text
    assert len(found.ids) == len(set(found.ids))
    assert found.links and all(link.startswith("#") for link in found.links)
    assert {link[1:] for link in found.links} <= set(found.ids)
    assert EVIL in "".join(found.words) and "\u202e" not in text and "⟨202e⟩" in text
    assert "http:" not in text and "https:" not in text


def test_a_page_says_what_was_found_and_shows_every_picture_and_figure() -> None:
    given = ladder()
    report = measure(given, permutations=99, metrics=("energy",))
    pictures = draw(report, given)
    assert [p.name for p in pictures] == ["ladder", "decomposition", "forest", "projection", "drift"]
    text = page(report, pictures)
    words = " ".join("".join(Page(text).words).split())
    assert report.summary() in words
    for said in [*report.notes, *(p.caption for p in pictures), *(leg.meaning for leg in report.legs)]:
        assert " ".join(said.split()) in words
    assert text.count("<svg") == 5 and "answers that moved furthest" not in text
    assert all(re.search(r'<svg role="img" aria-label="[^"]+" viewBox="0 0 880 [\d.]+">', p.inline()) for p in pictures)
    assert "var(--ink)" in text and "#1b1f24" not in pictures[0].inline() and "#1b1f24" in pictures[0].svg().decode()


def test_only_what_a_report_has_is_drawn() -> None:
    given = ladder(baseline=False)
    report = measure(given, permutations=99, metrics=("energy",))
    assert report.main_leg == ("U", "S") or report.main_leg == ("O", "S")
    assert [p.name for p in draw(report)] == ["ladder", "forest"]
    assert [p.name for p in draw(report, given)] == ["ladder", "forest", "projection", "drift"]
    X = rng().normal(size=(20, 4))
    unpaired = compare(X, X + 1, permutations=99, metrics=("energy",))
    samples = Samples.from_arrays(X, X + 1)
    assert unpaired.main_leg == ("A", "B")
    assert [p.name for p in draw(unpaired, samples)] == ["forest", "projection"]
    assert "<svg" in page(unpaired, draw(unpaired, samples))


def test_the_leg_that_is_shown_is_the_total() -> None:
    assert measure(ladder(), permutations=99, metrics=()).main_leg == ("P", "S")
