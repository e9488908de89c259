"""Agreement: how many of a row's other completions say what this one says, by three kinds of judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

from datasets_cards.errors import EngineError
from datasets_cards.records import Candidate, Message, Row
from labelers.engines.protocol import SampleRequest, Sampling
from labelers.scorers.answers import answer_of
from labelers.scorers.protocol import Pool, Tools, Verdict, fill, question

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

JUDGE = (
    "Here are two answers to one question. Do they say the same? Reply with yes or no alone.\n\n"
    "Question: {question}\n\nFirst answer: {first}\n\nSecond answer: {second}"
)


@dataclass(frozen=True)
class Agreement:
    """How many other completions of the row give the answer that this one gives; normalized answers are compared.

    A completion without an answer agrees with nothing.
    """

    name: ClassVar[str] = "agreement"
    needs: ClassVar[frozenset[str]] = frozenset()
    fallible: ClassVar[bool] = False

    def score(self, pools: Sequence[Pool], tools: Tools) -> list[list[Verdict]]:
        """A count from 0 to the number of other completions."""
        scores: list[list[Verdict]] = []
        for row, candidates in pools:
            answers = [answer_of(row, c, tools.task) for c in candidates]
            scores.append(["no answer in the text" if a is None else float(answers.count(a) - 1) for a in answers])
        return scores


@dataclass(frozen=True)
class SimilarityAgreement:
    """How many other completions of the row are close to this one in meaning: cosine of sentence embeddings.

    Attributes:
        threshold: least cosine that counts as agreement.
    """

    name: ClassVar[str] = "similarity_agreement"
    needs: ClassVar[frozenset[str]] = frozenset({"embedder"})
    fallible: ClassVar[bool] = False
    threshold: float = 0.85

    def score(self, pools: Sequence[Pool], tools: Tools) -> list[list[Verdict]]:
        """A count from 0 to the number of other completions."""
        assert tools.embedder
        texts = sorted({c.text for _, candidates in pools for c in candidates})
        vectors = _embedder(tools.embedder).encode(texts, normalize_embeddings=True, show_progress_bar=False)
        by_text = dict(zip(texts, vectors, strict=True))

        def agree(row: Row, one: Candidate, other: Candidate) -> bool:
            return float(by_text[one.text] @ by_text[other.text]) >= self.threshold

        return [[_count(row, c, candidates, agree) for c in candidates] for row, candidates in pools]


@dataclass(frozen=True)
class JudgedAgreement:
    """How many other completions of the row the labeling model itself says to say the same as this candidate.

    It answers greedily. A reply other than yes or no is a failure of that comparison: its text is kept as the reason
    why the candidate has no score.
    """

    name: ClassVar[str] = "judged_agreement"
    needs: ClassVar[frozenset[str]] = frozenset({"model"})
    fallible: ClassVar[bool] = False
    max_new_tokens: int = 8

    def score(self, pools: Sequence[Pool], tools: Tools) -> list[list[Verdict]]:
        """A count from 0 to the number of other completions; views and drafts are compared with, not scored."""
        asked = {
            (r, i, j): self._request(row, c, other)
            for r, (row, candidates) in enumerate(pools)
            for i, c in enumerate(candidates)
            for j, other in enumerate(candidates)
            if i != j and c.role == "candidate"
        }
        replies = dict(zip(asked, tools.model().sample(list(asked.values())), strict=True))
        scores: list[list[Verdict]] = []
        for r, (_, candidates) in enumerate(pools):
            verdicts: list[Verdict] = []
            for i, c in enumerate(candidates):
                said = [replies[r, i, j] for j in range(len(candidates)) if (r, i, j) in replies]
                words = [reply.text.strip().strip(".!\"'").lower() for reply in said]
                odd = next((s for s, word in zip(said, words, strict=True) if word not in ("yes", "no")), None)
                if c.role != "candidate":
                    verdicts.append(None)
                elif odd:
                    verdicts.append(f"the judge said neither yes nor no: {odd.error or odd.text}")
                else:
                    verdicts.append(float(words.count("yes")))
            scores.append(verdicts)
        return scores

    def _request(self, row: Row, one: Candidate, other: Candidate) -> SampleRequest:
        text = fill(JUDGE, question=question(row.prompt), first=one.text, second=other.text)
        sampling = Sampling(0.0, 1.0, self.max_new_tokens)
        return SampleRequest(row.id, [Message(role="user", content=text)], sampling, 0, view="judge")


AGREEMENTS = (Agreement, SimilarityAgreement, JudgedAgreement)
"""What `keep_if_agrees` can go by."""


def _count(
    row: Row, one: Candidate, candidates: Sequence[Candidate], agree: Callable[[Row, Candidate, Candidate], bool]
) -> float:
    return float(sum(agree(row, one, other) for other in candidates if other is not one))


@lru_cache(maxsize=1)
def _embedder(model: str) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer

    try:
        return SentenceTransformer(model, trust_remote_code=False, model_kwargs={"use_safetensors": True})
    except Exception as error:  # the library raises whatever its parsers do; people need one line
        reason = " ".join(str(error).split())[:200]
        raise EngineError(f"the embedder can't be loaded ({reason})", where=model, remedy="Check the name") from error
