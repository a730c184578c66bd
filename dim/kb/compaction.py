"""The disk space of a knowledge base: what it takes, and how older versions are removed."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from dim.errors import DIMError
from dim.kb.database import is_local
from dim.kb.store import KnowledgeBase

_MARGIN = timedelta(milliseconds=50)  # LanceDB counts the age of a version from a moment later than this module does
_SHORTEST = timedelta(milliseconds=1)  # LanceDB warns of 0
AGES = {"last day": timedelta(days=1), "last 7 days": timedelta(days=7), "last 30 days": timedelta(days=30)}


@dataclass(frozen=True)
class Compaction:
    """What a compaction did.

    Args:
        before: Bytes on disk before it; `None` for a database that is no folder.
        after: Bytes on disk after it.
        removed: How many versions it removed.
        versions: How many versions are left.
    """

    before: int | None
    after: int | None
    removed: int
    versions: int


def compact(kb: KnowledgeBase, keep: timedelta | None = None, keep_versions: int | None = None) -> Compaction:
    """Joins small files, and removes the versions that both limits let go; the newest always stays.

    Each change of the files is a commit, so that a process that is killed loses nothing. Readers of a version that is
    removed get a [`dim.kb.table.GoneVersionError`].

    Args:
        kb: The knowledge base, at its newest version.
        keep: How long versions stay.
        keep_versions: How many of the newest versions stay at least, besides the one that the compaction makes.

    Returns:
        What was done.

    Raises:
        DIMError: If neither limit is given, `keep_versions` is less than 1, or an older version is open.

    Example:

        >>> kb = KnowledgeBase.create("small_kb", [{"id": "Q1", "name": "Ada"}])
        >>> kb.upsert([{"id": "Q2", "name": "Paris"}])
        1
        >>> compact(kb, keep=timedelta(days=30)).removed
        0
    """
    if keep is None and keep_versions is None:
        raise DIMError("Say what to keep: keep=timedelta(days=30), keep_versions=10, or both.")
    if keep_versions is not None and keep_versions < 1:
        raise DIMError(f"keep_versions must be at least 1, got {keep_versions}.")
    before, versions = bytes_of(kb), kb.versions()
    kb.finish()
    kept_since = [] if keep is None else [datetime.now() - keep]
    if keep_versions is not None:
        kept_since.append(versions[-min(keep_versions, len(versions))]["time"] - _MARGIN)
    kb.forget_older_than(max(_SHORTEST, datetime.now() - min(kept_since)))
    left = kb.versions()
    removed = len({one["version"] for one in versions} - {one["version"] for one in left})
    return Compaction(before, bytes_of(kb), removed, len(left))


def bytes_of(kb: KnowledgeBase) -> int | None:
    """Counts the bytes on disk, of all versions; `None` for a database that is no folder."""
    return sum(size for _, size in _files(kb.home)) if is_local(kb.home) else None


def bytes_by_age(kb: KnowledgeBase) -> dict[str, int]:
    """Counts the bytes on disk by when the version that wrote them was made.

    Args:
        kb: The knowledge base.

    Returns:
        Bytes of the newest version's rows, and of all files by their age; nothing for a database that is no folder.

    Example:

        >>> kb = KnowledgeBase.create("other_kb", [{"id": "Q1", "name": "Ada"}])
        >>> list(bytes_by_age(kb))
        ['newest version', 'last day', 'last 7 days', 'last 30 days', 'older']
    """
    if not is_local(kb.home):
        return {}
    found = {"newest version": kb.versions()[-1]["bytes"], **dict.fromkeys((*AGES, "older"), 0)}
    now = datetime.now()
    for written, size in _files(kb.home):
        found[next((name for name, age in AGES.items() if now - written < age), "older")] += size
    return found


def _files(home: str) -> list[tuple[datetime, int]]:
    """When each file was written, and its bytes; a file that is removed meanwhile is left out."""
    found = []
    for path in Path(home).rglob("*"):
        try:
            state = path.stat()
        except FileNotFoundError:
            continue
        if path.is_file():
            found.append((datetime.fromtimestamp(state.st_mtime), state.st_size))
    return found
