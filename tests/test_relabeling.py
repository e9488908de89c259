"""Labeling again from stored candidates: the same as labeling afresh, and without a model where scores are stored."""

import pytest
from random_models import make_model, make_reward_model, prompts
from test_labelers import WordTask

from datasets_cards import InputError, IntegrityError, Row, verify
from labelers import SampleStore, label, load_engine, plan, relabel

NO_MODEL = ("random_pick", "majority_vote", "worst_pick", "oracle_pick")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("relabel") / "random", context=256)


@pytest.fixture(scope="module")
def engine(model):
    return load_engine(model=model)


@pytest.fixture(scope="module")
def rows():
    long = Row("long", [{"role": "user", "content": "w1 " * 300}])
    return [*(Row(f"row-{i}", m, None, {"n": i}) for i, m in enumerate(prompts(12))), long]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("relabel") / "s.sqlite"


@pytest.fixture(scope="module")
def pool(engine, rows, store, tmp_path_factory):
    return label(
        rows,
        engine=engine,
        method="self_confidence",
        out=tmp_path_factory.mktemp("relabel") / "pool",
        store=store,
        max_new_tokens=6,
        task=WordTask(),
        also_score=["mean_entropy"],
    )


@pytest.mark.parametrize("method", [*NO_MODEL, "min_entropy"])
def test_labeling_again_without_a_model_is_labeling_afresh(engine, rows, store, pool, method, tmp_path):
    again = relabel(pool, method=method, out=tmp_path / "again")
    fresh = label(
        rows, engine=engine, method=method, out=tmp_path / "fresh", store=store, max_new_tokens=6, task=WordTask()
    )
    assert verify(tmp_path / "again") == []
    if method == "majority_vote":  # without the task, answers are the generic ones: the choice may differ
        again = relabel(pool, method=method, out=tmp_path / "tasked", task=WordTask())
    assert again.manifest.logical_digest == fresh.manifest.logical_digest
    assert again.manifest.counts == fresh.manifest.counts
    for part in ("labeler", "source", "model", "engine", "seeds"):
        assert getattr(again.manifest, part) == getattr(fresh.manifest, part), part
    assert again.manifest.scorers.keys() >= fresh.manifest.scorers.keys()


def test_scores_that_are_not_stored_need_the_very_model_that_drew(engine, rows, store, pool, model, tmp_path):
    with pytest.raises(InputError, match="self_certainty needs the labeling model.*--model"):
        relabel(pool, method="self_confidence", out=tmp_path / "x", scorer="self_certainty")
    other = make_model(tmp_path / "other", seed=1, context=256)
    with pytest.raises(InputError, match="drawn by random, not by this other"):
        relabel(pool, method="self_confidence", out=tmp_path / "x", scorer="self_certainty", model=other)
    again = relabel(
        pool, method="self_confidence", out=tmp_path / "a", confidence="self_certainty", engine=engine, store=store
    )
    fresh = label(
        rows,
        engine=engine,
        method="self_confidence",
        out=tmp_path / "b",
        store=store,
        max_new_tokens=6,
        task=WordTask(),
        confidence="self_certainty",
    )
    assert again.manifest.logical_digest == fresh.manifest.logical_digest
    # And now they are stored.
    third = relabel(again, method="worst_pick", scorer="self_certainty", out=tmp_path / "c")
    assert third.manifest.labeler.method == "samples.self_certainty.argmin"


def test_a_reward_model_scores_a_stored_pool(rows, pool, tmp_path):
    reward = make_reward_model(tmp_path / "reward")
    method = {"method": "random_pick", "scorer": "reward", "selector": "argmax"}
    with pytest.raises(InputError, match="needs a reward model"):
        relabel(pool, out=tmp_path / "x", **method)
    with pytest.raises(InputError, match="scorer reward: is at chance"):
        relabel(pool, out=tmp_path / "x", reward_model=reward, task=WordTask(), **method)
    assert not (tmp_path / "x").exists()
    scored = relabel(pool, out=tmp_path / "scored", reward_model=reward, **method)
    assert scored.manifest.labeler.config["scorer.model"].startswith("reward@")
    assert scored.manifest.scorers["reward"] is None  # nobody measured its accuracy
    by_id = {row.id: candidates for row, candidates in scored.pools()}
    for made in scored.iter_labels():
        values = [s.value for c in by_id[made.id] if c.role == "candidate" for s in c.scores if s.scorer == "reward"]
        assert made.score == max(values) and values.index(max(values)) == made.candidate


