"""The command line. Each verb reads its options, calls one function of the library, and shows what came back.

Exit status: 0 done, 1 failed (one line on stderr: what, where, remedy), 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
import warnings
from typing import Annotated

import typer

from echoset import __version__
from echoset.commands import artifacts, differences, labeling, models, releases, studies

app = typer.Typer(
    name="echoset",
    help="Label a dataset with a model's own outputs, measure the shift, train on it, see what that did.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Echoset."""
    if version:
        print(f"echoset {__version__}")
        raise typer.Exit


VERBS = {
    "label": labeling.label,
    "relabel": labeling.relabel,
    "shift": artifacts.shift,
    "train": models.train,
    "induce": models.induce,
    "eval": models.evaluate,
    "study": studies.study,
    "publish": releases.publish,
    "pull": releases.pull,
    "versions": releases.versions,
    "diff": differences.diff,
    "verify": artifacts.verify,
    "show": artifacts.show,
    "doctor": studies.doctor,
}
for name, verb in VERBS.items():
    app.command(name)(verb)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status; the only place where errors become lines."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    if not debug:
        # The libraries' own bars and deprecation notes, in this process and in a study's workers; ours say enough.
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
        os.environ.setdefault("PYTHONWARNINGS", "ignore::FutureWarning")
        warnings.simplefilter("ignore", FutureWarning)
    # Records come by the hundred thousand and form no cycles: at its default the collector takes a third of the time.
    gc.set_threshold(100_000, 50, 100)
    command = typer.main.get_command(app)
    try:
        status = command.main([a for a in arguments if a != "--debug"], prog_name="echoset", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except typer.Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print("echoset: interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    except Exception as error:
        if debug:
            raise
        if hasattr(error, "format_message"):  # click's usage errors, whichever click typer brings
            print(f"echoset: {error.format_message()}", file=sys.stderr)  # pyright: ignore[reportAttributeAccessIssue]
            return 2
        from datasets_cards.errors import EchosetError  # not above: `--help` is to be instant

        if isinstance(error, EchosetError):
            print(f"echoset: {error}", file=sys.stderr)
        elif isinstance(error, OSError) and error.errno == errno.ENOSPC:
            print(
                "echoset: no space left on the device. What was finished is kept; free some and go on.", file=sys.stderr
            )
        else:
            text = " ".join(str(error).split())
            print(
                f"echoset: {type(error).__name__}: {text} (a fault of Echoset's: --debug shows where)", file=sys.stderr
            )
        return 1
