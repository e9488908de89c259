"""Embedders: points that are right, stored once, found again, shared by processes, and rebuilt where files are torn."""

import io
import json
import multiprocessing
import random
import shutil
import signal
import sys
import time
from multiprocessing.context import ForkProcess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_models import make_model

from datasets_cards import EngineError, InputError, MissingError
from shift.embedding import Embedder, embedder, store
from shift.embedding.model import Model
from shift.embedding.store import PointStore, text_keys

LIMIT = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real SentenceTransformer over a small random model that knows the words w0 to w39 and reads 24 of them."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    base = make_model(tmp_path_factory.mktemp("base"), hidden=16, layers=1)
    for template in base.glob("chat_template*"):
        template.unlink()
    tokens = Transformer(str(base), max_seq_length=LIMIT)
    model = SentenceTransformer(
        modules=[tokens, Pooling(tokens.get_embedding_dimension(), "mean")],
        prompts={"query": "w7 w8 ", "passage": ""},
        device="cpu",
    )
    out = tmp_path_factory.mktemp("embedder") / "random-words"
    model.save(str(out), create_model_card=False)
    return out


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ECHOSET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "embeddings"


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that a model is asked for, in order."""
    asked: list[str] = []
    embed = Model.embed

    def spy(self: Model, texts: list[str]):
        asked.extend(texts)
        return embed(self, texts)

    monkeypatch.setattr(Model, "embed", spy)
    return asked


def words(count: int, *, seed: int = 0, longest: int = 12) -> list[str]:
    """Distinct texts of random words."""
    draw = random.Random(seed)
    made: dict[str, None] = {}
    while len(made) < count:
        made[" ".join(f"w{draw.randrange(1, 40)}" for _ in range(draw.randint(1, longest)))] = None
    return list(made)


def reference(folder: Path, texts: list[str], **options) -> np.ndarray:
    """What the library itself gives, one text at a time: nothing is padded."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")
    raw = np.stack([model.encode([text], show_progress_bar=False, **options)[0] for text in texts]).astype(np.float64)
    return raw / np.linalg.norm(raw, axis=1, keepdims=True)


def answer_with(monkeypatch: pytest.MonkeyPatch, change) -> None:
    """Let every model give `change(texts, points, batch_size)` in place of its points."""
    from sentence_transformers import SentenceTransformer

    encode = SentenceTransformer.encode

    def changed(self, texts, *, batch_size, **options):
        return change(texts, encode(self, texts, batch_size=batch_size, **options), batch_size)

    monkeypatch.setattr(SentenceTransformer, "encode", changed)


# Points


