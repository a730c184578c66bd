"""What a push uploads: files with their names in the repository, and the card among them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dim.errors import DIMError

CARD = "README.md"


@dataclass(frozen=True)
class RepoFile:
    """A file of a repository.

    Args:
        path: Its name in the repository, with `/`.
        content: Where it is on this machine, or its bytes.

    Example:

        >>> RepoFile("README.md", b"# A model").size
        9
    """

    path: str
    content: Path | bytes

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def read(self) -> bytes:
        """The content."""
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()


@dataclass(frozen=True)
class Publication:
    """Everything that a push puts into a repository.

    Args:
        repo_type: `model`, `dataset` or `space`.
        target: Name of the repository, `owner/name`.
        files: The files.
        replaces: Patterns: what is in the repository, matches, and is not among `files` goes with the same push, so
            that no weights or shards of an earlier push stay beside the new ones.
        sdk: What a Space runs on.
        notes: What the user should know before the push.

    Example:

        >>> files = RepoFile("README.md", b"# A model"), RepoFile("config.json", b"{}")
        >>> print(Publication("model", "my-group/dim", files).listing())
         9  README.md
         2  config.json
        11  in all, for the model my-group/dim
    """

    repo_type: str
    target: str
    files: tuple[RepoFile, ...]
    replaces: tuple[str, ...] = ()
    sdk: str | None = None
    notes: tuple[str, ...] = field(default=())

    def listing(self) -> str:
        """Every file with its size, and their sum."""
        sizes = [one.size for one in self.files]
        width = len(f"{sum(sizes):,}")
        lines = [f"{size:>{width},}  {one.path}" for size, one in zip(sizes, self.files, strict=True)]
        return "\n".join([*lines, f"{sum(sizes):,}  in all, for the {self.repo_type} {self.target}"])


def files_of(folder: Path, patterns: Iterable[str]) -> list[RepoFile]:
    """Files of a folder by patterns, hidden ones and bytecode apart, in order of their names.

    Args:
        folder: The folder.
        patterns: Patterns as `Path.glob` takes them, such as `*.json` or `script/**/*`.

    Returns:
        The files, each once.
    """
    found = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    named = {path.relative_to(folder): path for path in found}
    return [
        RepoFile(name.as_posix(), named[name])
        for name in sorted(named)
        if not any(part.startswith(".") or part == "__pycache__" for part in name.parts)
    ]


def required(folder: Path, names: Iterable[str], make: str) -> None:
    """Raises if a folder lacks a file.

    Args:
        folder: The folder.
        names: Files that must be there.
        make: What makes them, for the message.

    Raises:
        DIMError: If the folder, or one of them, is missing.
    """
    if not folder.is_dir():
        raise DIMError(f"There is no folder {folder}.")
    missing = next((name for name in names if not (folder / name).is_file()), None)
    if missing is not None:
        raise DIMError(f"{folder} has no {missing}; {make}.")


def read_front(folder: Path) -> tuple[dict[str, Any], str]:
    """The YAML of a folder's card, and the text behind it.

    Args:
        folder: The folder; it has a README.md.

    Returns:
        Both.

    Raises:
        DIMError: If the card does not begin with YAML between lines of three dashes.
    """
    text = (folder / CARD).read_text(encoding="utf-8")
    parts = text.split("---\n", 2)
    if len(parts) < 3 or parts[0].strip():
        raise DIMError(f"{folder / CARD} has no head: put YAML between two lines of ---, with at least a license.")
    try:
        front = yaml.safe_load(parts[1])
    except yaml.YAMLError as error:
        raise DIMError(f"The head of {folder / CARD} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(front, dict):
        raise DIMError(f"The head of {folder / CARD} gives no fields, such as license: apache-2.0.")
    return front, parts[2]


def card_text(front: dict[str, Any], body: str) -> str:
    """A card from its YAML and its text."""
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=120)}---\n{body}"


__all__ = ["CARD", "Publication", "RepoFile", "card_text", "files_of", "read_front", "required"]
