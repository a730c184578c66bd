"""What the Hub says about a repository, in one line, and a check before a download."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import httpx, validate_repo_id

from dim.errors import DIMError

_TIMEOUT = 10  # seconds for the one request
_PATH = re.compile(r"[./~]|[A-Za-z]:|.*\\|[^/]*/[^/]*/|.*/$", re.DOTALL)


def check_repository(name: str | Path, what: str, file: str = "config.json", revision: str | None = None) -> None:
    """Checks by one short request that a name is a folder, is in the Hub's cache, or can be asked for on the Hub.

    `from_pretrained` asks for several files, each with retries, before it says that there is no such repository.

    Args:
        name: Folder or Hub name. What looks like a path (it begins with `.`, `/` or `~`, ends with a slash, or has two
            slashes) is a path.
        what: What is looked for, such as `model`; for the message.
        file: A file that the repository must have.
        revision: Branch, tag or commit.

    Raises:
        DIMError: If there is no such folder and no such repository, or the Hub cannot be reached.

    Example:

        >>> check_repository("./nothing", "model")
        Traceback (most recent call last):
        dim.errors_dim.DIMError: There is no model './nothing': it looks like a path, and there is no such folder.
    """
    if Path(name).is_dir():
        return
    name = str(name)
    if Path(name).exists():
        raise DIMError(f"The {what} {name!r} is a file: give its folder.")
    if _PATH.match(name):
        raise DIMError(f"There is no {what} {name!r}: it looks like a path, and there is no such folder.")
    try:
        with hub_errors(name, what, file, revision):
            validate_repo_id(name)
            if isinstance(try_to_load_from_cache(name, file, revision=revision), str):
                return
            get_hf_file_metadata(hf_hub_url(name, file, revision=revision), timeout=_TIMEOUT)
    except (HfHubHTTPError, httpx.HTTPError, OSError) as error:
        raise DIMError(
            f"There is no folder {name!r}, and the Hub cannot be asked for it: {first_line(error)}"
        ) from error


def is_hub_name(name: str) -> bool:
    """Returns whether a name that was loaded, or can be, is one of the Hub and not a path.

    Args:
        name: Folder or Hub name.

    Returns:
        `False` for what exists here or looks like a path.

    Example:

        >>> is_hub_name("google/siglip2-base-patch16-224"), is_hub_name("demo/model"), is_hub_name("../runs/mine")
        (True, False, False)
    """
    if Path(name).exists() or _PATH.match(name):
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


@contextmanager
def hub_errors(name: str, what: str, file: str, revision: str | None = None) -> Iterator[None]:
    """Lets what the Hub says about a name in a `with` block be one line; errors of the network are left alone.

    Args:
        name: Name of a repository, for which there is no folder.
        what: What it should be, such as `model`.
        file: A file that it must have.
        revision: Branch, tag or commit.

    Raises:
        DIMError: If the name is no name, there is no such repository or revision, it lacks the file, or the Hub is not
            asked in offline mode.

    Example:

        >>> with hub_errors("two words", "model", "config.json"):
        ...     validate_repo_id("two words")
        Traceback (most recent call last):
        dim.errors_dim.DIMError: There is no model 'two words', ... it is not a name that the Hub allows.
    """
    nowhere = f"There is no {what} {name!r}, neither as a folder nor on the Hub"
    try:
        yield
    except HFValidationError as error:
        raise DIMError(f"{nowhere}: it is not a name that the Hub allows.") from error
    except RevisionNotFoundError as error:
        raise DIMError(f"The {what} {name!r} has no revision {revision!r} on the Hub.") from error
    except RepositoryNotFoundError as error:
        raise DIMError(f"{nowhere}, or it is private (hf auth login).") from error
    except RemoteEntryNotFoundError as error:
        raise DIMError(f"{name!r} is on the Hub, but is no {what}: it has no {file}.") from error
    except OfflineModeIsEnabled as error:
        raise DIMError(f"{nowhere}'s cache, and the Hub is not asked in offline mode.") from error


def first_line(error: Exception) -> str:
    """Returns the first line of an error's message, or the name of its type.

    Example:

        >>> first_line(OSError("refused\\nby the peer")), first_line(TimeoutError())
        ('refused', 'TimeoutError')
    """
    return next((line for line in str(error).splitlines() if line), type(error).__name__)
