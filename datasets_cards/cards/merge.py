"""Writing a card anew without losing what people wrote into it by hand.

Two things belong to Echoset: the text between the marks, and the YAML keys as `card_metadata` makes them. All else is
people's and stays: text before and after the marks in its place, keys that we do not know, and keys of ours whose value
is no longer the one we wrote (we can tell, since the header is a function of the manifest it was written from). A key
of ours that is missing is written again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from datasets_cards.cards.card import CARD_FILE, MARK, card_block, card_metadata, without_marks
from datasets_cards.cards.header import Header, comparable, read_header, same, write_header
from datasets_cards.manifest import Manifest
from datasets_cards.tables.schemas import SCHEMAS

_LICENSE = ("license", "license_name", "license_link")
_SPECIAL = frozenset((*_LICENSE, "tags", "configs", "size_categories"))
_HEADER = re.compile(r"\A\s*---[ \t]*\n(?P<yaml>.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r" {0,3}#{1,6}(?:\s|$)")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")


class ExistingCard(NamedTuple):
    """A card that was there before.

    Attributes:
        text: the whole of it.
        manifest: what it was written from; None where Echoset did not write it.
        where: its file, for messages.
    """

    text: str
    manifest: Manifest | None
    where: str = CARD_FILE


class Merged(NamedTuple):
    """The card to write, and one line on each thing that could not be kept as it was."""

    text: str
    notes: list[str]


@dataclass
class _Card:
    """An existing card in parts.

    Attributes:
        header: its YAML.
        base: the YAML that Echoset would have written there.
        people: the keys that people wrote.
        before: people's text before the marks.
        after: and after them.
    """

    header: Header
    base: dict[str, Any]
    before: str = ""
    after: str = "\n"
    people: dict[str, Any] = field(default_factory=dict)


def merge_card(
    manifest: Manifest, existing: Sequence[ExistingCard] = (), summaries: Mapping[str, str] | None = None
) -> Merged:
    """Write the card of a manifest, keeping what people wrote into earlier ones.

    Keys of ours always stand as we write them in three cases: `configs` of our tables, `size_categories`, and a license
    that is known from the source. `tags` are those of both. With several cards the last wins: of an earlier one its
    sections and keys are kept where the last has none of that heading or name.

    Args:
        manifest: of the artifact to describe.
        existing: earlier cards, such as the published one and then the folder's own.
        summaries: Markdown on what was attached, see `card_block`.

    Raises:
        InputError: a card's YAML can't be read, naming its line.
    """
    notes: list[str] = []
    cards = [_read(card, notes) for card in existing]
    values = _merge_values(card_metadata(manifest), cards, notes)
    header = write_header(values, [card.header for card in reversed(cards)])
    # The last card that people wrote anything in: beside an untouched one, text stays where it stood in the earlier.
    spoken = [card for card in cards if card.before.strip() or card.after.strip()] or cards
    last = spoken[-1] if spoken else _Card(Header(), {})
    after = _with_sections(last, spoken[:-1], notes)
    text = f"---\n{header}---\n{last.before}{card_block(manifest, summaries)}\n{after.removeprefix(chr(10))}"
    return Merged(text if text.endswith("\n") else text + "\n", list(dict.fromkeys(notes)))


def people_wrote(card: ExistingCard) -> Any:
    """What people added to a card since Echoset wrote it; equal (`==`) for two cards in which they wrote the same.

    Their YAML keys and comments, and their text before and after the marks, without blanks at the ends.

    Raises:
        InputError: its YAML can't be read, naming its line.
    """
    read = _read(card, [])
    values, base = read.header.values, read.base
    special = {key: _added(values[key], base.get(key)) for key in _SPECIAL if key in values}
    special = {key: value for key, value in special.items() if not same(value, base.get(key)) and value != []}
    comments = [text.strip() for text in (*read.header.remarks.values(), read.header.rest) if text.strip()]
    return comparable(read.people | special), comments, read.before.strip(), read.after.strip()


def _added(value: Any, base: Any) -> Any:
    """Of a list that we wrote too, what is not ours."""
    return [item for item in value if item not in base] if isinstance(value, list) and isinstance(base, list) else value


def _read(card: ExistingCard, notes: list[str]) -> _Card:
    text = card.text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    match = _HEADER.match(text)
    header = read_header(match["yaml"], card.where, text.count("\n", 0, match.start("yaml")) + 1) if match else Header()
    read = _Card(header, card_metadata(card.manifest) if card.manifest else {})
    read.people = {
        key: value
        for key, value in header.values.items()
        if key not in _SPECIAL and not (key in read.base and same(value, read.base[key]))
    }
    body = text[match.end() :] if match else text
    marks = list(MARK.finditer(body))
    if [mark["kind"] for mark in marks] == ["begin", "end"]:
        read.before, read.after = body[: marks[0].start()], body[marks[1].end() :]
        return read
    if marks:
        notes.append(
            f"{CARD_FILE}: the marks around what Echoset writes were damaged, so all of the old text is kept after it"
        )
    if body := without_marks(body).strip("\n"):
        read.after = f"\n\n{body}\n"
    return read


def _merge_values(ours: dict[str, Any], cards: list[_Card], notes: list[str]) -> dict[str, Any]:
    people: dict[str, Any] = {}
    for card in reversed(cards):
        for key, value in card.people.items():
            if not same(people.setdefault(key, value), value):
                notes.append(f"{CARD_FILE}: two cards give another {key!r}, the later one's is kept")
    for card in cards:
        size = card.header.values.get("size_categories", ours["size_categories"])
        if size not in (ours["size_categories"], card.base.get("size_categories")):
            notes.append(f"{CARD_FILE}: size_categories was {size!r}; it is counted, and counted again")
    special = {
        **_merge_license({key: ours[key] for key in _LICENSE if key in ours}, cards, notes),
        "size_categories": ours["size_categories"],
        "tags": _merge_tags(ours["tags"], cards),
        "configs": _merge_configs(ours["configs"], cards, notes),
    }
    merged = {}
    for key in ours:
        if key == "license":
            merged |= {name: special[name] for name in _LICENSE if name in special}
        elif key not in _LICENSE:
            merged[key] = special[key] if key in special else people.pop(key, ours[key])
    return merged | people


def _merge_license(ours: dict[str, Any], cards: list[_Card], notes: list[str]) -> dict[str, Any]:
    """A license that the source states stands; where none is known, people's is taken, with its name and link."""
    known = ours["license"] != "other"
    merged = ours
    for card in cards:
        theirs = {key: card.header.values[key] for key in _LICENSE if key in card.header.values}
        written = {key: card.base[key] for key in _LICENSE if key in card.base}
        if not theirs.get("license") or theirs in (written, {"license": "other"}):
            continue
        if not known:
            if merged != ours and not same(merged, theirs):
                notes.append(f"{CARD_FILE}: two cards give another license, the later one's is kept")
            merged = theirs
        elif _names(theirs["license"]) == _names(ours["license"]):
            merged = ours | theirs | {"license": ours["license"]}
        else:
            notes.append(
                f"{CARD_FILE}: the license {theirs['license']!r} was not kept, the source's is {ours['license']!r}"
            )
    return merged