def test_points_are_those_of_the_library_at_length_one_however_texts_were_batched(folder: Path) -> None:
    texts = words(150)
    found = Embedder(folder).encode(texts)
    assert found.dtype == np.float32 and found.shape == (150, 16)
    np.testing.assert_allclose(np.linalg.norm(found.astype(np.float64), axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(found, reference(folder, texts), atol=2e-6)


def test_equal_texts_have_the_same_bits_in_any_order_and_any_company(folder: Path, tmp_path: Path, monkeypatch) -> None:
    texts = words(60)
    model = Embedder(folder)
    first = dict(zip(texts, model.encode(texts), strict=True))
    mixed = [*texts[::-1], "w3 w3 w3 w3", *texts[:5]]
    for text, point in zip(mixed, model.encode(mixed), strict=True):
        assert text not in first or (point == first[text]).all()
    monkeypatch.setenv("ECHOSET_CACHE", str(tmp_path / "elsewhere"))  # batches don't follow the caller's order
    shuffled = random.Random(1).sample(texts, len(texts))
    for text, point in zip(shuffled, model.encode(shuffled), strict=True):
        assert (point == first[text]).all()


def test_a_text_is_embedded_once_whatever_it_is_asked_for_with(folder: Path, embedded: list[str]) -> None:
    texts = words(40)
    Embedder(folder).encode([*texts[:30], *texts[:10]])
    assert sorted(embedded) == sorted(texts[:30])
    embedded.clear()
    Embedder(folder).encode(texts)
    assert sorted(embedded) == sorted(texts[30:])
    embedded.clear()
    Embedder(folder).encode(texts[5:25])
    assert embedded == []


def test_what_is_stored_needs_no_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = words(10)
    found = Embedder(folder).encode(texts)
    monkeypatch.setattr(embedder, "load", lambda source: pytest.fail("loaded"))
    np.testing.assert_array_equal(Embedder(folder).encode(texts), found)


def test_chunks_take_every_text_once_and_the_longest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedder, "CHUNK_TEXTS", 50)
    monkeypatch.setattr(embedder, "LEAST_TEXTS", 4)
    monkeypatch.setattr(embedder, "CHUNK_CHARACTERS", 1000)
    length = np.random.default_rng(0).integers(1, 600, 400)
    length[:150] = 1
    at = np.flatnonzero(length != 300)
    chunks = embedder._chunks(at, length)
    joined = np.concatenate(chunks)
    assert sorted(joined.tolist()) == at.tolist() and (np.diff(length[joined]) <= 0).all()
    for chunk in chunks[:-1]:
        total = int(length[chunk].sum())
        assert len(chunk) == 50 or (len(chunk) >= 4 and total >= 1000)
        assert len(chunk) == 4 or total - length[chunk[-1]] < 1000
    assert max(map(len, chunks)) == 50


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_accepted_and_widened(folder: Path, tmp_path: Path, dtype: str) -> None:
    from sentence_transformers import SentenceTransformer

    texts = words(20)
    half = SentenceTransformer(str(folder), device="cpu", model_kwargs={"torch_dtype": dtype})
    assert str(next(half.parameters()).dtype).endswith(dtype)
    half.save(str(tmp_path / "half"), create_model_card=False)
    found = Embedder(tmp_path / "half").encode(texts)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    exact = reference(folder, texts)
    assert 1e-5 < np.abs(found - exact).max() < 0.05


def test_half_precision_points_too_large_to_square_are_not_lost(folder: Path, monkeypatch) -> None:
    answer_with(monkeypatch, lambda texts, points, _: (points / np.abs(points).max() * 60000).astype(np.float16))
    found = Embedder(folder).encode(["w1", "w2 w3"])
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


# Too long, and prompts


def test_texts_that_are_cut_off_are_counted_and_the_count_is_stored(folder: Path, monkeypatch) -> None:
    fits, over = " ".join(["w1"] * LIMIT), " ".join(["w1"] * (LIMIT + 1))
    model = Embedder(folder)
    assert (model.truncated, model.max_tokens) == (0, None)
    model.encode(["w1", fits])
    assert (model.truncated, model.max_tokens) == (0, LIMIT)
    points = model.encode([fits, over, over, over + " w2" * 50, "w5"])
    assert model.truncated == 2
    assert np.abs(points[0] - points[1]).max() < 1e-5  # only its beginning was embedded
    model.encode(["w5"])
    assert model.truncated == 0
    monkeypatch.setattr(embedder, "load", lambda source: pytest.fail("loaded"))
    again = Embedder(folder)
    again.encode([over, fits])
    assert (again.truncated, again.max_tokens) == (1, LIMIT)


def test_a_prompt_stands_before_every_text_and_counts_among_its_tokens(folder: Path, embedded: list[str]) -> None:
    texts = [*words(12), " ".join(["w1"] * (LIMIT - 1))]
    plain, named = Embedder(folder), Embedder(folder, prompt_name="query")
    given_ = Embedder(folder, prompt="w7 w8 ")
    others = Embedder(folder, prompt="w7"), Embedder(folder, prompt_name="passage")
    assert len({one.digest for one in (plain, named, given_, *others)}) == 5
    assert plain.digest == Embedder(folder, prompt=None).digest and given_.name == "random-words"
    found = given_.encode(texts)
    assert given_.truncated == 1
    np.testing.assert_allclose(found, reference(folder, texts, prompt="w7 w8 "), atol=2e-6)
    np.testing.assert_array_equal(named.encode(texts), found)
    assert np.abs(plain.encode(texts) - found).max() > 0.01
    assert plain.truncated == 0 and len(embedded) == 3 * len(texts)


def test_the_default_prompt_of_a_model_is_used_and_none_can_be_asked_for(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "m")
    config = tmp_path / "m" / "config_sentence_transformers.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"default_prompt_name": "query"}))
    texts = words(5)
    plain, asked = Embedder(folder).encode(texts), Embedder(folder, prompt_name="query").encode(texts)
    assert Embedder(tmp_path / "m").digest != Embedder(folder).digest
    np.testing.assert_allclose(Embedder(tmp_path / "m").encode(texts), asked, atol=1e-6)
    np.testing.assert_allclose(Embedder(tmp_path / "m", prompt="").encode(texts), plain, atol=1e-6)
    np.testing.assert_allclose(Embedder(tmp_path / "m", prompt_name="passage").encode(texts), plain, atol=1e-6)


def test_prompts_that_cannot_be_meant_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="a prompt and the name of a prompt"):
        Embedder(folder, prompt="x", prompt_name="query")
    with pytest.raises(InputError, match="no prompt is named 'quest'.*passage, query"):
        Embedder(folder, prompt_name="quest").encode(["w1"])


