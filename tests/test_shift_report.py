"""`measure` from end to end: artifacts, embedders, reports, and input that can't be used."""

import json
from pathlib import Path

import numpy as np
import pytest
from drafts import make_draft
from random_models import make_model

from datasets_cards import EngineError, InputError, IntegrityError, MissingError, write_artifact
from shift import Ladder, ShiftReport, examine, measure
from shift.embedding import Embedder
from shift.reading import EMPTY, read_texts


def letters(texts: list[str]) -> np.ndarray:
    """A stand-in for an embedder: counts of some characters."""
    return np.array([[1 + text.count(c) for c in "aeinor0123456789."] for text in texts], np.float32)


def points(n: int = 30, K: int = 3, d: int = 4, *, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng([seed, 3])
    return {
        "pool": rng.normal(size=(n, K, d)),
        "baseline": rng.normal(size=(n, d)),
        "original": rng.normal(size=(n, d)),
    }


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real SentenceTransformer over a small random model that knows the words w0 to w39."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    folder = tmp_path_factory.mktemp("embedder")
    tokens = Transformer(str(make_model(folder / "model", hidden=16, layers=1)))
    model = SentenceTransformer(modules=[tokens, Pooling(tokens.get_embedding_dimension(), "mean")], device="cpu")
    model.save(str(folder / "random-words"), create_model_card=False)
    (folder / "random-words" / "echoset.json").write_text('{"scope": "random words only"}')
    return folder / "random-words"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ECHOSET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_an_artifact_becomes_a_ladder_of_its_rungs(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "a", make_draft(rows=9, k=2, dropped=2))
    ladder = read_texts(artifact).ladder(letters)
    assert ladder.ids == tuple(f"r{n}" for n in range(9))
    assert ladder.size_N("U").tolist() == [2] * 9
    assert ladder.size_N("P").tolist() == [1] * 9
    assert ladder.size_N("S").tolist() == [1] * 7 + [0] * 2
    assert ladder.size_N("O").tolist() == [0, 1, 1] * 3  # every third row came without an answer
    assert len(ladder.points_ND) == 9 * 2 + 3  # "Perhaps.", "Yes." and "No." are embedded once each


def test_measuring_an_artifact_reports_the_filter_and_the_rows_without_a_label(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "a", make_draft(rows=12, k=2, dropped=3))
    report = measure(read_texts(artifact).ladder(letters), permutations=99)
    assert report.dropped == 3
    assert report.filter is not None and (report.filter.kept, report.filter.rows) == (9, 12)
    n = {leg.name: leg.n for leg in report.legs}
    assert n == {"O->P": 8, "P->U": 12, "U->S": 9, "P->S": 9, "O->S": 6}
    assert report.decomposition is not None and report.decomposition.n == 9
    assert any("4 of 12 prompts have no original" in note for note in report.notes)


def test_an_empty_completion_is_measured_as_such_and_said(tmp_path: Path) -> None:
    draft = make_draft(rows=4, dropped=0)
    draft.candidates[1].text = " \n"
    seen: list[str] = []

    def embed(texts: list[str]) -> np.ndarray:
        seen.extend(texts)
        return letters(texts)

    ladder = read_texts(write_artifact(tmp_path / "a", draft)).ladder(embed)
    assert EMPTY in seen and all(text.strip() for text in seen)
    assert any("1 completions are empty" in note for note in ladder.notes)


def test_the_report_survives_json_and_names_what_is_wrong_with_one_that_does_not() -> None:
    report = measure(Ladder.from_arrays(**points(), selected=[0] * 30), permutations=99)
    assert ShiftReport.from_json(report.to_json()) == report
    assert {"from", "to"} <= json.loads(report.to_json())["legs"][0].keys()
    with pytest.raises(InputError, match="not a shift report"):
        ShiftReport.from_json("{}")
    with pytest.raises(InputError, match="version 99"):
        ShiftReport.from_json(report.model_copy(update={"schema_version": 99}).to_json())


def test_the_same_seed_gives_the_same_report() -> None:
    ladder = Ladder.from_arrays(**points(), selected=[1] * 30)
    assert measure(ladder, seed=3, permutations=99) == measure(ladder, seed=3, permutations=99)
    assert measure(ladder, seed=3, permutations=99) != measure(ladder, seed=4, permutations=99)


def test_a_pool_of_one_says_that_selection_is_zero_by_construction() -> None:
    report = measure(Ladder.from_arrays(**points(K=1)), permutations=99)
    leg = report.leg("U->S")
    assert leg is not None and leg.value == 0 and leg.p is None and "zero by construction" in (leg.p_reason or "")
    assert "zero by construction" in report.summary()


def test_legs_from_the_original_have_a_size_and_a_reason_instead_of_a_p_value() -> None:
    report = measure(Ladder.from_arrays(**points(), selected=[0] * 30), permutations=99)
    for name in ("O->P", "O->S"):
        leg = report.leg(name)
        assert leg is not None and leg.p is None and "another author" in (leg.p_reason or "")


def test_shares_are_undefined_with_their_reason_where_the_total_is_not_clear_of_zero() -> None:
    report = measure(Ladder.from_arrays(**points(), selected=[0] * 30), permutations=99)
    assert report.decomposition is not None and report.decomposition.labeling_share is None
    assert report.decomposition.share_reason == "the total shift is not clear of zero"
    assert "undefined" in report.summary()


def test_the_summary_answers_whether_how_much_and_by_what() -> None:
    given = points(n=80)
    given["pool"][:, :, 0] += 1.5
    report = measure(Ladder.from_arrays(**given, selected=[0] * 80), permutations=199)
    said = report.summary()
    assert "have moved away from the model's own plain answers" in said
    assert "Labeling accounts for" in said and "one time in twenty" in said
    assert "\n" not in said
    still = measure(Ladder.from_arrays(**points(n=80), selected=[0] * 80), permutations=199)
    assert "can't be told from" in still.summary()


def test_the_table_shows_each_leg_beside_its_floor() -> None:
    from rich.console import Console

    report = measure(Ladder.from_arrays(**points(), selected=[0] * 30), permutations=99)
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(report.table())
    shown = console.export_text()
    assert all(leg.name in shown for leg in report.legs) and "no shift reaches" in shown


def test_legs_without_their_rungs_are_left_out() -> None:
    report = measure(Ladder.from_arrays(pool=points()["pool"], selected=[0] * 30), permutations=99)
    assert [leg.name for leg in report.legs] == ["U->S"]
    assert report.decomposition is None
    assert "no self-sample" in report.summary()


def test_pools_may_differ_in_size() -> None:
    rng = np.random.default_rng(0)
    pool = [rng.normal(size=(1 + i % 3, 4)) for i in range(20)]
    report = measure(
        Ladder.from_arrays(pool=pool, selected=[0] * 20, baseline=rng.normal(size=(20, 4))), permutations=99
    )
    leg = report.leg("U->S")
    assert leg is not None and leg.p is not None and leg.p > 0


def test_all_points_the_same_is_a_stated_zero() -> None:
    ladder = Ladder.from_arrays(pool=np.ones((5, 2, 3)), selected=[0] * 5, baseline=np.ones((5, 3)))
    report = measure(ladder, permutations=99)
    assert any("every shift is exactly zero" in note for note in report.notes)
    assert all(leg.value == 0 for leg in report.legs)


@pytest.mark.parametrize("d", [1, 2])
def test_narrow_points_and_repeated_rows_are_measured(d: int) -> None:
    given = points(n=10, d=d)
    given = {key: np.round(a) + 10 for key, a in given.items()}
    report = measure(Ladder.from_arrays(**given, selected=[0] * 10), permutations=99)
    assert all(np.isfinite([leg.value, leg.low, leg.high]).all() for leg in report.legs)


def test_input_that_cannot_be_measured_is_named() -> None:
    good = points(n=4)
    nan, zero = good["pool"].copy(), good["pool"].copy()
    nan[2, 1, 0], zero[3, 2] = np.nan, 0
    cases = [
        ({"pool": nan, "selected": [0] * 4}, "prompt 2: a point holds NaN"),
        ({"pool": zero, "selected": [0] * 4}, "prompt 3: a point is the zero vector"),
        ({"pool": good["pool"][:1], "selected": [0]}, r"1 prompt\(s\)"),
        ({"pool": good["pool"], "selected": [0, 0, 0, 7]}, "prompt 3: candidate 7 is selected of a pool of 3"),
        ({"pool": good["pool"], "selected": [0] * 3}, "don't pair up"),
        ({"pool": good["pool"], "selected": [0] * 4, "baseline": good["baseline"][:, :2]}, "different widths"),
        ({"pool": good["pool"], "selected": [0] * 4, "baseline": good["baseline"][:3]}, "beside 4 pools"),
        ({"pool": good["pool"], "selected": [0] * 4, "ids": list("abca")}, "'a' occurs twice"),
        ({"pool": [np.empty((0, 4)), *good["pool"][1:]], "selected": [None, 0, 0, 0]}, "prompt 0: no rung"),
    ]
    for arguments, message in cases:
        with pytest.raises(InputError, match=message):
            Ladder.from_arrays(**arguments)
    with pytest.raises(InputError, match="at least 99"):
        measure(Ladder.from_arrays(**good, selected=[0] * 4), permutations=10)
    with pytest.raises(InputError, match="no two rungs share two prompts"):
        measure(Ladder.from_arrays(pool=good["pool"], selected=[0, None, None, None]), permutations=99)


def test_a_label_that_is_not_in_the_pool_is_named(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "a", make_draft(rows=4))
    labels = artifact.labels()
    artifact.labels = lambda: labels.with_columns(candidate=9)  # type: ignore[method-assign]
    with pytest.raises(IntegrityError, match="row r0: the label is candidate 9"):
        read_texts(artifact).ladder(letters)


def test_an_artifact_without_an_embedder_and_an_embedder_that_is_not_there_are_named(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "a", make_draft(rows=4))
    with pytest.raises(InputError, match="embedder"):
        measure(artifact)
    with pytest.raises(MissingError, match="nowhere"):
        measure(artifact, embedder=tmp_path / "nowhere")
    with pytest.raises(MissingError, match="someone/nothing"):
        measure(artifact, embedder="someone/nothing")
    with pytest.raises(MissingError, match="no such artifact"):
        measure(tmp_path / "b", embedder=tmp_path)


def test_an_artifact_is_measured_through_a_sentence_transformer_whose_scope_is_carried_along(
    tmp_path: Path, embedder: Path, own_cache: Path
) -> None:
    draft = make_draft(rows=20, k=2, dropped=0)
    for i, candidate in enumerate(draft.candidates):
        candidate.text = f"w{i % 40} w{7 * i % 40} w{i // 40}"
    chosen = {c.id: c.text for c in draft.candidates if c.role == "candidate" and c.index == 0}
    for label in draft.labels:
        label.completion = [{"role": "assistant", "content": chosen[label.id]}]
    artifact = write_artifact(tmp_path / "a", draft)
    report = measure(str(tmp_path / "a"), embedder=embedder, permutations=99)
    assert report.embedder.name == "random-words" and report.embedder.width == 16
    assert report.embedder.scope == "random words only" and "(random words only)" in report.summary()
    assert str(tmp_path) not in report.to_json()
    assert len(list((own_cache / "embeddings").glob("*.npy"))) == 1
    assert measure(artifact, embedder=str(embedder), permutations=99) == report


def test_what_the_stored_pools_say_stands_in_the_report_its_words_and_its_page(tmp_path: Path, embedder: Path) -> None:
    draft = make_draft(rows=20, k=3, dropped=0)
    draft.labeler = draft.labeler.model_copy(update={"proposal": "samples"})
    for i, candidate in enumerate(draft.candidates):
        if candidate.role == "candidate":
            candidate.behavior_logprob = candidate.logprob
            candidate.misaligned = i % 4 == 0
    examined = examine(write_artifact(tmp_path / "a", draft), embedder=embedder, permutations=99, metrics=["energy"])
    report = examined.report
    assert ShiftReport.from_json(report.to_json()) == report
    assert report.pools is not None and report.pools.k_curves.reason is None
    assert report.pools.likelihood.divergence("KL(U||P)").value is not None
    assert [check.name for check in report.pools.checks] == ["mmd_squared"]
    assert "nats more likely than an answer of its own" in report.summary()
    assert "choosing by mean_logprob" in report.summary()
    assert {d.rung for d in report.diversity} == {"O", "P", "U", "S"}
    page = examined.page()
    assert "Had fewer candidates been drawn" in page and "KL(S||P)" in page and "misbehavior by mean_logprob" in page
    assert "k-curves" in {picture.name for picture in examined.pictures()}
    assert len(examined.moved(5)) == 5


def test_points_have_length_one_come_in_the_order_asked_for_and_are_read_back_from_disk(
    embedder: Path, own_cache: Path
) -> None:
    texts = ["w1", "w2 w3 w4", "w1", "w5 w6"]
    first = Embedder(embedder).encode(texts)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, rtol=1e-6)
    assert (first[0] == first[2]).all() and not (first[0] == first[1]).all()
    (stored,) = (own_cache / "embeddings").glob("*.npy")
    np.save(stored, np.flip(np.load(stored, allow_pickle=False), axis=0))
    assert (Embedder(embedder).encode(texts[::-1]) != first[::-1]).any()  # another order, the same (altered) file
    stored.write_bytes(stored.read_bytes()[:100])
    np.testing.assert_array_equal(Embedder(embedder).encode(texts), first)  # a torn file is computed again


