"""Prompts on their way to a model that is held here: encoded, remembered for a while, and those that can't be sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from datasets_cards.canonical import canonical_json, sha256_hex
from datasets_cards.errors import InputError
from datasets_cards.records import Message
from labelers.engines.models import encode_prompt
from labelers.engines.protocol import Completion, Prompt, SampleRequest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

REMEMBERED = 1 << 22
"""Tokens of prompts that are kept encoded: a prompt is asked for its digest, then drawn from, then scored."""


class Prompts:
    """Prompts as a tokenizer's chat template encodes them, the generation prompt included."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self._ids: dict[tuple[tuple[str, str], ...], list[int]] = {}
        self._remembered = 0

    def ids(self, messages: list[Message]) -> list[int]:
        """A prompt's tokens.

        Raises:
            InputError: the template refuses these messages.
        """
        key = tuple((message["role"], message["content"]) for message in messages)
        if key not in self._ids:
            ids = encode_prompt(self.tokenizer, messages)
            if self._remembered + len(ids) > REMEMBERED:
                self._ids, self._remembered = {}, 0
            self._ids[key] = ids
            self._remembered += len(ids)
        return self._ids[key]

    def named(self, messages: list[Message]) -> Prompt:
        """A prompt's digest and length.

        Raises:
            InputError: the template refuses these messages.
        """
        ids = self.ids(messages)
        return Prompt(sha256_hex(canonical_json(ids)), len(ids))

    def fitting(
        self, requests: Sequence[SampleRequest], context: int
    ) -> tuple[list[tuple[int, list[int]]], list[tuple[int, Completion]]]:
        """What can be drawn, as (position in `requests`, tokens), and what can't, as (position, failed completion).

        A prompt fails that the template refuses, that is empty, or that leaves no room for a token.
        """
        good: list[tuple[int, list[int]]] = []
        failed: list[tuple[int, Completion]] = []
        for position, request in enumerate(requests):
            try:
                ids = self.ids(request.messages)
            except InputError as error:
                failed.append((position, Completion("", [], "error", None, None, f"prompt_refused: {error}")))
                continue
            if ids and len(ids) < context:
                good.append((position, ids))
                continue
            problem = "prompt_too_long" if ids else "prompt_empty"
            reason = f"{problem}: {len(ids)} tokens, the context holds {context}"
            failed.append((position, Completion("", [], "error", None, None, reason)))
        return good, failed
