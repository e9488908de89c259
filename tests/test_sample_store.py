"""The sample store: keys of all that matters, nothing lost, nothing foreign opened, several processes at once."""

import os
import sqlite3
import subprocess
import sys
from dataclasses import fields, replace

import pytest

from datasets_cards.canonical import canonical_json, sha256_hex
from datasets_cards.errors import InputError, StorageError
from labelers.engines.protocol import Completion, ModelIdentity, SampleRequest, Sampling
from labelers.store import SampleStore, request_key, value_key

IDENTITY = ModelIdentity("transformers/1", "", "m", "r", "", "float32", "", "t", (1,))
REQUEST = SampleRequest("row", [{"role": "user", "content": "hi"}], Sampling(0.7, 0.9, 8), seed=5, index=1)


def digest(tokens: list[int]) -> str:
    return sha256_hex(canonical_json(tokens))


PROMPT = digest([1, 2, 3])
DONE = Completion("text", [5, 6, 1], "stop", -2.5, -1.25)


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def test_samples_come_back_as_they_went_in(tmp_path):
    unknown = Completion("", [2**31 - 1], "length", None, None)
    with SampleStore(tmp_path / "new" / "s.sqlite") as store:
        store.put_many([(key(1), "a", DONE), (key(2), "b", unknown)])
    with SampleStore(tmp_path / "new" / "s.sqlite") as store:
        assert store.get_many([key(1), key(2), key(3)]) == {key(1): DONE, key(2): unknown}
        assert (store.drawn, store.reused, len(store), store.drawn_again()) == (0, 2, 2, 0)
        assert len(store.get_many([key(n) for n in range(2000)])) == 2


def test_a_sample_drawn_twice_keeps_its_first_value_and_is_counted(tmp_path):
    with SampleStore(tmp_path / "s.sqlite") as store:
        store.put_many([(key(1), "a", DONE)])
        store.put_many([(key(1), "a", replace(DONE, text="later"))])
        assert store.get_many([key(1)])[key(1)].text == "text"
        assert store.drawn_again() == 1


def test_a_failure_is_not_kept_and_takes_nothing_with_it(tmp_path):
    with SampleStore(tmp_path / "s.sqlite") as store:
        with pytest.raises(InputError, match="failed sample"):
            store.put_many([(key(1), "a", DONE), (key(2), "b", Completion("", [], "error", None, None, "why"))])
        assert len(store) == 0


def test_the_key_follows_model_prompt_sampling_seed_and_index_and_nothing_else():
    base = request_key(IDENTITY, REQUEST, PROMPT)
    assert len(base) == 16
    changed = [
        request_key(replace(IDENTITY, **{f.name: (2,) if f.name == "end_tokens" else "x"}), REQUEST, PROMPT)
        for f in fields(IDENTITY)
    ]
    for sampling in (Sampling(0.8, 0.9, 8), Sampling(0.7, 0.8, 8), Sampling(0.7, 0.9, 9)):
        changed.append(request_key(IDENTITY, replace(REQUEST, sampling=sampling), PROMPT))
    changed += [
        request_key(IDENTITY, replace(REQUEST, seed=6), PROMPT),
        request_key(IDENTITY, replace(REQUEST, index=2), PROMPT),
    ]
    changed.append(request_key(IDENTITY, REQUEST, digest([1, 23])))
    assert len({base, *changed}) == len(changed) + 1
    same = replace(REQUEST, row_id="other", view="other", sampling=Sampling(0.7, 0.9, 8))
    assert request_key(IDENTITY, same, PROMPT) == base
    assert base.hex() == "1e0ffe5c461dcfcae553a8f260b5f0b1"  # final: a store of today must be found by later versions


def test_where_nothing_is_drawn_seed_and_index_name_nothing():
    greedy = replace(REQUEST, sampling=Sampling(0.0, 1.0, 8))
    base = request_key(IDENTITY, greedy, PROMPT)
    assert request_key(IDENTITY, replace(greedy, seed=6, index=3), PROMPT) == base
    beams = [request_key(IDENTITY, replace(greedy, sampling=Sampling(0.0, 1.0, 8, n)), PROMPT) for n in (1, 2, 4)]
    assert beams[0] == base and len(set(beams)) == 3


def test_numbers_are_kept_under_their_kind_and_the_first_one_stays(tmp_path):
    one, other = value_key("reward", ["m", "text"]), value_key("entropy", ["m", "text"])
    assert one != other != value_key("entropy", ["m", "texts"])
    with SampleStore(tmp_path / "s.sqlite") as store:
        store.put_values({one: 0.1 + 0.2})
        store.put_values({one: 9.0, other: -1.0})
    with SampleStore(tmp_path / "s.sqlite") as store:
        assert store.get_values([one, other, key(3)]) == {one: 0.1 + 0.2, other: -1.0}


