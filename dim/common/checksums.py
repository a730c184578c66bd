"""Checksums of the files in a folder, which show that a file was damaged after it was written."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from dim.common.files import sha256_of, write_json
from dim.errors import DIMError

CHECKSUMS = "checksums.json"
_FREE = (".md", ".py", ".part")  # people edit cards; dim never runs code of a folder; the last is not complete
_VERIFY: ContextVar[bool] = ContextVar("verify", default=True)


def write_checksums(folder: Path) -> None:
    """Writes the SHA-256 of every file of a folder, at any depth, into its `checksums.json`.

    Hidden files, `*.md`, `*.py`, folders `checkpoint-*` in it and files called `checksums.json` are left out. Call it
    when all other files are complete.

    Args:
        folder: The folder.

    Example:

        >>> folder = Path("weights")
        >>> folder.mkdir()
        >>> _ = (folder / "a.bin").write_bytes(b"1 2 3")
        >>> write_checksums(folder)
        >>> verify_checksums(folder)
        >>> _ = (folder / "a.bin").write_bytes(b"1 2 4")
        >>> verify_checksums(folder)
        Traceback (most recent call last):
            ...
        dim.errors_dim.DIMError: weights/a.bin was damaged or changed after it was written ...
    """
    files = ((path.relative_to(folder).as_posix(), path) for path in sorted(folder.rglob("*")) if path.is_file())
    write_json(folder / CHECKSUMS, checksums(files))


def checksums(files: Iterable[tuple[str, Path | bytes]]) -> dict:
    """Returns the content of a `checksums.json`.

    Args:
        files: Name in the folder, with `/`, and path or content of each file; those that [`write_checksums`] leaves
            out are skipped.

    Returns:
        A JSON object.
    """
    return {"algorithm": "sha256", "files": {name: _checksum(file) for name, file in files if _is_covered(name)}}


def _checksum(file: Path | bytes) -> str:
    return hashlib.sha256(file).hexdigest() if isinstance(file, bytes) else sha256_of(file)


def _is_covered(name: str) -> bool:
    parts = name.split("/")
    hidden = any(part.startswith((".", "checkpoint-")) for part in parts[:-1]) or parts[-1].startswith(".")
    return not hidden and parts[-1] != CHECKSUMS and not name.endswith(_FREE)


def verify_checksums(folder: Path, complete: bool = True, manifest: str = CHECKSUMS) -> None:
    """Compares the files of a folder with its `checksums.json`, or another manifest. A folder without one passes.

    It does nothing inside of [`unverified`].

    Args:
        folder: The folder.
        complete: Whether every file must be there; otherwise missing ones are skipped, as in a folder of the Hub cache.
        manifest: Name of a JSON file in the folder whose `files` holds the SHA-256 of each file.

    Raises:
        DIMError: If a file is missing or differs, or the manifest cannot be read.
    """
    path = folder / manifest
    if not _VERIFY.get() or not path.is_file():
        return
    for name, checksum in _read(path).items():
        if not _is_covered(name):
            continue
        file = folder / name
        if file.is_file():
            if sha256_of(file) != checksum:
                raise DIMError(
                    f"{file} was damaged or changed after it was written (its checksum is not that of {path}): "
                    f"write or download it again, or pass --no-verify if you changed it."
                )
        elif complete:
            raise DIMError(f"{file} is missing ({path} names it): write or download it again.")


@contextmanager
def changing(folder: Path, name: str) -> Iterator[None]:
    """Replaces one file of a folder inside of a `with` block, and then its checksum.

    A kill in the block leaves a file without a checksum, which passes.

    Args:
        folder: The folder; without a `checksums.json`, none is written.
        name: Name of the file in it, with `/`.

    Example:

        >>> folder = Path("tower")
        >>> folder.mkdir()
        >>> write_checksums(folder)
        >>> with changing(folder, "scale.json"):
        ...     _ = (folder / "scale.json").write_text("1.5")
        >>> verify_checksums(folder)
    """
    path = folder / CHECKSUMS
    known = _read(path) if path.is_file() else None
    if known is not None:
        known.pop(name, None)
        write_json(path, {"algorithm": "sha256", "files": known})
    yield
    if known is not None:
        write_json(path, {"algorithm": "sha256", "files": {**known, name: sha256_of(folder / name)}})


@contextmanager
def unverified() -> Iterator[None]:
    """Lets [`verify_checksums`] pass in a `with` block."""
    token = _VERIFY.set(False)
    try:
        yield
    finally:
        _VERIFY.reset(token)


def _read(path: Path) -> dict[str, str]:
    """Reads a `checksums.json`: the checksum of each file."""
    damaged = f"{path} is damaged: write or download it again, or pass --no-verify."
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        files, algorithm = content["files"], content["algorithm"] if path.name == CHECKSUMS else "sha256"
        local = all(isinstance(value, str) and name.isprintable() and not Path(name).is_absolute()
                    and ".." not in Path(name).parts for name, value in files.items())  # fmt: skip
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DIMError(damaged) from error
    if not local:
        raise DIMError(damaged)
    if algorithm != "sha256":
        raise DIMError(f"{path} has a format that this version of dim cannot read: pip install -U dim-mel.")
    return files
