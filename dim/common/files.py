"""Files and folders that are complete or absent: written under a temporary name, synced, then renamed."""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dim.errors import DIMError

_REFUSALS = {  # what the operating system says, and the exit code of a command that meets it
    "No space left on device": 1,
    "Disk quota exceeded": 1,
    "File too large": 1,
    "Input/output error": 1,
    "Too many open files": 1,
    "database or disk is full": 1,  # SQLite
    "disk I/O error": 1,
    "Permission denied": 2,
    "Read-only file system": 2,
    "Operation not permitted": 2,
    "File name too long": 2,
    "File exists": 2,
    "No such file or directory": 2,
    "Not a directory": 2,
    "Is a directory": 2,
    "unable to open database file": 2,
    "attempt to write a readonly database": 2,
}

# PyTorch does not say why it could not write a file.
_HALF_WRITTEN = re.compile(r"inline_container\.cc:\d+\] \. unexpected pos|PytorchStreamWriter failed writing")
_LITTLE = 1 << 20  # bytes; a disk with less is full


def refusal(error: BaseException) -> tuple[str, int] | None:
    """Finds what the operating system refused, in an error of any library.

    Args:
        error: The error.

    Returns:
        What the system says, and the exit code of a command: 1 where there is no space or the device fails, else 2;
        `None` for another error.

    Example:

        >>> refusal(RuntimeError("I/O error: No space left on device (os error 28)"))
        ('No space left on device', 1)
    """
    text = str(error)
    return next(((said, code) for said, code in _REFUSALS.items() if said in text), None)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path to write to, then syncs and renames the file. An error leaves nothing behind.

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
    temporary = path.with_name(f".{path.name}.part")  # overwrites what a killed run left
    with naming(path, temporary):
        try:
            yield temporary
            sync(temporary)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):  # such as a folder that is not there
                temporary.unlink(missing_ok=True)
            raise
        sync(path.parent)


@contextmanager
def naming(path: Path, temporary: Path) -> Iterator[None]:
    """Lets an error of the operating system in a `with` block name the file or folder that was to be written.

    A full disk names none, and libraries raise it as other errors.

    Args:
        path: The file or folder.
        temporary: Its temporary name, or that of a folder with it.

    Raises:
        OSError: For what the operating system refused, with the name.

    Example:

        >>> with naming(Path("model"), Path(".model")):
        ...     raise RuntimeError("I/O error: No space left on device (os error 28)")
        Traceback (most recent call last):
            ...
        OSError: [Errno 28] No space left on device: 'model'
    """
    try:
        yield
    except DIMError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            if str(error.filename) in ("None", str(temporary)):
                error.filename, error.filename2 = str(path), None
            raise
        number = _number(error, path)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def _number(error: Exception, path: Path) -> int | None:
    """The number of what the operating system refused, in an error of any library that writes to a path."""
    if _HALF_WRITTEN.search(str(error)):
        there = next(folder for folder in path.absolute().parents if folder.is_dir())
        return errno.ENOSPC if shutil.disk_usage(there).free < _LITTLE else errno.EIO
    refused = refusal(error)
    return next((number for number in errno.errorcode if refused and os.strerror(number) == refused[0]), None)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text with [`atomic_file`].

    Args:
        path: The file; replaced if it exists.
        text: Its content.
    """
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: object) -> None:
    """Writes indented JSON with sorted keys with [`atomic_file`].

    Args:
        path: The file; replaced if it exists.
        value: A JSON value.
    """
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


@contextmanager
def scratch_folder(temporary: Path, final: Path) -> Iterator[None]:
    """Makes an empty folder to write to in a `with` block. An error removes it, and names the final folder.

    Args:
        temporary: The folder; what a killed run left there is removed.
        final: The folder that it is written for.

    Raises:
        OSError: For what the operating system refused.

    Example:

        >>> temporary, final = Path(".walls.building"), Path("walls")
        >>> with scratch_folder(temporary, final):
        ...     _ = (temporary / "one.txt").write_text("1")
        ...     finish_folder(temporary, final)
        >>> [path.name for path in final.iterdir()]
        ['one.txt']
    """
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with naming(final, temporary):
            temporary.mkdir(parents=True)
            yield
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def reserve(path: Path, size: int) -> None:
    """Makes a file whose space on the disk is taken, so that a full disk cannot kill who writes to a map of it.

    Args:
        path: The file; replaced if it exists.
        size: Its size in bytes, at least 1.

    Raises:
        OSError: If there is no such space; there is no file then.
    """
    try:
        with path.open("wb") as stream, naming(path, path):
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(stream.fileno(), 0, size)
            else:  # written, since a hole takes no space
                for start in range(0, size, _LITTLE):
                    stream.write(bytes(min(_LITTLE, size - start)))
    except OSError:
        path.unlink(missing_ok=True)
        raise


def finish_folder(temporary: Path, final: Path) -> None:
    """Syncs a folder with all its files and renames it; an existing folder of that name is replaced.

    A process that is killed here leaves the old or the new folder complete: under its name, or, between the two
    renames, both under hidden names beside it; the next call with a new folder puts that in place.

    Args:
        temporary: The folder as written.
        final: Its final path, in the same parent folder.
    """
    for path in temporary.rglob("*"):
        sync(path)
    sync(temporary)
    replaced = _replaced(final)
    if final.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        final.rename(replaced)
    try:
        temporary.rename(final)
    except OSError:
        if replaced.exists():
            replaced.rename(final)
        raise
    sync(final.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Removes a folder, so that it is never there in part: it gets a hidden name first.

    Args:
        path: The folder; nothing happens if there is none.
    """
    replaced = _replaced(path)
    shutil.rmtree(replaced, ignore_errors=True)
    if path.exists():
        path.rename(replaced)
        sync(path.parent)
        shutil.rmtree(replaced)


def _replaced(path: Path) -> Path:
    return path.with_name(f".{path.name}.replaced")


def sync(path: Path) -> None:
    """Flushes a file or folder to the disk, so that no later rename comes first.

    Args:
        path: The file or folder.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 checksum of a file.

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
