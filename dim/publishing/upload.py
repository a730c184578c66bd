"""Upload of a publication to its repository on the Hub."""

import re
import warnings
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import httpx

import dim
from dim.errors import DIMError
from dim.publishing.files import Publication
from dim.publishing.scratch import scratch_folder

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def check_target(target: str, revision: str | None = None, create_pr: bool = False) -> None:
    """Checks the name of a repository and the options of a push.

    Args:
        target: `owner/name`.
        revision: As for [`push`].
        create_pr: As for [`push`].

    Raises:
        DIMError: If the name is invalid, or the options contradict each other.

    Example:

        >>> check_target("my-group/dim", revision="main")
        >>> check_target("my-group/dim", revision="main", create_pr=True)
        Traceback (most recent call last):
            ...
        dim.errors_dim.DIMError: --create-pr targets the main branch: leave --revision out.
    """
    if not _NAME.fullmatch(target):
        raise DIMError(f"{target!r} is not the name of a repository: give owner/name, such as my-group/dim.")
    if revision is not None and create_pr:
        raise DIMError("--create-pr targets the main branch: leave --revision out.")


def push(
    publication: Publication, *, private: bool = False, revision: str | None = None, create_pr: bool = False
) -> str:
    """Uploads a publication; after an interruption, call it again: files that the Hub has are not sent again.

    With `hf_xet`, huggingface_hub sends large files in deduplicated chunks and many files in several commits; without
    it, a push is one commit. Only files that differ from the repository are committed.

    Args:
        publication: The publication.
        private: Whether a new repository is private; an existing one stays as it is.
        revision: A branch, created from the main branch if it is missing.
        create_pr: Whether to open a pull request, for a repository of other owners.

    Returns:
        The URL of the commit or the pull request.

    Raises:
        DIMError: If the Hub refuses the push or is not reachable, or if the data is restricted and the repository is
            public.

    Example:

        >>> from dim.publishing.model import model_publication
        >>> push(model_publication(Path("demo/model"), "my model", licence="apache-2.0"), private=True)
        Traceback (most recent call last):
            ...
        dim.errors_dim.DIMError: 'my model' is not the name of a repository: give owner/name, such as my-group/dim.
    """
    check_target(publication.target, revision, create_pr)
    publication.check_private(private)
    where: dict[str, Any] = {"repo_id": publication.target, "repo_type": publication.repo_type}
    api = HfApi(library_name="dim", library_version=dim.__version__)
    try:
        if not create_pr:
            api.create_repo(**where, private=private or None, space_sdk=publication.sdk, exist_ok=True)
        if publication.restricted and not api.repo_info(**where).private:
            raise DIMError(
                f"{publication.target} is public: {publication.restricted[0]} Push it to a private repository."
            )
        if revision is not None and not revision.startswith("refs/"):
            api.create_branch(**where, branch=revision, exist_ok=True)
        with scratch_folder() as folder, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="It seems that you are about to commit a data file")
            _stage(publication, folder)
            commit = api.upload_folder(
                **where,
                folder_path=folder,
                revision=revision,
                create_pr=create_pr,
                commit_message=f"Push with dim {dim.__version__}",
                delete_patterns=list(publication.replaces) or None,
            )
    except RepositoryNotFoundError as error:
        raise DIMError(f"There is no {publication.repo_type} {publication.target}, or you cannot access it.") from error
    except RevisionNotFoundError as error:
        raise DIMError(f"{publication.target} has no revision {revision!r}.") from error
    except (OSError, RuntimeError, httpx.HTTPError) as error:
        raise DIMError(f"{_reason(error)} Run it again: files that the Hub has are not sent again.") from error
    return commit.pr_url or commit.commit_url


def _stage(publication: Publication, folder: Path) -> None:
    """Writes the files into a folder; files on the disk as links."""
    for file in publication.files:
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(file.content, bytes):
            path.write_bytes(file.content)
        else:
            path.symlink_to(file.content.resolve())


def _reason(error: BaseException) -> str:
    """Describes an error in one line."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return f"The Hub refuses the push ({status}): log in with a write token (hf auth login, or HF_TOKEN)."
    cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ is not None else error
    line = next((line.strip() for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
    return f"The push failed: {line.rstrip('.')}."
