"""What the card and the Croissant metadata both say of an artifact, and the addresses that both give."""

from __future__ import annotations

import re

from datasets_cards.errors import one_line
from datasets_cards.manifest import Manifest

PAPER = "Consistency Training Can Entrench Misalignment"
ARXIV = "2606.03810"
HUB = "https://huggingface.co"
_HUB_SOURCE = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)@(?P<commit>[0-9a-f]{7,64})(:\S*)?", re.ASCII)
_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
_BIBTEX = str.maketrans({character: f"\\{character}" for character in "&%$#_{}"} | {"\\": "", "~": "-", "^": ""})


def title(manifest: Manifest) -> str:
    """One line that names the artifact."""
    on_hub = hub_source(manifest)
    return one_line(f"{on_hub[0] if on_hub else manifest.source.reference}, labeled by {manifest.labeler.method}")


def address(manifest: Manifest) -> str | None:
    """Where this very version stands on the Hub; None where it was not published there."""
    name = repository(manifest)
    return f"{HUB}/datasets/{name}/tree/{manifest.version}" if name else None


def repository(manifest: Manifest) -> str | None:
    """Where it was published; None also where a stranger's manifest names what can be no repository."""
    name = manifest.repository
    return name if name and _REPOSITORY.fullmatch(name) else None


def hub_source(manifest: Manifest) -> tuple[str, str] | None:
    """Name and commit of the dataset on the Hub that the prompts come from; None where they come from elsewhere."""
    match = _HUB_SOURCE.fullmatch(manifest.source.reference)
    return (match["name"], match["commit"]) if match else None


def licenses(manifest: Manifest) -> list[str]:
    """The licenses that the source states; none where nobody said."""
    return [name.strip() for name in (manifest.source.license or "").split(",") if name.strip()]


def citation(manifest: Manifest) -> str:
    """BibTeX of this very version. It names no author and no year: the manifest knows none."""
    fields = {
        "title": f"{{{title(manifest).translate(_BIBTEX)}}}",
        "note": f"{{Version {manifest.version}, logical digest {manifest.logical_digest}}}",
    }
    if url := address(manifest):
        fields |= {"howpublished": "{Hugging Face Hub}", "url": f"{{{url}}}"}
    key = re.sub(r"[^a-z0-9]+", "-", (repository(manifest) or manifest.labeler.method).lower()).strip("-")
    lines = "".join(f"  {name} = {value},\n" for name, value in fields.items())
    return f"@misc{{{key}-{manifest.version},\n{lines}}}"


def paper_citation() -> str:
    """BibTeX of the paper on what training on such labels can do."""
    return (
        f"@misc{{consistency-training-{ARXIV},\n  title = {{{{{PAPER}}}}},\n  eprint = {{{ARXIV}}},\n"
        f"  archivePrefix = {{arXiv}},\n  url = {{https://arxiv.org/abs/{ARXIV}}},\n}}"
    )


def engine_version(manifest: Manifest) -> str:
    """The version of the engine's library where it was recorded; the scheme it samples by has a version of its own."""
    return manifest.packages.get(manifest.engine.name, "")