# What can't be used


def test_a_directory_of_other_things_is_refused_before_it_is_read(folder: Path, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "data" / "deep" / "modules.json").write_text("[]")
    (tmp_path / "data" / "big.bin").write_bytes(b"x")
    (tmp_path / "none").mkdir()
    digested = []
    monkeypatch.setattr("shift.embedding.source.file_digest", lambda path: digested.append(path) or "0")
    with pytest.raises(InputError, match=r"data: not a sentence embedder.*modules\.json"):
        Embedder(tmp_path / "data")
    with pytest.raises(MissingError, match="empty directory"):
        Embedder(tmp_path / "none")
    assert not digested
    Embedder(folder)
    assert digested


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("w1", "one string instead of a list"),
        ([], "no texts"),
        (["w1", None], "text 1: NoneType instead of text"),
        (["w1", "w2", " \n\t"], "text 2: an empty text"),
        (["w1", "\ud83d"], "text 1: half a surrogate pair"),
    ],
)
def test_texts_that_cannot_be_embedded_are_named(folder: Path, texts, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Embedder(folder).encode(texts)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_a_point_without_a_direction_names_its_text_and_is_not_stored(folder: Path, monkeypatch, value: float) -> None:
    def broken(texts, points, _):
        points[texts.index("w9 w9")] = value
        return points

    with monkeypatch.context() as patched:
        answer_with(patched, broken)
        with pytest.raises(EngineError, match="random-words, text 'w9 w9': the embedder gives NaN"):
            Embedder(folder).encode(["w1", "w9 w9", "w2"])
    assert np.isfinite(Embedder(folder).encode(["w1", "w9 w9", "w2"])).all()


@pytest.mark.parametrize(
    "change",
    [
        lambda texts, points, _: points[:-1],
        lambda texts, points, _: points[0],
        lambda texts, points, _: np.sign(points).astype(np.int8),
    ],
)
def test_an_embedder_that_gives_other_than_a_point_a_text_is_refused(folder: Path, monkeypatch, change) -> None:
    answer_with(monkeypatch, change)
    with pytest.raises(EngineError, match=r"the embedder gives \w+ of shape .* for 3 texts"):
        Embedder(folder).encode(["w1", "w2", "w3"])


def test_an_embedder_that_fails_is_told_in_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(texts, points, _):
        raise RuntimeError("mat1 and mat2\nshapes")

    answer_with(monkeypatch, fail)
    with pytest.raises(EngineError, match=r"random-words: the embedder fails \(RuntimeError: mat1 and mat2 shapes\)"):
        Embedder(folder).encode(["w1"])


def test_points_of_another_width_never_join_stored_ones(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Embedder(folder).encode(["w1"])
    with monkeypatch.context() as patched:
        answer_with(patched, lambda texts, points, _: points[:, :8])
        with pytest.raises(EngineError, match="width 8, but 16 are stored"):
            Embedder(folder).encode(["w1", "w2"])
    np.testing.assert_array_equal(Embedder(folder).encode(["w2", "w1"])[1], first[0])


def test_batches_shrink_until_they_fit_a_devices_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch import OutOfMemoryError

    tried: list[int] = []

    def fits(most: int):
        def change(texts, points, batch):
            tried.append(batch)
            if batch > most:
                raise OutOfMemoryError("no")
            return points

        return change

    embedder.load.cache_clear()
    with monkeypatch.context() as patched:
        answer_with(patched, fits(8))
        Embedder(folder).encode(words(40))
        Embedder(folder).encode(words(5, seed=1))
    assert tried == [32, 16, 8, 8]
    answer_with(monkeypatch, fits(0))
    with pytest.raises(EngineError, match="no memory for one text at a time"):
        Embedder(folder).encode(["w1 w2 w3 w4 w5 w6"])
    embedder.load.cache_clear()


# Files


def npy(cache: Path) -> Path:
    (found,) = cache.glob("????????????????.npy")
    return found


def test_the_points_on_disk_are_a_plain_array_of_all_texts(folder: Path, cache: Path) -> None:
    texts = words(30)
    Embedder(folder).encode(texts[:20])
    both = Embedder(folder).encode(texts)
    stored = np.load(npy(cache), mmap_mode="r")
    assert stored.shape == (30, 16) and stored.dtype == np.float32
    assert {row.tobytes() for row in stored} == {row.tobytes() for row in both}


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def overwrite(path: Path, at: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)


DAMAGE = {
    "points cut inside a row": lambda path: cut(path, 128 + 15 * 64 + 7),
    "points cut inside the header": lambda path: cut(path, 50),
    "no points at all": lambda path: path.unlink(),
    "another array": lambda path: np.save(path, np.zeros((20, 7), np.float32)),
    "an array of another shape": lambda path: np.save(path, np.full((10, 32), 0.25, np.float32)),
    "points in half precision": lambda path: np.save(path, np.ones((20, 16), np.float16)),
    "points in Fortran's order": lambda path: np.save(path, np.asfortranarray(np.ones((20, 16), np.float32))),
    "no array": lambda path: path.write_text("hello"),
    "a hole": lambda path: overwrite(path, 128 + 3 * 64, bytes(64)),
    "NaN": lambda path: overwrite(path, 128 + 19 * 64, np.float32("nan").tobytes()),
    "no keys": lambda path: path.with_suffix(".keys").unlink(),
    "keys cut inside the header": lambda path: cut(path.with_suffix(".keys"), 100),
    "keys that are something else": lambda path: path.with_suffix(".keys").write_text("[" * 3000),
    "keys of another embedder": lambda path: overwrite(path.with_suffix(".keys"), 13, b"00000"),
    "more keys than points": lambda path: path.with_suffix(".keys").write_bytes(
        path.with_suffix(".keys").read_bytes() + bytes(17)
    ),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_and_foreign_files_are_begun_anew(folder: Path, cache: Path, damage, embedded: list[str]) -> None:
    texts = words(20)
    first = Embedder(folder).encode(texts)
    damage(npy(cache))
    embedded.clear()
    np.testing.assert_array_equal(Embedder(folder).encode(texts), first)
    assert sorted(embedded) == sorted(texts)
    embedded.clear()
    np.testing.assert_array_equal(Embedder(folder).encode(texts[::-1]), first[::-1])
    assert embedded == []


def test_what_a_killed_writer_left_unfinished_is_written_over(folder: Path, cache: Path, embedded: list[str]) -> None:
    texts = words(30)
    first = Embedder(folder).encode(texts[:20])
    path = npy(cache)
    with open(path, "ab") as file:
        file.write(b"\x7f" * 200)  # rows and a piece of one, without records
    with open(path.with_suffix(".keys"), "ab") as file:
        file.write(text_keys(texts[20:21])[0][:9])  # a torn record
    embedded.clear()
    found = Embedder(folder).encode(texts)
    np.testing.assert_array_equal(found[:20], first)
    assert sorted(embedded) == sorted(texts[20:]) and len(np.load(path)) == 30
    np.testing.assert_allclose(found, reference(folder, texts), atol=2e-6)


def test_a_large_request_is_mapped_from_a_file_of_its_own(folder: Path, cache: Path, monkeypatch) -> None:
    texts = words(50)
    plain = Embedder(folder).encode(texts)
    monkeypatch.setattr(store, "IN_MEMORY", 50 * 64 - 1)
    monkeypatch.setattr(store, "BLOCK", 7)
    (cache / f".{npy(cache).stem}-left.npy.new").write_bytes(b"by a killed process")
    mapped = Embedder(folder).encode(texts)
    assert isinstance(mapped, np.memmap) and not mapped.flags.writeable
    np.testing.assert_array_equal(mapped, plain)
    (laid,) = cache.glob("*-*.npy")
    assert list(cache.glob(".*")) == []
    when = laid.stat().st_mtime_ns
    np.testing.assert_array_equal(Embedder(folder).encode(texts), plain)
    assert laid.stat().st_mtime_ns == when
    assert not isinstance(Embedder(folder).encode(texts[1:]), np.memmap)
    np.testing.assert_array_equal(Embedder(folder).encode(texts[::-1]), plain[::-1])
    assert len(list(cache.glob("*-*.npy"))) == 2
    torn, foreign = laid.read_bytes()[:1000], io.BytesIO()
    np.save(foreign, np.ones((5, 5), np.float32))
    for content in (torn, foreign.getvalue(), b""):
        fresh = laid.with_suffix(".fresh")  # and renamed: cutting a mapped file would end this process
        fresh.write_bytes(content)
        fresh.replace(laid)
        np.testing.assert_array_equal(Embedder(folder).encode(texts), plain)
    npy(cache).unlink()  # points computed anew may lie in other rows: no old layout may serve them
    Embedder(folder).encode(texts[:3])
    assert list(cache.glob("*-*.npy")) == []
    np.testing.assert_allclose(Embedder(folder).encode(texts), plain, atol=2e-6)


def test_a_layout_never_serves_points_that_lie_elsewhere_since(folder: Path, cache: Path, monkeypatch) -> None:
    monkeypatch.setattr(store, "IN_MEMORY", 0)
    first = [Embedder(folder).encode([text])[0] for text in ("w1", "w2")]
    Embedder(folder).encode(["w1", "w2"])
    path = npy(cache)
    path.unlink()
    path.with_suffix(".keys").unlink()  # the layouts stay
    again = [Embedder(folder).encode([text])[0] for text in ("w2", "w1")]
    np.testing.assert_array_equal(again[::-1], first)
    np.testing.assert_array_equal(Embedder(folder).encode(["w2", "w1"]), first[::-1])


def test_a_cache_that_cannot_be_written_is_named(folder: Path, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ECHOSET_CACHE", str(tmp_path / "file"))
    with pytest.raises(OSError, match="a file is in the way"):
        Embedder(folder).encode(["w1"])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 30), unique=True, min_size=1), st.booleans()), max_size=8)
)
def test_two_users_of_a_store_agree_and_the_first_point_of_a_text_stays(tmp_path_factory, adds) -> None:
    place = tmp_path_factory.mktemp("store")
    keys = np.unique(text_keys([f"text {i}" for i in range(31)]))
    users = [PointStore(place, "digest") for _ in range(2)]
    found = [user.find(keys) for user in users]
    rng = np.random.default_rng(len(adds))
    expected: dict[int, tuple[np.ndarray, bool]] = {}
    for who, at, long in adds:
        points = rng.normal(size=(len(at), 3))
        points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
        for i, point in zip(at, points, strict=True):
            expected.setdefault(i, (point, long))
        users[who].add(found[who], np.array(at), points, np.full(len(at), long), 9)
    for user, seen in zip(users, found, strict=True):
        user.refresh(seen)
        assert np.flatnonzero(seen.row_U >= 0).tolist() == sorted(expected)
        assert user.points(seen, np.arange(31)) is None or len(expected) == 31
        if expected:
            stored = user.points(seen, np.array(sorted(expected)))
            assert stored is not None and seen.max_tokens == 9
            np.testing.assert_array_equal(stored, np.stack([expected[i][0] for i in sorted(expected)]))
            assert [bool(seen.long_U[i]) for i in sorted(expected)] == [expected[i][1] for i in sorted(expected)]
    assert user.find(np.unique(text_keys(["never", "stored"]))).count == 0