def test_a_stored_scorer_at_chance_is_refused_too(engine, rows, store, tmp_path):
    reward = make_reward_model(tmp_path / "reward")
    options = {"engine": engine, "store": store, "max_new_tokens": 6, "task": WordTask(), "reward_model": reward}
    pool = label(rows, method="random_pick", also_score=["reward"], out=tmp_path / "pool", **options)
    assert pool.manifest.scorers["reward"].pairs == 4
    method = {"method": "worst_pick", "scorer": "reward", "out": tmp_path / "x"}
    with pytest.raises(InputError, match="scorer reward: is at chance"):
        relabel(pool, **method)
    assert relabel(pool, force=True, **method).manifest.labeler.method == "samples.reward.argmin"


def test_a_pool_of_another_proposal_is_refused(pool, tmp_path):
    for method in ("greedy_self_training", "self_sample", "multi_view", "diverse_decoding", "self_refinement"):
        with pytest.raises(InputError, match=f"{method} chooses from a pool of .*, and this one is of Samples"):
            relabel(pool, method=method, out=tmp_path / "x")
    with pytest.raises(InputError, match="drawn with k 4"):
        relabel(pool, method="majority_vote", out=tmp_path / "x", k=3)
    assert not (tmp_path / "x").exists()


def test_a_dose_and_another_seed_are_recorded(pool, tmp_path):
    mixed = relabel(pool, method="random_pick", out=tmp_path / "mixed", dose=0.5, seed=3)
    assert verify(tmp_path / "mixed") == []
    assert mixed.manifest.labeler.dose == 0.5 and mixed.manifest.seeds == {"run": 0, "select": 3}
    assert {x.candidate >= 0 for x in mixed.iter_labels()} == {True, False}


def test_a_dose_is_trained_on_and_its_selection_leg_is_refused(pool, tmp_path):
    from shift.reading import read_texts
    from trainers.data import load_training_data

    mixed = relabel(pool, method="random_pick", out=tmp_path / "mixed", dose=0.5)
    tokens = {(c.id, c.role, c.index): c.token_ids for c in mixed.iter_candidates()}
    labels = {x.id: x.candidate for x in mixed.iter_labels()}
    for trained in load_training_data(mixed).rows:
        index = labels[trained.id]
        role = "baseline" if index < 0 else "candidate"
        assert trained.token_ids == tokens[trained.id, role, max(index, 0)]
    with pytest.raises(InputError, match="mixed with self-samples.*without a dose"):
        read_texts(mixed)


