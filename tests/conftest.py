"""Shared by all tests: a cache inside the checkout, one thread a process, no network, and the embedded base."""

import os
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
os.environ.setdefault("ECHOSET_CACHE", str(REPOSITORY / ".cache" / "echoset"))
os.environ.setdefault("HF_HOME", str(REPOSITORY / ".cache" / "huggingface"))
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    OMP_NUM_THREADS="1",
    TOKENIZERS_PARALLELISM="false",
)

import pytest  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_base() -> Path:
    """The embedded model; trained once for a cache, whichever test process comes first."""
    from organisms.tiny import tiny_base as train_or_load

    return train_or_load()


@pytest.fixture(scope="session")
def tiny_embedder(tiny_base: Path) -> Path:
    from organisms.tiny import tiny_embedder as build_or_load

    return build_or_load()


@pytest.fixture
def reference_data() -> Path:
    """The public task files, where this machine has them beside the checkout."""
    path = Path(os.environ.get("ECHOSET_REFERENCE_DATA", REPOSITORY.parent / "shared" / "reference-data"))
    if not path.is_dir():
        pytest.skip(f"the reference task files are not at {path.name}; set ECHOSET_REFERENCE_DATA")
    return path
