"""Files and folders that are whole or not there: written to a temporary name, synced, then renamed."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Gives a temporary path to write to; at the end the file is synced and renamed. After an error nothing is left.

    Args:
        path: The file; replaced if it exists.

    Yields:
        A hidden path beside it.

    Example:

        >>> with atomic_file(Path("figures.txt")) as temporary:
        ...     _ = temporary.write_text("1 2 3")
        >>> Path("figures.txt").read_text()
        '1 2 3'
    """
    temporary = path.with_name(f".{path.name}.part")  # what a killed run left is written over
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text by [`atomic_file`].

    Args:
        path: The file; replaced if it exists.
        text: Its content.
    """
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: object) -> None:
    """Writes indented JSON with sorted keys by [`atomic_file`].

    Args:
        path: The file; replaced if it exists.
        value: What goes into it.
    """
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def finish_folder(temporary: Path, final: Path) -> None:
    """Syncs everything in a folder and gives it its final name, which must not exist.

    Args:
        temporary: The folder as it was written.
        final: Its name from now on, in the same parent folder.
    """
    for path in temporary.rglob("*"):
        sync(path)
    sync(temporary)
    temporary.rename(final)
    sync(final.parent)


def sync(path: Path) -> None:
    """Waits until a file or a folder is on the disk, so that no later rename can overtake it.

    Args:
        path: The file or folder.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Checksum of a file.

    Args:
        path: The file, of any size.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


__all__ = ["atomic_file", "finish_folder", "sha256_of", "sync", "write_json", "write_text"]
