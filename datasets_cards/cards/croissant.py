"""Croissant metadata of an artifact: `croissant.json`, what it holds and where it came from, for programs.

Croissant 1.1 (https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html) with its RAI vocabulary and PROV-O
lineage. A function of the manifest and of the tables' schemas alone; it says no date, since dates are in no digest.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from datasets_cards.cards.words import (
    ARXIV,
    HUB,
    PAPER,
    address,
    citation,
    engine_version,
    hub_source,
    licenses,
    repository,
    title,
)
from datasets_cards.manifest import File, Manifest
from datasets_cards.tables.schemas import KEYS, SCHEMAS

_TERMS = (
    "annotation arrayShape citeAs column containedIn equivalentProperty excludes extract field fileObject "
    "fileProperty fileSet format includes isArray isLiveDataset jsonPath key md5 parentField path "
    "readLines recordSet references regex repeated replace samplingRate sdVersion separator source "
    "subField transform unArchive value"
)
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "prov": "http://www.w3.org/ns/prov#",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in _TERMS.split()},
}
_FORMATS = {
    "parquet": "application/x-parquet",
    "json": "application/json",
    "md": "text/markdown",
    "html": "text/html",
    "png": "image/png",
    "svg": "image/svg+xml",
}
_RECORDS = {
    "labels": "The selected completions, one a labeled row.",
    "candidates": "Every completion drawn, chosen or not.",
    "original": "The source rows.",
    "dropped": "The rows that got no label, each with its reason.",
}
_GIT_HAS_NO_DIGEST = "https://github.com/mlcommons/croissant/issues/80"


def croissant(manifest: Manifest) -> bytes:
    """The bytes of `croissant.json`.

    Args:
        manifest: of the artifact; its entries for derived files are not read.
    """
    described = [file for file in manifest.files if file.path.split("/")[0] in (*SCHEMAS, "shift", "effects")]
    full = [table for table in SCHEMAS if _rows(manifest, table)]
    metadata = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": title(manifest),
        "description": _description(manifest),
        **_place(manifest),
        "version": manifest.version.removeprefix("v"),
        "license": [{"@type": "sc:CreativeWork", "name": name} for name in licenses(manifest)]
        or {"@type": "sc:CreativeWork", "name": "unknown", "description": "Nobody said how the prompts may be used."},
        "citeAs": citation(manifest),
        "keywords": ["consistency labeling", "self-labeled", manifest.labeler.method],
        "isLiveDataset": False,
        **_lineage(manifest),
        **_responsible(manifest),
        "distribution": _containers(manifest)
        + [_file_object(manifest, file) for file in described]
        + [_file_set(manifest, table) for table in full],
        "recordSet": [_record_set(table) for table in full],
    }
    text = json.dumps(metadata, ensure_ascii=False, indent=2)
    return (text.replace("<", "\\u003c") + "\n").encode()  # pages carry it inside of a <script>, which none may end


def _rows(manifest: Manifest, table: str) -> int:
    return sum(file.rows or 0 for file in manifest.folder(table))


def _description(manifest: Manifest) -> str:
    counts = manifest.counts
    return (
        f"A language model answered {counts.rows} prompts of {manifest.source.reference}; the method "
        f"{manifest.labeler.method} chose one answer each as the label of {counts.labeled} of them. No human "
        f"wrote or checked them. Logical digest {manifest.logical_digest}."
    )


def _place(manifest: Manifest) -> dict[str, Any]:
    if not (name := repository(manifest)):
        return {}
    owner = name.split("/")[0]
    return {
        "url": f"{HUB}/datasets/{name}",
        "identifier": address(manifest),
        "creator": {"@type": "sc:Organization", "name": owner, "url": f"{HUB}/{owner}"},
    }


def _lineage(manifest: Manifest) -> dict[str, Any]:
    """Where it came from, in PROV-O: the source, the version before, and the run that made it."""
    source, model, engine = manifest.source, manifest.model, manifest.engine
    on_hub = hub_source(manifest)
    prompts = {
        "@type": "prov:Entity",
        "@id": f"{HUB}/datasets/{on_hub[0]}/tree/{on_hub[1]}" if on_hub else f"urn:digest:{quote(source.digest)}",
        "prov:label": source.reference,
        "identifier": source.digest,
    }
    labeled_by = {
        "@type": "prov:Entity",
        "prov:label": model.reference,
        **({"identifier": model.revision} if model.revision else {}),
        **({"isBasedOn": f"urn:sha256:{quote(model.adapter)}"} if model.adapter else {}),
    }
    derived: list[dict[str, Any]] = [prompts]
    if manifest.parent:
        derived.append(
            {
                "@type": "prov:Entity",
                "@id": f"urn:sha256:{manifest.parent.logical_digest}",
                "prov:label": f"version {manifest.parent.version}",
                "version": manifest.parent.version.removeprefix("v"),
            }
        )
    agents = [("Echoset", manifest.packages.get("echoset", "")), (engine.name, engine_version(manifest))]
    labeler = manifest.labeler
    return {
        "prov:wasDerivedFrom": derived,
        "prov:wasGeneratedBy": {
            "@type": "prov:Activity",
            "prov:label": f"labeling by {labeler.method}",
            "description": f"proposal {labeler.proposal}, scorer {labeler.scorer or 'none'}, selector "
            f"{labeler.selector}; settings digest {labeler.config_digest}",
            "prov:used": [{"@id": prompts["@id"]}, labeled_by],
            "prov:wasAssociatedWith": [
                {"@type": "prov:SoftwareAgent", "prov:label": f"{name} {version}".strip()} for name, version in agents
            ],
        },
    }


def _responsible(manifest: Manifest) -> dict[str, Any]:
    """The Responsible AI vocabulary, as far as a manifest knows."""
    dropped = manifest.counts.dropped
    reasons = ", ".join(f"{number} for {reason}" for reason, number in sorted(dropped.items())) or "none"
    return {
        "rai:dataCollection": f"Completions drawn from {manifest.model.reference} with {manifest.engine.name}; one a "
        f"row was selected by {manifest.labeler.method}. Every candidate is kept.",
        "rai:dataCollectionType": "Machine-generated",
        "rai:dataCollectionMissingData": f"Rows without a label: {reasons}.",
        "rai:machineAnnotationTools": [f"{manifest.model.reference}, {manifest.labeler.method}"],
        "rai:annotationsPerItem": "1",
        "rai:dataUseCases": "Research on consistency training: what a model's own labels do to it in training.",
        "rai:dataLimitations": "No human wrote or checked the labels, and a high score is no judgment that an answer "
        f"is true, safe or good. Training on such labels can strengthen misbehavior ({PAPER}, arXiv {ARXIV}); do not "
        "deploy what was trained on them without an evaluation.",
        "rai:dataBiases": "Those of the model that labeled, and of the prompts.",
        "rai:personalSensitiveInformation": "Not examined.",
    }


def _containers(manifest: Manifest) -> list[dict[str, Any]]:
    """The repository that holds the files, where they were published; a folder needs no mention."""
    if not (name := repository(manifest)):
        return []
    return [
        {
            "@type": "cr:FileObject",
            "@id": "repo",
            "name": "repo",
            "description": "The repository at this version.",
            "contentUrl": f"{HUB}/datasets/{name}/tree/refs%2Ftags%2F{manifest.version}",
            "encodingFormat": "git+https",
            "sha256": _GIT_HAS_NO_DIGEST,
        }
    ]


def _file_object(manifest: Manifest, file: File) -> dict[str, Any]:
    name = repository(manifest)
    at = f"{HUB}/datasets/{name}/resolve/{manifest.version}/" if name else ""
    return {
        "@type": "cr:FileObject",
        "@id": file.path,
        "name": file.path.rsplit("/", 1)[-1],
        "contentUrl": f"{at}{file.path}",
        "contentSize": f"{file.bytes} B",
        "encodingFormat": _FORMATS.get(file.path.rsplit(".", 1)[-1], "application/octet-stream"),
        "sha256": file.sha256,
    }


def _file_set(manifest: Manifest, table: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": f"{table}-files",
        **({"containedIn": {"@id": "repo"}} if repository(manifest) else {}),
        "encodingFormat": _FORMATS["parquet"],
        "includes": f"{table}/*-of-{manifest.shards:05d}.parquet",
    }


def _record_set(table: str) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": table,
        "name": table,
        "description": _RECORDS[table],
        "key": [{"@id": f"{table}/{column}"} for column in KEYS[table]],
        "field": [_field(table, column) for column in SCHEMAS[table]],
    }


def _field(table: str, column: pa.Field) -> dict[str, Any]:
    """One column; a list of structures is an array with a field for each of their parts."""
    name = f"{table}/{column.name}"
    field = {"@type": "cr:Field", "@id": name, "name": column.name}
    source = {"fileSet": {"@id": f"{table}-files"}, "extract": {"column": column.name}}
    kind = column.type
    if pa.types.is_list(kind):
        field |= {"isArray": True, "arrayShape": "-1"}
        kind = kind.value_type
    if not pa.types.is_struct(kind):
        return field | {"dataType": _data_type(kind), "source": source}
    parts = [
        {
            "@type": "cr:Field",
            "@id": f"{name}/{part.name}",
            "name": part.name,
            "dataType": _data_type(part.type),
            "source": source | {"transform": {"jsonPath": part.name}},
        }
        for part in kind
    ]
    return field | {"subField": parts}


def _data_type(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_integer(kind):
        return "sc:Integer"
    return "sc:Float" if pa.types.is_floating(kind) else "sc:Text"
