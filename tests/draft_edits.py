"""Edits of a draft, one kind of change each: it takes the draft and a number to choose with, and leaves it sound."""

from collections.abc import Iterable
from inspect import isfunction, signature
from typing import Any

from datasets_cards import Candidate, Draft, Dropped, Label, Row, Score


def said(text: str) -> list[Any]:
    return [{"role": "assistant", "content": text}]


def add_labeled_row(draft: Draft, n: int) -> None:
    new = f"new-{len(draft.rows)}-ü"
    draft.rows.append(Row(new, [{"role": "user", "content": "Is it new?"}], None, {"answer": n}))
    draft.candidates.append(Candidate(new, "pool-1", 0, "candidate", "plain", "Yes.", [1], "stop", -1.0))
    draft.labels.append(Label(new, draft.rows[-1].prompt, said("Yes."), None, "self_confidence", 0, 0.5))


def add_dropped_row(draft: Draft, n: int) -> None:
    draft.rows.append(Row(f"mute-{len(draft.rows)}", [{"role": "user", "content": "And?"}]))
    draft.dropped.append(Dropped(draft.rows[-1].id, "no_agreement"))


def add_unreadable_row(draft: Draft, n: int) -> None:
    draft.dropped.append(Dropped(f"line-{len(draft.dropped)}", "not_json", "line 3"))


def remove_row(draft: Draft, n: int) -> None:
    gone = pick(draft.rows, n).id
    everything: list[list[Any]] = [draft.rows, draft.candidates, draft.labels, draft.dropped]
    for records in everything:
        records[:] = [record for record in records if record.id != gone]


def change_prompt(draft: Draft, n: int) -> None:
    row = pick(draft.rows, n)
    row.prompt = [*row.prompt, {"role": "user", "content": f"Really {n}?"}]
    for label in of(draft.labels, row.id):
        label.prompt = row.prompt


def change_original(draft: Draft, n: int) -> None:
    row = pick(draft.rows, n)
    row.original = None if row.original else said("It was so.")
    for label in of(draft.labels, row.id):
        label.original = row.original


def change_meta(draft: Draft, n: int) -> None:
    row = pick(draft.rows, n)
    row.meta = {**row.meta, "answer": float(n) if row.meta.get("answer") == n else n}


def change_text(draft: Draft, n: int) -> None:
    candidate = pick([c for c in draft.candidates if c.role == "candidate"], n)
    candidate.text += "!"
    for label in of(draft.labels, candidate.id):
        if label.candidate == candidate.index:
            label.completion = said(candidate.text)


def change_tokens(draft: Draft, n: int) -> None:
    candidate = pick(draft.candidates, n)
    candidate.token_ids[-1:] = [n, n + 1]
    candidate.token_count = len(candidate.token_ids)


def change_finish(draft: Draft, n: int) -> None:
    candidate = pick(draft.candidates, n)
    candidate.finish_reason = "length" if candidate.finish_reason == "stop" else "stop"


def grow_pool(draft: Draft, n: int) -> None:
    row = pick(draft.rows, n)
    index = 1 + max([c.index for c in of(draft.candidates, row.id)], default=-1)
    draft.candidates.append(Candidate(row.id, "pool-1", index, "candidate", "plain", "One more.", [4], "stop"))


def shrink_pool(draft: Draft, n: int) -> None:
    named = {(label.id, label.candidate) for label in draft.labels}
    free = [c for c in draft.candidates if (c.id, -1 if c.role == "baseline" else c.index) not in named]
    if free:
        draft.candidates.remove(pick(free, n))


def second_pool(draft: Draft, n: int) -> None:
    first = pick(draft.candidates, n)
    pools = len({c.pool for c in draft.candidates})
    twin = Candidate(first.id, f"pool-{pools + 1}", first.index, "draft", first.view, f"Draft {n % 2}", [n % 2], "stop")
    draft.candidates.append(twin)


def choose_another(draft: Draft, n: int) -> None:
    if draft.labels:
        label = pick(draft.labels, n)
        choices = [c for c in of(draft.candidates, label.id) if c.role == "candidate"]
        choice = pick(choices, n)
        label.candidate, label.completion = choice.index, said(choice.text)


def take_self_sample(draft: Draft, n: int) -> None:
    if draft.labels:
        label = pick(draft.labels, n)
        for choice in of(draft.candidates, label.id):
            if choice.role == "baseline":
                label.candidate, label.completion, label.score = -1, said(choice.text), None


