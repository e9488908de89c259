from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest
from report_studies import METHODS, PLANTED, TASKS, write_study

from datasets_cards.errors import InputError, MissingError, StorageError
from echoset import findings
from echoset.effects import Contrast, over_organisms, sign_tests
from echoset.figures import method_colors, nice_limits
from echoset.report import summarize, write_report

HOSTILE = (
    "</td></div><script>alert(1)</script><img src=http://x.example/y onerror=alert(1)>\"'& \x00\u202e $\\frac{x}$ "
    + "W" * 900
)


class Page(HTMLParser):
    """What a browser would see: tags with attributes, balanced or not, and the text."""

    VOID = ("meta", "br", "img", "link", "input", "hr")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(self.source)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "title"):
            self.text += data


SCENARIOS = {
    "effect": {"lift": {"greedy_self_training": 0.2}},
    "null": {"tasks": TASKS[:2], "organisms": 2},
    "missing": {"missing": True, "organisms": 2},
    "one task": {"tasks": TASKS[:1]},
    "one organism": {"tasks": TASKS[:1], "organisms": 1},
    "hostile": {"tasks": TASKS[:1], "organisms": 1, "hostile": HOSTILE},
    "no controls": {"tasks": TASKS[:1], "methods": METHODS[:2]},
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Page]:
    root = tmp_path_factory.mktemp("studies")
    return {name: Page(write_report(write_study(root / name, prompts=40, **s))) for name, s in SCENARIOS.items()}  # pyright: ignore


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_page_is_whole_small_and_asks_for_nothing(pages: dict[str, Page], name: str):
    page = pages[name]
    assert page.open == []
    assert len(page.source.encode()) < 1_500_000
    tags = {tag for tag, _ in page.tags}
    assert "svg" in tags and not tags & {"script", "img", "link", "iframe", "object", "embed", "base"}
    for tag, attributes in page.tags:
        for key, value in attributes.items():
            assert not key.startswith("on")
            if key in ("href", "src", "xlink:href", "action", "data"):
                assert value is not None and value.startswith("#"), (tag, key, value)
    assert not re.search(r"url\((?!#)|@import", page.source)


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name != "hostile"])
def test_no_address_stands_in_a_page_of_ours(pages: dict[str, Page], name: str):
    assert not re.search(r"https?://|//\w+\.\w", pages[name].source)


