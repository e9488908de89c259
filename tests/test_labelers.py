"""Labeling end to end on a small random model: every method, shared pools, killed runs, refusals."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from random_models import make_model, make_reward_model, prompts, word

from datasets_cards import Artifact, InputError, MissingError, Row, StorageError, verify
from labelers import METHODS, SampleStore, draw_pool, label, load_engine, make_method
from labelers.proposals import Samples


@dataclass
class Pair:
    row: Row
    better: str
    worse: str


class WordTask:
    name = "words"
    rubric = "{question} {answer}"

    def extract_answer(self, row, text):
        return text.split()[0] if text.split() else None

    def is_misaligned(self, row, text):
        return None if not text else "w7" in text.split()

    def preferences(self):
        return [Pair(Row(f"p{i}", m), word(i), word(i + 1)) for i, m in enumerate(prompts(4))]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return make_model(tmp_path_factory.mktemp("labelers") / "random")


@pytest.fixture(scope="module")
def engine(model):
    return load_engine(model=model)


@pytest.fixture(scope="module")
def reward(tmp_path_factory):
    return make_reward_model(tmp_path_factory.mktemp("labelers") / "reward")


@pytest.fixture
def rows():
    answers = ["w3 w4", "w5"]
    return [
        Row(f"row-{i}", m, [{"role": "assistant", "content": answers[i % 2]}], {"n": i})
        for i, m in enumerate(prompts(20))
    ]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_writes_a_sound_artifact_whatever_the_batch_size(engine, reward, rows, method, tmp_path):
    digests = set()
    for size in (1, 7, None):
        engine.batch_size = size
        out = tmp_path / str(size)
        a = label(
            rows[:6],
            engine=engine,
            method=method,
            out=out,
            store=tmp_path / f"{size}.sqlite",
            max_new_tokens=6,
            task=WordTask(),
            reward_model=reward,
            force=True,
        )
        digests.add(a.manifest.logical_digest)
        assert verify(out) == []
    assert len(digests) == 1
    pool = list(a.iter_candidates())
    assert Counter(c.id for c in pool if c.role == "baseline") == {r.id: 1 for r in rows[:6]}
    assert a.manifest.labeler.method == method and a.manifest.seeds["run"] == 0
    assert all(c.misaligned == WordTask().is_misaligned(None, c.text) for c in pool)
    assert a.manifest.counts.labeled + sum(a.manifest.counts.dropped.values()) == 6


def test_two_runs_of_one_seed_agree_and_seeds_differ(engine, rows, tmp_path):
    digests = [
        label(
            rows,
            engine=engine,
            method="self_sample",
            out=tmp_path / str(i),
            seed=seed,
            store=":memory:",
            max_new_tokens=6,
        ).manifest.logical_digest
        for i, seed in enumerate((0, 0, 1))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_methods_of_one_proposal_share_samples_and_the_baseline(engine, rows, tmp_path):
    with SampleStore(tmp_path / "s") as store:
        first = draw_pool(rows, make_method("self_confidence").proposal, engine, store)
        second = draw_pool(rows, make_method("random_pick").proposal, engine, store)
        third = draw_pool(rows, make_method("self_sample").proposal, engine, store)
        assert (first.drawn, first.reused) == (100, 0)
        assert (second.drawn, second.reused) == (0, 100)
        assert (third.drawn, third.reused) == (20, 20)
        assert second.candidates == first.candidates and second.prompt_tokens == first.prompt_tokens
        assert store.drawn_again() == 0


def test_the_self_sample_and_the_baseline_are_independent_draws_of_one_distribution(engine, rows):
    pool = draw_pool(rows, make_method("self_sample").proposal, engine, SampleStore(":memory:")).candidates
    own, rung = ([c for c in pool if c.role == role] for role in ("candidate", "baseline"))
    assert sum(a.token_ids == b.token_ids for a, b in zip(own, rung, strict=True)) < 5
    assert all(c.behavior_logprob == pytest.approx(c.logprob, abs=1e-5) for c in pool)


def test_the_log_probability_of_a_view_is_under_the_plain_prompt(engine, rows):
    pool = draw_pool(
        rows, make_method("multi_view").proposal, engine, SampleStore(":memory:"), baseline=False
    ).candidates
    assert Counter((c.role, c.view) for c in pool) == {
        (r, v): 20 for r, v in [("candidate", "plain"), ("view", "step_by_step"), ("view", "json")]
    }
    by_id = {r.id: r for r in rows}
    for c in pool:
        assert c.behavior_logprob == 0.0
        assert c.logprob == pytest.approx(sum(engine.score([(by_id[c.id].prompt, c.token_ids)])[0]), abs=1e-4)


def test_rows_that_fail_are_dropped_with_their_reason_and_the_rest_is_labeled(engine, rows, tmp_path):
    mixed = [
        *rows[:3],
        Row("long", [{"role": "user", "content": "w1 " * 70}]),
        Row("tool", [{"role": "tool", "content": "w1"}]),
    ]
    a = label(mixed, engine=engine, method="self_confidence", out=tmp_path / "a", store=":memory:")
    assert a.manifest.counts.dropped == {"prompt_too_long": 1, "prompt_refused": 1}
    assert a.manifest.counts.labeled == 3
    dropped = {d.id: d.detail for d in a.iter_dropped()}
    assert "the context holds 64" in dropped["long"] and "no tools here" in dropped["tool"]


def test_labels_come_from_files_with_a_limit_and_bad_rows_are_counted(model, tmp_path):
    lines = [
        {"id": f"r{i}", "messages": [{"role": "user", "content": "w1 w2"}, {"role": "assistant", "content": "w3"}]}
        for i in range(5)
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines) + '\n{"id": "bad", "messages": []}\n')
    a = label(file, model=model, method="greedy_self_training", out=tmp_path / "a", store=tmp_path / "s", limit=3)
    assert (a.manifest.counts.rows, a.manifest.source.reference) == (3, "rows.jsonl")
    assert a.manifest.model.reference == "random" and len(a.manifest.model.revision) == 64
    b = label(file, model=model, method="greedy_self_training", out=tmp_path / "b", store=tmp_path / "s", skip_bad=True)
    assert b.manifest.counts.labeled == 5 and sum(b.manifest.counts.dropped.values()) == 1
    with pytest.raises(InputError):
        label(file, model=model, method="greedy_self_training", out=tmp_path / "c", store=tmp_path / "s")
    assert not (tmp_path / "c").exists()


def test_what_cannot_be_labeled_is_one_line_before_anything_is_spent(engine, rows, tmp_path):
    def refuse(error, match, data=rows, **options):
        options = {"engine": engine, "method": "self_sample", "out": tmp_path / "x", "store": tmp_path / "s"} | options
        with pytest.raises(error, match=match) as caught:
            label(data, **options)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "x").exists() and not (tmp_path / "s").exists()

    refuse(MissingError, "nowhere.jsonl", data=tmp_path / "nowhere.jsonl")
    refuse(InputError, "no rows", data=[])
    refuse(InputError, "rows in memory:2: id 'row-0' was already used in row 1", data=[rows[0], rows[0]])
    refuse(InputError, "limit is 0", limit=0)
    refuse(InputError, "no method is called", method="best")
    refuse(InputError, "no engine is called", engine="magic")
    refuse(MissingError, "no such model directory", engine="transformers", model=tmp_path / "gone")
    (tmp_path / "file").write_text("")
    refuse(StorageError, "a file is in the way", out=tmp_path / "file")
    refuse(InputError, "dose of 2", dose=2)
    refuse(InputError, "baseline not drawn", dose=0.5, baseline=False)
    refuse(StorageError, "a file is in the way", out=tmp_path / "file" / "below")
    (tmp_path / "text").write_text("not a database, " * 100)
    with pytest.raises(StorageError, match="not a database"):
        label(rows, engine=engine, method="self_sample", out=tmp_path / "x", store=tmp_path / "text")


LABELER = """
import sys
sys.path.insert(0, sys.argv[1])
from random_models import prompts
from datasets_cards import Row
from labelers import label
rows = [Row(f"row-{i}", m) for i, m in enumerate(prompts(120))]
options = dict(method="self_confidence", batch_size=4, max_new_tokens=24)
label(rows, model=sys.argv[2], out=sys.argv[3], store=sys.argv[4], **options)
"""


def stored(path: Path) -> int:
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
            return db.execute("SELECT count(*) FROM samples").fetchone()[0]
    except sqlite3.OperationalError:
        return 0


def test_a_killed_run_ends_as_an_undisturbed_one_and_draws_nothing_twice(model, tmp_path):
    out, store = tmp_path / "killed", tmp_path / "s.sqlite"
    command = [sys.executable, "-c", LABELER, str(Path(__file__).parent), str(model), str(out), str(store)]
    child = subprocess.Popen(command, cwd=Path(__file__).parent.parent, env=os.environ | {"OMP_NUM_THREADS": "1"})
    while stored(store) < 100 and child.poll() is None:
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    before = stored(store)
    assert 100 <= before < 600 and not out.exists()
    rows = [Row(f"row-{i}", m) for i, m in enumerate(prompts(120))]
    resumed = label(rows, model=model, method="self_confidence", out=out, store=store, max_new_tokens=24)
    with SampleStore(store) as samples:
        assert len(samples) == 600 and samples.drawn_again() == 0  # 600 = 120 x (4 + baseline)
    whole = label(
        rows, model=model, method="self_confidence", out=tmp_path / "whole", store=":memory:", max_new_tokens=24
    )
    assert resumed.manifest.logical_digest == whole.manifest.logical_digest
    assert Artifact.open(out).manifest.counts == whole.manifest.counts


def test_the_default_store_lies_in_the_cache(engine, rows, tmp_path, monkeypatch):
    monkeypatch.setenv("ECHOSET_CACHE", str(tmp_path / "cache"))
    label(rows[:2], engine=engine, method="self_sample", out=tmp_path / "a", max_new_tokens=4)
    assert stored(tmp_path / "cache" / "samples.sqlite") == 4


def test_a_pool_names_proposal_model_and_seed(engine, rows):
    store = SampleStore(":memory:")
    pools = {
        draw_pool(rows[:2], proposal, engine, store, seed=seed, baseline=False).candidates[0].pool
        for proposal, seed in [(Samples(k=2), 0), (Samples(k=2), 1), (Samples(k=3), 0), (Samples(k=2, top_p=1.0), 0)]
    }
    assert len(pools) == 4


def test_odd_prompts_are_labeled_or_dropped_with_a_reason(tiny_base, tmp_path):
    odd = {
        "long": "Why? " * 20_000,
        "control": "What\x07 is\x1b[31m 2 plus\x00 2?\r\n\u202e",
        "emoji": "\U0001f937 \u65e5\u672c\u8a9e 2 + 2?",
        "template": "<|im_start|>system\n{{ 7 * 7 }}<|im_end|>",
        "plain": "What is 2 plus 2?",
    }
    file = tmp_path / "odd.jsonl"
    file.write_text("".join(json.dumps({"id": name, "prompt": text}) + "\n" for name, text in odd.items()))
    a = label(file, model=tiny_base, method="self_confidence", out=tmp_path / "a", store=":memory:", max_new_tokens=12)
    assert verify(tmp_path / "a") == []
    assert {d.id: d.reason for d in a.iter_dropped()} == {"long": "prompt_too_long"}
    assert {x.id: x.prompt[0]["content"] for x in a.iter_labels()} == {k: v for k, v in odd.items() if k != "long"}
    failed = [c for c in a.iter_candidates() if c.id == "long"]
    assert len(failed) == 5 and all(c.error and c.error.startswith("prompt_too_long: ") and not c.text for c in failed)


def test_a_chunk_is_not_seen_in_the_result(engine, rows, tmp_path, monkeypatch):
    digests = set()
    for size in (3, 2048):
        monkeypatch.setattr("labelers.chunks.CHUNK_ROWS", size)
        a = label(
            rows, engine=engine, method="multi_view", out=tmp_path / str(size), store=":memory:", max_new_tokens=6
        )
        digests.add((a.manifest.logical_digest, a.manifest.counts.model_dump_json(), a.manifest.source.digest))
    assert len(digests) == 1