def test_another_embedder_never_finds_points_of_this_one(embedder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(embedder, tmp_path / "random-words")
    assert Embedder(tmp_path / "random-words").digest == Embedder(embedder).digest
    (tmp_path / "random-words" / "echoset.json").write_text("{}")
    other = Embedder(tmp_path / "random-words")
    assert other.digest != Embedder(embedder).digest and other.scope is None


def test_embedders_and_texts_that_cannot_be_used_are_named(tmp_path: Path, embedder: Path) -> None:
    with pytest.raises(InputError, match="text 1: an empty text"):
        Embedder(embedder).encode(["w1", "  "])
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingError, match="empty directory"):
        Embedder(tmp_path / "empty")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "echoset.json").write_text("[1]")
    with pytest.raises(InputError, match="not a JSON object"):
        Embedder(tmp_path / "other")
    (tmp_path / "other" / "echoset.json").write_text("{}")
    with pytest.raises(EngineError, match="not a sentence embedder"):
        Embedder(tmp_path / "other").encode(["w1"])


def test_an_embedder_that_gives_zero_vectors_is_named(tmp_path: Path, embedder: Path) -> None:
    import shutil

    from safetensors.numpy import load_file, save_file

    shutil.copytree(embedder, tmp_path / "mute")
    (weights,) = (tmp_path / "mute").rglob("*.safetensors")
    save_file({key: a * 0 for key, a in load_file(weights).items()}, weights, metadata={"format": "pt"})
    with pytest.raises(EngineError, match="mute, text 'w1': the embedder gives NaN or a zero vector"):
        Embedder(tmp_path / "mute").encode(["w1"])