# Processes


def start(folder: Path, texts: list[str], out: Path) -> ForkProcess:
    """A process that embeds texts slowly, eight at a time, and tells how many it did and what bits it was given.

    It is forked, for a fresh one would load torch for seconds; it keeps nothing open and ends without cleaning up.
    """

    def work() -> None:
        count, embed = 0, Model.embed

        def slowly(self: Model, some: list[str]):
            nonlocal count
            count += len(some)
            time.sleep(0.04)
            return embed(self, some)

        Model.embed = slowly  # type: ignore[method-assign]
        embedder.CHUNK_TEXTS, embedder.COMMIT_SECONDS = 8, 0.0
        points = Embedder(folder).encode(texts)
        out.write_text(json.dumps([count, points.tobytes().hex()]))

    process = multiprocessing.get_context("fork").Process(target=work, daemon=True)
    process.start()
    return process


def test_a_killed_run_goes_on_and_two_at_once_share_the_work(folder: Path, cache: Path, tmp_path: Path) -> None:
    texts = words(400)
    embedder.load(Embedder(folder)._source)
    victim = start(folder, texts, tmp_path / "never")
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size > 1024 + 80 * 17 for path in cache.glob("*.keys")):
        assert time.monotonic() < deadline and victim.is_alive()
        time.sleep(0.002)
    victim.kill()
    victim.join()
    assert victim.exitcode == -signal.SIGKILL
    kept = len(np.load(npy(cache)))
    assert 80 <= kept < 400
    pair = [start(folder, texts, tmp_path / name) for name in ("a", "b")]
    for process in pair:
        process.join(60)
        assert process.exitcode == 0
    (first, bits), (second, same) = (json.loads((tmp_path / name).read_text()) for name in ("a", "b"))
    assert bits == same
    rest = 400 - kept
    assert rest - 8 <= first + second <= 1.5 * rest  # alone, each would have embedded them all
    assert min(first, second) > 0.15 * rest
    found = Embedder(folder).encode(texts)
    assert found.tobytes().hex() == bits and len(np.load(npy(cache))) == 400
    np.testing.assert_allclose(found, reference(folder, texts), atol=2e-6)


