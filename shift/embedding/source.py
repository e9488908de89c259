"""Which embedder is meant: found without loading it, and named by everything that its points depend on."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from datasets_cards.canonical import canonical_json, file_digest, sha256_hex
from datasets_cards.errors import InputError, MissingError

MARKS = ("modules.json", "config_sentence_transformers.json", "config.json", "echoset.json")
"""Files of which an embedder's directory has at least one at its top."""


@dataclass(frozen=True)
class Source:
    """An embedder that exists, here or on the Hub.

    Attributes:
        name: the id, or the directory's own name (never its path, which would tell of the machine).
        digest: what its points depend on: the directory's files, or the id with its commit; and the prompt, if any.
        location: the directory, or the id.
        revision: the id's commit; None for a directory.
        prompt: put before every text.
        prompt_name: the same, by its name in the model's own configuration.
    """

    name: str
    digest: str
    location: str
    revision: str | None
    prompt: str | None
    prompt_name: str | None


def find_source(ref: str | Path, prompt: str | None = None, prompt_name: str | None = None) -> Source:
    """Find an embedder by its directory or id.

    Raises:
        InputError: a prompt and the name of one; a directory of other things.
        MissingError: there is no such directory or it is empty, or the id is neither stored here nor can be fetched.
    """
    if prompt is not None and prompt_name is not None:
        raise InputError("a prompt and the name of a prompt", where=str(ref), remedy="Give one of them.")
    folder = Path(ref).expanduser()
    if folder.is_dir():
        name, location, revision = folder.resolve().name, str(folder.resolve()), None
        digest = _folder_digest(folder)
    elif folder.is_absolute() or str(ref).startswith((".", "~")) or str(ref).count("/") > 1 or folder.exists():
        raise MissingError("no such embedder directory", where=str(ref), remedy="Give a directory or a Hub id.")
    else:
        name = location = str(ref)
        revision = _commit(location)
        digest = f"{location}@{revision}"
    if prompt is not None or prompt_name is not None:
        # What a name stands for is in the model's files, so the name is enough.
        digest += f"+prompt:{sha256_hex(canonical_json([prompt, prompt_name]))[:16]}"
    return Source(name, digest, location, revision, prompt, prompt_name)


def scope_of(source: Source) -> str | None:
    """What an embedder is good for, from `echoset.json` in its directory; None where nothing limits it.

    Raises:
        InputError: the file can't be read.
    """
    path = Path(source.location) / "echoset.json"
    if source.revision is not None or not path.is_file():
        return None
    try:
        scope = json.loads(path.read_text(encoding="utf-8")).get("scope")
    except (ValueError, AttributeError):
        raise InputError("is not a JSON object", where=str(path), remedy='It should read {"scope": ...}.') from None
    return None if scope is None else str(scope)


def offline() -> bool:
    """Whether the Hub is not to be asked."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")


def _folder_digest(folder: Path) -> str:
    # Looked for first: a directory of other things may be a whole disk.
    if not any(os.path.isfile(folder / name) for name in MARKS):
        remedy = f"Give a saved SentenceTransformer: its directory has {MARKS[0]} or {MARKS[2]}."
        if os.access(folder, os.R_OK) and not os.listdir(folder):
            raise MissingError("an empty directory is no embedder", where=str(folder), remedy=remedy)
        raise InputError("not a sentence embedder", where=str(folder), remedy=remedy)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return sha256_hex(canonical_json([[path.relative_to(folder).as_posix(), file_digest(path)] for path in files]))


def _commit(id_: str) -> str:
    """The commit an id stands for: the Hub's, or the stored one where there is no network."""
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    remedy = "Give a directory, or an id that the Hub or this machine's cache has."
    try:
        if not offline():
            return str(HfApi().model_info(id_).sha)
    except HFValidationError:
        raise MissingError("no such embedder", where=id_, remedy=remedy) from None
    except Exception:  # the Hub, or any layer of the network below it: a stored copy serves, or there is none
        pass
    for name in ("modules.json", "config.json"):
        stored = try_to_load_from_cache(id_, name)
        if isinstance(stored, str):
            return Path(stored).parent.name
    raise MissingError("no such embedder", where=id_, remedy=remedy)
