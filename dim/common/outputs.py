"""Outputs that cannot be written are found before the work, and nothing is made to find out."""

import os
from pathlib import Path

from dim.errors import DIMError


def check_folder(folder: Path, output: Path | None = None) -> None:
    """Checks that a folder can be written to, or made with the folders above it that are missing.

    Args:
        folder: The folder.
        output: What is to be written there, for the message; the folder itself by default.

    Raises:
        DIMError: If it, or the nearest folder above it that exists, is a file, read-only or not permitted.
        OSError: If the system refuses the path, such as a name that is too long.

    Example:

        >>> _ = Path("notes.txt").write_text("")
        >>> check_folder(Path("reports/first"))
        >>> check_folder(Path("notes.txt/first"))
        Traceback (most recent call last):
            ...
        dim.errors_dim.DIMError: notes.txt/first cannot be written: notes.txt is a file, not a folder.
    """
    there = next(path for path in (folder, *_above(folder)) if _exists(path))
    if not there.is_dir():
        why = f"{there} is a file, not a folder"
    elif os.access(there, os.W_OK | os.X_OK):
        return
    else:
        refused = "Read-only file system" if _is_read_only(there) else "Permission denied"
        why = f"{refused}: {there}"
    raise DIMError(f"{output or folder} cannot be written: {why}.")


def check_file(file: Path) -> None:
    """Checks that a file can be written or replaced by a rename, in a folder that exists or can be made.

    Args:
        file: The file.

    Raises:
        DIMError: If it is a folder, or as [`check_folder`] for its folder.
        OSError: As [`check_folder`].

    Example:

        >>> Path("report.json").mkdir()
        >>> check_file(Path("report.json"))
        Traceback (most recent call last):
            ...
        dim.errors_dim.DIMError: report.json cannot be written: it is a folder, not a file.
    """
    _exists(file)
    check_folder(file.parent, file)
    if file.is_dir():
        raise DIMError(f"{file} cannot be written: it is a folder, not a file.")


def _above(folder: Path) -> list[Path]:
    """Folders above a path, the nearest first, as the user wrote them; then those above the working directory."""
    given = list(folder.parents)
    return given if folder.is_absolute() else [*given, *Path.cwd().parents]


def _exists(path: Path) -> bool:
    """Whether there is anything at a path, be it a broken link."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return False
    return True


def _is_read_only(folder: Path) -> bool:
    return hasattr(os, "statvfs") and bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