def test_a_bar_is_shown_on_a_terminal_and_nowhere_else(folder: Path, monkeypatch, capfd) -> None:
    Embedder(folder).encode(words(5), progress=True)
    assert "embed texts" not in capfd.readouterr().err

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    Embedder(folder).encode(words(7), progress=True)
    shown = sys.stderr.getvalue()
    assert "embed texts" in shown and "2/2" in shown


# A cluster


def test_without_ray_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingError, match=r"pip install 'echoset\[ray\]'"):
        Embedder(folder).encode(["w1"], ray="local")


def test_a_cluster_gives_the_same_points_and_names_what_its_workers_meet(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embedded: list[str]
) -> None:
    ray = pytest.importorskip("ray", reason="the `ray` extra is not installed")
    monkeypatch.setattr(embedder, "CHUNK_TEXTS", 16)
    texts = [*words(100), " ".join(["w1"] * (LIMIT + 1))]
    here = Embedder(folder, prompt="w7").encode(texts)
    embedded.clear()
    monkeypatch.setenv("ECHOSET_CACHE", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    model = Embedder(folder, prompt="w7")
    np.testing.assert_array_equal(model.encode(texts, ray="local", workers=2), here)
    assert embedded == [] and (model.truncated, model.max_tokens) == (1, LIMIT) and not ray.is_initialized()
    np.testing.assert_array_equal(model.encode(texts[::-1]), here[::-1])
    assert embedded == []  # read back
    changed = Embedder(shutil.copytree(folder, tmp_path / "random-words"))
    (tmp_path / "random-words" / "note.txt").write_text("changed since")
    ray.init("local", num_cpus=1, log_to_driver=False, include_dashboard=False)
    try:  # a cluster that is connected already is used, and left alone
        with pytest.raises(InputError, match="no prompt is named 'quest'"):
            Embedder(folder, prompt_name="quest").encode(texts, ray="local")
        with pytest.raises(EngineError, match="a worker finds another embedder there"):
            changed.encode(texts, ray="local")
        assert ray.is_initialized()
    finally:
        ray.shutdown()
