"""The plain comparison of two drafts: dictionaries and multisets of whole records, no files and no shards."""

from collections import Counter, defaultdict
from typing import Any

from datasets_cards import Candidate, Draft


def expected(before: Draft, after: Draft, scored: bool) -> dict[Any, Any]:
    one, two = ({row.id: row for row in side.rows} for side in (before, after))
    shared = [(one[i], two[i]) for i in one.keys() & two.keys()]
    differ = {
        "prompt": {a.id for a, b in shared if a.prompt != b.prompt},
        "original": {a.id for a, b in shared if a.original != b.original},
        "meta": {a.id for a, b in shared if repr(sorted(a.meta.items())) != repr(sorted(b.meta.items()))},
    }
    changed_rows = set.union(*differ.values())
    rows = counts(one, two, changed_rows) | {name: len(ids) for name, ids in differ.items()}

    labels_1, labels_2 = ({label.id: label for label in side.labels} for side in (before, after))
    pairs = [(labels_1[i], labels_2[i]) for i in labels_1.keys() & labels_2.keys()]
    completion = {a.id for a, b in pairs if a.completion != b.completion}
    choice = {a.id for a, b in pairs if (a.candidate, a.method) != (b.candidate, b.method)} - completion
    context = {a.id for a, b in pairs if (a.prompt, a.original) != (b.prompt, b.original)} - completion - choice
    changed_labels = completion | choice | context
    intact = [(a.score, b.score) for a, b in pairs if a.id not in changed_labels]
    labels = counts(labels_1, labels_2, changed_labels) | {
        "completion": len(completion),
        "choice": len(choice),
        "context": len(context),
        "score_only": sum(a != b for a, b in intact) if scored else 0,
        "score": numbers(intact if scored else []),
    }

    dropped_1, dropped_2 = ({item.id: item.reason for item in side.dropped} for side in (before, after))
    reasons = {i for i in dropped_1.keys() & dropped_2.keys() if dropped_1[i] != dropped_2[i]}
    dropped = {
        "added": len(dropped_2.keys() - dropped_1.keys()),
        "removed": len(dropped_1.keys() - dropped_2.keys()),
        "newly_dropped": len(dropped_2.keys() & labels_1.keys()),
        "newly_labeled": len(dropped_1.keys() & labels_2.keys()),
        "reason": len(reasons),
    }

    pools_1, pools_2 = places(before), places(after)
    added = removed = changed = 0
    changed_pools, new_in, gone_from = set(), set(), set()
    for place in pools_1.keys() | pools_2.keys():
        texts = [Counter(content(c) for c in pool.get(place, [])) for pool in (pools_1, pools_2)]
        gone, new = (texts[0] - texts[1]).total(), (texts[1] - texts[0]).total()
        both = min(gone, new)
        added, removed, changed = added + new - both, removed + gone - both, changed + both
        changed_pools |= {place[0]} if both else set()
        new_in |= {place[0]} if new > both else set()
        gone_from |= {place[0]} if gone > both else set()
    touched_pools = changed_pools | new_in - (two.keys() - one.keys()) | gone_from - (one.keys() - two.keys())
    same = [pair for place in pools_1.keys() & pools_2.keys() for pair in alike(pools_1[place], pools_2[place])]
    same = same if scored else []
    candidates = {
        "added": added,
        "removed": removed,
        "changed": changed,
        "rows": len(touched_pools),
        "logprob_rows": len({a.id for a, b in same if logprobs(a) != logprobs(b)}),
        "score_rows": len({a.id for a, b in same if scores(a) != scores(b)}),
        "verdict_rows": len({a.id for a, b in same if a.misaligned != b.misaligned}),
        "logprob": numbers([(a.logprob, b.logprob) for a, b in same]),
        "behavior_logprob": numbers([(a.behavior_logprob, b.behavior_logprob) for a, b in same]),
        "scorers": scorers(same),
    }
    lost = one.keys() - two.keys()
    broken = changed_rows | changed_labels | (labels_1.keys() - labels_2.keys()) | reasons | touched_pools
    broken |= (dropped_1.keys() - dropped_2.keys()) | (labels_2.keys() - labels_1.keys()) & one.keys()
    anything = rows["added"] or labels["added"] or added or dropped["added"]
    bump = "major" if broken or lost else "minor" if anything else None
    return {
        "rows": rows,
        "labels": labels,
        "candidates": candidates,
        "dropped": dropped,
        "touched": len(broken - lost),
        "logical_bump": bump,
    }


def counts(one: dict[Any, Any], two: dict[Any, Any], changed: set[str]) -> dict[Any, Any]:
    return {"added": len(two.keys() - one.keys()), "removed": len(one.keys() - two.keys()), "changed": len(changed)}


def numbers(pairs: list[tuple[float | None, float | None]]) -> dict[Any, Any]:
    known = [(a, b) for a, b in pairs if a is not None and b is not None and a != b]
    return {
        "changed": len(known),
        "appeared": sum(a is None and b is not None for a, b in pairs),
        "vanished": sum(b is None and a is not None for a, b in pairs),
        "largest": max((abs(a - b) for a, b in known), default=None),
    }


def places(draft: Draft) -> dict[Any, Any]:
    found = defaultdict(list)
    for c in draft.candidates:
        found[c.id, c.role, c.view, c.index].append(c)
    return found


def content(c: Candidate) -> tuple[Any, ...]:
    return (c.text, tuple(c.token_ids), c.finish_reason)


def alike(one: list[Candidate], two: list[Candidate]) -> list[tuple[Candidate, Candidate]]:
    pairs = []
    for what in {content(c) for c in one}:
        sides = [sorted((c for c in side if content(c) == what), key=lambda c: c.pool) for side in (one, two)]
        pairs += zip(*sides, strict=False)
    return pairs


def logprobs(c: Candidate) -> tuple[Any, ...]:
    return c.logprob, c.behavior_logprob


def scores(c: Candidate) -> dict[Any, Any]:
    return {score.scorer: (score.value, score.reason) for score in c.scores}


def scorers(same: list[tuple[Candidate, Candidate]]) -> dict[Any, Any]:
    found = {}
    for scorer in {name for pair in same for c in pair for name in scores(c)}:
        entries = [(scores(a).get(scorer), scores(b).get(scorer)) for a, b in same]
        both = [(a, b) for a, b in entries if a is not None and b is not None]
        gained = sum(a is None and b is not None for a, b in entries)
        lost = sum(b is None and a is not None for a, b in entries)
        if gained or lost or any(a != b for a, b in both):
            found[scorer] = numbers([(a[0], b[0]) for a, b in both]) | {"gained": gained, "lost": lost}
    return found
