"""The errors that people meet.

Every one says what went wrong, where (file, row, field) and what to do about it, in one line. The command line
prints that line and nothing else; each class is also the standard type that a Python caller would expect to catch.
"""

from __future__ import annotations

from typing import Any


class EchosetError(Exception):
    """The root of every error raised on purpose.

    Args:
        what: what is wrong, in a few words.
        where: the file, row or field it is wrong in, as a reader would look it up.
        remedy: what to do about it.
    """

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__(what)

    def __reduce__(self) -> tuple[Any, ...]:
        # By default an exception is rebuilt from positional arguments: a worker's error would break its pool.
        return _rebuild, (type(self), self.__dict__)

    def __str__(self) -> str:
        line = f"{self.where}: {self.what}" if self.where else self.what
        return one_line(f"{line}. {self.remedy}" if self.remedy else line)


def one_line(text: str) -> str:
    """Text as one line of plain characters: what a stranger put into a name can't steer the terminal it is shown on."""
    return printable(" ".join(text.split()))


def printable(text: str) -> str:
    """Text whose control characters and the like, line breaks too, are spelled out as in Python's own literals."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _rebuild(kind: type[EchosetError], fields: dict[str, Any]) -> EchosetError:
    error = kind.__new__(kind)
    error.__dict__.update(fields)
    error.args = (error.what,)
    return error


class InputError(EchosetError, ValueError):
    """The input (a row, a file, an option) can't be used as it is."""


class MissingError(EchosetError, FileNotFoundError):
    """A file, model, artifact or column that was named does not exist."""

    __str__ = EchosetError.__str__


class StorageError(EchosetError, OSError):
    """Reading or writing failed: no permission, no space, a path in the way."""

    __str__ = EchosetError.__str__


class IntegrityError(EchosetError, ValueError):
    """Stored bytes are not the bytes that were recorded."""


class EngineError(EchosetError, RuntimeError):
    """A model can't be loaded, or can't do what was asked of it."""


class ConflictError(EchosetError, RuntimeError):
    """Somebody else was first: the version is taken, or the newest one is no longer the one that was built on."""
