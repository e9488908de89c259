"""Each way of tampering is found and named, also by someone who makes the files' hashes fit again."""

import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from drafts import make_draft

from datasets_cards import SELF_SAMPLE, Artifact, Manifest, MissingError, attach, file_digest, verify, write_artifact
from datasets_cards.canonical import Digests
from datasets_cards.tables import read_table, to_arrow

LABELS, CANDIDATES, ORIGINAL = (f"{name}/00000-of-00001.parquet" for name in ("labels", "candidates", "original"))


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return attach(write_artifact(tmp_path / "a", make_draft()), {"shift/report.json": b"{}"}, summary="Small.")


def found(artifact: Artifact) -> set[tuple[str, str]]:
    return {(finding.kind, finding.path) for finding in verify(artifact.path)}


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def reseal(artifact: Artifact, **changes) -> None:
    """What a forger does: make every hash of the manifest fit the files again."""
    manifest = Artifact.open(artifact.path).manifest
    files = []
    for file in manifest.files:
        path = artifact.path / file.path
        rows = sum(1 for _ in read_table(path, file.path.split("/")[0])) if path.suffix == ".parquet" else None
        files.append(file.model_copy(update={"sha256": file_digest(path), "bytes": path.stat().st_size, "rows": rows}))
    (artifact.path / "manifest.json").write_bytes(manifest.sealed(files=files, **changes).to_json())


def rewrite(artifact: Artifact, name: str, change) -> None:
    table = name.split("/")[0]
    records = list(read_table(artifact.path / name, table))
    change(records)
    pq.write_table(to_arrow(records, table), artifact.path / name)


def digests_made_to_fit(artifact: Artifact) -> dict:
    def of(table: str) -> list:
        return list(read_table(artifact.path / table / "00000-of-00001.parquet", table))

    digests = Digests()
    digests.add(of("original"), of("candidates"), of("labels"), of("dropped"))
    return {"logical_digest": digests.logical(), "scores_digest": digests.scores()}


def test_a_sound_artifact_has_no_findings(artifact: Artifact) -> None:
    assert found(artifact) == set()


