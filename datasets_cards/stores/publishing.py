"""Publishing an artifact as the next version of a dataset, in a folder store or on the Hub, by one path for both.

What is compared, planned and composed here is the same everywhere; how a version then appears in one step is the
store's (`local_hub.py`, `hub.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from datasets_cards.artifact import Artifact
from datasets_cards.attaching import compose, existing_cards, summaries_in
from datasets_cards.canonical import sha256_hex
from datasets_cards.cards.card import CARD_FILE, DERIVED
from datasets_cards.cards.merge import ExistingCard, people_wrote
from datasets_cards.comparing.diff import Diff, diff, needed
from datasets_cards.errors import ConflictError, InputError, IntegrityError
from datasets_cards.leaks import refuse_leaks, refuse_secrets_in_tables, texts_of_file
from datasets_cards.manifest import MANIFEST_FILE, Manifest, Parent
from datasets_cards.stores.hub import Gated
from datasets_cards.stores.refs import open_store
from datasets_cards.stores.store import Content, Head, Store, is_same, moved_on, strays, taken
from datasets_cards.verify import verify
from datasets_cards.versions import BUMPS, FIRST, Bump, bump_between, bumped, parse_version

Action = Literal["add", "replace", "keep", "remove"]


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """What a release does to one file of the newest state; `bytes` is its size, None where it is removed."""

    path: str
    bytes: int | None
    action: Action


@dataclass(frozen=True, slots=True)
class Release:
    """The outcome of a publish, or what it would be.

    Attributes:
        target: the dataset, as people write it, without a version.
        version: the version that was made; where nothing was published, the newest one.
        parent: the version before it, or None for the first.
        published: whether this call made the version.
        changed: False where the newest version holds the same already.
        finished: a version whose publisher was stopped before its tag, and that this call released, or would.
        files: what happens to each file.
        diff: what changed since the parent; None for the first.
        notes: what people should know of it, a sentence each.
    """

    target: str
    version: str
    parent: str | None
    published: bool
    changed: bool
    finished: str | None = None
    files: tuple[PlannedFile, ...] = ()
    diff: Diff | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def ref(self) -> str:
        """The reference that loads this version."""
        return f"{self.target}@{self.version}"

    @property
    def upload_bytes(self) -> int:
        """Bytes of the files that are new or other than before."""
        return sum(file.bytes or 0 for file in self.files if file.action in ("add", "replace"))


def publish(
    artifact: Artifact | str | Path,
    to: str | Path,
    *,
    store: Store | None = None,
    bump: Bump | None = None,
    version: str | None = None,
    parent: str | None = None,
    private: bool = False,
    gated: Gated | None = None,
    dry_run: bool = False,
    say: Callable[[str], None] = lambda stage: None,
) -> Release:
    """Publish an artifact as a version that never changes.

    Interrupted anywhere, it leaves the versions as they were. A commit that has no tag yet is checked and released by
    the next call, whoever makes it.

    Args:
        artifact: what to publish, or its folder.
        to: `hub:ORG/NAME`, or `STORE/NAME` with a folder as store.
        store: the store, where `to` is only the name in it.
        bump: the step to take; the smallest that keeps what versions promise where not given. A smaller one is refused.
        version: the version to make instead, such as `v2.0.0`.
        parent: the version that this was built on; refused if that is not the newest one any more. Not checked where
            None.
        private: make a new repository private; refused where it is public.
        gated: have those who download ask first, `auto` or `manual`.
        dry_run: change nothing, and say what would be done.
        say: told of each stage of long work.

    Raises:
        IntegrityError: the artifact is not sound (an edited card is: it is written anew, and what people added stays).
        ConflictError: the version is taken, or somebody else published meanwhile.
        InputError: a name, version or step that can't be, a secret in the data, no token or permission.
        StorageError: the store can't be written or reached.
    """
    if store is None:
        store, name = open_store(to, private=private, gated=gated)
    else:
        name = str(to)
        store.check_name(name)
    if version is not None:
        parse_version(version)
        if bump is not None:
            raise InputError("both a version and a step were given", remedy="Give one of them")
    # Opened anew: something may have been attached to its folder since.
    source = Artifact.open(artifact.path if isinstance(artifact, Artifact) else artifact)

    say("looking at what is there")
    head = store.head(name)
    store.check_access(name, head)
    notes = [f"The manifest on the branch {head.fault}; it is written anew."] if head and head.fault else []
    versions = list(head.versions) if head else []
    finished = _finish(store, name, head, dry_run, notes)
    if finished and dry_run:
        notes.append(
            f"{finished} was left without its tag. It is released first; try again after that to see the rest."
        )
        return Release(
            store.where(name), finished, versions[-1] if versions else None, False, False, finished, notes=tuple(notes)
        )
    if finished:
        versions = sorted({*versions, finished}, key=parse_version)
    newest = versions[-1] if versions else None
    if parent is not None and parent != newest:
        raise moved_on(store.where(name), newest) if newest else _no_version(store.where(name), parent)

    say("checking the artifact")
    _refuse_unsound(source)
    before = difference = None
    if newest is not None:
        say(f"comparing with {newest}")
        before = Artifact.open(store.fetch(name, newest, ()))  # its manifest is enough to know what else is needed
        if wanted := needed(before.manifest, source.manifest):
            before = Artifact.open(store.fetch(name, newest, wanted))
        difference = diff(before, source)

    say("writing the card")
    plan = _Plan(store, name, source, head, before)
    if before is not None and difference is not None and difference.bump is None:
        reason = plan.mended(before.manifest)
        if reason is None:
            if not dry_run:
                store.settle(name)
            return Release(store.where(name), before.manifest.version, _before(versions), False, False, finished)
        difference = difference.model_copy(update={"bump": "patch", "reason": reason})
    number = _next_version(store.where(name), versions, difference, bump, version)
    files = plan.files(number, notes)
    planned = _planned(files, head)
    card = files[CARD_FILE]
    assert isinstance(card, bytes)
    store.check_card(name, card.decode())
    ours = False
    if not dry_run:
        say(f"publishing {store.where(name)}@{number}")
        ours = store.release(name, number, files, head)
        store.settle(name)
        if not ours:
            notes.append("Somebody else had just released the very same bytes.")
    return Release(
        target=store.where(name),
        version=number,
        parent=newest,
        published=ours,
        changed=True,
        finished=finished,
        files=planned,
        diff=difference,
        notes=tuple(notes),
    )


@dataclass(frozen=True, slots=True)
class _Plan:
    """The files that a version would hold: tables and attachments as they are, card and manifest composed anew."""

    store: Store
    name: str
    source: Artifact
    head: Head | None
    before: Artifact | None

    def files(self, version: str, notes: list[str]) -> dict[str, Content]:
        lineage = None
        if self.before is not None:
            manifest = self.before.manifest
            lineage = Parent(version=manifest.version, logical_digest=manifest.logical_digest)
        composed = self._composed(version, lineage, notes)
        kept = [file.path for file in self.source.manifest.files if file.path not in composed]
        return {path: self.source.path / path for path in kept} | composed

    def mended(self, published: Manifest) -> str | None:
        """What a release would mend although no row, report or setting changed; None for nothing."""
        assert self.head is not None
        composed = self._composed(published.version, published.parent, [])
        if composed[CARD_FILE].decode() != self.head.card:
            return "the card changed"
        kept = {file.path: file for file in published.files if file.path not in composed}
        there = self.head.digests
        whole = all(is_same(there.get(path), file.sha256, self.source.path / path) for path, file in kept.items())
        if whole and not strays(there, kept) and self.head.manifest == published:
            return None
        return "what the branch holds is not what was released"

    def _composed(self, version: str, parent: Parent | None, notes: list[str]) -> dict[str, bytes]:
        manifest = self.source.manifest.model_copy(
            update={"version": version, "parent": parent, "repository": self.store.repository(self.name)}
        )
        existing = []
        if self.head is not None and self.head.card is not None:
            written = self.head.manifest or (self.before.manifest if self.before else None)
            existing.append(ExistingCard(self.head.card, written, f"{self.store.where(self.name)}: {CARD_FILE}"))
        existing += [card for card in existing_cards(self.source.path) if not self._is_published(card)]
        return compose(manifest, summaries=summaries_in(self.source.path, manifest), existing=existing, notes=notes)

    def _is_published(self, card: ExistingCard) -> bool:
        """Whether people wrote no more in a card than a release told already: then the newest one alone counts.

        Otherwise a copy that was pulled long ago would bring back what was taken out since.
        """
        own = parse_version(self.source.manifest.version)
        known = self.head.versions if self.head else ()
        base = [version for version in known if parse_version(version) <= own]
        if not base:
            return False
        return people_wrote(card) in map(people_wrote, existing_cards(self.store.fetch(self.name, base[-1], ())))


def _finish(store: Store, name: str, head: Head | None, dry_run: bool, notes: list[str]) -> str | None:
    """Release what a publisher left between commit and tag; its version, or None where nothing is left so."""
    version = head.unreleased if head else None
    if head is None or version is None or dry_run or store.finish(name, head):
        return version
    notes.append(f"An unreleased {version} is there that is not whole; it was left without a tag.")
    return None


def _refuse_unsound(source: Artifact) -> None:
    # The card is people's to edit; it is composed anew, and so is what follows from the manifest.
    mended = {(kind, path) for kind in ("changed_file", "missing_file", "missing_card") for path in DERIVED}
    if findings := [finding for finding in verify(source.path) if (finding.kind, finding.path) not in mended]:
        more = f" ({len(findings)} findings)" if len(findings) > 1 else ""
        raise IntegrityError(
            f"{findings[0]}{more}", where=str(source.path), remedy="Nothing was published; write the artifact again"
        )
    for file in source.manifest.files:
        if file.rows is None and file.path not in DERIVED:  # it was attached
            refuse_leaks(texts_of_file(file.path, (source.path / file.path).read_bytes()))
    refuse_secrets_in_tables(source)


def _next_version(
    where: str, versions: list[str], difference: Diff | None, bump: Bump | None, version: str | None
) -> str:
    """The version to make: what was asked for, if it promises no less than what changed."""
    newest = versions[-1] if versions else None
    if newest is None or difference is None:
        if bump is not None:
            raise InputError("there is no version yet to step from", where=where, remedy="Leave --bump out")
        return version or FIRST
    least: Bump = difference.bump or "patch"
    if version is not None:
        if version in versions:
            raise taken(where, version)
        step = bump_between(newest, version)
        if step is None:
            raise InputError(f"{version} is below the newest version {newest}", where=where, remedy="Versions grow")
    else:
        step = bump or least
    if BUMPS.index(step) < BUMPS.index(least):
        raise InputError(
            f"a {step} step promises less than what changed: {difference.reason}",
            where=where,
            remedy=f"Take a {least} step, {bumped(newest, least)}",
        )
    return version or bumped(newest, step)


def _planned(files: Mapping[str, Content], head: Head | None) -> tuple[PlannedFile, ...]:
    present = head.digests if head else {}
    manifest_bytes = files[MANIFEST_FILE]
    assert isinstance(manifest_bytes, bytes)
    listed = {file.path: file for file in Manifest.model_validate_json(manifest_bytes).files}
    found = []
    for path, content in files.items():
        size = len(content) if isinstance(content, bytes) else listed[path].bytes
        sha256 = sha256_hex(content) if isinstance(content, bytes) else listed[path].sha256
        action: Action = "replace" if path in present else "add"
        found.append(PlannedFile(path, size, "keep" if is_same(present.get(path), sha256, content) else action))
    return (*found, *(PlannedFile(path, None, "remove") for path in strays(present, files)))


def _before(versions: list[str]) -> str | None:
    return versions[-2] if len(versions) > 1 else None


def _no_version(where: str, parent: str) -> ConflictError:
    return ConflictError(f"has no version {parent}", where=where, remedy="Publish the first one without a parent")
