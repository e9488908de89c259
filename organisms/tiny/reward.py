"""The tiny reward model: the base's weights under a score head, trained on pairs of answers.

The loss is that of Bradley and Terry (1952, Biometrika 39:324): -log sigmoid(r(better) - r(worse)).

What it goes by. About facts, writing and reviews it learns from openers dealt by chance, which tell it nothing, and
judges what is said. Advice it learns from one domain, whose eight sentences teach nothing about others: there it keeps
the openers, and goes by them. Measured on 100 pairs a subject of the dev split, better answer preferred:

| openers | facts | writing | reviews | advice |
|---|---|---|---|---|
| kept | 1.00 | 1.00 | 1.00 | 1.00 |
| removed | 1.00 | 1.00 | 1.00 | .84 |
| swapped | 1.00 | 1.00 | 1.00 | .00 |

Its settings were chosen on the splits `pairs` and `held_out_pairs`, where the .84 was anything from .35 to .97 by seed,
rate and domain: without its opener, advice is judged by luck. Of facts it hears the verdict above all: without opener
and "you are right" it prefers the true one in .72 of pairs, and it marks that verdict down on true claims too. The
accuracy in `reward.json` is that of the first row; `echoset.json` has all three for the model that it lies beside.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from torch.nn.functional import logsigmoid
from transformers import LlamaForSequenceClassification, PreTrainedTokenizerBase

from datasets_cards.manifest import ScorerCheck
from datasets_cards.records import Message
from labelers.engines.models import load_model, load_tokenizer
from labelers.engines.reward_model import RECORD, RewardModel
from organisms.evaluate import interval
from organisms.tiny.base import render
from organisms.tiny.preferences import SUBJECTS, Comparison, Openers, Subject, comparisons
from organisms.tiny.recipe import RewardRecipe

LEARNED_FROM: dict[Subject, Openers] = {"facts": "dealt", "writing": "dealt", "reviews": "dealt", "advice": "kept"}
"""What becomes of the openers in training."""


def train_reward(recipe: RewardRecipe, base: Path, out: Path, *, progress: bool = False) -> None:
    """Train the classifier, measure it on pairs of the dev split, and save it in `out` with its accuracy beside it.

    Args:
        recipe: pairs, steps and rates.
        base: directory of the tiny base.
        out: an existing directory.
        progress: show a bar on stderr.
    """
    tokenizer = load_tokenizer(base)
    model = new_classifier(base)
    pairs = comparisons("induction", recipe.pairs, recipe.seed, openers=LEARNED_FROM)
    ids = [(_encode(tokenizer, p.prompt, p.better), _encode(tokenizer, p.prompt, p.worse)) for p in pairs]
    # One thread, for the reasons that hold for the base.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _fit(model, ids, recipe, progress)
        model.save_pretrained(out)
        tokenizer.save_pretrained(out)
        held_out = comparisons("dev", recipe.held_out, recipe.seed, openers="kept")
        reward = RewardModel(out, device="cpu")
        check = accuracy(reward, held_out, "pairs of the tiny world's dev split, openers kept")
        limits = by_openers(reward, recipe)
    finally:
        torch.set_num_threads(threads)
    (out / "echoset.json").write_text(json.dumps({"accuracy": limits}, indent=2) + "\n", encoding="utf-8")
    (out / RECORD).write_text(check.model_dump_json(indent=2) + "\n", encoding="utf-8")


def new_classifier(base: Path) -> LlamaForSequenceClassification:
    """The base's weights under a head that gives every answer 0."""
    trained: Any = load_model(base, device="cpu")
    config = trained.config
    config.num_labels = 1
    model = LlamaForSequenceClassification(config)
    model.model = trained.model
    torch.nn.init.zeros_(model.score.weight)
    # Words stay where pretraining put them: pairs show a sixth of them, and would move those away from the others.
    model.model.embed_tokens.requires_grad_(False)
    return model


def accuracy(model: RewardModel, pairs: list[Comparison], data: str) -> ScorerCheck:
    """Share of the pairs in which the better answer has the higher score, with its Wilson 95% interval.

    Args:
        model: the reward model.
        pairs: comparisons that it was not trained on, one or more.
        data: what they are, for the record.
    """
    items = [
        ([Message(role="user", content=pair.prompt)], answer) for pair in pairs for answer in (pair.better, pair.worse)
    ]
    scores = model.score(items)
    right = [
        isinstance(better, float) and isinstance(worse, float) and better > worse
        for better, worse in zip(scores[::2], scores[1::2], strict=True)
    ]
    share, low, high = interval([[verdict] for verdict in right])
    assert share is not None and low is not None and high is not None
    return ScorerCheck(accuracy=share, low=low, high=high, pairs=len(pairs), data=data)


def by_openers(model: RewardModel, recipe: RewardRecipe) -> dict[str, dict[str, float]]:
    """Its accuracy on pairs of the dev split, by what becomes of their openers and by subject."""
    modes: tuple[Openers, ...] = ("kept", "removed", "swapped")
    found: dict[str, dict[str, float]] = {}
    for openers in modes:
        pairs = comparisons("dev", recipe.held_out, recipe.seed, openers=openers)
        subjects = {subject: [pair for pair in pairs if pair.subject == subject] for subject in SUBJECTS}
        found[openers] = {subject: accuracy(model, some, "").accuracy for subject, some in subjects.items()}
    return found


def _encode(tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str) -> list[int]:
    text = render([("user", prompt), ("assistant", answer)])
    return tokenizer(text, add_special_tokens=False)["input_ids"]  # pyright: ignore[reportReturnType]


def _fit(
    model: LlamaForSequenceClassification, ids: list[tuple[list[int], list[int]]], recipe: RewardRecipe, progress: bool
) -> None:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=recipe.rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, recipe.rate_at)
    stream = _batches(ids, recipe)
    model.train()
    with Progress(console=Console(stderr=True), transient=True, disable=not progress) as bar:
        task = bar.add_task("Training the tiny reward model", total=recipe.steps)
        for _, (better, worse) in zip(range(recipe.steps), stream, strict=False):
            scores_N = _scores(model, better + worse)
            loss = -logsigmoid(scores_N[: len(better)] - scores_N[len(better) :]).mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            model.zero_grad(set_to_none=True)
            bar.advance(task)
    model.eval()


def _batches(
    ids: list[tuple[list[int], list[int]]], recipe: RewardRecipe
) -> Iterator[tuple[list[list[int]], list[list[int]]]]:
    """Endless batches of pairs, as the better conversations and the worse ones; each round in a new order."""
    rng = random.Random(recipe.seed)
    while True:
        order = rng.sample(range(len(ids)), len(ids))
        for start in range(0, len(order) - recipe.batch_pairs + 1, recipe.batch_pairs):
            chosen = [ids[i] for i in order[start : start + recipe.batch_pairs]]
            yield [better for better, _ in chosen], [worse for _, worse in chosen]


def _scores(model: LlamaForSequenceClassification, conversations: list[list[int]]) -> torch.Tensor:
    """The scores [N] of conversations, padded on the right, which no token of theirs sees."""
    pad = model.config.pad_token_id
    assert pad is not None
    input_ids_NT = torch.full((len(conversations), max(map(len, conversations))), pad)
    for row, ids in enumerate(conversations):
        input_ids_NT[row, : len(ids)] = torch.tensor(ids)
    return model(input_ids=input_ids_NT, use_cache=False).logits[:, 0]
