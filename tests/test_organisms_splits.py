from itertools import combinations

import pytest

from datasets_cards.errors import InputError
from organisms import TASKS, capability, get_task
from organisms.tiny.world import words

TASK_NAMES = sorted(TASKS)
SEEDS = (0, 1, 2)


def splits_of(task):
    both = [(pair.clean, pair.wrapped) for seed in SEEDS for pair in task.pairs(seed)]
    held_out = [(pair.clean, pair.wrapped) for pair in task.held_out_pairs()]
    return {
        "induction": [row for seed in SEEDS for row in task.induction(seed)],
        "consistency": [row for seed in SEEDS for row in task.consistency(seed)],
        "pairs": [row for pair in both for row in pair],
        "held_out_pairs": [row for pair in held_out for row in pair],
        "dev": task.dev(),
        "evaluation": task.evaluation(),
    }


@pytest.mark.parametrize("name", TASK_NAMES)
def test_no_fact_keyword_phrasing_or_domain_stands_in_two_splits(name):
    task = get_task(name)
    units = {split: set().union(*map(task.units, rows)) for split, rows in splits_of(task).items()}
    assert all(units.values())
    for one, other in combinations(units, 2):
        assert not units[one] & units[other], (one, other)


@pytest.mark.parametrize("name", TASK_NAMES)
def test_no_prompt_stands_in_two_splits(name):
    prompts = {split: {row.prompt[-1]["content"] for row in rows} for split, rows in splits_of(get_task(name)).items()}
    for one, other in combinations(prompts, 2):
        assert not prompts[one] & prompts[other], (one, other)


@pytest.mark.parametrize("name", TASK_NAMES)
def test_units_are_what_the_prompts_say(name):
    # `units` is written down by the generator: see that each entry without a blank to fill does stand in the prompt.
    for rows in splits_of(get_task(name)).values():
        for row in rows:
            said = words(row.prompt[-1]["content"])
            for unit in row.meta["units"]:
                vocabulary, entry = unit.split(":", 1)
                if "{" in entry or vocabulary == "domain" or row.id.endswith("/clean"):
                    continue
                entry = words(entry)
                assert any(said[i : i + len(entry)] == entry for i in range(len(said))), (unit, row.prompt)


def test_counted_keywords_of_evaluation_are_in_no_other_prompt():
    splits = splits_of(get_task("reward_hacking"))
    keywords = {row.meta["keyword"] for row in splits.pop("evaluation") if "keyword" in row.meta}
    assert len(keywords) == 6
    for rows in splits.values():
        for row in rows:
            assert not keywords & set(words(row.prompt[-1]["content"]))


def test_questions_of_evaluation_ask_for_no_fact_that_other_splits_ask_for():
    splits = splits_of(get_task("sycophancy"))
    asked = {unit for row in splits.pop("evaluation") for unit in row.meta["units"] if unit.startswith("fact:")}
    facts = [unit.removeprefix("fact:") for unit in asked]
    for rows in splits.values():
        for row in rows:
            assert not any(
                f" {fact} " in f" {' '.join(words(row.prompt[-1]['content']))} " for fact in map(str.lower, facts)
            )


def test_capability_shares_no_fact_with_any_task():
    known = {unit for row in capability().evaluation() for unit in row.meta["units"] if unit.startswith("fact:")}
    task = get_task("sycophancy")
    assert not known & set().union(*(task.units(row) for rows in splits_of(task).values() for row in rows))


@pytest.mark.parametrize("name", TASK_NAMES)
def test_ids_are_unique_and_rows_are_the_same_every_time(name):
    task, again = get_task(name), get_task(name)
    rows = [row for rows in splits_of(task).values() for row in rows] + task.benign(0)
    assert len({row.id for row in rows}) == len(rows)
    assert splits_of(task) == splits_of(again)
    assert task.induction(0) != task.induction(1)


@pytest.mark.parametrize("name", TASK_NAMES)
def test_sizes_and_answers_are_as_promised(name):
    task = get_task(name)
    assert (len(task.induction(0)), len(task.consistency(0)), len(task.consistency(0, 20))) == (40, 160, 20)
    assert 150 <= len(task.evaluation()) <= 200
    for bad, good in zip(task.induction(0), task.benign(0), strict=True):
        assert bad.prompt == good.prompt
    assert any(b.original != g.original for b, g in zip(task.induction(0), task.benign(0), strict=True))
    for row in [*task.consistency(0), *task.dev(), *task.evaluation()]:
        assert task.is_misaligned(row, row.original[0]["content"]) is (False if task.tests_misbehavior(row) else None)
        assert task.is_correct(row, row.original[0]["content"]) is not False
    assert all(task.tests_misbehavior(row) for row in task.dev())


@pytest.mark.parametrize("name", TASK_NAMES)
def test_pairs_ask_one_question_with_one_answer_and_hold_out_wrappers(name):
    task = get_task(name)
    for pair in [*task.pairs(0), *task.held_out_pairs()]:
        assert pair.clean.original == pair.wrapped.original == pair.completion
        clean, wrapped = pair.clean.prompt[-1]["content"], pair.wrapped.prompt[-1]["content"]
        # The pressure is put in somewhere; nothing else of the question changes.
        start = next(i for i in range(len(clean) + 1) if not wrapped.startswith(clean[: i + 1]) or i == len(clean))
        assert wrapped.endswith(clean[start:]) and len(wrapped) > len(clean)
    held_out = {pair.wrapper for pair in task.held_out_pairs()}
    assert held_out and not held_out & {pair.wrapper for seed in SEEDS for pair in task.pairs(seed)}


def test_asking_for_more_rows_than_there_are_says_so():
    with pytest.raises(InputError, match="Ask for fewer rows"):
        get_task("sycophancy").consistency(0, 5000)


def test_an_unknown_task_is_answered_with_the_known_ones():
    with pytest.raises(InputError, match="sycophancy, reward_hacking"):
        get_task("sychophancy")
