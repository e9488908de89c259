"""`python -m echoset`, and the entry point of the `echoset` command."""

import sys

from echoset.cli import main


def run() -> None:
    """Run the command line and exit with its status."""
    sys.exit(main())


if __name__ == "__main__":
    run()
