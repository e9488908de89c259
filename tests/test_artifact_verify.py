"""Each way of tampering is found and named, also by someone who makes the files' hashes fit again."""

import json
import os
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drafts import make_draft

from datasets_cards import SELF_SAMPLE, Artifact, Manifest, MissingError, attach, file_digest, verify, write_artifact
from datasets_cards.canonical import Digests
from datasets_cards.cards.card import DERIVED
from datasets_cards.tables.schemas import SCHEMAS, read_table, to_arrow

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
        rows = pq.read_metadata(path).num_rows if path.suffix == ".parquet" else None
        files.append(file.model_copy(update={"sha256": file_digest(path), "bytes": path.stat().st_size, "rows": rows}))
    (artifact.path / "manifest.json").write_bytes(manifest.sealed(files=files, **changes).to_json())


def rewrite(artifact: Artifact, name: str, change) -> None:
    table = name.split("/")[0]
    records = list(read_table(artifact.path / name, table))
    change(records)
    pq.write_table(to_arrow(records, table), artifact.path / name)


def rewrite_column(artifact: Artifact, name: str, column: str, change) -> None:
    """Change one column of a table as a list of plain values."""
    table = pq.read_table(artifact.path / name)
    field = SCHEMAS[name.split("/")[0]].field(column)
    values = table[column].to_pylist()
    change(values)
    at = table.column_names.index(column)
    pq.write_table(table.set_column(at, field, pa.array(values, field.type)), artifact.path / name)


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


def test_random_flips_anywhere_are_found(artifact: Artifact) -> None:
    generator = random.Random(0)
    for _ in range(150):
        file = generator.choice(artifact.manifest.files)
        path = artifact.path / file.path
        sound = path.read_bytes()
        flipped = bytearray(sound)
        flipped[generator.randrange(len(sound))] ^= 1 << generator.randrange(8)
        path.write_bytes(flipped)
        assert found(artifact) == {("changed_file", file.path)}
        path.write_bytes(sound)


def test_files_that_grew_shrank_or_were_exchanged_are_named(artifact: Artifact) -> None:
    for file in artifact.manifest.files:
        path = artifact.path / file.path
        sound = path.read_bytes()
        for other in (b"", sound[:-1], sound + b"\n", bytes(len(sound))):
            path.write_bytes(other)
            assert found(artifact) == {("changed_file", file.path)}
        path.write_bytes(sound)
    one, two = (artifact.path / name for name in (LABELS, ORIGINAL))
    before = one.read_bytes(), two.read_bytes()
    one.write_bytes(before[1])
    two.write_bytes(before[0])
    assert found(artifact) == {("changed_file", LABELS), ("changed_file", ORIGINAL)}


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "b", make_draft(rows=20), shards=4)
    (artifact.path / "candidates/00002-of-00004.parquet").unlink()
    assert found(artifact) == {("missing_file", "candidates/00002-of-00004.parquet")}


def test_a_manifest_lists_the_files_that_follow_from_it(artifact: Artifact) -> None:
    for name in DERIVED:
        files = [file for file in artifact.manifest.files if file.path != name]
        (artifact.path / "manifest.json").write_bytes(artifact.manifest.sealed(files=files).to_json())
        assert found(artifact) == {("edited_manifest", "manifest.json"), ("extra_file", name)}


def test_a_flipped_byte_of_the_manifest_is_found_or_breaks_it(artifact: Artifact) -> None:
    path = artifact.path / "manifest.json"
    sound = path.read_bytes()
    start = sound.index(b'"created": "') + 12
    time = range(start, start + len(artifact.manifest.created))  # no digest covers it, and another time is as good
    for position in set(range(0, len(sound), 23)) - set(time):
        flip(path, position)
        assert {p for _, p in found(artifact)} >= {"manifest.json"}, sound[position - 20 : position + 20]
    path.write_bytes(sound)


def test_a_manifest_that_says_the_same_in_other_bytes_is_named(artifact: Artifact) -> None:
    path = artifact.path / "manifest.json"
    sound = path.read_bytes()
    for data in (sound + b"\n", json.dumps(json.loads(sound)).encode(), sound.replace(b"0.9,", b"0.90,", 1)):
        assert data != sound
        path.write_bytes(data)
        assert found(artifact) == {("edited_manifest", "manifest.json")}


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
    one.write_bytes(swapped[1])
    two.write_bytes(swapped[0])
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
    assert ("wrong_files", "manifest.json") in found(artifact)


def test_a_row_digest_that_is_not_that_of_its_label_is_named(artifact: Artifact) -> None:
    rewrite_column(artifact, LABELS, "row_digest", lambda values: values.__setitem__(1, values[0]))
    reseal(artifact)
    assert found(artifact) == {("wrong_row_digest", "labels")}


