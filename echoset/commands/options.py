"""Options that several verbs share, and how results are shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

ArtifactRef = Annotated[str, typer.Argument(help="An artifact: DIR, STORE/NAME@v1.0.0 or hub:ORG/NAME@v1.0.0.")]
Model = Annotated[
    str, typer.Option("--model", help="Directory or Hub id of a model or adapter; `tiny` is the embedded one.")
]
Out = Annotated[Path, typer.Option("--out", help="Directory to write; must not exist yet.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of every draw.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]
TaskName = Annotated[str | None, typer.Option("--task", help="Name of a task, for its prompts, answers and verdicts.")]
Embedder = Annotated[
    str, typer.Option("--embedder", help="SentenceTransformer directory or Hub id; `tiny` is the embedded one.")
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Read only the first rows.")]


def show_result(result: dict[str, Any], as_json: bool) -> None:
    """Print a result: as JSON, or a line a field."""
    if as_json:
        print(json.dumps(result, indent=2, default=str))
    else:
        for key, value in result.items():
            print(f"{key.replace('_', ' ')}: {value}")


@contextmanager
def stages(quiet: bool) -> Iterator[Callable[[str], None]]:
    """What long work is at, on a terminal's stderr."""
    from rich.console import Console

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda stage: None
        return
    with console.status("") as status:
        yield status.update
