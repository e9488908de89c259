"""The tiny base, its embedder and its reward model, trained or built once and then found in the cache."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from datasets_cards.cache import cache_dir
from datasets_cards.errors import StorageError
from organisms.tiny.recipe import Recipe, RewardRecipe

SCOPE = "tiny world only"
"""Said wherever the embedder is used: over any other text it measures next to nothing."""


def tiny_base(recipe: Recipe | None = None, *, progress: bool = False) -> Path:
    """The directory of the tiny base model, trained first where the cache has none of this recipe.

    Processes that ask at the same time train once: one trains, the others wait for it.

    Args:
        recipe: default the one that everything embedded runs on.
        progress: show a bar on stderr while training.

    Raises:
        StorageError: the cache can't be written.
    """
    recipe = recipe or Recipe()

    def build(out: Path) -> None:
        from organisms.tiny.base import train_base  # torch and transformers: only where there is training to do

        train_base(recipe, out, progress=progress)

    return _once(cache_dir() / "tiny" / recipe.digest() / "echoset-tiny", build)


def tiny_embedder(recipe: Recipe | None = None, *, progress: bool = False) -> Path:
    """The directory of a `SentenceTransformer` that averages the tiny base's last hidden states over a text's tokens.

    Raises:
        StorageError: the cache can't be written.
    """
    base = tiny_base(recipe, progress=progress)

    def build(out: Path) -> None:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.base.modules import Transformer
        from sentence_transformers.sentence_transformer.modules import Pooling

        # With a chat template there, every text would be embedded as a user's message; it is to stand as it is.
        with tempfile.TemporaryDirectory(dir=out.parent) as bare:
            shutil.copytree(base, bare, ignore=shutil.ignore_patterns("chat_template*"), dirs_exist_ok=True)
            tokens = Transformer(bare)
        modules = [tokens, Pooling(tokens.get_embedding_dimension(), "mean")]
        # A model card would name this machine's cache directory.
        SentenceTransformer(modules=modules, device="cpu").save(str(out), create_model_card=False)
        (out / "echoset.json").write_text(json.dumps({"scope": SCOPE}) + "\n", encoding="utf-8")

    return _once(base.parent / "echoset-tiny-embedder", build)


def tiny_reward(recipe: RewardRecipe | None = None, *, progress: bool = False) -> Path:
    """The directory of the tiny reward model, a classifier with one output; see `organisms.tiny.reward` for its limits.

    Processes that ask at the same time train once: one trains, the others wait for it. The base is trained first where
    the cache has none.

    Args:
        recipe: default the one that everything embedded runs on.
        progress: show a bar on stderr while training.

    Raises:
        StorageError: the cache can't be written.
    """
    recipe = recipe or RewardRecipe()
    base = tiny_base(recipe.base, progress=progress)

    def build(out: Path) -> None:
        from organisms.tiny.reward import train_reward

        train_reward(recipe, base, out, progress=progress)

    return _once(cache_dir() / "tiny" / recipe.digest() / "echoset-tiny-reward", build)


def _once(path: Path, build: Callable[[Path], None]) -> Path:
    """`path`, made by `build` in a directory beside it that is renamed when it is whole; one process at a time."""
    if path.is_dir():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(path.name + ".lock")):
            if path.is_dir():
                return path
            unfinished = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
            try:
                build(unfinished)
                os.rename(unfinished, path)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise StorageError(
            f"the tiny model can't be kept ({error.strerror or error})",
            where=str(path.parent),
            remedy="Free space there, or name another directory in ECHOSET_CACHE",
        ) from error
    return path