def _names(value: Any) -> list[str]:
    """One text or several, as a list of texts."""
    return sorted(str(name).lower() for name in (value if isinstance(value, list) else [value]))


def _merge_tags(ours: list[str], cards: list[_Card]) -> list[Any]:
    """Ours first, then people's; those that we wrote for another version and would not write now are gone."""
    merged = list(ours)
    for card in reversed(cards):
        found = card.header.values.get("tags") or []
        for tag in found if isinstance(found, list) else [found]:
            if tag not in merged and tag not in card.base.get("tags", ()):
                merged.append(tag)
    return merged


def _merge_configs(ours: list[dict[str, Any]], cards: list[_Card], notes: list[str]) -> list[Any]:
    """Ours, then people's own by name."""
    people: dict[str, Any] = {}
    for card in reversed(cards):
        found = card.header.values.get("configs") or []
        for config in found if isinstance(found, list) else [found]:
            name = config.get("config_name") if isinstance(config, dict) else None
            if not isinstance(name, str):
                notes.append(f"{CARD_FILE}: a config without a name was not kept: {config!r}")
            elif name in SCHEMAS:
                if config not in card.base.get("configs", ()) and config not in ours:
                    notes.append(f"{CARD_FILE}: the config {name!r} is ours, and was written again")
            elif config.get("default"):
                notes.append(f"{CARD_FILE}: the config {name!r} is not the default, labels is")
                people.setdefault(name, {key: value for key, value in config.items() if key != "default"})
            else:
                people.setdefault(name, config)
    return ours + list(people.values())


def _with_sections(last: _Card, others: Sequence[_Card], notes: list[str]) -> str:
    """People's text after the marks, and what stands only in the other cards."""
    here = f"\n{last.before}\n{last.after}\n"
    lines, sections = set(here.split("\n")), _sections(last.before) + _sections(last.after)
    headings, texts = {heading for heading, _ in sections if heading}, {text for _, text in sections}
    added = []
    for card in reversed(others):
        found = _sections(card.before) + _sections(card.after)
        for heading, text in found:
            if text in texts or (text.split("\n", 1)[0] in lines and f"\n{text}\n" in here):
                continue
            texts.add(text)
            if heading in headings:
                notes.append(f"{CARD_FILE}: two cards differ in the section {heading!r}, the later one's is kept")
            else:
                added.append(text)
        headings |= {heading for heading, _ in found if heading}
    return "\n\n".join([last.after.rstrip("\n"), *added]) + "\n" if added else last.after


def _sections(text: str) -> list[tuple[str, str]]:
    """Pieces of Markdown, each with its heading ("" before the first one); a # inside a code fence is no heading."""
    pieces: list[tuple[str, list[str]]] = [("", [])]
    fence = ""
    for line in text.split("\n"):
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence) and not line.strip().strip(fence[0]):
                fence = ""
        elif mark:
            fence = mark[1]
        elif _HEADING.match(line):
            pieces.append((line.strip(), []))
        pieces[-1][1].append(line)
    joined = [(heading, "\n".join(lines).strip("\n")) for heading, lines in pieces]
    return [(heading, text) for heading, text in joined if text.strip()]