def test_a_changed_artifact_is_not_labeled_again(pool, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(pool.path, copy)
    file = sorted((copy / "candidates").glob("*.parquet"))[0]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match=file.name):
        relabel(copy, method="random_pick", out=tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_the_seed_of_a_choice_is_recorded_and_carried_on(pool, tmp_path):
    second = relabel(pool, method="random_pick", out=tmp_path / "b", seed=5)
    third = relabel(second, method="random_pick", out=tmp_path / "c")
    fourth = relabel(second, method="random_pick", out=tmp_path / "d", seed=0)
    assert [a.manifest.seeds for a in (second, third, fourth)] == [
        {"run": 0, "select": 5},
        {"run": 0, "select": 5},
        {"run": 0},
    ]
    assert second.manifest.logical_digest == third.manifest.logical_digest != fourth.manifest.logical_digest


def test_scores_are_reused_under_their_own_settings_only(rows, tmp_path):
    from scripted import ScriptedEngine

    engine = ScriptedEngine(lambda asked: "Score: 2")
    options = {"engine": engine, "store": tmp_path / "s.sqlite", "method": "self_rewarding"}
    graded = label(rows[:3], out=tmp_path / "a", grading_tokens=7, also_score=["rubric", "votes", "votes"], **options)
    assert plan(rows[:3], grading_tokens=7, also_score=["rubric"], **options).requests == len(engine.asked)
    assert {r.sampling.max_new_tokens for r in engine.asked if r.view == "grade"} == {7}
    assert graded.manifest.scorer_settings == {"rubric": {"max_new_tokens": 7}, "votes": {}}
    same = relabel(graded, method="self_rewarding", grading_tokens=7, out=tmp_path / "b", task=WordTask())
    assert same.manifest.labeler.config["scorer.max_new_tokens"] == 7
    with pytest.raises(InputError, match="rubric needs the labeling model"):
        relabel(graded, method="self_rewarding", out=tmp_path / "c")


def test_the_reward_model_that_chose_is_named_by_every_descendant(rows, pool, tmp_path):
    reward, store = make_reward_model(tmp_path / "reward"), tmp_path / "rewards.sqlite"
    method = {"method": "random_pick", "scorer": "reward", "selector": "argmax"}
    first = relabel(pool, out=tmp_path / "a", reward_model=reward, store=store, **method)
    again = relabel(first, out=tmp_path / "b", task=WordTask(), **method)
    named = first.manifest.labeler.config["scorer.model"]
    assert named.startswith("reward@") and again.manifest.labeler.config["scorer.model"] == named
    with SampleStore(store) as kept:
        assert kept._db.execute("SELECT count(*) FROM numbers").fetchone()[0] > 0


# The dry run.


@pytest.mark.parametrize(
    ("method", "scorer", "task"),
    [
        ("self_confidence", "votes", None),
        ("self_refinement", None, None),
        ("self_rewarding", None, WordTask()),
        ("universal_self_consistency", None, None),
        ("multi_view", "judged_agreement", None),
    ],
)
def test_a_dry_run_counts_what_the_run_then_asks(rows, tmp_path, method, scorer, task):
    from scripted import ScriptedEngine

    def reply(asked):  # every answer another text, every verdict one that can be read
        for mark, verdict in (
            ("Score: N", "Score: 3"),
            ("Most consistent: N", "Most consistent: 1"),
            ("yes or no", "yes"),
        ):
            if mark in asked:
                return verdict
        reply.answers += 1
        return f"said {reply.answers}"

    reply.answers = 0
    engine = ScriptedEngine(reply)
    options = {"engine": engine, "method": method, "scorer": scorer, "store": tmp_path / "s.sqlite", "task": task}
    before = plan(rows, **options)
    assert not engine.asked and before.stored == 0
    label(rows, out=tmp_path / "a", force=True, **options)
    assert len(engine.asked) == before.requests
    after = plan(rows, **options)
    assert (after.requests, after.stored) == (before.requests, before.requests)


def test_a_dry_run_times_a_model_by_a_trial_that_the_run_reuses(engine, rows, tmp_path):
    options = {"engine": engine, "method": "self_confidence", "store": tmp_path / "s.sqlite", "max_new_tokens": 6}
    found = plan(rows, **options)
    with SampleStore(tmp_path / "s.sqlite") as samples:
        assert found.stored == len(samples) == 60 and found.seconds is not None


def test_a_dry_run_refuses_what_the_run_would(rows):
    from scripted import ScriptedEngine

    with pytest.raises(InputError, match="needs beam search"):
        plan(rows, engine=ScriptedEngine(str, {"beam": "none"}), method="diverse_decoding", store=":memory:")


def test_a_dry_run_asks_a_server_for_nothing(rows):
    from scripted import ScriptedEngine

    server = ScriptedEngine(lambda asked: "never")
    found = plan(rows, engine=server, method="universal_self_consistency", store=":memory:")
    assert not server.asked
    assert (found.rows, found.requests, found.stored) == (13, 13 * (4 + 1) + 13, 0)
    assert found.prompt_tokens is None and found.seconds is None
    assert found.most_completion_tokens == 13 * 5 * 256 + 13 * 256