def test_the_speed_of_a_model_adds_up(tmp_path):
    with SampleStore(tmp_path / "s.sqlite") as store:
        assert store.seconds_a_sample(IDENTITY) is None
        store.add_speed(IDENTITY, 0, 0, 5.0)
        assert store.seconds_a_sample(IDENTITY) is None
        store.add_speed(IDENTITY, 30, 100, 1.0)
        store.add_speed(IDENTITY, 10, 100, 2.0)
        assert store.seconds_a_sample(IDENTITY) == 8.0 / 40
        assert store.seconds_a_sample(replace(IDENTITY, adapter="other")) is None


def test_other_files_are_refused_in_one_line(tmp_path):
    (tmp_path / "text").write_text("not a database, " * 100)
    with sqlite3.connect(tmp_path / "foreign") as other:
        other.execute("CREATE TABLE t (x)")
    (tmp_path / "folder").mkdir()
    with SampleStore(tmp_path / "later") as store:
        store._db.execute("PRAGMA user_version = 99")
    cases = {
        "text": "not a database",
        "foreign": "not a sample store",
        "folder": "unable to open",
        "later": "later Echoset",
    }
    for name, message in cases.items():
        with pytest.raises(StorageError, match=message) as caught:
            SampleStore(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(StorageError, match="can't be made"):
        SampleStore(tmp_path / "text" / "below")


def test_a_damaged_store_is_an_error_and_not_an_empty_one(tmp_path):
    with SampleStore(tmp_path / "s") as store:
        store.put_many((key(n), "row", replace(DONE, text="x" * 200)) for n in range(500))
    data = bytearray((tmp_path / "s").read_bytes())
    data[4096 : len(data) // 2] = os.urandom(len(data) // 2 - 4096)
    (tmp_path / "s").write_bytes(data)
    with pytest.raises(StorageError, match="malformed"), SampleStore(tmp_path / "s") as store:
        store.get_many([key(n) for n in range(500)])


def test_a_full_disk_loses_nothing_that_was_committed(tmp_path):
    with SampleStore(tmp_path / "s") as store:
        store.put_many([(key(1), "a", DONE)])
        store._db.execute(f"PRAGMA max_page_count = {store._db.execute('PRAGMA page_count').fetchone()[0] + 1}")
        with pytest.raises(StorageError, match="full.*Free some space"):
            store.put_many((key(n), "b", replace(DONE, text="x" * 500)) for n in range(2, 200))
        assert len(store) == 1 and store.get_many([key(1)]) == {key(1): DONE}


WRITER = """
import sys
from labelers.engines.protocol import Completion
from labelers.store import SampleStore
path, first = sys.argv[1], int(sys.argv[2])
with SampleStore(path) as store:
    for n in range(first, first + 150):
        store.put_many([(n.to_bytes(16, "big"), "row", Completion("t", [n], "stop", -1.0, -1.0))])
"""


def test_several_processes_write_at_once(tmp_path):
    command = [sys.executable, "-c", WRITER, str(tmp_path / "s")]
    writers = [subprocess.Popen([*command, str(first)]) for first in (0, 100, 200)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    with SampleStore(tmp_path / "s") as store:
        assert len(store) == 350 and store.drawn_again() == 100


OPENER = """
import sys
from labelers.store import SampleStore
for n in range(40):
    sys.stdin.readline()
    SampleStore(f"{sys.argv[1]}/{n}.sqlite").close()
    print(n, flush=True)
"""


def test_processes_that_open_a_new_store_at_once_all_get_it(tmp_path):
    command = [sys.executable, "-c", OPENER, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    openers = [subprocess.Popen(command, text=True, **pipes) for _ in range(3)]
    for n in range(40):
        for opener in openers:
            opener.stdin.write("go\n")
            opener.stdin.flush()
        for opener in openers:
            assert opener.stdout.readline().strip() == str(n), opener.stderr.read()
    assert [opener.wait() for opener in openers] == [0, 0, 0]


def test_everybody_goes_by_the_sample_that_was_there_first(tmp_path):
    from scripted import ScriptedEngine

    from labelers.sampler import Sampler

    with SampleStore(tmp_path / "s") as mine, SampleStore(tmp_path / "s") as theirs:
        first = Sampler(ScriptedEngine(lambda asked: "theirs"), theirs)

        def reply(asked):  # while this one draws, the other commits
            first.sample([REQUEST])
            return "mine"

        assert [c.text for c in Sampler(ScriptedEngine(reply), mine).sample([REQUEST])] == ["theirs"]
