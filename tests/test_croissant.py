"""Croissant metadata of real artifacts, read by the real `mlcroissant`."""

import json
from pathlib import Path
from typing import Any

from drafts import make_draft

from datasets_cards import Artifact, Parent, attach, write_artifact
from datasets_cards.attaching import seal
from datasets_cards.cards.croissant import croissant


def described(artifact: Artifact) -> dict[str, Any]:
    return json.loads((artifact.path / "croissant.json").read_bytes())


def opened(artifact: Artifact, **options: Any):
    import mlcroissant

    return mlcroissant.Dataset(artifact.path / "croissant.json", **options)


def plain(value: Any, prefix: str) -> Any:
    """A record of Croissant as a row of the table: text instead of bytes, columns by their own name."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, dict):
        return {key.removeprefix(f"{prefix}/"): plain(item, key) for key, item in value.items()}
    return [plain(item, prefix) for item in value] if isinstance(value, list) else value


def test_the_labels_that_croissant_reads_are_those_of_the_artifact(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "a", make_draft(), shards=3)
    records = {record["id"]: record for record in (plain(r, "labels") for r in opened(artifact).records("labels"))}
    expected = {row["id"]: row for row in artifact.labels().to_dicts()}
    for row in expected.values():
        if row["original"] is None:  # which the library reads as one structure of nothing
            row["original"] = [{"role": None, "content": None}]
    assert any(row["original"] == [{"role": None, "content": None}] for row in expected.values())
    assert records == expected


def test_every_table_with_rows_is_read_whole(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "a", make_draft(), shards=2)
    dataset = opened(artifact)
    assert [record_set.id for record_set in dataset.metadata.record_sets] == [
        "labels",
        "candidates",
        "original",
        "dropped",
    ]
    assert len(list(dataset.records("candidates"))) == 18
    assert [plain(r, "dropped") for r in dataset.records("dropped")] == artifact.dropped().to_dicts()
    tokens = {
        (r["candidates/id"], r["candidates/index"]): r["candidates/token_ids"] for r in dataset.records("candidates")
    }
    assert tokens[b"r0", 1] == [5, 1, 9]


def test_it_conforms_to_croissant_1_1_and_lacks_nothing_but_dates(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "a", make_draft())
    seal(artifact.path, artifact.manifest.model_copy(update={"repository": "org/name", "version": "v1.0.0"}))
    metadata = opened(artifact).metadata
    assert str(metadata.ctx.conforms_to.value) == "http://mlcommons.org/croissant/1.1"
    assert not metadata.ctx.issues.errors
    assert [text for text in metadata.ctx.issues.warnings if "datePublished" not in text] == []
    assert metadata.version == "1.0.0"


def test_a_published_version_names_its_repository_and_still_reads_from_a_folder(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "a", make_draft(), shards=2)
    seal(artifact.path, artifact.manifest.model_copy(update={"repository": "org/name", "version": "v1.2.0"}))
    found = described(artifact)
    assert found["url"] == "https://huggingface.co/datasets/org/name"
    urls = [file["contentUrl"] for file in found["distribution"] if file["@id"] == "labels/00001-of-00002.parquet"]
    assert urls == ["https://huggingface.co/datasets/org/name/resolve/v1.2.0/labels/00001-of-00002.parquet"]
    dataset = opened(artifact, mapping={"repo": artifact.path})
    assert len(list(dataset.records("labels"))) == 5


def test_every_file_is_described_with_its_digest_and_size(tmp_path: Path) -> None:
    artifact = attach(write_artifact(tmp_path / "a", make_draft()), {"shift/report.json": b"{}\n"})
    files = {file["@id"]: file for file in described(artifact)["distribution"] if file["@type"] == "cr:FileObject"}
    expected = [file for file in artifact.manifest.files if "/" in file.path]
    assert sorted(files) == sorted(file.path for file in expected)
    for file in expected:
        assert files[file.path]["sha256"] == file.sha256
        assert files[file.path]["contentSize"] == f"{file.bytes} B"


def test_a_table_without_rows_is_no_record_set(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "a", make_draft(dropped=0))
    assert [found["@id"] for found in described(artifact)["recordSet"]] == ["labels", "candidates", "original"]
    assert len(list(opened(artifact).records("labels"))) == 6


def test_the_lineage_names_source_parent_and_run(tmp_path: Path) -> None:
    draft = make_draft()
    commit = "ab" * 20
    draft.source = draft.source.model_copy(update={"reference": f"org/prompts@{commit}:default/train", "license": None})
    parent = Parent(version="v1.0.0", logical_digest="cd" * 32)
    found = described(write_artifact(tmp_path / "a", draft, version="v1.1.0", parent=parent))
    source, before = found["prov:wasDerivedFrom"]
    assert source["@id"] == f"https://huggingface.co/datasets/org/prompts/tree/{commit}"
    assert before["@id"] == f"urn:sha256:{'cd' * 32}" and before["version"] == "1.0.0"
    run = found["prov:wasGeneratedBy"]
    assert run["prov:used"][0] == {"@id": source["@id"]} and run["prov:used"][1]["prov:label"] == "organism-7"
    assert "transformers 5.23.0" in [agent["prov:label"] for agent in run["prov:wasAssociatedWith"]]
    assert found["license"]["name"] == "unknown"


def test_it_is_a_function_of_the_manifest_without_dates(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "a", make_draft())
    later = artifact.manifest.model_copy(update={"created": "2031-01-01T00:00:00+00:00"})
    assert croissant(later) == (artifact.path / "croissant.json").read_bytes()


def test_odd_names_stay_json_and_readable(tmp_path: Path) -> None:
    draft = make_draft()
    draft.source = draft.source.model_copy(
        update={"reference": 'a "b" {c} \\ ü 😀 <d>.jsonl', "digest": "not a % digest"}
    )
    artifact = write_artifact(tmp_path / "a", draft)
    assert 'a "b" {c} \\ ü 😀 <d>.jsonl' in described(artifact)["description"]
    assert len(list(opened(artifact).records("labels"))) == 5
