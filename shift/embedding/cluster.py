"""Embedding on a Ray cluster: chunks of texts go to one model per worker, points come back to the one who stores."""

# Ray comes with the `ray` extra.
# pyright: reportMissingImports=false
from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets_cards.errors import EchosetError, EngineError, MissingError
from shift.embedding.model import Model, Part
from shift.embedding.source import Source, find_source


def embed_on_ray(
    source: Source, chunks: Iterable[tuple[NDArray[np.intp], list[str]]], *, address: str, workers: int | None
) -> Iterator[Part]:
    """Points of chunks of texts, given as (positions, texts), in the order in which they get done.

    Args:
        source: the embedder; each worker finds the same directory, or the same commit of an id.
        chunks: what to embed.
        address: the cluster's, or "local" for one on this machine that ends with the work.
        workers: models at once; one for each GPU, or else each CPU, where left out.

    Raises:
        MissingError: Ray is not installed.
        EngineError: the cluster can't be reached, or a worker can't do its part.
    """
    try:
        import pyarrow as pa
        import ray
        import ray.data
    except ImportError as error:
        raise MissingError("Ray is not installed", remedy="pip install 'echoset[ray]'") from error

    ours = not ray.is_initialized()
    if ours:
        _connect(address, workers)
    try:
        blocks = [pa.table({"at": at, "text": texts}) for at, texts in chunks]
        has = ray.cluster_resources()
        gpus = int(has.get("GPU", 0))
        most = gpus or int(has.get("CPU", 1))
        workers = min(workers or most, most, len(blocks))
        ray.data.DataContext.get_current().enable_progress_bars = False  # the caller shows one
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        done = ray.data.from_arrow(blocks).map_batches(
            _Worker,
            fn_constructor_args=(source,),
            batch_size=None,  # a block is a chunk
            batch_format="numpy",
            num_cpus=1,
            num_gpus=1 if gpus else 0,
            compute=ray.data.ActorPoolStrategy(size=workers),
        )
        for batch in done.iter_batches(batch_size=None, batch_format="numpy"):
            for sent in batch["part"]:
                part = pickle.loads(sent)
                if isinstance(part, EchosetError):
                    raise part
                yield part
    except EchosetError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[-300:]
        raise EngineError(
            f"a worker of the cluster fails ({type(error).__name__}: {reason})", where=source.name
        ) from error
    finally:
        if ours:
            ray.shutdown()


def _connect(address: str, workers: int | None) -> None:
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    try:
        if address == "local":
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            ray.init("local", num_cpus=workers, include_dashboard=False, **quiet)
        else:
            ray.init(address, **quiet)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise EngineError(f"the Ray cluster can't be reached ({reason})", where=address) from error


class _Worker:
    """A model of its own on some machine of the cluster."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._model: Model | None = None

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        try:
            self._model = self._model or self._load()
            points, long = self._model.embed([str(text) for text in batch["text"]])
            part = Part(batch["at"].astype(np.intp), points, long, self._model.max_tokens)
        except EchosetError as error:
            part = error  # Ray would hand over its words at most
        return {"part": np.array([pickle.dumps(part)], dtype=object)}

    def _load(self) -> Model:
        source = self._source
        if source.revision is None:
            here = find_source(source.location, source.prompt, source.prompt_name)
            if here.digest != source.digest:
                raise EngineError(
                    "a worker finds another embedder there",
                    where=source.location,
                    remedy="Give all machines of the cluster the same directory.",
                )
        return Model(source)
