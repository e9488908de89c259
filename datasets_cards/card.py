"""The card: what a stranger reads first. YAML for the Hub and `datasets`, then Markdown from `card.md.jinja`.

A card is a pure function of the manifest and of what was attached, so the same artifact has the same card.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets_cards.canonical import canonical_json
from datasets_cards.manifest import Manifest

CARD_FILE = "README.md"
TEMPLATE = Path(__file__).parent / "card.md.jinja"
BEGIN, END = "<!-- echoset: begin, written from manifest.json -->", "<!-- echoset: end -->"
"""What stands between these belongs to Echoset; a merge may keep everything outside of them."""

_ATTACHED = (("shift", "Shift"), ("effects", "Effect of training on it"))
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
    # The license of the labels follows that of the prompts; an unknown one is said to be unknown, never guessed.
    known = manifest.source.license
    # A source under several names them all; the Hub knows licenses in lower case.
    named = known.lower().split(", ") if known else ["other"]
    size = next((name for bound, name in _SIZES if manifest.counts.labeled < bound), "100M<n<1B")
    return {
        "license": named if len(named) > 1 else named[0],
        **({} if known else {"license_name": "unknown"}),
        "pretty_name": f"{manifest.source.reference}, labeled by {manifest.labeler.method}",
        "size_categories": [size],
        "task_categories": ["text-generation"],
        "tags": ["echoset", "consistency-labeling", "self-labeled", manifest.labeler.method],
        "configs": [
            {
                "config_name": name,
                "data_files": [{"split": "train", "path": f"{name}/*.parquet"}],
                **({"default": True} if name == "labels" else {}),
            }
            for name, rows in table_rows(manifest).items()
            if rows  # `datasets` 5.2 can't load a split without rows (its pull request 8401); the empty file stays
        ],
    }


def table_rows(manifest: Manifest) -> dict[str, int]:
    """Rows of each table, in the order of the card's configs."""
    counts = manifest.counts
    dropped = sum(counts.dropped.values())
    return {"labels": counts.labeled, "candidates": counts.candidates, "original": counts.rows, "dropped": dropped}


def render_card(manifest: Manifest, summaries: Mapping[str, str] | None = None) -> str:
    """Write the card.

    Args:
        manifest: of the artifact; its entries for the card itself are not read.
        summaries: Markdown on what was attached, by folder (`shift`, `effects`); its files are listed by the manifest.
    """
    from huggingface_hub import DatasetCard, DatasetCardData  # slow to import: only when a card is written
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["cell"] = lambda text: " ".join(str(text).replace("|", "\\|").split())
    body = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        manifest=manifest,
        rows=table_rows(manifest),
        config=[(name, canonical_json(value).decode()) for name, value in sorted(manifest.labeler.config.items())],
        sections=[_section(manifest, folder, title, summaries or {}) for folder, title in _ATTACHED],
        begin=BEGIN,
        end=END,
    )
    metadata = DatasetCardData(**card_metadata(manifest)).to_yaml()
    return str(DatasetCard(f"---\n{metadata}\n---\n{body.rstrip()}\n"))


def _section(manifest: Manifest, folder: str, title: str, summaries: Mapping[str, str]) -> dict[str, Any]:
    names = sorted(file.path for file in manifest.files if file.path.startswith(f"{folder}/"))
    return {
        "title": title,
        "summary": summaries.get(folder, "").strip(),
        "pictures": [name for name in names if name.endswith((".png", ".svg"))],
        "reports": [name for name in names if name.endswith((".json", ".html"))],
        "present": bool(names),
    }
