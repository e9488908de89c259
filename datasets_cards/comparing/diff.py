"""What changed from one artifact to another, and which step of the version that is.

The step is decided record by record, by what the logical digest covers (canonical.py). MAJOR: a record of an id that
was there is gone or says something else, or an old row got more labels or candidates. MINOR: every old record is as it
was, and there are new rows, or dropped lines that could not be read as rows; a row that now stands for such a line, and
is dropped for the same reason, is new as any other. PATCH: the same records, with other numbers, verdicts, settings or
reports, or in files with other bytes: rows laid out otherwise, or what no digest covers, such as a pool's name. None:
nothing of that. So the step is none or a patch if and only if the logical digests agree.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import asdict
from typing import Any

from datasets_cards.artifact import Artifact
from datasets_cards.canonical import canonical_json
from datasets_cards.cards.card import DERIVED
from datasets_cards.comparing.changes import (
    CandidateChanges,
    Diff,
    DroppedChanges,
    Example,
    FileChanges,
    LabelChanges,
    NumberChanges,
    RowChanges,
    Said,
    ScorerChanges,
    SettingChange,
    Side,
)
from datasets_cards.comparing.table_changes import Comparison, Group, Tally, groups
from datasets_cards.errors import IntegrityError
from datasets_cards.manifest import Manifest
from datasets_cards.tables.schemas import SCHEMAS
from datasets_cards.versions import Bump

COMPARED = ("source", "model", "labeler", "engine", "seeds", "scorers", "scorer_settings", "packages", "repository")
"""The fields of a manifest whose changes are told."""


__all__ = ["Diff", "diff", "needed"]


def diff(before: Artifact, after: Artifact, *, examples: int = 3, progress: bool = False) -> Diff:
    """Find what changed from one artifact to another.

    Reads the files that `needed` names and their counterparts, and only what fits in memory of them at once. What the
    manifests say is taken as true (`verify` checks it), each file that is read is checked against its digest.

    Args:
        before: the earlier one.
        after: the later one.
        examples: how many changed labels to keep: those with another completion first, each kind by id.
        progress: show a bar on stderr, on a terminal.

    Raises:
        MissingError: a file that has to be read is gone.
        IntegrityError: such a file is not the one that was recorded or can't be read, or what the tables hold does
            not fit their digests.
    """
    compared = Comparison(before, after, examples)
    with closing(_steps(compared, groups(before.manifest, after.manifest), progress)) as steps:
        for group, part, of in steps:  # closed at once where one fails, so that no bar stands in the error's way
            compared.compare(group, part, of)
    return _summed(before, after, compared.tally)


def needed(before: Manifest, after: Manifest) -> list[str]:
    """The paths of the table files of `before` that `diff` opens: all that a publisher has to download."""
    return [file.path for group in groups(before, after) for files_before, _ in group.values() for file in files_before]


def _steps(compared: Comparison, found: list[Group], progress: bool) -> Generator[tuple[Group, int, int], None, None]:
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not (progress and console.is_terminal), transient=True) as bar:
        task = bar.add_task("Comparing", total=len(found))
        for group in found:
            of = compared.parts(group)
            for part in range(of):
                yield group, part, of
                bar.advance(task, 1 / of)


def _summed(before: Artifact, after: Artifact, tally: Tally) -> Diff:
    one, two = before.manifest, after.manifest
    settings, files = _settings(one, two), _files(one, two)
    layout = _hashes(one, tables=True) != _hashes(two, tables=True)
    scorers = {
        name: ScorerChanges(**asdict(tally.scores[name]), gained=tally.gained[name], lost=tally.lost[name])
        for name in sorted({*tally.scores, *tally.gained, *tally.lost})
    }
    found = Diff(
        before=_side(before),
        after=_side(after),
        bump=None,
        reason="",
        touched=tally.touched,
        rows=RowChanges(**tally.rows),
        labels=LabelChanges(**tally.labels, score=_numbers(tally, "score")),
        candidates=CandidateChanges(
            **tally.candidates,
            logprob=_numbers(tally, "logprob"),
            behavior_logprob=_numbers(tally, "behavior_logprob"),
            scorers=scorers,
        ),
        dropped=DroppedChanges(**tally.dropped),
        settings=settings,
        files=files,
        layout=layout,
        examples=[] if tally.examples is None else [_example(row) for row in tally.examples.iter_rows(named=True)],
    )
    bump, reason = _step(found)
    return found.model_copy(update={"bump": bump, "reason": reason})


def _numbers(tally: Tally, column: str) -> NumberChanges:
    return NumberChanges(**asdict(tally.numbers[column]))


def _side(artifact: Artifact) -> Side:
    manifest = artifact.manifest
    return Side(
        name=artifact.name,
        version=manifest.version,
        rows=manifest.counts.rows,
        labeled=manifest.counts.labeled,
        candidates=manifest.counts.candidates,
        dropped=sum(manifest.counts.dropped.values()),
        logical_digest=manifest.logical_digest,
        scores_digest=manifest.scores_digest,
    )


def _step(diff: Diff) -> tuple[Bump | None, str]:
    """The step that a difference is, and why.

    Raises:
        IntegrityError: what the tables hold does not fit their digests.
    """
    added = any(part.added for part in (diff.rows, diff.labels, diff.candidates, diff.dropped))
    said = bool(added or diff.touched or diff.rows.removed)
    if said != (diff.before.logical_digest != diff.after.logical_digest):
        raise IntegrityError(
            "the tables differ and their digests agree" if said else "the digests differ and the tables agree",
            where=f"{diff.before.name} {diff.before.version}, {diff.after.name} {diff.after.version}",
            remedy="Run `echoset verify` on both",
        )
    if diff.before.rows and diff.after.rows and not diff.in_common:
        return "major", "no row in common"
    changes = [
        f"{counted(number, 'row')} {how}"
        for number, how in ((diff.touched, "changed"), (diff.rows.removed, "removed"), (diff.rows.added, "added"))
        if number
    ]
    if diff.touched or diff.rows.removed:
        return "major", ", ".join(changes)
    if added:
        return "minor", ", ".join(changes or [f"{counted(diff.dropped.added, 'dropped row')} added"])
    reasons = {
        "other scores": diff.before.scores_digest != diff.after.scores_digest,
        "other settings": any(setting.path != "repository" for setting in diff.settings),
        "other reports": diff.files != FileChanges(),
    }
    if found := [reason for reason, holds in reasons.items() if holds]:
        return "patch", "the same rows with " + " and ".join(found)
    return ("patch", "the same rows in files with other bytes") if diff.layout else (None, "the same content")


def counted(number: int, what: str) -> str:
    """A number of things, as it stands in a sentence."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _settings(before: Manifest, after: Manifest) -> list[SettingChange]:
    exclude = {"labeler": {"config_digest"}}  # it follows from config
    one, two = (manifest.model_dump(include=set(COMPARED), exclude=exclude) for manifest in (before, after))
    return [change for field in COMPARED for change in _setting(field, one[field], two[field])]


