"""The card: what a stranger reads first. YAML for the Hub and `datasets`, then Markdown from `card.md.jinja`.

A card is a pure function of the manifest and of what was attached, so the same artifact has the same card.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from datasets_cards.canonical import canonical_json
from datasets_cards.cards.words import (
    address,
    citation,
    engine_version,
    hub_source,
    licenses,
    paper_citation,
    repository,
    title,
)
from datasets_cards.errors import one_line, printable
from datasets_cards.manifest import Manifest

CARD_FILE, CROISSANT_FILE = "README.md", "croissant.json"
DERIVED = (CARD_FILE, CROISSANT_FILE)
"""Files that follow from the manifest and from what is attached; comparisons of content leave them out."""

TEMPLATE = Path(__file__).parent / "card.md.jinja"
BEGIN = (
    "<!-- echoset: begin. Written from manifest.json: changes down to the end mark are overwritten. "
    "Write your own text before or after the marks, it is kept. -->"
)
END = "<!-- echoset: end -->"
MARK = re.compile(r"^[ \t]*<!-- echoset: (?P<kind>begin|end)\b.*?-->[ \t]*$", re.MULTILINE)
"""What stands between these belongs to Echoset; a merge (merge.py) keeps everything outside of them."""

_ATTACHED = (("shift", "Shift"), ("effects", "Effect of training on it"))
_HUB_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*", re.ASCII)
_MARKDOWN = re.compile(r"[\\`*\[\]|~<>&$]|(?<![^\W_])_|_(?![^\W_])")
"""What may begin something in Markdown, HTML or formulas; an underline within a word begins nothing."""

_SIZES = [
    (1e3, "n<1K"),
    (1e4, "1K<n<10K"),
    (1e5, "10K<n<100K"),
    (1e6, "100K<n<1M"),
    (1e7, "1M<n<10M"),
    (1e8, "10M<n<100M"),
]


def card_metadata(manifest: Manifest) -> dict[str, Any]:
    """The card's YAML block: license, size, tags, and the configs that `datasets.load_dataset` reads."""
    on_hub = hub_source(manifest)
    size = next((name for bound, name in _SIZES if manifest.counts.labeled < bound), "100M<n<1B")
    return {
        **_license(manifest),
        "pretty_name": title(manifest),
        "size_categories": [size],
        "task_categories": ["text-generation"],
        **({"source_datasets": [on_hub[0]]} if on_hub else {}),
        "tags": ["echoset", "consistency-labeling", "self-labeled", manifest.labeler.method],
        "configs": [
            {
                "config_name": name,
                "data_files": [{"split": "train", "path": f"{name}/*-of-{manifest.shards:05d}.parquet"}],
                **({"default": True} if name == "labels" else {}),
            }
            for name, rows in table_rows(manifest).items()
            if rows  # `datasets` 5.2 can't load a split without rows (its pull request 8401); the empty file stays
        ],
    }


def _license(manifest: Manifest) -> dict[str, Any]:
    """The license of the labels follows that of the prompts; an unknown one is said to be unknown, never guessed."""
    named = [name.lower() for name in licenses(manifest)]
    if not named:
        return {"license": "other", "license_name": "unknown"}
    if not all(_HUB_LICENSE.fullmatch(name) for name in named):  # in words, where the Hub wants its own short names
        return {
            "license": "other",
            "license_name": re.sub(r"[^a-z0-9.]+", "-", "-".join(named)).strip("-.") or "unknown",
        }
    return {"license": named if len(named) > 1 else named[0]}


def table_rows(manifest: Manifest) -> dict[str, int]:
    """Rows of each table, in the order of the card's configs."""
    counts = manifest.counts
    dropped = sum(counts.dropped.values())
    return {"labels": counts.labeled, "candidates": counts.candidates, "original": counts.rows, "dropped": dropped}


def card_block(manifest: Manifest, summaries: Mapping[str, str] | None = None) -> str:
    """The card's text, in its marks.

    Args:
        manifest: of the artifact; its entries for derived files are not read.
        summaries: Markdown on what was attached, by folder (`shift`, `effects`); its files are listed by the manifest.
    """
    rows = table_rows(manifest)
    loaded = [name for name in ("labels", "candidates") if rows[name]] or [name for name in rows if rows[name]][:1]
    text = _template().render(
        manifest=manifest,
        engine_version=engine_version(manifest),
        rows=rows,
        loaded=loaded,
        config=[(name, canonical_json(value).decode()) for name, value in sorted(manifest.labeler.config.items())],
        sections=[_section(manifest, folder, heading, summaries or {}) for folder, heading in _ATTACHED],
        title=title(manifest),
        address=address(manifest),
        repository=repository(manifest),
        source=hub_source(manifest),
        licenses=licenses(manifest),
        citations=[citation(manifest), paper_citation()],
    )
    return f"{BEGIN}\n{without_marks(text).strip()}\n{END}"


@cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined  # slow to import: only when a card is written

    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"text": _text, "code": _code, "cell": _cell, "thousands": lambda number: f"{number:,}"}
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8"))


def _text(text: str) -> str:
    """One line that means nothing in Markdown or HTML, in a table either."""
    return _MARKDOWN.sub(r"\\\g<0>", one_line(text))


def _code(text: str) -> str:
    """One line of code, with a fence longer than any in it."""
    line = printable(re.sub(r"[\r\n]+", " ", text))
    fence = "`" * (max((len(run) for run in re.findall("`+", line)), default=0) + 1)
    pad = " " if len(fence) > 1 or not line else ""  # two fences with nothing between them would be one
    return f"{fence}{pad}{line}{pad}{fence}"


def _cell(code: str) -> str:
    """Code that may stand in a table, where a bar ends it after an even number of backslashes."""
    return re.sub(r"(\\*)\|", r"\1\1\\|", code)


def without_marks(text: str) -> str:
    """The same text with marks that are none any more, so that a card has one pair of them."""
    return MARK.sub(lambda mark: mark[0].replace("echoset:", "echoset, earlier:", 1), text)


def _section(manifest: Manifest, folder: str, heading: str, summaries: Mapping[str, str]) -> dict[str, Any]:
    names = [file.path for file in manifest.folder(folder)]
    return {
        "title": heading,
        "summary": summaries.get(folder, "").strip(),
        "pictures": [name for name in names if name.endswith((".png", ".svg"))],
        "reports": [name for name in names if name.endswith((".html", ".json"))],
        "present": bool(names),
    }