def change_method(draft: Draft, n: int) -> None:
    if draft.labels:
        pick(draft.labels, n).method = "majority"


def drop_a_label(draft: Draft, n: int) -> None:
    if draft.labels:
        label = pick(draft.labels, n)
        draft.labels.remove(label)
        draft.dropped.append(Dropped(label.id, "too_long"))


def label_a_dropped(draft: Draft, n: int) -> None:
    pools = {c.id: c for c in draft.candidates if c.role == "candidate"}
    rows = {row.id: row for row in draft.rows}
    if free := [item for item in draft.dropped if item.id in pools]:
        item = pick(free, n)
        draft.dropped.remove(item)
        row, choice = rows[item.id], pools[item.id]
        draft.labels.append(Label(row.id, row.prompt, said(choice.text), row.original, "late", choice.index, None))


def read_an_unreadable(draft: Draft, n: int) -> None:
    ids = {row.id for row in draft.rows}
    if free := [item for item in draft.dropped if item.id not in ids]:
        item = pick(free, n)
        draft.rows.append(Row(item.id, [{"role": "user", "content": "Read at last?"}]))


def change_reason(draft: Draft, n: int) -> None:
    if draft.dropped:
        pick(draft.dropped, n).reason = "refused"


def rescore_label(draft: Draft, n: int) -> None:
    if draft.labels:
        label = pick(draft.labels, n)
        label.score = None if n % 3 == 0 else n / 7


def rescore_candidate(draft: Draft, n: int) -> None:
    candidate = pick(draft.candidates, n)
    candidate.scores = [Score(s.scorer, n / 9 if n % 3 else None, f"because {n % 2}") for s in candidate.scores]


def reword_a_score(draft: Draft, n: int) -> None:
    candidate = pick(draft.candidates, n)
    candidate.scores = [Score(s.scorer, s.value, f"{s.reason}, said otherwise") for s in candidate.scores]


def reorder_scores(draft: Draft, n: int) -> None:
    pick(draft.candidates, n).scores.reverse()


def add_scorer(draft: Draft, n: int) -> None:
    for candidate in draft.candidates[n % 3 :]:
        if "late" not in {score.scorer for score in candidate.scores}:
            candidate.scores.append(Score("late", n / 3))


def remove_scorer(draft: Draft, n: int) -> None:
    for candidate in draft.candidates:
        candidate.scores = [score for score in candidate.scores if score.scorer != "reward"]


def change_logprob(draft: Draft, n: int) -> None:
    candidate = pick(draft.candidates, n)
    candidate.logprob = None if n % 3 == 0 else -n / 11
    candidate.behavior_logprob = -0.5 if candidate.behavior_logprob is None else None


def change_verdict(draft: Draft, n: int) -> None:
    candidate = pick(draft.candidates, n)
    candidate.misaligned = [True, False, None][n % 3]


def replace_candidate(draft: Draft, n: int) -> None:
    candidate = pick([c for c in draft.candidates if c.role == "baseline"], n)
    if candidate.id not in {label.id for label in draft.labels if label.candidate == -1}:
        candidate.text, candidate.logprob, candidate.misaligned = f"Otherwise {n}", -9.5, True
        candidate.scores = [Score("mean_logprob", -n / 5)]


def rename_pools(draft: Draft, n: int) -> None:
    names = sorted({c.pool for c in draft.candidates})
    for candidate in draft.candidates:
        candidate.pool = names[(names.index(candidate.pool) + n) % len(names)]


def reword_a_drop(draft: Draft, n: int) -> None:
    if draft.dropped:
        pick(draft.dropped, n).detail = f"said otherwise {n}"


def shuffle_rows(draft: Draft, n: int) -> None:
    draft.rows.sort(key=lambda row: hash_of(row.id, n))


def hash_of(text: str, n: int) -> int:
    return sum((n + place + 3) * ord(c) for place, c in enumerate(text)) % 101


def pick(records: list[Any], n: int) -> Any:
    return records[n % len(records)]


def of(records: Iterable[Any], row_id: str) -> list[Any]:
    return [record for record in records if record.id == row_id]


EDITS = [
    edit for edit in list(globals().values()) if isfunction(edit) and [*signature(edit).parameters] == ["draft", "n"]
]
"""All of them."""