def test_messages_that_are_not_prompt_and_completion_are_named(artifact: Artifact) -> None:
    rewrite_column(artifact, LABELS, "messages", lambda values: values[2][-1].update(content="Something else."))
    reseal(artifact)
    assert found(artifact) == {("wrong_messages", "labels")}
    rewrite_column(artifact, LABELS, "messages", lambda values: values[2].pop())
    reseal(artifact)
    assert found(artifact) == {("wrong_messages", "labels")}


def test_a_token_count_that_is_not_that_of_its_tokens_is_named(artifact: Artifact) -> None:
    rewrite_column(artifact, CANDIDATES, "token_count", lambda values: values.__setitem__(0, values[0] + 1))
    tokens = artifact.manifest.counts.completion_tokens
    assert tokens is not None
    reseal(artifact, counts=artifact.manifest.counts.model_copy(update={"completion_tokens": tokens + 1}))
    assert found(artifact) == {("wrong_token_count", "candidates")}


def test_completion_tokens_are_counted_and_unknown_ones_stay_unknown(artifact: Artifact, tmp_path: Path) -> None:
    for wrong in (None, 0, 10**9):
        reseal(artifact, counts=artifact.manifest.counts.model_copy(update={"completion_tokens": wrong}))
        assert found(artifact) == {("wrong_count", "manifest.json")}
    draft = make_draft()
    draft.candidates[3].token_ids, draft.candidates[3].token_count = [], None  # a server that does not say
    draft.candidates[4].token_ids, draft.candidates[4].token_count = [], 17  # one that says no more than this
    unknown = write_artifact(tmp_path / "b", draft)
    assert unknown.manifest.counts.completion_tokens is None and found(unknown) == set()


def test_a_label_of_another_prompt_than_its_row_is_named_even_if_every_digest_fits(artifact: Artifact) -> None:
    rewrite(artifact, LABELS, lambda labels: labels[0].prompt[1].update(content="Another question?"))
    reseal(artifact, **digests_made_to_fit(artifact))
    assert found(artifact) == {("wrong_prompt", "labels")}


def test_labels_and_candidates_out_of_order_are_named(artifact: Artifact) -> None:
    for name in (LABELS, CANDIDATES):
        sound = (artifact.path / name).read_bytes()
        rewrite(artifact, name, lambda records: records.reverse())
        reseal(artifact)
        assert found(artifact) == {("wrong_order", name.split("/")[0])}
        (artifact.path / name).write_bytes(sound)


@pytest.mark.parametrize(("field", "value"), [("role", "winner"), ("finish_reason", "bored"), ("index", -1)])
def test_a_candidate_of_no_known_kind_is_named_even_if_every_digest_fits(
    artifact: Artifact, field: str, value: object
) -> None:
    rewrite(artifact, CANDIDATES, lambda pool: setattr(pool[2], field, value))  # not a labeled one
    reseal(artifact, **digests_made_to_fit(artifact))
    assert found(artifact) == {("wrong_value", "candidates")}


@pytest.mark.parametrize("meta", ['{"b":1,"a":2}', '{"a": 1}', '{"a":1,"a":2}', "[]", "null", "7"])
def test_meta_that_is_no_canonical_object_is_named_even_if_every_digest_fits(artifact: Artifact, meta: str) -> None:
    rewrite_column(artifact, ORIGINAL, "meta", lambda values: values.__setitem__(0, meta))
    reseal(artifact, **digests_made_to_fit(artifact))
    assert found(artifact) == {("wrong_meta", "original")}


@pytest.mark.parametrize("meta", ["", "{", "[" * 100_000, '{"a":NaN}', '{"a":"\\ud800"}', "9" * 5000])
def test_meta_that_is_no_json_is_named(artifact: Artifact, meta: str) -> None:
    rewrite_column(artifact, ORIGINAL, "meta", lambda values: values.__setitem__(0, meta))
    reseal(artifact)
    assert found(artifact) == {("unreadable_table", ORIGINAL)}


def test_a_message_without_text_is_named_even_if_every_digest_fits(artifact: Artifact) -> None:
    rewrite(artifact, ORIGINAL, lambda rows: rows[5].prompt[0].update(content=None))
    reseal(artifact, **digests_made_to_fit(artifact))
    assert found(artifact) == {("wrong_message", "original")}


def test_numbers_that_are_none_are_named(artifact: Artifact) -> None:
    rewrite(artifact, CANDIDATES, lambda pool: setattr(pool[0], "logprob", float("nan")))
    reseal(artifact)
    assert found(artifact) == {("unreadable_table", CANDIDATES)}
