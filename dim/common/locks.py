"""Locks on outputs, so that two runs never write to the same place."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

from filelock import FileLock, Timeout

from dim.common.files import naming
from dim.common.outputs import check_folder
from dim.errors import DIMError

_RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")  # as Accelerate reads them


@contextmanager
def locked(path: Path, command: str, inside: bool = False) -> Iterator[None]:
    """Holds the lock of an output. The operating system frees it when the process ends, however it ends.

    Of the processes of one distributed run only the main one takes the lock.

    Args:
        path: A file or folder; missing folders above it are made.
        command: Whose output it is, such as `dim build`; another run is told so.
        inside: Whether the lock file is in the folder `path`, not beside it; for folders that are never replaced.

    Raises:
        DIMError: If another run holds the lock (the message names its process), or the output cannot be written.

    Example:

        >>> with locked(Path("walls"), "dim build"):
        ...     [path.name for path in Path().glob(".*.lock")]
        ['.walls.lock']
    """
    if any(os.environ.get(name, "0") != "0" for name in _RANKS):
        yield
        return
    whole = path.resolve()
    file = whole / ".lock" if inside else whole.with_name(f".{whole.name}.lock")
    check_folder(path if inside else path.parent, path)
    made = [folder for folder in (file.parent, *file.parent.parents) if not folder.exists()]
    lock = FileLock(file)
    try:
        with naming(path, file):
            file.parent.mkdir(parents=True, exist_ok=True)
            _acquire(lock, path, file)
        try:
            with naming(path, file):
                file.write_text(_holder(command), encoding="utf-8")
            yield
        finally:
            file.unlink(missing_ok=True)  # who opened it meanwhile sees that it is gone, and makes another
            lock.release()
    finally:
        with suppress(OSError):  # the first folder that is not empty
            for folder in made:
                folder.rmdir()


def _acquire(lock: FileLock, path: Path, file: Path) -> None:
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise DIMError(f"{path} is being written by {_owner(file)}: wait until it ends, or write elsewhere.") from error


def _holder(command: str) -> str:
    now = f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
    return json.dumps({"process": os.getpid(), "command": command, "since": now})


def _owner(file: Path) -> str:
    """The run that holds a lock, in words."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return f"process {int(found['process'])} ({found['command']!s}) since {found['since']!s}"
    except (OSError, ValueError, LookupError, TypeError):  # it is just being written
        return "another process"