def test_a_flipped_byte_is_found_in_every_file_at_any_place(artifact: Artifact) -> None:
    for file in artifact.manifest.files:
        path = artifact.path / file.path
        sound = path.read_bytes()
        for position in {0, file.bytes // 3, file.bytes // 2, file.bytes - 1}:
            flip(path, position)
            assert found(artifact) == {("changed_file", file.path)}
            path.write_bytes(sound)
    assert found(artifact) == set()


def test_a_flipped_byte_of_the_manifest_is_found_or_breaks_it(artifact: Artifact) -> None:
    path = artifact.path / "manifest.json"
    sound = path.read_bytes()
    outside = sound.index(b'"created"'), sound.index(b'"manifest_digest"')  # the one field that no digest covers
    white = {n for n, byte in enumerate(sound) if byte in b" \n"}
    for position in set(range(0, len(sound), 23)) - white - set(range(*outside)):
        flip(path, position)
        assert {p for _, p in found(artifact)} >= {"manifest.json"}, sound[position - 20 : position + 20]
    path.write_bytes(sound)


def test_missing_files_are_named(artifact: Artifact) -> None:
    for file in artifact.manifest.files:
        path = artifact.path / file.path
        sound = path.read_bytes()
        path.unlink()
        kind = "missing_card" if file.path == "README.md" else "missing_file"
        assert found(artifact) == {(kind, file.path)}
        path.write_bytes(sound)
    (artifact.path / "manifest.json").unlink()
    with pytest.raises(MissingError):
        verify(artifact.path)


def test_extra_files_and_links_are_named(artifact: Artifact, tmp_path: Path) -> None:
    (artifact.path / "labels" / "more.parquet").write_bytes(b"x")
    (artifact.path / "notes").mkdir()
    (artifact.path / "notes" / "a.txt").write_text("x")
    os.symlink(tmp_path, artifact.path / "elsewhere")
    assert found(artifact) == {
        ("extra_file", "labels/more.parquet"),
        ("extra_file", "notes/a.txt"),
        ("extra_file", "elsewhere"),
    }


def test_a_file_behind_a_link_is_named(artifact: Artifact, tmp_path: Path) -> None:
    moved = tmp_path / "moved.parquet"
    (artifact.path / LABELS).rename(moved)
    os.symlink(moved, artifact.path / LABELS)
    assert ("symbolic_link", LABELS) in found(artifact)


@pytest.mark.parametrize("field", ["seeds", "packages", "version", "model", "counts", "source", "logical_digest"])
def test_an_edited_manifest_is_named(artifact: Artifact, field: str) -> None:
    path = artifact.path / "manifest.json"
    raw = json.loads(path.read_text())
    edits = {
        "seeds": {"run": 1},
        "packages": {},
        "version": "v9.0.0",
        "model": raw["model"] | {"reference": "other"},
        "counts": raw["counts"] | {"labeled": 4},
        "source": raw["source"] | {"license": "cc0-1.0"},
        "logical_digest": "0" * 64,
    }
    path.write_text(json.dumps(raw | {field: edits[field]}))
    assert ("edited_manifest", "manifest.json") in found(artifact)


def test_a_label_changed_under_fitting_hashes_breaks_the_logical_digest(artifact: Artifact) -> None:
    rewrite(artifact, ORIGINAL, lambda rows: rows[0].meta.update(answer="forged"))
    reseal(artifact)
    assert found(artifact) == {("logical_digest", "manifest.json")}


def test_a_score_changed_under_fitting_hashes_breaks_the_scores_digest(artifact: Artifact) -> None:
    rewrite(artifact, CANDIDATES, lambda pool: setattr(pool[0], "logprob", -9.0))
    reseal(artifact)
    assert found(artifact) == {("scores_digest", "manifest.json")}


def test_duplicate_ids_are_named_even_if_every_digest_fits(artifact: Artifact) -> None:
    rewrite(artifact, ORIGINAL, lambda rows: rows.append(rows[0]))
    rewrite(artifact, CANDIDATES, lambda pool: pool.append(pool[0]))
    reseal(artifact, **digests_made_to_fit(artifact))
    assert {("duplicate_id", "original"), ("duplicate_id", "candidates")} <= found(artifact)


def test_a_label_that_is_no_candidate_is_named_even_if_every_digest_fits(artifact: Artifact) -> None:
    rewrite(artifact, LABELS, lambda labels: setattr(labels[0], "candidate", 77))
    reseal(artifact, **digests_made_to_fit(artifact))
    assert found(artifact) == {("orphan_label", "labels")}


def test_a_label_of_a_view_or_of_another_self_sample_is_named(artifact: Artifact) -> None:
    rewrite(artifact, CANDIDATES, lambda pool: setattr(pool[1], "role", "view"))  # pool[0] is the baseline of r0
    reseal(artifact, **digests_made_to_fit(artifact))
    assert found(artifact) == {("orphan_label", "labels")}
    rewrite(artifact, CANDIDATES, lambda pool: setattr(pool[1], "role", "candidate"))
    rewrite(artifact, LABELS, lambda labels: setattr(labels[0], "candidate", SELF_SAMPLE))
    reseal(artifact, **digests_made_to_fit(artifact))
    assert found(artifact) == {("orphan_label", "labels")}
    rewrite(artifact, LABELS, lambda labels: labels[0].completion[0].update(content="Perhaps."))
    reseal(artifact, **digests_made_to_fit(artifact))
    assert found(artifact) == set()


def test_a_label_put_into_the_candidates_mouth_is_named(artifact: Artifact) -> None:
    rewrite(artifact, LABELS, lambda labels: labels[0].completion[0].update(content="made up"))
    reseal(artifact, **digests_made_to_fit(artifact))
    assert found(artifact) == {("orphan_label", "labels")}


def test_a_row_that_vanished_from_labels_is_named_even_if_every_digest_fits(artifact: Artifact) -> None:
    rewrite(artifact, LABELS, lambda labels: labels.pop())
    counts = artifact.manifest.counts.model_copy(update={"labeled": 4})
    reseal(artifact, **digests_made_to_fit(artifact), counts=counts)
    assert found(artifact) == {("unaccounted_row", "original")}


def test_a_row_of_nowhere_is_named_even_if_every_digest_fits(artifact: Artifact) -> None:
    rewrite(artifact, CANDIDATES, lambda pool: setattr(pool[-1], "id", "nowhere"))
    reseal(artifact, **digests_made_to_fit(artifact))
    assert found(artifact) == {("unknown_id", "candidates")}


def test_counts_that_lie_are_named(artifact: Artifact) -> None:
    reseal(artifact, counts=artifact.manifest.counts.model_copy(update={"candidates": 99, "dropped": {"x": 1}}))
    assert found(artifact) == {("wrong_count", "manifest.json")}


def test_a_row_in_another_shard_is_named(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "b", make_draft(rows=20), shards=2)
    one, two = (artifact.path / f"original/0000{n}-of-00002.parquet" for n in (0, 1))
    swapped = one.read_bytes(), two.read_bytes()
    one.write_bytes(swapped[1]), two.write_bytes(swapped[0])
    reseal(artifact)
    assert {kind for kind, _ in found(artifact)} == {"wrong_shard"}


@pytest.mark.parametrize("kind", ["wrong_columns", "unreadable_table"])
def test_a_table_that_is_none_is_named(artifact: Artifact, kind: str) -> None:
    path = artifact.path / LABELS
    path.write_bytes((artifact.path / ORIGINAL).read_bytes() if kind == "wrong_columns" else b"PAR1 but only in name")
    fits = {"sha256": file_digest(path), "bytes": path.stat().st_size}
    files = [f.model_copy(update=fits) if f.path == LABELS else f for f in artifact.manifest.files]
    (artifact.path / "manifest.json").write_bytes(artifact.manifest.sealed(files=files).to_json())
    assert {found_kind for found_kind, _ in found(artifact)} == {kind}


def test_a_manifest_without_tables_is_named(artifact: Artifact) -> None:
    files = [file for file in artifact.manifest.files if not file.path.startswith("dropped/")]
    bare: Manifest = artifact.manifest.sealed(files=files)
    (artifact.path / "manifest.json").write_bytes(bare.to_json())
    assert ("edited_manifest", "manifest.json") in found(artifact)
