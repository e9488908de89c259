"""What people may write where an artifact is asked for: `DIR`, `STORE/name@v1.0.0`, or `hub:ORG/NAME@v1.0.0`."""

from __future__ import annotations

import difflib
from pathlib import Path

from datasets_cards.errors import InputError, MissingError
from datasets_cards.hub_client import is_hub
from datasets_cards.manifest import MANIFEST_FILE
from datasets_cards.stores.hub import Gated, Hub
from datasets_cards.stores.local_hub import LocalHub
from datasets_cards.stores.store import Store
from datasets_cards.versions import parse_version

FORMS = "Give a folder, STORE/name@v1.0.0 or hub:ORG/NAME@v1.0.0"


def is_artifact(path: str | Path) -> bool:
    """Whether a folder holds an artifact."""
    return (Path(path) / MANIFEST_FILE).is_file()


def is_reference(text: str | Path) -> bool:
    """Whether this is written as a version of an artifact, in a store or on the Hub, and is no file or folder.

    A dataset on the Hub at a revision that is no version, or with a configuration, is read as any dataset is.
    """
    if not is_hub(text):
        return "@" in Path(text).name and not Path(text).exists()
    try:
        parse_version(str(text).rpartition("@")[2])
    except InputError:
        return False
    return True


def open_store(to: str | Path, *, private: bool = False, gated: Gated | None = None) -> tuple[Store, str]:
    """The store and the name that `hub:ORG/NAME` or `STORE/NAME` stand for.

    Raises:
        InputError: of another shape, or with a version.
    """
    store, name, version = split_ref(to, private=private, gated=gated)
    if version is not None:
        raise InputError("names a version", where=str(to), remedy="Leave it out, or ask for it with --version")
    return store, name


def resolve_ref(ref: str | Path) -> Path:
    """The folder of an artifact; a version on the Hub is downloaded into the cache.

    Args:
        ref: a folder, or a version such as `store/sycophancy@v1.0.0` or `hub:me/sycophancy@v1.0.0`.

    Raises:
        InputError: of another shape, or not an artifact.
        MissingError: there is nothing of that name.
        StorageError: the Hub can't be reached.
    """
    path = Path(ref)
    if is_artifact(path):
        return path
    if is_hub(ref) or is_reference(path):
        store, name, version = split_ref(ref)
        if isinstance(store, LocalHub) and not store.root.is_dir():
            raise MissingError("no such store", where=str(store.root), remedy="Check the path")
        if version is None:
            known = store.versions(name)
            remedy = f"Its versions: {', '.join(known)}" if known else f"Write {store.where(name)}@v1.0.0"
            raise InputError("names no version", where=str(ref), remedy=remedy)
        return store.fetch(name, version)
    if path.is_dir():
        raise InputError(
            "is not an artifact, it has no manifest.json", where=str(path), remedy="Give the folder that `label` wrote"
        )
    siblings = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, n=3, cutoff=0.5)
    raise MissingError(
        "no such artifact", where=str(path), remedy=f"Did you mean {' or '.join(near)}?" if near else FORMS
    )


def split_ref(text: str | Path, *, private: bool = False, gated: Gated | None = None) -> tuple[Store, str, str | None]:
    """Store, name and version of a reference; no version is None.

    Raises:
        InputError: of another shape.
    """
    if is_hub(text):
        store, rest = Hub(private=private, gated=gated), str(text).removeprefix("hub:")
    elif private or gated:
        raise InputError(
            "only a repository on the Hub can be private or gated", where=str(text), remedy="Write hub:ORG/NAME"
        )
    else:
        store, rest = LocalHub(Path(text).parent), Path(text).name
    name, at, version = rest.partition("@")
    store.check_name(name)
    if at:
        parse_version(version)
    return store, name, version if at else None
