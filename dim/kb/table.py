"""A table of LanceDB: the few operations that a knowledge base needs, with errors of one line."""

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar

import pyarrow as pa

from dim.common.files import refusal
from dim.errors import DIMError

P = ParamSpec("P")
T = TypeVar("T")

_SCANNED = 65_536  # rows read at a time
_FOREVER = timedelta(days=36_500)  # every version is kept; LanceDB would delete those older than a week
_TRIES = 5  # compactions that other writers may interrupt
_CONFLICT = "commit conflict"


class StorageError(DIMError):
    """A knowledge base that cannot be read or written, since its files are damaged or the system refuses.

    Args:
        message: One line.
        exit_code: Exit code of a command that meets it.
    """

    def __init__(self, message: str, exit_code: int = 2):
        super().__init__(message)
        self.exit_code = exit_code


def storage_error(uri: str, error: BaseException) -> StorageError:
    """Describes an error of LanceDB in one line.

    Args:
        uri: URI of the database.
        error: The error.

    Returns:
        The error to raise.

    Example:

        >>> str(storage_error("my_kb", OSError("LanceError(IO): No space left on device (os error 28), src/io.rs:3")))
        'The knowledge base my_kb cannot be read or written: No space left on device.'
    """
    text = " ".join(str(error).split())
    refused = refusal(error)
    if refused is not None:
        return StorageError(f"The knowledge base {uri} cannot be read or written: {refused[0]}.", refused[1])
    if _CONFLICT in text:
        return StorageError(f"Other processes keep on changing {uri}; nothing was written: run it again.", 1)
    reason = re.sub(r"^(lance error: )?(LanceError\(\w+\): )?|,? (/|src/|rust/)[^ ]*\.rs:\d+.*$", "", text)
    shown = reason if len(reason) <= 200 else f"{reason[:200]} ..."
    return StorageError(
        f"The knowledge base {uri} is damaged ({type(error).__name__}: {shown.rstrip('.')}): restore the folder from "
        "a copy, or create it again (dim kb create --overwrite)."
    )


class GoneVersionError(StorageError):
    """An older version of a knowledge base that `dim kb compact` has removed while it was open.

    Args:
        uri: URI of the database.
        version: Number of the version.
    """

    def __init__(self, uri: str, version: int):
        super().__init__(
            f"Version {version} of {uri} is gone: dim kb compact has removed it. Open the newest, or one that "
            f"`dim kb versions {uri}` lists."
        )


@contextmanager
def reporting(uri: str) -> Iterator[None]:
    """Raises a [`StorageError`] for what LanceDB raises in a `with` block.

    Args:
        uri: URI of the database.
    """
    try:
        yield
    except DIMError:
        raise
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ in ("PanicException", "RustPanic"):
            raise storage_error(uri, error) from error
        raise


def _reported(method: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T]:
    @functools.wraps(method)
    def call(table: Any, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            with reporting(table.uri):
                return method(table, *args, **kwargs)
        except StorageError as error:
            if table.is_gone():
                raise GoneVersionError(table.uri, table._table.version) from error
            raise

    return call


class Table:
    """A table of LanceDB at one version.

    Args:
        uri: URI of the database, for errors.
        table: A `lancedb.table.Table`.
    """

    def __init__(self, uri: str, table: Any):
        self.uri, self._table = uri, table

    def is_gone(self) -> bool:
        """Whether the version that is open has been removed."""
        try:
            return self._table.version not in {one["version"] for one in self._table.list_versions()}
        except Exception:  # of a table that cannot be read at all
            return False

    @property
    @_reported
    def version(self) -> int:
        """Number of the version that is open."""
        return self._table.version

    @property
    @_reported
    def schema(self) -> pa.Schema:
        """All columns."""
        return self._table.schema

    @_reported
    def count(self) -> int:
        """Counts the rows."""
        return self._table.count_rows()

    @_reported
    def versions(self) -> list[dict[str, Any]]:
        """Lists the versions, oldest first."""
        return self._table.list_versions()

    @_reported
    def checkout(self, version: int | None) -> None:
        """Opens a version; `None` for the newest."""
        if version is None:
            self._table.checkout_latest()
        else:
            self._table.checkout(version)

    @_reported
    def restore(self) -> None:
        """Makes the version that is open the newest."""
        self._table.restore()

    @_reported
    def scan(self, columns: Sequence[str], where: str | None = None) -> pa.Table:
        """Reads all rows, or those that meet an SQL condition."""
        query = self._table.search().select(list(columns))
        rows = query if where is None else query.where(where)
        return rows.to_batches(_SCANNED).read_all()  # `to_arrow` reads 1,024 rows at a time

    @_reported
    def take(self, numbers: Sequence[int], columns: Sequence[str]) -> pa.Table:
        """Reads rows by index, which may not repeat."""
        return self._table.take_offsets(list(numbers)).select(list(columns)).to_arrow()

    def batches(self, columns: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
        """Yields all rows in batches."""
        reader = self._reader(columns, size)
        while (batch := self._next(reader)) is not None:
            yield batch

    @_reported
    def _reader(self, columns: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
        return iter(self._table.search().select(list(columns)).to_batches(size))

    @_reported
    def _next(self, reader: Iterator[pa.RecordBatch]) -> pa.RecordBatch | None:
        return next(reader, None)

    @_reported
    def merge(self, rows: pa.Table, where: str | None, insert: bool = False) -> pa.Array:
        """Replaces rows by their ids in one commit, which LanceDB repeats on top of commits of other processes.

        Args:
            rows: Complete rows with `id` and `key`.
            where: SQL condition on `target` and `source` that a stored row must meet to be replaced.
            insert: Whether rows of unknown ids are added.

        Returns:
            For each row, whether it was written.
        """
        merge = self._table.merge_insert("id").when_matched_update_all(where=where)
        done = (merge.when_not_matched_insert_all() if insert else merge).execute(rows, on_bad_vectors="null")
        count = done.num_updated_rows + done.num_inserted_rows
        if count in (0, len(rows)):
            return pa.array([count > 0] * len(rows))
        self._table.checkout(done.version)
        stored = self.scan(["key"])["key"]
        self._table.checkout_latest()
        return pa.compute.is_in(rows["key"], value_set=stored).combine_chunks()

    @_reported
    def delete(self, where: str) -> None:
        """Deletes the rows that meet an SQL condition, in one commit."""
        self._table.delete(where)

    @_reported
    def index_ids(self, new: int = 0) -> None:
        """Builds an index of the column `id`, unless there is one: rows are then found by id without a scan.

        Args:
            new: How many rows may be missing in an index before it is built again.
        """
        from lancedb.index import BTree

        known = next((one.name for one in self._table.list_indices() if one.columns == ["id"]), None)
        if known is None or (new and self._table.index_stats(known).num_unindexed_rows > new):
            self._table.create_index("id", config=BTree())

    @_reported
    def drop_columns(self, names: Sequence[str]) -> None:
        """Drops columns."""
        self._table.drop_columns(list(names))

    @_reported
    def add_columns(self, schema: pa.Schema) -> None:
        """Adds empty columns."""
        self._table.add_columns(schema)

    @_reported
    def compact(self, keep: timedelta = _FOREVER) -> None:
        """Merges small files. It gives up if other processes keep on writing: the next call does the work.

        Args:
            keep: How long older versions stay.
        """
        for _ in range(_TRIES):
            try:
                self._table.optimize(cleanup_older_than=keep)
                return
            except RuntimeError as error:
                if _CONFLICT not in str(error):
                    raise
                self._table.checkout_latest()
