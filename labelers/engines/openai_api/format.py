"""The chat-completions protocol: what is asked, what an answer says, and what a server's log-probabilities mean."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from typing import Any, Literal

from labelers.engines.openai_api.retries import AttemptError
from labelers.engines.protocol import Completion, SampleRequest, Sampling

PLAIN = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "return_token_ids": True}
"""Additions to the protocol that vLLM and its like know: draw from temperature and top-p alone (vLLM takes a model's
`generation_config.json` for defaults, which may penalize repetition), and say which tokens were drawn."""
TOO_LONG = re.compile(
    r"context[ _](length|size|window)|max(imum)?_model_len|too long|longer than|string_above_max_length|"
    r"max_new_tokens`? must be",
    re.IGNORECASE,
)
"""How servers say that a prompt, or a prompt and its answer, don't fit."""


@dataclass(frozen=True)
class Dialect:
    """What a server takes beyond the fields that all of them do.

    Attributes:
        plain: it takes the fields of `PLAIN`.
        logprobs: it takes `logprobs`.
        length: what it calls the longest completion.
    """

    plain: bool = True
    logprobs: bool = True
    length: str = "max_tokens"

    def body(self, model: str, request: SampleRequest, alternatives: int = 0) -> bytes:
        """A request as it is sent, the log-probabilities of so many alternatives to each token included.

        Raises:
            ValueError: the messages hold something that JSON or UTF-8 can't.
        """
        sampling = request.sampling
        fields: dict[str, Any] = {
            "model": model,
            "messages": request.messages,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": fold_seed(request.seed),
            self.length: sampling.max_new_tokens,
        }
        if self.plain:
            fields |= PLAIN
        if self.logprobs:
            fields["logprobs"] = True
            if alternatives:
                fields["top_logprobs"] = alternatives
        try:
            return json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, RecursionError) as error:
            raise ValueError(str(error)) from None

    def without(self, refusal: str) -> Dialect | None:
        """What to try after a refusal in these words; None where nothing is left to do without."""
        if self.length == "max_tokens" and "max_completion_tokens" in refusal:
            return replace(self, length="max_completion_tokens")
        if self.logprobs and ("logprobs" in refusal or not self.plain):
            return replace(self, logprobs=False)
        return replace(self, plain=False) if self.plain else None


@dataclass(frozen=True)
class Reported:
    """Which distribution a server's log-probabilities are of, as far as probing told.

    Attributes:
        given: whether it reports any.
        temperature: values are `raw`, or `applied` to: after temperature; None where that couldn't be told.
        top_p: values are `raw`, or after the nucleus was cut out.
        greedy: values of greedy decoding are raw.
    """

    given: bool = False
    temperature: Literal["raw", "applied"] | None = None
    top_p: Literal["raw", "applied"] | None = None
    greedy: bool = False

    def raw(self, sampling: Sampling) -> bool:
        """Whether values at this setting are of the raw model at T=1."""
        if sampling.temperature == 0 or not self.given:
            return self.given and self.greedy
        return (sampling.temperature == 1 or self.temperature == "raw") and (sampling.top_p == 1 or self.top_p == "raw")

    def behavior(self, sampling: Sampling) -> bool:
        """Whether values at this setting are of the distribution that was drawn from."""
        return (
            self.given
            and (sampling.temperature == 1 or self.temperature == "applied")
            and (sampling.top_p == 1 or self.top_p == "applied")
        )


PROBES = (Sampling(0.5, 1, 1), Sampling(2, 1, 1), Sampling(0, 1, 1), Sampling(1, 0.01, 1))
"""Requests whose first tokens' alternatives tell what a server reports, see `what_is_reported`."""


def what_is_reported(answers: list[dict[str, Any]]) -> Reported:
    """Tell raw from processed log-probabilities by the answers to `PROBES`, in their order.

    A difference of two tokens' log-probabilities is a difference of logits over the temperature, whatever the
    normalization. So the same difference at T=0.5 is four times that at T=2 where temperature is applied, and the same
    where it isn't; a top-p of 0.01 leaves one token, of probability 1, where it is applied.
    """
    cold, hot, greedy, cut = (_alternatives(answer) for answer in answers)
    if not cold:
        return Reported()
    temperature = None
    if _close(_ratio(cold, hot), 1):
        temperature = "raw"
    elif _close(_ratio(cold, hot), 4):
        temperature = "applied"
    if temperature is None:
        return Reported(given=True)
    of_raw = 1 if temperature == "raw" else 0.5  # differences of raw values over those at T=0.5
    top_p = None
    if _close(_ratio(cut, cold), of_raw):
        top_p = "raw"
    elif cut and max(cut.values()) > -1e-3:
        top_p = "applied"
    return Reported(True, temperature, top_p, greedy=_close(_ratio(greedy, cold), of_raw))


