"""Rows from a dataset on the Hub, streamed at one commit.

```
hub:ORG/NAME                     the only split of the default configuration
hub:ORG/NAME@REVISION            at a tag, branch or commit
hub:ORG/NAME:CONFIG              the only split of a configuration
hub:ORG/NAME:CONFIG/SPLIT        one split
hub:ORG/NAME:/SPLIT              one split of the default configuration
```
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from datasets_cards.errors import EchosetError, InputError, MissingError
from datasets_cards.hub_client import hub_errors
from datasets_cards.sources.origins import BATCH_ROWS, Origin, first_line, table_records

FORM = "hub:ORG/NAME[@REVISION][:CONFIG/SPLIT]"
_REFERENCE = re.compile(
    r"hub:(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[^:@\s]+))?(:(?P<config>[^:/\s]*)(/(?P<split>[^:/\s]+))?)?", re.ASCII
)


def hub_origin(text: str) -> Origin:
    """Find a dataset on the Hub and the commit that its revision stands for now.

    Raises:
        InputError: not of the form above, gated, or of several splits of which none was named.
        MissingError: no such dataset, revision, configuration or split.
        StorageError: the Hub can't be reached.
    """
    match = _REFERENCE.fullmatch(text)
    if not match:
        raise InputError(f"{text!r} names no dataset on the Hub", remedy=f"Write {FORM}")
    name, revision, config, split = match["name"], match["revision"], match["config"] or None, match["split"]
    with _origin_errors(text):
        from huggingface_hub import HfApi

        info = HfApi().dataset_info(name, revision=revision)
        if info.gated:
            HfApi().auth_check(name, repo_type="dataset")
    assert info.sha
    splits = _splits(text, name, info.sha, config)
    if split is None and len(splits) > 1:
        form = f"hub:{name}{f'@{revision}' if revision else ''}:{config or ''}/{next(iter(splits))}"
        raise InputError(f"holds several splits ({', '.join(splits)})", where=text, remedy=f"Name one, such as {form}")
    split = split or next(iter(splits))
    if split not in splits:
        raise MissingError(f"has no split {split!r}", where=text, remedy=f"Its splits: {', '.join(splits)}")
    stream = splits[split]
    reference = f"{name}@{info.sha}:{stream.config_name}/{split}"
    sha, license = info.sha, _license(info.card_data)
    return Origin(text, name, reference, partial(_records, stream, text), lambda: sha, license)


def _splits(text: str, name: str, commit: str, config: str | None) -> dict[str, Any]:
    """The streams of a configuration, by split."""
    with _origin_errors(text):
        import datasets  # seconds to import: only when the Hub is read

        try:
            streams = datasets.load_dataset(name, config, revision=commit, streaming=True)
            return {str(split): stream for split, stream in streams.items()}
        except ValueError:  # no configuration of that name, or several and no default
            known = datasets.get_dataset_config_names(name, revision=commit)
            if config in known:
                raise
            remedy = f"Its configurations: {', '.join(known)}"
            if config:
                raise MissingError(f"has no configuration {config!r}", where=text, remedy=remedy) from None
            raise InputError("has several configurations and no default", where=text, remedy=remedy) from None


def _records(stream: Any, text: str) -> Iterator[tuple[int, Any]]:
    number = 0
    with _origin_errors(text):
        for table in stream.with_format("arrow").iter(BATCH_ROWS):
            yield from enumerate(table_records(table, text, number), number + 1)
            number += len(table)


def _license(card: Any) -> str | None:
    """What the card names; several names with commas between."""
    named = card.get("license") if card else None
    return ", ".join(named) if isinstance(named, list) else named


@contextmanager
def _origin_errors(where: str) -> Iterator[None]:
    """Turn what the Hub's client and `datasets` raise into one line."""
    import pyarrow as pa
    from datasets import exceptions

    try:
        with hub_errors(where, remedy=f"Write {FORM}"):
            yield
    except EchosetError:
        raise
    except exceptions.DatasetNotFoundError:
        remedy = "Check the name, or log in: hf auth login"
        raise MissingError("no such dataset on the Hub, or a private one", where=where, remedy=remedy) from None
    except (pa.ArrowException, exceptions.DatasetsError, OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"can't be read ({first_line(error)})", where=where, remedy="Download it and give the file"
        ) from None