def _setting(path: str, before: Any, after: Any) -> Iterator[SettingChange]:
    if not (isinstance(before, dict) and isinstance(after, dict)):
        if canonical_json(before) != canonical_json(after):  # as `==`, but tells 1 from 1.0 and from true
            yield SettingChange(path=path, change="changed", before=before, after=after)
        return
    for key in dict.fromkeys([*before, *after]):
        inner = f"{path}.{key}"
        if key not in after:
            yield SettingChange(path=inner, change="removed", before=before[key])
        elif key not in before:
            yield SettingChange(path=inner, change="added", after=after[key])
        else:
            yield from _setting(inner, before[key], after[key])


def _files(before: Manifest, after: Manifest) -> FileChanges:
    one, two = _hashes(before, tables=False), _hashes(after, tables=False)
    return FileChanges(
        added=sorted(two.keys() - one.keys()),
        removed=sorted(one.keys() - two.keys()),
        changed=sorted(path for path in one.keys() & two.keys() if one[path] != two[path]),
    )


def _hashes(manifest: Manifest, *, tables: bool) -> dict[str, str]:
    """SHA-256 by path: of the tables' files, or of whatever was attached."""
    return {
        file.path: file.sha256
        for file in manifest.files
        if (file.path.split("/")[0] in SCHEMAS) == tables and file.path not in DERIVED
    }


def _example(row: dict[str, Any]) -> Example:
    return Example(
        id=row["id"],
        prompt=_text(row["prompt"]),
        before=Said(text=_text(row["completion"]), candidate=row["candidate"], score=row["score"]),
        after=Said(text=_text(row["after_completion"]), candidate=row["after_candidate"], score=row["after_score"]),
    )


def _text(messages: list[dict[str, str]]) -> str:
    return "\n".join(message["content"] for message in messages)
