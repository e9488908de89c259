"""What is trained on: (prompt, completion) rows from an artifact or a file, as tokens with a completion mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets_cards import SELF_SAMPLE, Artifact, InputError, is_artifact, scan_rows
from datasets_cards.records import Message, Row
from labelers.engines.models import encode_prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(slots=True)
class TrainingRow:
    """One prompt with the completion to imitate.

    Attributes:
        token_ids: the completion's tokens as they were sampled, end token included, where they are known. Training on
            these rather than on re-tokenized text is what makes SFT on self-samples a true null: its expected gradient
            vanishes only over the sequences that were drawn, and a sample cut at its length limit has no end token.
    """

    id: str
    prompt: list[Message]
    completion: list[Message]
    token_ids: list[int] | None = None


@dataclass(slots=True)
class Example:
    """One tokenized row: the loss falls on `input_ids[prompt_length:]`."""

    id: str
    input_ids: list[int]
    prompt_length: int


@dataclass(slots=True)
class TrainingData:
    """The rows of a training run and what the manifest says of where they came from."""

    rows: list[TrainingRow]
    source: dict[str, str | int]
    chat_template: str = ""


def load_training_data(data: str | Path | Artifact | Sequence[Row]) -> TrainingData:
    """Rows to train on, from an artifact's labels or from any file that `scan_rows` takes.

    Raises:
        InputError: nothing to train on, or rows without a completion.
        MissingError: the file is not there.
    """
    if isinstance(data, Artifact) or (isinstance(data, str | Path) and is_artifact(data)):
        artifact = data if isinstance(data, Artifact) else Artifact.open(data)
        return _from_artifact(artifact)
    if isinstance(data, str | Path):
        rows = list(scan_rows(data).rows())
        source: dict[str, str | int] = {"reference": Path(data).name, "rows": len(rows)}
    else:
        rows, source = list(data), {"reference": "rows in memory", "rows": len(data)}
    where = str(source["reference"])
    if not rows:
        raise InputError("there are no rows to train on", where=where)
    for row in rows:
        if not row.original:
            raise InputError(
                "this row has no completion to train on",
                where=f"{where}: row {row.id}",
                remedy="Give every row an assistant turn, or label the file first: echoset label.",
            )
    return TrainingData([TrainingRow(r.id, r.prompt, r.original or []) for r in rows], source)


def _from_artifact(artifact: Artifact) -> TrainingData:
    manifest = artifact.manifest
    columns = artifact.candidates().select("id", "role", "index", "token_ids")
    # A server may not say which tokens it drew: an empty list, and the text is tokenized.
    tokens = {
        (row_id, SELF_SAMPLE if role == "baseline" else index): ids or None
        for row_id, role, index, ids in columns.iter_rows()
        if role in ("candidate", "baseline")
    }
    rows = [
        TrainingRow(row["id"], row["prompt"], row["completion"], tokens.get((row["id"], row["candidate"])))
        for row in artifact.labels().iter_rows(named=True)
    ]
    if not rows:
        raise InputError(
            "this artifact has no labels to train on",
            where=artifact.path.name,
            remedy="Its manifest counts why rows were dropped: echoset show.",
        )
    source: dict[str, str | int] = {
        "reference": artifact.name,
        "version": manifest.version,
        "logical_digest": manifest.logical_digest,
        "rows": len(rows),
    }
    return TrainingData(rows, source, manifest.model.chat_template)


def tokenize(
    data: TrainingData, tokenizer: PreTrainedTokenizerBase, *, chat_template: str, max_length: int
) -> tuple[list[Example], list[str]]:
    """Token ids and prompt lengths, cut at `max_length`.

    Sampled token ids are used where the artifact was labeled under this same chat template; other rows are rendered by
    the template, whose completion must continue the rendered prompt.

    Returns:
        The examples, and the ids of rows left out because truncation leaves no completion token.

    Raises:
        InputError: the template renders a prompt differently once an answer follows, or nothing is left to train on.
    """
    examples: list[Example] = []
    truncated: list[str] = []
    for row in data.rows:
        prompt_ids = encode_prompt(tokenizer, row.prompt)
        if row.token_ids is not None and chat_template == data.chat_template:
            completion_ids = row.token_ids
        else:
            whole_ids = render(tokenizer, [*row.prompt, *row.completion])
            if whole_ids[: len(prompt_ids)] != prompt_ids:
                raise InputError(
                    "the chat template renders the prompt differently when an answer follows it",
                    where=f"row {row.id}",
                    remedy="Use a template whose generation prompt is a prefix of the full conversation.",
                )
            completion_ids = whole_ids[len(prompt_ids) :]
        input_ids = [*prompt_ids, *completion_ids][:max_length]
        if len(input_ids) > len(prompt_ids):
            examples.append(Example(row.id, input_ids, len(prompt_ids)))
        else:
            truncated.append(row.id)
    if not examples:
        raise InputError(
            f"no completion token is left in any of {len(data.rows)} rows after cutting at max_length={max_length}",
            where=str(data.source["reference"]),
            remedy="Raise max_length.",
        )
    return examples, truncated


def render(tokenizer: PreTrainedTokenizerBase, messages: list[Message]) -> list[int]:
    """Token ids of a whole conversation, answer included, under the tokenizer's chat template."""
    ids: Any = tokenizer.apply_chat_template([dict(m) for m in messages], return_dict=False)  # pyright: ignore[reportArgumentType]
    return list(ids)
