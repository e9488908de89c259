"""What people may write where an artifact is asked for: `DIR`, or `STORE/name@v1.0.0`."""

from __future__ import annotations

import difflib
from pathlib import Path

from datasets_cards.errors import InputError, MissingError
from datasets_cards.hub_origin import is_hub
from datasets_cards.local_hub import LocalHub
from datasets_cards.manifest import MANIFEST_FILE


def is_artifact(path: str | Path) -> bool:
    """Whether a folder holds an artifact."""
    return (Path(path) / MANIFEST_FILE).is_file()


def is_reference(text: str | Path) -> bool:
    """Whether this is written as a version in a store, `STORE/name@...`, and is no file, folder or Hub dataset."""
    return "@" in Path(text).name and not is_hub(text) and not Path(text).exists()


def resolve_ref(ref: str | Path) -> Path:
    """The folder of an artifact.

    Args:
        ref: a folder, or a version in a store, such as `store/sycophancy@v1.0.0`.

    Raises:
        InputError: of another shape, or not an artifact.
        MissingError: there is nothing of that name.
    """
    path = Path(ref)
    if is_artifact(path):
        return path
    store, name = path.parent, path.name
    if is_reference(path):
        if not store.is_dir():
            raise MissingError("no such store", where=str(store), remedy="Check the path")
        return LocalHub(store).resolve(name)
    if path.is_dir():
        raise InputError(
            "is not an artifact, it has no manifest.json", where=str(path), remedy="Give the folder that `label` wrote"
        )
    siblings = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, n=3, cutoff=0.5)
    remedy = f"Did you mean {' or '.join(near)}?" if near else "Give a folder, or STORE/name@v1.0.0"
    raise MissingError("no such artifact", where=str(path), remedy=remedy)
