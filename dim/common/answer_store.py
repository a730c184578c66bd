"""Model answers in a SQLite file, durable after each write, so that a run may be killed at any moment."""

import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from dim.common.files import refusal
from dim.errors import DIMError

_TABLE = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+)")


class NoSpaceError(DIMError):
    """A disk is full or fails; the command line ends with exit code 1."""

    exit_code = 1


class AnswerStore:
    """A file of answers by key. Subclasses name their tables; the first columns of `table` are `key` and `answer`.

    Args:
        path: The file; created if it does not exist.

    Raises:
        DIMError: If the file cannot be opened, is not a file of answers, or is in use by another run.

    Example:

        >>> class Captions(AnswerStore):
        ...     table = "captions"
        ...     schema = "CREATE TABLE IF NOT EXISTS captions (key TEXT PRIMARY KEY, answer TEXT NOT NULL);"
        >>> store = Captions(Path("captions.sqlite"))
        >>> store.put([("k1", "A red wall.")])
        >>> store.close()
        >>> again = Captions(Path("captions.sqlite"))  # as the next run does
        >>> again.get("k1"), again.get("k2")
        ('A red wall.', None)
    """

    table: ClassVar[str]
    schema: ClassVar[str]  # SQL that creates missing tables
    version: ClassVar[int] = 0  # SQLite's `user_version` of the file
    shared: ClassVar[bool] = False  # whether several processes may use the file at once

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # One writer at a time, but not always in the same thread. Processes that share a file wait for one another.
            wait = 60 if self.shared else 1
            self._connection = sqlite3.connect(path, timeout=wait, isolation_level=None, check_same_thread=False)
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            self.close()
            hint = "another run is using it" if "locked" in str(error) else str(error)
            raise _error(f"The file of answers {path} cannot be opened: {hint}.", error) from error
        except DIMError:
            self.close()
            raise

    def _prepare(self) -> None:
        if not self.shared:
            self._run("PRAGMA locking_mode = EXCLUSIVE")
        ((version,),) = self._run("PRAGMA user_version")
        tables = {name for (name,) in self._run("SELECT name FROM sqlite_master")}
        if (version or tables) and (version != self.version or self.table not in tables):
            raise DIMError(f"{self.path} is not a file of answers that this version of dim reads: choose another file.")
        self._run("PRAGMA journal_mode = WAL")
        self._run("PRAGMA synchronous = FULL")
        if not set(_TABLE.findall(self.schema)) <= tables:  # a file that has all is opened on a full disk, too
            script = f"BEGIN IMMEDIATE; {self.schema} PRAGMA user_version = {self.version}; COMMIT;"
            self._open().executescript(script)

    def get(self, key: str) -> str | None:
        """Returns the answer of a key, or `None`."""
        rows = self._execute(f"SELECT answer FROM {self.table} WHERE key = ?", key)
        return rows[0][0] if rows else None

    def put(self, rows: Iterable[tuple[str | int, ...]], also: str = "", *values: str | int | None) -> None:
        """Writes answers; they are on the disk when this returns.

        Args:
            rows: Key, answer and the values of any further columns.
            also: An SQL statement to run in the same transaction.
            *values: The parameters of that statement.

        Raises:
            DIMError: If they cannot be written; the file is then unchanged.
        """
        with self._transaction():
            for row in rows:
                marks = ", ".join("?" * len(row))
                self._run(f"INSERT OR REPLACE INTO {self.table} VALUES ({marks})", *row)
            if also:
                self._run(also, *values)

    def close(self) -> None:
        """Closes the file."""
        if self._connection is not None:
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All statements within it or none; its errors are those of `put`."""
        connection = self._open()
        try:
            with connection:  # commits at the end, or rolls back
                self._run("BEGIN IMMEDIATE")
                yield
        except sqlite3.Error as error:
            raise _error(f"{self.path} cannot be written: {error}.", error) from error

    def _execute(self, statement: str, *values: str | int | None) -> list[tuple]:
        try:
            return self._run(statement, *values)
        except sqlite3.Error as error:
            verb = "read" if statement.startswith("SELECT") else "written"
            raise _error(f"{self.path} cannot be {verb}: {error}.", error) from error

    def _run(self, statement: str, *values: str | int | None) -> list[tuple]:
        return self._open().execute(statement, values).fetchall()

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise DIMError(f"{self.path} is not open.")
        return self._connection


def _error(message: str, error: Exception) -> DIMError:
    refused = refusal(error)
    return (NoSpaceError if refused is not None and refused[1] == 1 else DIMError)(message)
