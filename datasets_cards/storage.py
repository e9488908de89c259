"""Folders that appear whole or not at all, whatever happens while they are written."""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from datasets_cards.errors import EchosetError, StorageError


@contextmanager
def storage_errors(where: Path) -> Iterator[None]:
    """Turn an OSError into one line that names the place and the remedy."""
    try:
        yield
    except EchosetError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            what, remedy = "no space left", "Free some space or write elsewhere; nothing half-written was left"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            what, remedy = "can't be written, no permission", "Choose a folder you may write to"
        elif error.errno in (errno.ENOTDIR, errno.EEXIST):
            what, remedy = "a file is in the way", "Choose another place"
        elif error.errno == errno.ENOTEMPTY:  # a rename found what was not there when the work began
            what, remedy = "something is in the way by now", "Look at what is there, or choose another place"
        else:
            what, remedy = f"storage failed ({error.strerror or error})", "Check the disk and try again"
        raise StorageError(what, where=str(where), remedy=remedy) from error


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A hidden folder beside `out` to fill; removed again if the block doesn't move it into place.

    The folder is locked while its owner lives: what a killed writer left is recognized, and removed, by the next.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    work = out.parent / f".{out.name}.new-{secrets.token_hex(6)}"
    with exclusive(out.parent):  # or another writer would sweep it away before it is locked
        _sweep(out)
        work.mkdir()
        lock = os.open(work, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        os.close(lock)


def _sweep(out: Path) -> None:
    """Clear up after killed writers: remove what was not finished, put back what was set aside and not replaced."""
    if any([_is_alive(work) for work in out.parent.glob(f".{glob.escape(out.name)}.new-*")]):
        return  # what is set aside may be a living writer's
    for aside in out.parent.glob(f".{glob.escape(out.name)}.old-*"):
        if out.exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            os.rename(aside, out)


def _is_alive(work: Path) -> bool:
    """Whether a writer still holds this folder; removes it if not."""
    try:
        lock = os.open(work, os.O_RDONLY)
    except FileNotFoundError:
        return False  # its writer has just finished
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(work, ignore_errors=True)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(lock)


def move_into_place(work: Path, out: Path, *, replace: bool = False) -> None:
    """Flush a finished folder to disk and rename it to `out` in one step.

    Args:
        work: the finished folder, on the same file system.
        out: where it goes.
        replace: `out` may exist; it is set aside, and put back by the next writer if this one is killed in between.
    """
    for folder, _, files in os.walk(work):
        for name in files:
            _sync(Path(folder) / name)
        _sync(Path(folder))
    if replace and out.exists():
        aside = out.parent / f".{out.name}.old-{secrets.token_hex(6)}"
        os.rename(out, aside)
        try:
            os.rename(work, out)
        except OSError:
            os.rename(aside, out)
            raise
        shutil.rmtree(aside, ignore_errors=True)
    else:
        os.rename(work, out)
    _sync(out.parent)


def replace_files(contents: Mapping[Path, bytes]) -> None:
    """Put files in place, each in one step and in this order; all are on disk before the first is renamed.

    So a disk that fills up changes nothing, and a reader of one file sees its old bytes or its new ones.
    """
    fresh = {path: path.parent / f".{path.name}.new-{secrets.token_hex(6)}" for path in contents}
    try:
        for path, data in contents.items():
            path.parent.mkdir(exist_ok=True)
            with open(fresh[path], "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for path, temporary in fresh.items():
            os.replace(temporary, path)
    except BaseException:
        for temporary in fresh.values():
            temporary.unlink(missing_ok=True)
        raise
    for folder in {path.parent for path in contents}:
        _sync(folder)


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold a folder's lock against other processes and threads; the kernel releases it if its holder is killed."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
