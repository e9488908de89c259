"""The YAML header of a card: read with the line of every mistake, written again letter for letter where it can be.

YAML that is parsed and dumped loses comments, and turns `no` into `false` and `1.10` into `1.1`. So a key whose value
stays keeps the very lines it stood in, with the comments above them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from datasets_cards.errors import InputError

_DEEPEST = 100
_NAN = object()


@dataclass
class Header:
    """A header and how it was written.

    Attributes:
        values: what it says.
        lines: the lines of each key, comments within included.
        remarks: comments and blank lines above each key.
        rest: comments below the last one.
    """

    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, str] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)
    rest: str = ""


def read_header(text: str, file: str, first_line: int) -> Header:
    """Read a YAML header.

    Args:
        text: what stands between the two `---`.
        file: its file, for messages.
        first_line: the header's first line in it.

    Raises:
        InputError: not YAML, not a mapping, a key twice or not text, or aliases (which may expand without end).
    """
    import yaml  # only when a card is read

    loader, depth = _loader(), 0

    def refused(what: str, line: int) -> InputError:
        return InputError(what, where=f"{file}:{first_line + line}", remedy="Mend its header and publish again")

    try:
        for event in yaml.parse(text, loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or depth > _DEEPEST:
                what = "uses an alias" if depth <= _DEEPEST else "nests too deep"
                raise refused(f"the YAML header {what}", event.start_mark.line if event.start_mark else 0)
        parser = loader(text)
        node = parser.get_single_node()
        values = parser.construct_document(node) if node else None
    except InputError:
        raise
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line if mark else text.count("\n", 0, getattr(error, "position", 0) or 0)
        what = " ".join(str(getattr(error, "problem", None) or getattr(error, "reason", "")).split())
        raise refused(f"the YAML header can't be read ({what})", line) from None
    except ValueError as error:  # a date such as 2026-02-31
        raise refused(f"the YAML header can't be read ({error})", 0) from None
    if values is None:
        return Header(rest=_remark(text))
    if not isinstance(values, dict) or not isinstance(node, yaml.MappingNode):
        raise refused("the YAML header is no list of keys and values", 0)
    starts: dict[str, int] = {}
    for key, _ in node.value:
        if key.tag != "tag:yaml.org,2002:str":
            raise refused(f"the YAML key {key.value!r} is no text, put it in quotes", key.start_mark.line)
        if key.value in starts:
            raise refused(f"the YAML key {key.value!r} stands there twice", key.start_mark.line)
        starts[key.value] = key.start_mark.line
    header = Header(values)
    if not node.flow_style:
        _keep_lines(header, text.split("\n"), starts)
    return header


def _loader() -> Any:
    """The safe loader, in C where it was built."""
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _keep_lines(header: Header, lines: list[str], starts: Mapping[str, int]) -> None:
    """Part the text by keys; comments at the margin belong to the key below them."""
    remark = _joined(lines[: next(iter(starts.values()))])
    for key, end in zip(starts, [*list(starts.values())[1:], len(lines)], strict=True):
        cut = end
        while lines[cut - 1][:1] in ("", "#"):
            cut -= 1
        header.remarks[key], header.lines[key] = remark, _joined(lines[starts[key] : cut])
        remark = _joined(lines[cut:end])
    header.rest = _remark(remark)


def _remark(text: str) -> str:
    """Comments without the blank lines below them."""
    return f"{text.rstrip()}\n" if text.strip() else ""


def _joined(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def write_header(values: Mapping[str, Any], before: Sequence[Header] = ()) -> str:
    """Write a header, ending in a line break.

    Args:
        values: what it is to say, in this order.
        before: earlier headers, the one that counts most first; its comments are kept, and the lines of every value
            that stays.
    """
    import yaml

    def dump(value: Any) -> str:
        return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=float("inf"))

    def kept(key: str, value: Any) -> str:
        fitting = (header for header in before if key in header.lines and same(header.values[key], value))
        header = next(fitting, None)
        return header.lines[key] if header else dump({key: value})

    first = before[0] if before else Header()
    text = "".join(first.remarks.get(key, "") + kept(key, value) for key, value in values.items()) + first.rest
    try:
        faithful = same(yaml.load(text, _loader()), values)
    except yaml.YAMLError:
        faithful = False
    return text if faithful else dump(dict(values))


def same(one: Any, other: Any) -> bool:
    """Whether two values of a header say the same, also where that is `.nan`, which equals nothing."""
    return comparable(one) == comparable(other)


def comparable(value: Any) -> Any:
    """The value with a NaN that equals itself."""
    if isinstance(value, Mapping):
        return {comparable(key): comparable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [comparable(item) for item in value] if isinstance(value, list) else tuple(map(comparable, value))
    return _NAN if value != value else value
