"""One training run from loaded model to saved adapter. The objective decides the loss; everything else is here."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from datasets_cards import Artifact, EchosetError
from datasets_cards.records import Row
from labelers.engines.models import ModelRef, load_model, load_tokenizer, put_adapter, resolve_model
from trainers.data import load_training_data, tokenize
from trainers.sft import Collator, SFTConfig

Checkpoint = Callable[[int, Path], bool]
"""Called with (optimizer step, directory of the adapter so far); returns True to stop training there."""


class TrainingDiverged(EchosetError, ArithmeticError):
    """The loss stopped being a number."""


def run(
    objective_class: type[Trainer],
    config: SFTConfig,
    *,
    model: str | Path,
    data: str | Path | Artifact | Sequence[Row],
    work: Path,
    seed: int,
    progress: bool,
    on_checkpoint: Checkpoint | None,
    checkpoint_every: int,
) -> dict[str, Any]:
    """Train in the scratch directory `work`, leave adapter and tokenizer there, and return the run's record."""
    transformers.set_seed(seed)
    reference = resolve_model(model)
    tokenizer = load_tokenizer(reference, need_pad=True)
    rows = load_training_data(data)
    examples, truncated = tokenize(
        rows, tokenizer, chat_template=reference.chat_template_digest, max_length=config.max_length
    )
    peft_model = trainable(reference, config)
    start_adapter = reference.adapter_digest

    watcher = Watcher(peft_model, work, on_checkpoint, checkpoint_every, progress)
    trainer = objective_class(
        model=peft_model,
        args=TrainingArguments(
            output_dir=str(work / "trainer"),
            seed=seed,
            learning_rate=config.learning_rate,
            num_train_epochs=config.epochs,
            max_steps=config.max_steps or -1,
            per_device_train_batch_size=config.batch_size,
            gradient_accumulation_steps=config.accumulation,
            warmup_steps=config.warmup_ratio,
            lr_scheduler_type=config.schedule,
            weight_decay=config.weight_decay,
            max_grad_norm=config.max_grad_norm,
            logging_steps=1,
            logging_nan_inf_filter=False,  # a NaN must be seen, not averaged away
            dataloader_pin_memory=torch.cuda.is_available(),
            save_strategy="no",
            report_to="none",
            remove_unused_columns=False,
            disable_tqdm=True,
        ),
        train_dataset=examples,  # pyright: ignore[reportArgumentType]  a list is a map-style dataset
        data_collator=Collator(cast(int, tokenizer.pad_token_id), whole_sequence=config.whole_sequence),
        callbacks=[watcher],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()

    shutil.rmtree(work / "trainer", ignore_errors=True)
    peft_model.save_pretrained(str(work), safe_serialization=True)
    tokenizer.save_pretrained(work)
    (work / "README.md").unlink(missing_ok=True)  # peft's empty template; the record says more
    return {
        "model": {"name": reference.name, "revision": reference.revision, "adapter": start_adapter},
        "data": rows.source,
        "truncated": truncated,
        "steps": trainer.state.global_step,
        "losses": watcher.losses,
    }


def trainable(reference: ModelRef, config: SFTConfig) -> PeftModel:
    """The model with one trainable adapter: the organism's own, continued, or a fresh one on every linear layer."""
    base = load_model(reference.without_adapter())
    if reference.adapter:
        model = put_adapter(base, reference.adapter, trainable=True)
    else:
        lora = LoraConfig(
            r=config.lora_rank,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        model = get_peft_model(base, lora)
    model.config.use_cache = False
    return model  # pyright: ignore[reportReturnType]


class Watcher(TrainerCallback):
    """Keeps the losses, stops on NaN, draws the bar, and hands checkpoints to the caller."""

    def __init__(
        self, model: PeftModel, work: Path, on_checkpoint: Checkpoint | None, every: int, progress: bool
    ) -> None:
        self.model, self.work = model, work
        self.on_checkpoint, self.every = on_checkpoint, every
        self.losses: list[float] = []
        self.bar = None
        if progress and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            self.bar = Progress(console=Console(stderr=True), transient=True)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Open the bar."""
        if self.bar:
            self.bar.start()
            self.task = self.bar.add_task("training", total=state.max_steps)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        """Keep this step's loss.

        Raises:
            TrainingDiverged: the loss is not finite.
        """
        if logs is None or "loss" not in logs:
            return
        self.losses.append(logs["loss"])
        if not math.isfinite(logs["loss"]):
            raise TrainingDiverged(
                f"the loss is {logs['loss']} at step {state.global_step}",
                remedy="Lower the learning rate; nothing was written.",
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move the bar; let the caller look at the adapter so far and decide whether to go on."""
        if self.bar:
            self.bar.update(self.task, completed=state.global_step)
        last = state.global_step >= state.max_steps
        if self.on_checkpoint and (last or state.global_step % self.every == 0):
            # A directory of its own each time: an engine may have the last one loaded under its path.
            directory = self.work / f"checkpoint-{state.global_step}"
            self.model.save_pretrained(str(directory), safe_serialization=True)
            with torch.random.fork_rng():
                if self.on_checkpoint(state.global_step, directory):
                    control.should_training_stop = True
            self.model.train()
            shutil.rmtree(directory)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the bar."""
        if self.bar:
            self.bar.stop()
