"""The push itself: one repository, the files of a publication, errors that say what to do."""

import re
import tempfile
import warnings
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import httpx

import dim
from dim.errors import DIMError
from dim.publishing.files import Publication

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def check_target(target: str, revision: str | None = None, create_pr: bool = False) -> None:
    """Raises if a target is no name of a repository, or the options contradict each other.

    Args:
        target: `owner/name`.
        revision: As for [`push`].
        create_pr: As for [`push`].

    Raises:
        DIMError: If so.

    Example:

        >>> check_target("my-group/dim", revision="main")
        >>> check_target("my-group/dim", revision="main", create_pr=True)
        Traceback (most recent call last):
            ...
        DIMError: --create-pr goes to the main branch: leave --revision out.
    """
    if not _NAME.fullmatch(target):
        raise DIMError(f"{target!r} is no name of a repository: give owner/name, such as my-group/dim.")
    if revision is not None and create_pr:
        raise DIMError("--create-pr goes to the main branch: leave --revision out.")


def push(
    publication: Publication, *, private: bool = False, revision: str | None = None, create_pr: bool = False
) -> str:
    """Uploads a publication. Run it again after a stop: what the Hub has already is not sent again.

    Where `hf_xet` is installed, huggingface_hub sends big files in deduplicated chunks and many files in several
    commits; without it a push is one commit. Either way only what differs from the repository is committed.

    Args:
        publication: What to upload.
        private: Whether a repository that is made for it is private; one that is there stays as it is.
        revision: A branch; made from the main one if it is missing.
        create_pr: Whether to open a pull request, for a repository that others own.

    Returns:
        The address of the commit, or of the pull request.

    Raises:
        DIMError: If the Hub refuses, or cannot be reached.

    Example:

        >>> from dim.publishing.model import model_publication
        >>> push(model_publication(Path("demo/model"), "my model"), private=True)
        Traceback (most recent call last):
            ...
        DIMError: 'my model' is no name of a repository: give owner/name, such as my-group/dim.
    """
    check_target(publication.target, revision, create_pr)
    where: dict[str, Any] = {"repo_id": publication.target, "repo_type": publication.repo_type}
    api = HfApi(library_name="dim", library_version=dim.__version__)
    try:
        if not create_pr:
            api.create_repo(**where, private=private or None, space_sdk=publication.sdk, exist_ok=True)
            if revision is not None and not revision.startswith("refs/"):
                api.create_branch(**where, branch=revision, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="dim-push-") as folder, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="It seems that you are about to commit a data file")  # a linker's
            _stage(publication, Path(folder))
            commit = api.upload_folder(
                **where,
                folder_path=folder,
                revision=revision,
                create_pr=create_pr,
                commit_message=f"Push with dim {dim.__version__}",
                delete_patterns=list(publication.replaces) or None,
            )
    except RepositoryNotFoundError as error:
        raise DIMError(f"There is no {publication.repo_type} {publication.target}, or it is not yours.") from error
    except RevisionNotFoundError as error:
        raise DIMError(f"{publication.target} has no revision {revision!r}.") from error
    except (OSError, RuntimeError, httpx.HTTPError) as error:
        raise DIMError(f"{_reason(error)} Run it again: what the Hub has is not sent again.") from error
    return commit.pr_url or commit.commit_url


def _stage(publication: Publication, folder: Path) -> None:
    """A folder that looks like the repository; big files are links."""
    for file in publication.files:
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(file.content, bytes):
            path.write_bytes(file.content)
        else:
            path.symlink_to(file.content.resolve())


def _reason(error: BaseException) -> str:
    """Why the push failed, in one line."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return f"The Hub refuses ({status}): log in with a token that may write (hf auth login, or HF_TOKEN)."
    cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ is not None else error
    told = next((line.strip() for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
    return f"The push failed: {told.rstrip('.')}."


__all__ = ["check_target", "push"]
