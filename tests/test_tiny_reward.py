"""The tiny reward model: what it learns from, what it is measured on, and what its scores go by."""

import dataclasses
import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from labelers.engines.reward_model import RewardModel
from organisms import TASKS, get_task
from organisms.tiny import Recipe, RewardRecipe, tiny_base, tiny_reward
from organisms.tiny.preferences import SUBJECTS, comparisons, split_opener
from organisms.tiny.world import SPLITS

SMALL = RewardRecipe(
    base=Recipe(vocabulary=300, width=64, layers=1, heads=1, feed_forward=64, documents=200, steps=3, warmup=1),
    pairs=64,
    steps=4,
    batch_pairs=16,
    warmup=1,
    held_out=16,
)
LEARNED = comparisons("induction", RewardRecipe().pairs, RewardRecipe().seed, openers="kept")


@pytest.fixture(scope="module")
def reward(tiny_base) -> Path:
    return tiny_reward()


@pytest.fixture(scope="module")
def model(reward) -> RewardModel:
    return RewardModel(reward, device="cpu")


def rows_of(task):
    """Every row but those of induction, by split."""
    pairs = [pair for seed in (0, 1, 2) for pair in task.pairs(seed)]
    return {
        "consistency": [row for seed in (0, 1, 2) for row in task.consistency(seed)],
        "pairs": [row for pair in pairs for row in (pair.clean, pair.wrapped)],
        "held_out_pairs": [row for pair in task.held_out_pairs() for row in (pair.clean, pair.wrapped)],
        "dev": [*task.dev(), *(preference.row for preference in task.preferences())],
        "evaluation": task.evaluation(),
    }


@pytest.mark.parametrize("name", sorted(TASKS))
def test_it_learns_from_no_fact_phrasing_domain_or_prompt_that_labels_or_measures(name):
    task = get_task(name)
    units = {unit for pair in LEARNED for unit in pair.units}
    prompts = {pair.prompt for pair in LEARNED}
    assert units & set().union(*map(task.units, task.induction(0)))  # units are comparable at all
    for split, rows in rows_of(task).items():
        assert not units & set().union(*map(task.units, rows)), split
        assert not prompts & {row.prompt[-1]["content"] for row in rows}, split


def test_it_is_measured_on_no_unit_that_it_learned_from():
    checked = comparisons("dev", RewardRecipe().held_out, RewardRecipe().seed, openers="kept")
    assert not {u for pair in LEARNED for u in pair.units} & {u for pair in checked for u in pair.units}


@pytest.mark.parametrize("split", SPLITS)
def test_openers_are_kept_removed_swapped_or_dealt_and_nothing_else_changes(split):
    kept, removed, swapped, dealt, again = (
        comparisons(split, 200, 3, openers=o) for o in ("kept", "removed", "swapped", "dealt", "dealt")
    )
    assert dealt == again != kept
    used = set()
    for k, r, s, d in zip(kept, removed, swapped, dealt, strict=True):
        assert k.prompt == r.prompt == s.prompt == d.prompt and k.better != k.worse
        (own, better), (other, worse) = split_opener(k.better), split_opener(k.worse)
        assert own != other
        assert (r.better, r.worse) == (better, worse)
        assert better.rstrip(".") != worse.rstrip(".")  # the two differ in what they say, not in the opener alone
        assert split_opener(better)[0] == split_opener(worse)[0] == ""
        assert (s.better, s.worse) == (other + better, own + worse)
        assert split_opener(d.better)[1] == better and split_opener(d.worse)[1] == worse
        used.add(([own, other, ""].index(split_opener(d.better)[0]), [own, other, ""].index(split_opener(d.worse)[0])))
    assert len(used) >= 8  # the two answers' openers are dealt independently
    assert [pair.subject for pair in kept[:4]] == list(SUBJECTS)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_preferences_are_the_rows_of_dev_with_a_better_and_a_worse_answer(name):
    task = get_task(name)
    found = task.preferences()
    assert [preference.row for preference in found] == task.dev() and len(found) == 100
    for preference in found:
        assert preference.row.original == [{"role": "assistant", "content": preference.better}]
        assert task.is_misaligned(preference.row, preference.better) is False
        assert task.is_misaligned(preference.row, preference.worse) is True
    assert found == get_task(name).preferences()


