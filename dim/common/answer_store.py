"""Model answers in a SQLite file, durable after each write, so that a run may be killed at any moment."""

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from dim.errors import DIMError


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
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # One writer at a time, but not always in the same thread. Processes that share a file wait for one another.
            wait = 60 if self.shared else 1
            self._connection = sqlite3.connect(path, timeout=wait, isolation_level=None, check_same_thread=False)
            self._prepare()
        except (OSError, sqlite3.DatabaseError) as error:
            hint = "another run is using it" if "locked" in str(error) else str(error)
            raise DIMError(f"The file of answers {path} cannot be opened: {hint}.") from error

    def _prepare(self) -> None:
        if not self.shared:
            self._execute("PRAGMA locking_mode = EXCLUSIVE")
        ((version,),) = self._execute("PRAGMA user_version")
        tables = {name for (name,) in self._execute("SELECT name FROM sqlite_master")}
        if (version or tables) and (version != self.version or self.table not in tables):
            raise DIMError(f"{self.path} is not a file of answers that this version of dim reads: choose another file.")
        self._execute("PRAGMA journal_mode = WAL")
        self._execute("PRAGMA synchronous = FULL")
        script = f"BEGIN IMMEDIATE; {self.schema} PRAGMA user_version = {self.version}; COMMIT;"
        self._connection.executescript(script)

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
        try:
            with self._connection:  # commits at the end, or rolls back
                self._execute("BEGIN IMMEDIATE")
                for row in rows:
                    marks = ", ".join("?" * len(row))
                    self._execute(f"INSERT OR REPLACE INTO {self.table} VALUES ({marks})", *row)
                if also:
                    self._execute(also, *values)
        except sqlite3.DatabaseError as error:
            raise DIMError(f"{self.path} cannot be written: {error}.") from error

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def _execute(self, statement: str, *values: str | int | None) -> list[tuple]:
        return self._connection.execute(statement, values).fetchall()
