"""Files of a push, with their names in the repository."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dim.common.cards import read_card
from dim.errors import DIMError

CARD = "README.md"


@dataclass(frozen=True)
class RepoFile:
    """A file of a repository.

    Args:
        path: Path in the repository, with `/`.
        content: Path on this machine, or the bytes.

    Example:

        >>> RepoFile("README.md", b"# A model").size
        9
    """

    path: str
    content: Path | bytes

    @property
    def size(self) -> int:
        """Size in bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def read(self) -> bytes:
        """Returns the content."""
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()


@dataclass(frozen=True)
class Publication:
    """Everything that one push uploads.

    Args:
        repo_type: `model`, `dataset` or `space`.
        target: Name of the repository, `owner/name`.
        files: The files.
        replaces: Patterns of files that the push deletes from the repository unless they are among `files`, such as
            weights or shards of an earlier push.
        sdk: SDK of a Space.
        notes: Notes to the user.
        restricted: Why it must not be public, such as a licence; if there is a reason, only a private repository takes
            it.

    Example:

        >>> files = RepoFile("README.md", b"# A model"), RepoFile("config.json", b"{}")
        >>> print(Publication("model", "my-group/dim", files).listing())
         9  README.md
         2  config.json
        11  total for the model my-group/dim
    """

    repo_type: str
    target: str
    files: tuple[RepoFile, ...]
    replaces: tuple[str, ...] = ()
    sdk: str | None = None
    notes: tuple[str, ...] = field(default=())
    restricted: tuple[str, ...] = field(default=())

    def check_private(self, private: bool) -> None:
        """Checks that restricted data goes into a private repository.

        Args:
            private: Whether the repository is private.

        Raises:
            DIMError: If it is not, and there is a restriction.

        Example:

            >>> data = Publication("dataset", "my-group/gems", (), restricted=("README.md has no licence.",))
            >>> data.check_private(False)
            Traceback (most recent call last):
                ...
            dim.errors_dim.DIMError: README.md has no licence. Only its owner can permit ...
        """
        if self.restricted and not private:
            raise DIMError(
                f"{self.restricted[0]} Only its owner can permit publishing; for your own use, push it to a private "
                "repository: --private."
            )

    def listing(self) -> str:
        """Returns one line for each file with its size, and the total."""
        sizes = [one.size for one in self.files]
        width = len(f"{sum(sizes):,}")
        lines = [f"{size:>{width},}  {one.path}" for size, one in zip(sizes, self.files, strict=True)]
        return "\n".join([*lines, f"{sum(sizes):,}  total for the {self.repo_type} {self.target}"])


def restriction(problems: Sequence[str]) -> tuple[str, ...]:
    """Returns the note on data that must stay private, if there is a reason.

    Example:

        >>> restriction(["README.md has no licence."])
        ('restricted: keep the repository private, since others may not have it. README.md has no licence.',)
    """
    if not problems:
        return ()
    return (f"restricted: keep the repository private, since others may not have it. {' '.join(problems[:3])}",)


def files_of(folder: Path, patterns: Iterable[str]) -> list[RepoFile]:
    """Returns the files of a folder that match patterns, except for hidden files and bytecode, sorted by name.

    Args:
        folder: The folder.
        patterns: Patterns for `Path.glob`, such as `*.json` or `script/**/*`.

    Returns:
        The files, without duplicates.
    """
    found = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    named = {path.relative_to(folder): path for path in found}
    return [
        RepoFile(name.as_posix(), named[name])
        for name in sorted(named)
        if not any(part.startswith(".") or part == "__pycache__" for part in name.parts)
    ]


def required(folder: Path, names: Iterable[str], make: str) -> None:
    """Checks that a folder has some files.

    Args:
        folder: The folder.
        names: Names of the required files.
        make: How to create them, for the message.

    Raises:
        DIMError: If the folder, or one of them, is missing.
    """
    if not folder.is_dir():
        raise DIMError(f"There is no folder {folder}.")
    missing = next((name for name in names if not (folder / name).is_file()), None)
    if missing is not None:
        raise DIMError(f"{folder} has no {missing}; {make}.")


def read_card_of(folder: Path) -> tuple[dict[str, Any], str]:
    """Reads the card of a folder.

    Args:
        folder: The folder; it has a README.md.

    Returns:
        The metadata, and the Markdown behind it.

    Raises:
        DIMError: If the card has no valid metadata.
    """
    return read_card((folder / CARD).read_text(encoding="utf-8"), str(folder / CARD))
