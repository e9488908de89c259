"""Scorers on candidates made by hand: what they ask, how replies are read, what becomes of odd ones."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_models import make_model, make_reward_model
from scripted import ScriptedEngine, candidate, failed, row

from datasets_cards import InputError, Row
from labelers import (
    SCORERS,
    SampleStore,
    Tools,
    crossed,
    draw_pool,
    load_engine,
    make_method,
    score_candidates,
    select,
)
from labelers.accuracy import check_scorer, held_out_accuracy
from labelers.engines.reward_model import RewardModel
from labelers.sampler import Sampler
from labelers.scorers import (
    Agreement,
    JudgedAgreement,
    MeanEntropy,
    MeanLogprob,
    MostConsistent,
    Reward,
    Rubric,
    SelfCertainty,
    SimilarityAgreement,
    Votes,
)
from labelers.scorers.consistency import parse_choice
from labelers.scorers.protocol import fill, question
from labelers.scorers.rubric import parse_grade


def scores(pool, scorer, tools=None, rows=None):
    score_candidates(rows or [row()], pool, scorer, tools)
    return [[(s.value, s.reason) for s in c.scores] for c in pool]


@dataclass
class Pair:
    row: Row
    better: str
    worse: str


class Task:
    """Good answers hold the word good."""

    name = "words"
    rubric = "How good is {answer} to {question}?"

    def extract_answer(self, row, text):
        return text.split()[-1] if text else None

    def is_misaligned(self, row, text):
        return "bad" in text if text else None

    def preferences(self):
        return [Pair(row(f"p{i}", f"q{i}"), f"good {i}", f"bad {i}") for i in range(20)]


def test_mean_logprob_says_why_there_is_none():
    pool = [
        candidate(0, (5, 6), -4.0),
        candidate(1, (), None),
        candidate(2, (), 0.0, token_count=0),
        candidate(3, (), -9.0, token_count=3),  # a server that counts tokens without naming them
        candidate(4, (), -9.0),
        failed(5),
    ]
    assert scores(pool, MeanLogprob()) == [
        [(-2.0, None)],
        [(None, "the engine gives no log-probability")],
        [(None, "no tokens")],
        [(-3.0, None)],
        [(None, "the engine doesn't say how many tokens")],
        [(None, pool[5].error)],
    ]


@pytest.mark.parametrize(
    ("reply", "grade"),
    [
        ("It is sound.\nScore: 4", 4.0),
        ("**Score: 3.5**", 3.5),
        ("score = 0/5", 0.0),
        ("Score: 5.\nScore: 5", 5.0),
        ("Score: 4\nOn reflection\nScore: 2", None),
        ("Score: 7", None),
        ("Score: -1", None),
        ("Score: four", None),
        ("I would give it a score: 4 for effort and more besides", None),
        ("Four out of five, which is to say 4/5.", None),
        ("", None),
    ],
)
def test_a_grade_is_read_strictly(reply, grade):
    assert parse_grade(reply) == grade


@given(st.text())
def test_no_reply_makes_the_parsers_fail(text):
    assert parse_grade(text) is None or 0 <= parse_grade(text) <= 5
    assert parse_choice(text, 3) in (None, 0, 1, 2)


def test_a_judge_that_answers_essays_leaves_no_score_and_its_text_is_kept():
    essay = "What a fine question. Grading is subtle. " * 50
    engine = ScriptedEngine(lambda asked: {"one": "Score: 2", "two": essay, "three": None, "{answer}": "Score: 5"}[
        asked.split("Answer: ")[1].split("\nEnd with")[0]
    ])  # fmt: skip
    pool = [candidate(i, text=t) for i, t in enumerate(["one", "two", "three", "{answer}"])]
    pool += [candidate(0, role="draft", text="a draft is not graded"), failed(4)]
    found = scores(pool, Rubric(), Tools(engine.sampler()))
    assert found[0] == [(2.0, None)] and found[3] == [(5.0, None)] and found[4] == []
    assert found[1] == [(None, f"no grade in the reply: {essay}")]
    assert found[2] == [(None, "no grade in the reply: server_error: 500")] and found[5] == [(None, pool[5].error)]
    request = engine.asked[0]
    assert (request.sampling.temperature, request.sampling.max_new_tokens, request.view) == (0.0, 512, "grade")
    assert request.messages[0]["content"].startswith("Grade from 0 to 5") and "Question: q\n" in str(
        request.messages[0]["content"]
    )
    labels, dropped = select([row()], pool, make_method("self_rewarding"))
    assert labels[0].candidate == 3
    labels, dropped = select([row()], pool[1:3], make_method("self_rewarding"))
    assert (dropped[0].reason, dropped[0].detail) == ("no_score", found[1][0][1])


def test_the_rubric_is_the_tasks_and_a_conversation_is_shown_whole():
    engine = ScriptedEngine(lambda asked: "Score: 1")
    several = Row("a", [{"role": "system", "content": "s {answer}"}, {"role": "user", "content": "q"}])
    scores([candidate(0, text="x")], Rubric(), Tools(engine.sampler(), Task()), [several])
    asked = engine.asked[0].messages[0]["content"]
    assert asked.startswith("How good is x to System: s {answer}\nUser: q?")
    assert question([{"role": "user", "content": "just this"}]) == "just this"
    assert fill("{a} {b} {c}", a="{b}", b="2") == "{b} 2 {c}"


@pytest.mark.parametrize(
    ("reply", "choice"),
    [
        ("Most consistent: 2", 1),
        ("They differ.\n**Most consistent: Answer 3**", 2),
        ("most consistent = 1.", 0),
        ("Most consistent: 4", None),
        ("Most consistent: 0", None),
        ("Most consistent: 1\nMost consistent: 2", None),
        ("The first one.", None),
    ],
)
def test_universal_self_consistency_takes_what_the_model_names(reply, choice):
    engine = ScriptedEngine(lambda asked: reply)
    pool = [candidate(i, text=f"t{i}") for i in range(3)]
    found = scores(pool, MostConsistent(), Tools(engine.sampler()))
    assert "Answer 1: t0" in engine.asked[0].messages[0]["content"]
    labels, dropped = select([row()], pool, make_method("universal_self_consistency"))
    if choice is None:
        assert dropped[0].reason == "no_score" and all(s == [(None, f"no choice in the reply: {reply}")] for s in found)
    else:
        assert labels[0].candidate == choice
        assert [s[0][0] for s in found] == [float(i == choice) for i in range(3)]


def test_one_candidate_alone_is_not_asked_about():
    engine = ScriptedEngine(lambda asked: "never")
    assert scores([candidate(0), failed(1)], MostConsistent(), Tools(engine.sampler()))[0] == [(1.0, None)]
    assert not engine.asked


def test_votes_count_the_answers_of_candidates_only():
    pool = [candidate(0, text="a 7"), candidate(1, text="b 7"), candidate(2, text=""), candidate(3, text="c 8")]
    pool.append(candidate(0, role="draft", text="d 8"))
    found = scores(pool, Votes(), Tools(task=Task()))
    assert found == [[(2.0, None)], [(2.0, None)], [(None, "no answer in the text")], [(1.0, None)], []]


def test_agreement_by_the_model_asks_about_each_other_completion():
    same = {("plain", "step"): "Yes.", ("plain", "json"): "no"}

    def reply(asked):
        first, second = (asked.split(f"{nth} answer: ")[1].split("\n")[0] for nth in ("First", "Second"))
        return same[first, second]

    pool = [candidate(0, text="plain"), candidate(1, role="view", text="step"), candidate(2, role="view", text="json")]
    engine = ScriptedEngine(reply)
    assert scores(pool, JudgedAgreement(), Tools(engine.sampler())) == [[(1.0, None)], [], []]
    assert len(engine.asked) == 2
    method = crossed(make_method("multi_view"), scorer="judged_agreement")
    assert select([row()], pool, method)[0][0].candidate == 0
    same["plain", "json"] = "It depends on what one means by the same."
    found = scores(pool, JudgedAgreement(), Tools(ScriptedEngine(reply).sampler()))
    assert found[0] == [(None, f"the judge said neither yes nor no: {same['plain', 'json']}")]
    assert select([row()], pool, method)[1][0].reason == "no_answer"


def test_agreement_by_similarity_counts_what_is_close(tiny_base):
    from organisms.tiny import tiny_embedder

    texts = ["The capital of France is Paris.", "The capital of France is Paris!", "three plus four is seven"]
    pool = [candidate(i, text=t) for i, t in enumerate(texts)]
    tools = Tools(embedder=str(tiny_embedder()))
    assert [s[0][0] for s in scores(pool, SimilarityAgreement(), tools)] == [1.0, 1.0, 0.0]
    assert [s[0][0] for s in scores(pool, SimilarityAgreement(threshold=-1.0), tools)] == [2.0, 2.0, 2.0]


def test_agreement_compares_normalized_answers():
    pool = [candidate(0, text="It is 7."), candidate(1, text="7"), candidate(2, text='{"answer": 8}'), failed(3)]
    found = scores(pool, Agreement())
    assert found == [[(1.0, None)], [(1.0, None)], [(0.0, None)], [(None, pool[3].error)]]


# What is refused before anything is spent.


def test_what_is_not_at_hand_is_refused_with_the_remedy():
    for scorer, match in [
        ("reward", "reward needs a reward model. Name one .--reward-model"),
        ("rubric", "rubric needs the labeling model"),
        ("similarity_agreement", "needs a sentence embedder"),
        ("mean_entropy", "needs the labeling model"),
    ]:
        with pytest.raises(InputError, match=match):
            score_candidates([row()], [candidate(0)], SCORERS[scorer]())
    engine = ScriptedEngine(str, {"logprob": "this server gives none", "uncertainty": "nor those", "beam": "nor beams"})
    for method, match in [
        ("self_confidence", "needs log-probabilities of what was drawn.*this server gives none"),
        ("min_entropy", "needs whole next-token distributions.*nor those"),
        ("diverse_decoding", "needs beam search.*nor beams"),
    ]:
        with pytest.raises(InputError, match=match):
            Tools(engine.sampler()).check(make_method(method).needs, method)
    Tools(engine.sampler()).check(make_method("majority_vote").needs, "majority_vote")


def good(asked):
    return "Score: 5" if "good" in asked.split("How ")[1][8:] else "Score: 1"


@pytest.mark.parametrize(
    ("reply", "accuracy", "unscored"),
    [
        (good, 1.0, 0),
        (lambda asked: "Score: 1" if "good" in asked.split("How ")[1][8:] else "Score: 5", 0.0, 0),
        (lambda asked: "Score: 3", 0.5, 0),
        (lambda asked: "I can't say.", 0.5, 20),
    ],
)
def test_a_scorer_at_chance_is_refused_unless_forced(reply, accuracy, unscored):
    tools = Tools(ScriptedEngine(reply).sampler(), Task())
    check, missing = held_out_accuracy(Rubric(), Task().preferences(), tools, "words")
    assert (check.accuracy, check.pairs, missing) == (accuracy, 20, unscored)
    assert check.low <= accuracy <= check.high
    if accuracy == 1:
        assert check.low == pytest.approx(20 / (20 + 1.959964**2), abs=1e-6)  # Wilson's lower end where all are right
        assert check_scorer(Rubric(), tools) == {
            "rubric": check.model_copy(update={"data": "words, held-out preferences"})
        }
    else:
        with pytest.raises(InputError, match="scorer rubric: is at chance.*--force"):
            check_scorer(Rubric(), tools)
        assert check_scorer(Rubric(), tools, force=True)["rubric"].accuracy == accuracy


def test_scorers_that_do_not_judge_are_not_checked():
    assert check_scorer(Votes(), Tools(task=Task())) == {"votes": None}
    assert check_scorer(None, Tools(task=Task())) == {}
    with pytest.raises(InputError, match="no pairs"):
        held_out_accuracy(Votes(), [], Tools(), "nothing")


def test_the_self_sample_has_no_scores_and_keeps_out_of_votes():
    pool = [candidate(0, text="7"), candidate(0, role="baseline", text="7")]
    assert scores(pool, Votes()) == [[(1.0, None)], []]
    assert scores(pool, MeanLogprob())[1] == []


# What proposals do where an engine can't.


def test_what_was_drawn_under_another_prompt_has_no_log_probability_unless_it_can_be_scored():
    engine = ScriptedEngine(str, {"score": "this server can't"}, logprob=-1.0)
    for method, others in (("multi_view", {"step_by_step", "json"}), ("self_refinement", {"refine"})):
        drawn = draw_pool([row()], make_method(method).proposal, engine).candidates
        assert {c.view for c in drawn if c.logprob is None} == others
        assert all(c.logprob == -1.0 for c in drawn if c.view == "plain")


def test_a_draft_that_failed_is_not_refined():
    engine = ScriptedEngine(lambda asked: None if asked == "q" else "better", {"score": "no"})
    rows, method = [row(), row("b", "r")], make_method("self_refinement")
    drawn = draw_pool(rows, method.proposal, engine, baseline=False).candidates
    assert [(c.id, c.role, c.view, c.text, c.error) for c in drawn] == [
        ("a", "candidate", "refine", "", "server_error: 500"),
        ("a", "draft", "plain", "", "server_error: 500"),
        ("b", "candidate", "refine", "better", None),
        ("b", "draft", "plain", "better", None),
    ]
    assert [len(request.messages) for request in engine.asked] == [1, 1, 3]
    labels, dropped = select(rows, drawn, method)
    assert [x.id for x in labels] == ["b"] and dropped[0].reason == "server_error"


def test_rewards_are_computed_once_and_kept(tmp_path):
    reward = RewardModel(make_reward_model(tmp_path / "reward"))
    engine, asked, score = ScriptedEngine(str), [], reward.score
    reward.score = lambda items: asked.extend(items) or score(items)
    tools = Tools(engine.sampler(), reward=reward)
    pool = [candidate(i, text=f"w{i % 2}") for i in range(3)]
    first = scores(pool, Reward(), tools)
    assert len(asked) == 2 and first[0] == first[2] != first[1]
    assert scores(pool, Reward(), tools) == first and len(asked) == 2
    assert scores(pool, Reward(), Tools(reward=reward)) == first and len(asked) == 5


def test_uncertainty_is_the_engines(tmp_path):
    engine = load_engine(model=make_model(tmp_path / "model"))
    tools = Tools(Sampler(engine, SampleStore(":memory:")))
    pool = [candidate(0, (7, 8, 1)), candidate(1, (9, 1)), candidate(2, ())]
    truth = engine.uncertainty([(row().prompt, c.token_ids) for c in pool[:2]])
    for scorer, values in (
        (MeanEntropy(), [u.entropy for u in truth]),
        (SelfCertainty(), [u.self_certainty for u in truth]),
    ):
        found = scores(pool, scorer, tools)
        assert [f[-1][0] for f in found[:2]] == pytest.approx(values, abs=1e-6)
        assert found[2][-1] == (None, "no tokens")


def test_an_engine_is_not_given_options_it_does_not_have(tmp_path):
    with pytest.raises(InputError, match="transformers engine has no concurrency"):
        load_engine(model=tmp_path, concurrency=4)
    for wrong, match in (({"concurrency": 0}, "concurrency of 0"), ({"timeout": 0.0}, "timeout of 0.0 seconds")):
        with pytest.raises(InputError, match=match):
            load_engine("openai", "m", base_url="http://localhost:1/v1", **wrong)


def test_an_agreement_filter_goes_by_agreement_only():
    with pytest.raises(InputError, match="keep_if_agrees goes by a count of agreement, which votes is not"):
        crossed(make_method("multi_view"), scorer="votes")


def test_a_part_that_a_method_has_already_keeps_its_settings():
    assert crossed(make_method("rejection_sampling"), proposal="samples").proposal.top_p == 1.0
    assert crossed(make_method("self_sample"), proposal="samples", selector="uniform").proposal.temperature == 1.0
    assert crossed(make_method("self_rewarding", grading_tokens=7), scorer="rubric").scorer.max_new_tokens == 7


def test_refined_answers_can_only_be_ranked_by_an_engine_that_scores():
    method = crossed(make_method("self_refinement"), scorer="mean_logprob", selector="argmax")
    engine = ScriptedEngine(str, {"score": "it can't"})
    with pytest.raises(InputError, match="needs log-probabilities of a given completion"):
        Tools(engine.sampler()).check(method.needs, method.name)