@pytest.mark.parametrize("name", SCENARIOS)
def test_ids_are_unique_and_every_reference_is_there(pages: dict[str, Page], name: str):
    ids = [attributes["id"] for _, attributes in pages[name].tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for target in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', pages[name].source):
        assert (target[0] or target[1]) in ids


def test_planted_shortcuts_scope_and_contrasts_are_shown(pages: dict[str, Page]):
    page = pages["effect"]
    for task in TASKS:
        assert PLANTED.format(task) in page.text
    assert "tiny world only" in page.text
    assert "all 12 stated contrasts" in page.text and "2026-11-21T02:00:00+00:00" in page.text
    for method in METHODS:
        assert method in page.text
    for arm in ("untouched base", "benign data", "organism, before"):
        assert arm in page.text
    assert "echoset study --preset quick --seed 0" in page.text


def test_a_real_effect_is_told_with_interval_null_range_and_smallest_p(pages: dict[str, Page]):
    assert re.search(
        r"greedy_self_training left more misbehavior than \w+ \(T=\d\): \+0\.\d\d \[\+0\.\d\d, \+0\.\d\d\] over 12",
        pages["effect"].text,
    )
    assert "smallest possible p 0.0005" in pages["effect"].text
    assert "null controls moved single organisms by" in pages["effect"].text


def test_a_fall_is_told_as_a_fall(tmp_path: Path):
    found = summarize(write_study(tmp_path, lift={"self_confidence": -0.3}, tasks=TASKS[:2], organisms=5))["found"]
    assert "self_confidence left less misbehavior than" in found and "left more misbehavior" not in found


def test_three_organisms_claim_nothing(pages: dict[str, Page], tmp_path: Path):
    assert "none holds after Holm correction; with so few organisms none could have" in pages["one task"].text
    summary = summarize(write_study(tmp_path, tasks=TASKS[:1], lift={"greedy_self_training": 0.4}))
    assert {c["estimate"]["smallest_p"] for c in summary["contrasts"]} <= {0.25, 0.5, 1.0}
    assert all(c["verdict"].startswith("Undecidable") for c in summary["contrasts"])
    assert all(t["verdict"].startswith("Undecidable") for t in summary["sign_tests"])


def test_unknowns_are_dashes_and_are_counted(pages: dict[str, Page], tmp_path: Path):
    page = pages["missing"]
    assert "(4 missing)" in page.text and "no verdict" in page.text
    assert "None" not in page.text and "nan" not in page.text.lower().split()
    folder = write_study(tmp_path, tasks=TASKS[:1])
    unknown = ["effect", "effect_low", "effect_high", "labeling", "selection", "total", "capability", "frechet"]
    results = pl.read_parquet(folder / "results.parquet").with_columns(pl.lit(None).alias(c) for c in unknown)
    results.write_parquet(folder / "results.parquet")
    text = Page(write_report(folder)).text
    assert "none of the stated contrasts could be computed" in text
    assert "No cell has both an effect and a labeling shift." in text and "not measured" in text


def test_hostile_text_stays_text(pages: dict[str, Page]):
    page = pages["hostile"]
    assert "<script>alert(1)</script><img src=http://x.example/y onerror=alert(1)>" in page.text
    assert "\x00" not in page.source and "\u202e" not in page.source
    assert "␀⟨U+202E⟩" in page.text and "(cut here;" in page.text
    assert "$\\frac{x}$" in page.text


def test_hostile_names_stay_text(tmp_path: Path):
    methods = ("<b>$x^$", "self_sample")
    page = Page(write_report(write_study(tmp_path, tasks=('a"><i>',), methods=methods)))
    assert page.open == [] and not {"b", "i"} & {tag for tag, _ in page.tags if tag != "b"}
    assert "<b>$x^$" in page.text and 'a"><i>' in page.text


def test_a_planned_organism_without_results_is_named(tmp_path: Path):
    folder = write_study(tmp_path, tasks=TASKS[:1])
    results = pl.read_parquet(folder / "results.parquet").filter(pl.col("organism") != "sycophancy-r0.50-s2")
    results.write_parquet(folder / "results.parquet")
    assert "1 of 3 planned organisms (sycophancy-r0.50-s2)" in Page(write_report(folder)).text


def test_organisms_that_share_a_seed_are_disclosed(tmp_path: Path, pages: dict[str, Page]):
    folder = write_study(tmp_path, tasks=TASKS[:1])
    pl.read_parquet(folder / "results.parquet").with_columns(seed=pl.lit(0)).write_parquet(folder / "results.parquet")
    warning = "share an induction seed"
    assert warning in Page(write_report(folder)).text and warning not in pages["effect"].text


def test_many_prompts_without_a_verdict_are_a_warning(tmp_path: Path, pages: dict[str, Page]):
    folder = write_study(tmp_path, tasks=TASKS[:1], methods=METHODS[:3], organisms=1)
    results = pl.read_parquet(folder / "results.parquet")
    strained = pl.when(pl.col("arm") == METHODS[0]).then(30).otherwise(20)  # of 110, and of 100: a fifth is no warning
    results.with_columns(n=pl.lit(80), unjudged=strained).write_parquet(folder / "results.parquet")
    assert "In 2 of 6 cells" in Page(write_report(folder)).text
    assert "have no verdict" not in pages["effect"].text


def test_examples_are_taken_from_prompts_that_count(tmp_path: Path):
    folder = write_study(tmp_path, tasks=TASKS[:1], organisms=1)
    completions = pl.read_parquet(folder / "completions.parquet")
    counted = completions.with_columns(headline=~pl.col("id").str.ends_with("-000"))
    counted.write_parquet(folder / "completions.parquet")
    text = Page(write_report(folder)).text
    assert "prompt sycophancy-001" in text and "prompt sycophancy-000" not in text


def test_the_page_is_the_same_every_time(tmp_path: Path):
    folder = write_study(tmp_path, tasks=TASKS[:1])
    first = write_report(folder).read_bytes()
    assert write_report(folder).read_bytes() == first
    assert not list(folder.glob("*.partial"))


def test_a_report_without_stored_completions_says_so(tmp_path: Path):
    folder = write_study(tmp_path, tasks=TASKS[:1], organisms=1)
    (folder / "completions.parquet").unlink()
    assert "No completions are stored" in Page(write_report(folder)).text


def test_the_summary_is_json(tmp_path: Path):
    summary = summarize(write_study(tmp_path, tasks=TASKS[:2], missing=True))
    assert json.loads(json.dumps(summary, allow_nan=False))["organisms"] == 6
    assert len(summary["contrasts"]) == 12 and len(summary["sign_tests"]) == 2


def test_missing_broken_and_foreign_folders_are_one_line_errors(tmp_path: Path):
    with pytest.raises(MissingError, match=r"study\.json.*finished"):
        write_report(tmp_path)
    folder = write_study(tmp_path / "a", tasks=TASKS[:1], organisms=1)
    pl.read_parquet(folder / "results.parquet").drop("effect").write_parquet(folder / "results.parquet")
    with pytest.raises(InputError, match="no column 'effect'"):
        write_report(folder)
    (folder / "results.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(InputError, match="can't be read") as caught:
        write_report(folder)
    assert "\n" not in str(caught.value)


def test_a_page_that_cannot_be_written_is_a_storage_error(tmp_path: Path):
    folder = write_study(tmp_path, tasks=TASKS[:1], organisms=1)
    (folder / "report.html.partial").mkdir()
    with pytest.raises(StorageError, match=r"report\.html"):
        write_report(folder)


# ---------------------------------------------------------------- words and numbers


def contrast(values: list[float], p_holm: float | None, smallest_holm: float) -> Contrast:
    return Contrast("m", "self_sample", 1.0, None, over_organisms(values), p_holm, smallest_holm, -0.05, 0.05)


def test_a_verdict_never_claims_more_than_its_clusters_allow():
    assert findings.verdict(contrast([0.2, 0.3, 0.2], 0.25, 0.25)).startswith("Undecidable: 3 organisms")
    assert "above" in findings.verdict(contrast([0.2] * 9 + [0.3], 0.01, 0.01))
    assert "below" in findings.verdict(contrast([-0.2] * 9 + [-0.3], 0.01, 0.01))
    assert "no more than null controls" in findings.verdict(contrast([0.02] * 9 + [0.03], 0.01, 0.01))
    assert findings.verdict(contrast([0.2] * 9 + [-0.3], 0.4, 0.01)).startswith("No difference shown")
    assert findings.verdict(contrast([0.2], 1.0, 1.0)).startswith("One organism")
    assert findings.verdict(contrast([], None, 1.0)).startswith("No organism")


def test_a_sign_verdict_rests_on_organisms(tmp_path: Path):
    results = pl.DataFrame(
        [
            {"task": "t", "organism": o, "arm": a, "kind": "method", "temperature": 1.0, "effect": -0.1}
            for o in range(3)
            for a in "abcdefgh"
        ]
    )
    (found,) = sign_tests(results, 1.0)
    assert found.p is not None and found.p < 0.001 and findings.sign_verdict(found).startswith("Undecidable")


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (findings.signed(0.123), "+0.12"),
        (findings.signed(-0.126), "−0.13"),
        (findings.signed(-0.001), "0.00"),
        (findings.signed(None), "—"),
        (findings.number(0.5), "0.50"),
        (findings.interval(-0.1, None), "—"),
        (findings.interval(-0.1, 0.25), "[−0.10, +0.25]"),
        (findings.p_value(0.25), "0.25"),
        (findings.p_value(0.0312), "0.031"),
        (findings.p_value(0.00049), "0.0005"),
        (findings.p_value(0.0), "<0.0001"),
        (findings.p_value(None), "—"),
    ],
)
def test_numbers_are_written_one_way(shown: str, expected: str):
    assert shown == expected


def test_colors_do_not_move_when_controls_come_or_go_and_limits_hold_zero():
    assert method_colors(["a", "self_sample", "b"])["b"] == method_colors(["a", "b"])["b"]
    assert nice_limits([0.13, 0.31]) == (-0.1, 0.4)
    assert nice_limits([-2.0, 2.0]) == (-1.05, 1.05)