def _alternatives(answer: dict[str, Any]) -> dict[str, float]:
    """Log-probability by token, of the first token's most probable alternatives."""
    logprobs = answer["choices"][0].get("logprobs") or {}
    first = (logprobs.get("content") or [{}])[0]
    tops = [top for top in first.get("top_logprobs") or [] if isinstance(top, dict) and "token" in top]
    values = {top["token"]: top.get("logprob") for top in tops}  # some servers write null for minus infinity
    return {token: value for token, value in values.items() if isinstance(value, int | float) and value > -1000}


def _ratio(one: dict[str, float], other: dict[str, float]) -> float | None:
    """The largest difference of log-probabilities among tokens in both, in the one over that in the other."""
    common = one.keys() & other.keys()
    if not common:
        return None
    high, low = max(common, key=lambda t: other[t]), min(common, key=lambda t: other[t])
    spread = other[high] - other[low]
    return (one[high] - one[low]) / spread if spread > 0.02 else None


def _close(ratio: float | None, expected: float) -> bool:
    return ratio is not None and 0.8 < ratio / expected < 1.25


def completion_of(answer: Any, sampling: Sampling, reported: Reported) -> Completion:
    """What an answer says, truthfully: a refusal or a tool call is no completion, and saying nothing is one.

    Raises:
        AttemptError: not an answer of this protocol.
    """
    try:
        choice = answer["choices"][0]
        message, finish = choice["message"], choice["finish_reason"]
        text: str = message.get("content") or ""
        token_ids: list[int] = list(choice.get("token_ids") or ())
        count: int | None = len(token_ids) or (answer.get("usage") or {}).get("completion_tokens")
        value = _total(choice, count)
        # Half a surrogate pair may come in an escape, and is no text.
        text = text.encode("utf-8", "replace").decode()
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise AttemptError("malformed_response", f"not a chat completion ({type(error).__name__})") from None
    hidden = message.get("reasoning_content") or message.get("reasoning")
    if problem := _no_answer(message, text, finish, hidden):
        return failed(problem)
    greedy = sampling.temperature == 0
    if hidden:
        value = None  # it is of the reasoning too, which is not in the text
    return Completion(
        text=text,
        token_ids=token_ids,
        finish_reason=finish,
        logprob=value if reported.raw(sampling) else None,
        behavior_logprob=0.0 if greedy else value if reported.behavior(sampling) else None,
        token_count=count,
    )


def failed(reason: str) -> Completion:
    """No completion, for a reason given as `code: detail`."""
    return Completion("", [], "error", None, None, reason)


def _no_answer(message: dict[str, Any], text: str, finish: str | None, hidden: str | None) -> str | None:
    """Why there is no completion, if there is none."""
    if finish == "content_filter":
        return "content_filter: the server withheld the answer"
    if finish in ("tool_calls", "function_call") or message.get("tool_calls"):
        return "tool_calls: the model called a tool instead of answering"
    if message.get("refusal"):
        return f"refused: {one_line(str(message['refusal']))}"
    if finish not in ("stop", "length"):
        return f"unfinished: the server ended the answer with {finish!r}"
    if hidden and not text:
        return "no_answer: every token went into the model's reasoning"
    return None


def _total(choice: dict[str, Any], count: int | None) -> float | None:
    """Sum of the tokens' log-probabilities, in nats; None unless it is of all tokens that were drawn."""
    content = (choice.get("logprobs") or {}).get("content")
    if not content or (count is not None and count != len(content)):
        return None
    values = [token["logprob"] for token in content]
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
        return None
    return math.fsum(values)


def fold_seed(seed: int) -> int:
    """A 64-bit seed in 31 bits: servers take signed 64-bit, unsigned 32-bit or signed 32-bit seeds, -1 being none."""
    return (seed ^ seed >> 32) & 0x7FFFFFFF


def one_line(text: str) -> str:
    """A server's words as part of one line of ours."""
    text = " ".join(text.split())
    return text if len(text) <= 200 else f"{text[:200]}..."
