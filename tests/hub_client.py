"""Pointing the Hub's client at a local Hub."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch


def client_environment(endpoint: str, token: str | None, home: Path) -> dict[str, str]:
    """The environment of a subprocess whose client reads and writes at `endpoint` only, as the user of `token`.

    The client copies these settings into constants when it is imported, so in a process that has imported it they come
    too late: see `in_process`. A refused or dropped request is tried again up to five times, for 23 s in all; nothing
    in the environment shortens that, so the server asks for a second's wait instead (Retry-After).
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING", "TRANSFORMERS"))}
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        env.pop(name, None)
    env |= {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    }
    return env | ({"HF_TOKEN": token} if token else {})


@contextmanager
def in_process(endpoint: str, token: str | None, home: Path) -> Iterator[None]:
    """The same for this process, whose client was imported offline.

    `HfApi(endpoint=...)` and `hf_hub_download(endpoint=...)` take an endpoint themselves; what doesn't is set here:
    offline mode, Xet, the cache, the template of addresses, the functions of the package (bound to one `HfApi` made at
    import), cards, `hf://` file systems, and the copies that `datasets` keeps. A default argument that was bound at
    import (`etag_timeout`) stays as it is.
    """
    import huggingface_hub.constants as constants
    from huggingface_hub import HfFileSystem, hf_api
    from huggingface_hub.utils import close_session

    settings: dict[str, Any] = {
        "ENDPOINT": endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_TOKEN_PATH": str(home / "token"),
    }
    with ExitStack() as stack:
        stack.enter_context(patch.multiple(constants, **settings))
        stack.enter_context(patch.object(hf_api.api, "endpoint", endpoint))
        stack.enter_context(patch.dict(os.environ, client_environment(endpoint, token, home), clear=True))
        if "datasets" in sys.modules:
            copies = {
                "HF_ENDPOINT": endpoint,
                "HUB_DATASETS_URL": endpoint + "/datasets/{repo_id}/resolve/{revision}/{path}",
                "HF_HUB_OFFLINE": False,
                "HF_DATASETS_OFFLINE": False,
                "HF_DATASETS_CACHE": home / "datasets",
            }
            stack.enter_context(patch.multiple(sys.modules["datasets"].config, **copies))
        for forget in (HfFileSystem.clear_instance_cache, close_session):
            forget()
            stack.callback(forget)
        yield
