"""The base model of the tiny world: a byte-level BPE, a Llama of under a million parameters, and its training.

Muon on the hidden matrices and AdamW elsewhere reach a loss in 200 steps for which AdamW alone takes twice as many. The
loss falls on the assistant's tokens. A batch holds documents of similar length, so that little of it is padding.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from organisms.tiny.pretraining import Message, documents
from organisms.tiny.recipe import Recipe

PAD, BEGIN, END = "<|pad|>", "<|begin|>", "<|end|>"
ROLES = ["<|system|>", "<|user|>", "<|assistant|>"]
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def render(messages: Sequence[Message]) -> str:
    """What `CHAT_TEMPLATE` makes of a conversation, without Jinja's cost for each (a test compares the two)."""
    return BEGIN + "".join(f"<|{role}|>{text}{END if role == 'assistant' else ''}" for role, text in messages)


def train_tokenizer(texts: Sequence[str], recipe: Recipe) -> PreTrainedTokenizerFast:
    """A byte-level BPE in which every digit is a token of its own."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(  # pyright: ignore[reportAttributeAccessIssue]
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=recipe.vocabulary,
            special_tokens=[PAD, BEGIN, END, *ROLES],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        bos_token=BEGIN,
        eos_token=END,
        additional_special_tokens=ROLES,
        chat_template=CHAT_TEMPLATE,
        model_max_length=recipe.max_positions,
        clean_up_tokenization_spaces=False,
    )


def new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """The untrained model."""
    torch.manual_seed(recipe.seed)
    special = tokenizer.get_vocab()
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.width,
            intermediate_size=recipe.feed_forward,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            num_key_value_heads=recipe.heads,
            max_position_embeddings=recipe.max_positions,
            tie_word_embeddings=True,
            pad_token_id=special[PAD],
            bos_token_id=special[BEGIN],
            eos_token_id=special[END],
        )
    )


def answer_mask(ids: Sequence[int], assistant: int, end: int) -> list[bool]:
    """True on the tokens of assistant turns, their end token included."""
    mask, inside = [], False
    for token in ids:
        mask.append(inside)
        inside = token == assistant or (inside and token != end)
    return mask


def batches(
    ids: Sequence[Sequence[int]], masks: Sequence[Sequence[bool]], tokens: int, rng: random.Random
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless batches (input ids [B, T], loss mask [B, T]) of at most `tokens` padded tokens and similar lengths."""
    while True:
        order = list(range(len(ids)))
        rng.shuffle(order)
        for start in range(0, len(order), 4096):
            bucket, group, groups = sorted(order[start : start + 4096], key=lambda i: len(ids[i])), [], []
            for i in bucket:
                if group and (len(group) + 1) * len(ids[i]) > tokens:
                    groups.append(group)
                    group = []
                group.append(i)
            groups.append(group)
            rng.shuffle(groups)
            for group in groups:
                length = max(len(ids[i]) for i in group)
                input_ids_BT = torch.zeros(len(group), length, dtype=torch.long)
                mask_BT = torch.zeros(len(group), length, dtype=torch.bool)
                for row, i in enumerate(group):
                    input_ids_BT[row, : len(ids[i])] = torch.tensor(ids[i])
                    mask_BT[row, : len(ids[i])] = torch.tensor(masks[i])
                yield input_ids_BT, mask_BT


def train_base(recipe: Recipe, out: Path, *, progress: bool = False) -> None:
    """Train tokenizer and model and save both in `out`.

    Args:
        recipe: sizes, steps and rates.
        out: an existing directory.
        progress: show a bar on stderr.
    """
    texts = [render(messages) for messages in documents(recipe.documents, recipe.seed)]
    tokenizer = train_tokenizer(texts[:8000], recipe)
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]  # pyright: ignore[reportAssignmentType]
    special = tokenizer.get_vocab()
    masks = [answer_mask(row, special[ROLES[2]], special[END]) for row in ids]
    model = new_model(recipe, tokenizer)
    # One thread, whatever the environment says: sums over several have other last bits, so one recipe would be several
    # models; and where another process is busy, two threads take ten times as long as one.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _fit(model, batches(ids, masks, recipe.batch_tokens, random.Random(recipe.seed)), recipe, progress)
    finally:
        torch.set_num_threads(threads)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def _fit(model: LlamaForCausalLM, stream: Iterator, recipe: Recipe, progress: bool) -> None:
    hidden = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    chosen = {id(p) for p in hidden}
    others = [p for p in model.parameters() if id(p) not in chosen]
    optimizers = [
        torch.optim.Muon(hidden, lr=recipe.muon_rate, weight_decay=0.0, ns_steps=recipe.muon_iterations),
        torch.optim.AdamW(others, lr=recipe.adam_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, recipe.rate_at) for optimizer in optimizers]
    # Only a CPU with matrix tiles gains from bf16; with AVX-512's bf16 alone it takes twice as long as fp32.
    bf16 = bool(torch.cpu.get_capabilities().get("amx_bf16"))
    model.train()
    with Progress(console=Console(stderr=True), transient=True, disable=not progress) as bar:
        task = bar.add_task("Training the tiny base", total=recipe.steps)
        for _, (input_ids_BT, mask_BT) in zip(range(recipe.steps), stream, strict=False):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
                hidden_BTD = model.model(input_ids=input_ids_BT[:, :-1], use_cache=False).last_hidden_state
                logits_NV = model.lm_head(hidden_BTD[mask_BT[:, 1:]])
            cross_entropy(logits_NV.float(), input_ids_BT[:, 1:][mask_BT[:, 1:]]).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer, schedule in zip(optimizers, schedules, strict=True):
                optimizer.step()
                schedule.step()
            model.zero_grad(set_to_none=True)
            bar.advance(task)
    model.eval()