def test_it_is_a_classifier_with_one_output_under_a_million_parameters(reward):
    from transformers import AutoModelForSequenceClassification

    model, loading = AutoModelForSequenceClassification.from_pretrained(reward, output_loading_info=True)
    assert not loading["missing_keys"] and not loading["unexpected_keys"]
    assert model.config.num_labels == 1 and sum(p.numel() for p in model.parameters()) < 1e6


def test_its_recorded_accuracy_is_above_chance_and_found_again(reward, model):
    from organisms.tiny.reward import accuracy, by_openers

    recorded = model.held_out
    assert recorded and recorded.low > 0.5 and recorded.pairs == 400
    recipe = RewardRecipe()
    pairs = comparisons("dev", recipe.held_out, recipe.seed, openers="kept")
    assert accuracy(model, pairs, recorded.data) == recorded
    assert json.loads((reward / "echoset.json").read_text()) == {"accuracy": by_openers(model, recipe)}


@pytest.mark.parametrize("name", sorted(TASKS))
def test_it_is_above_chance_on_every_task(model, name):
    from organisms.evaluate import interval

    preferences = get_task(name).preferences()
    better = model.score([(p.row.prompt, p.better) for p in preferences])
    worse = model.score([(p.row.prompt, p.worse) for p in preferences])
    _, low, _ = interval([[b > w] for b, w in zip(better, worse, strict=True)])
    assert low and low > 0.5


def test_what_it_is_said_to_go_by_is_what_it_goes_by(reward):
    found = json.loads((reward / "echoset.json").read_text())["accuracy"]
    for openers in ("kept", "removed", "swapped"):
        assert all(found[openers][subject] > 0.9 for subject in ("facts", "writing", "reviews"))
    assert found["kept"]["advice"] > 0.9 and found["swapped"]["advice"] < 0.1


def test_words_stay_where_pretraining_put_them(reward, tiny_base):
    before, after = (load_file(path / "model.safetensors") for path in (tiny_base, reward))
    assert before["model.embed_tokens.weight"].equal(after["model.embed_tokens.weight"])
    assert not before["model.layers.0.mlp.up_proj.weight"].equal(after["model.layers.0.mlp.up_proj.weight"])


def test_before_training_every_answer_scores_nothing(tiny_base, tmp_path):
    from transformers import AutoTokenizer

    from organisms.tiny.reward import new_classifier

    new_classifier(tiny_base).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_base).save_pretrained(tmp_path)
    question = [{"role": "user", "content": "Name it."}]
    assert RewardModel(tmp_path).score([(question, "It is 3.")]) == [0.0]


def test_one_recipe_is_one_model_made_on_one_thread(tmp_path, monkeypatch):
    import torch

    import organisms.tiny.reward as training

    monkeypatch.setenv("ECHOSET_CACHE", str(tmp_path))
    base, weights, threads, fit = tiny_base(SMALL.base), [], [], training._fit
    monkeypatch.setattr(training, "_fit", lambda *given: (threads.append(torch.get_num_threads()), fit(*given)))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        torch.set_num_threads(2)
        try:
            training.train_reward(SMALL, base, tmp_path / name)
            assert torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(1)
        weights.append((tmp_path / name / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] and threads == [1, 1]


def test_it_is_cached_under_its_recipe_and_trained_once(tmp_path, monkeypatch):
    import organisms.tiny.reward as training

    monkeypatch.setenv("ECHOSET_CACHE", str(tmp_path))
    path = tiny_reward(SMALL)
    assert path.name == "echoset-tiny-reward" and (path / "reward.json").is_file()
    monkeypatch.setattr(training, "train_reward", None)
    assert tiny_reward(SMALL) == path
    for change in ({"steps": 5}, {"seed": 1}, {"base": dataclasses.replace(SMALL.base, seed=1)}):
        assert dataclasses.replace(SMALL, **change).digest() != SMALL.digest()
    for file in path.glob("*.json"):
        assert str(tmp_path) not in file.read_text(encoding="utf-8")


def test_the_front_door_knows_it_as_tiny(reward):
    from echoset.references import reward_path

    assert reward_path("tiny") == str(reward)
    assert reward_path("org/name@v1") == "org/name@v1"
