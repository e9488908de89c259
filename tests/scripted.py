"""An engine whose replies are written by hand, for what is said *about* candidates; and candidates made by hand."""

from collections.abc import Callable

from datasets_cards import Candidate, Row, Score
from datasets_cards.canonical import canonical_json, sha256_hex
from labelers.engines import Completion, ModelIdentity, Prompt
from labelers.sampler import Sampler
from labelers.store import SampleStore


class ScriptedEngine:
    """Replies as told, and remembers what it was asked."""

    commit_every = 1
    determinism = "Always says the same."

    def __init__(
        self, reply: Callable[[str], str | None], lacks: dict[str, str] | None = None, logprob: float | None = None
    ) -> None:
        self.reply, self.lacks, self.logprob, self.asked = reply, lacks or {}, logprob, []
        self.identity = ModelIdentity("scripted/1", "", "script", "", "", "", "", "")

    def prompt(self, messages):
        return Prompt(sha256_hex(canonical_json(messages)), None)

    def sample(self, requests):
        for position, request in enumerate(requests):
            self.asked.append(request)
            text = self.reply(request.messages[-1]["content"])
            if text is None:
                yield position, Completion("", [], "error", None, None, "server_error: 500")
            else:
                yield position, Completion(text, [], "stop", self.logprob, None, token_count=len(text.split()))

    def sampler(self) -> Sampler:
        return Sampler(self, SampleStore(":memory:"))


def row(name="a", question="q"):
    return Row(name, [{"role": "user", "content": question}])


def candidate(index, tokens=(5, 1), logprob=None, *, row_id="a", score=None, role="candidate", **fields):
    fields = {"text": f"text {index}", "finish_reason": "stop", "view": "plain"} | fields
    scores = [] if score is None else [Score(*score)]
    return Candidate(row_id, "pool", index, role, token_ids=list(tokens), logprob=logprob, scores=scores, **fields)


def failed(index, error="prompt_too_long: 9 tokens, the context holds 8", **fields):
    return candidate(index, (), finish_reason="error", error=error, text="", **fields)
