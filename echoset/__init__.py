"""The front door: command line, induction, study and report. It imports everybody; nobody imports it."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("echoset")
except PackageNotFoundError:  # running from a checkout that was never installed
    __version__ = "0+unknown"
