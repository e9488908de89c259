"""What all talk with the Hub shares: how it is written, and what its client raises as errors of one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datasets_cards.errors import EchosetError, InputError, MissingError, StorageError

LOG_IN = "Log in with a token that may write there: hf auth login"


def is_hub(data: str | Path) -> bool:
    """Whether this names a dataset on the Hub."""
    return str(data).startswith("hub:")


@contextmanager
def hub_errors(where: str, *, remedy: str = "Write hub:ORG/NAME", writing: bool = False) -> Iterator[None]:
    """Turn what the Hub's client raises into one line.

    Args:
        where: the repository or reference, as people wrote it.
        remedy: what a name of the wrong shape should have been.
        writing: something is being changed there, so that a refusal is about the right to write.
    """
    from huggingface_hub import errors

    try:
        with _causes():
            yield
    except EchosetError:
        raise
    except errors.HFValidationError as error:
        raise InputError(f"is no name of a dataset ({_first_line(error)})", where=where, remedy=remedy) from None
    except errors.LocalTokenNotFoundError:
        raise InputError("no token for the Hub", where=where, remedy=LOG_IN) from None
    except errors.RevisionNotFoundError:
        raise MissingError("has no such revision", where=where, remedy="Check the tag, branch or commit") from None
    except errors.GatedRepoError:
        remedy = "Accept its terms on its page, then log in: hf auth login"
        raise InputError("is gated", where=where, remedy=remedy) from None
    except errors.RepositoryNotFoundError as error:
        if writing and _status(error) == 401:
            raise InputError("the Hub knows no such token, or got none", where=where, remedy=LOG_IN) from None
        remedy = "Check the name, or log in: hf auth login"
        raise MissingError("no such dataset on the Hub, or a private one", where=where, remedy=remedy) from None
    except errors.RemoteEntryNotFoundError as error:
        raise MissingError(f"holds no such file ({_first_line(error)})", where=where) from None
    except errors.OfflineModeIsEnabled:
        raise StorageError(
            "the Hub is switched off by HF_HUB_OFFLINE", where=where, remedy="Unset it, or give a file"
        ) from None
    except errors.HfHubHTTPError as error:
        status = _status(error)
        if status == 401:
            raise InputError("the Hub knows no such token, or got none", where=where, remedy=LOG_IN) from None
        if status == 403:
            raise InputError("no permission on the Hub", where=where, remedy=LOG_IN) from None
        said = f" ({error.server_message})" if status == 400 and error.server_message else ""
        raise StorageError(f"the Hub answered {status}{said}", where=where, remedy="Try again later") from None
    except UnicodeEncodeError:
        raise InputError("the token for the Hub holds what no token has", where=where, remedy=LOG_IN) from None
    except (errors.HTTPError, errors.LocalEntryNotFoundError, ConnectionError, TimeoutError) as error:  # pyright: ignore[reportPrivateImportUsage]
        if type(error).__name__ == "LocalProtocolError":  # a header that can't be sent, and only the token is ours
            raise InputError("the token for the Hub holds what no token has", where=where, remedy=LOG_IN) from None
        raise StorageError(
            f"the Hub can't be reached ({type(error).__name__})",
            where=where,
            remedy="Check the network and run this again" if writing else "Check the network, or give a file",
        ) from None


@contextmanager
def _causes() -> Iterator[None]:
    """Raise what went wrong in the client, where it says only that an upload or a download did."""
    from huggingface_hub import errors

    try:
        yield
    except (RuntimeError, errors.LocalEntryNotFoundError) as error:
        uploading = isinstance(error, RuntimeError) and "uploading" in str(error)
        if uploading and isinstance(error.__cause__, Exception):
            raise error.__cause__ from None
        if isinstance(error.__cause__, errors.HfHubHTTPError):
            raise error.__cause__ from None
        raise


def _status(error: Exception) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
