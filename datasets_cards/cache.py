"""Where Echoset keeps what it can compute again: tiny models, embeddings, sample stores."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """`$ECHOSET_CACHE`, or `~/.cache/echoset`; the caller creates what it needs below."""
    chosen = os.environ.get("ECHOSET_CACHE", "").strip()
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "echoset"
