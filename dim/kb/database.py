"""Access to LanceDB: databases, the table of entities, and arrays stored next to it."""

import os
import re
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from dim.errors import DIMError
from dim.kb.sources import Reader
from dim.kb.table import StorageError, Table, reporting

if TYPE_CHECKING:
    import lancedb

ENTITIES = "entities"
_ARRAYS = "arrays"
_KEEP = timedelta(hours=1)  # how long replaced arrays stay, for processes that still read them
_ARRAY_SCHEMA = pa.schema([("name", pa.string()), ("dtype", pa.string()), ("data", pa.large_binary())])


def connect(uri: str) -> "lancedb.DBConnection":
    """Connects to a database.

    Args:
        uri: As [`home_of`] returns it.

    Returns:
        The connection.

    Raises:
        DIMError: If LanceDB is not installed, or the URI is one that it cannot connect to.
    """
    os.environ.setdefault("LANCEDB_LOG", "error")  # it warns of intended actions, such as a new table
    try:
        import lancedb
    except ImportError as error:
        raise DIMError("A knowledge base needs LanceDB: pip install 'dim-mel[kb]'.") from error
    try:
        return lancedb.connect(uri)
    except ValueError as error:  # such as a `db://` without an API key
        raise DIMError(f"Cannot connect to {uri}: {error}") from error


def is_local(uri: str) -> bool:
    """Whether a URI is a folder."""
    return re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", uri) is None


def home_of(uri: str | Path) -> str:
    """Returns a URI that stays the same when the working directory changes, and a folder's name is no scheme.

    Example:

        >>> home_of("s3://bucket/kb"), home_of("/data/s3:x")
        ('s3://bucket/kb', '/data/s3:x')
    """
    return str(Path(uri).absolute()) if is_local(str(uri)) else str(uri)


def exists(uri: str) -> bool:
    """Whether there is a knowledge base at a URI, possibly a damaged one."""
    if is_local(uri):
        return any(Path(uri, f"{ENTITIES}.lance", "_versions").glob("*.manifest"))  # else creating it was killed
    try:
        open_table(uri)
    except StorageError:
        raise
    except DIMError:
        return False
    return True


def open_table(uri: str, name: str = ENTITIES) -> Table:
    """Opens a table.

    Args:
        uri: URI of the database.
        name: Name of the table.

    Returns:
        The table.

    Raises:
        DIMError: If there is no such table.
        StorageError: If it cannot be read.
    """
    home = home_of(uri)
    if not is_local(home) or Path(home, f"{name}.lance").is_dir():
        with reporting(uri):
            try:
                return Table(uri, connect(home).open_table(name))
            except (ValueError, FileNotFoundError) as error:
                if is_local(home) or "not found" not in str(error).lower():
                    raise
    raise DIMError(f"{uri} is not a knowledge base. Create one: dim kb create {uri} --from FILE_OR_DATASET")


def create_table(uri: str, reader: Reader, overwrite: bool) -> Table:
    """Writes the rows of a source as the table of entities, in one commit.

    Args:
        uri: URI of the database.
        reader: Reader of the rows.
        overwrite: Whether an existing table is replaced; it becomes an older version.

    Returns:
        The table.

    Raises:
        DIMError: If a row is invalid; nothing is written then.
        StorageError: If it cannot be written.
    """
    failed: list[DIMError] = []
    home = home_of(uri)
    new = [path for path in _parents(home) if not path.exists()]

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            yield from reader.batches()
        except DIMError as error:  # LanceDB would hide it in an error of its own
            failed.append(error)
            raise

    rows = pa.RecordBatchReader.from_batches(reader.schema, batches())
    mode = "overwrite" if overwrite else "create"
    try:
        with reporting(uri):
            return Table(
                uri,
                connect(home).create_table(ENTITIES, rows, schema=reader.schema, mode=mode, on_bad_vectors="null"),
            )
    except DIMError:
        for path in new:
            shutil.rmtree(path, ignore_errors=True)
        if failed:
            raise failed[0] from None
        raise


def _parents(home: str) -> list[Path]:
    """The folders that a local database makes: its own, and missing ones above, innermost first."""
    return [Path(home), *Path(home).parents] if is_local(home) else []


def in_list(ids: list[str]) -> str:
    """Returns the SQL condition that selects rows by their ids.

    Example:

        >>> in_list(["Q1", "O'Hara"])
        "id IN ('Q1', 'O''Hara')"
    """
    quoted = ("'" + name.replace("'", "''") + "'" for name in ids)
    return f"id IN ({', '.join(quoted)})"


def write_arrays(uri: str, arrays: dict[str, np.ndarray]) -> None:
    """Writes one-dimensional arrays to a table of their own, replacing all earlier ones, in one commit.

    Args:
        uri: URI of the database.
        arrays: The arrays by name.
    """
    rows = pa.RecordBatchReader.from_batches(
        _ARRAY_SCHEMA,
        (
            pa.RecordBatch.from_arrays(
                [pa.array([name]), pa.array([array.dtype.str]),
                 pa.LargeBinaryArray.from_buffers(pa.large_binary(), 1, [
                     None, pa.py_buffer(np.array([0, array.nbytes])), pa.py_buffer(np.ascontiguousarray(array))])],
                schema=_ARRAY_SCHEMA,
            )
            for name, array in arrays.items()
        ),
    )  # fmt: skip
    with reporting(uri):
        table = connect(home_of(uri)).create_table(_ARRAYS, rows, schema=_ARRAY_SCHEMA, mode="overwrite")
    Table(uri, table).compact(_KEEP)


def forget_arrays(uri: str, age: timedelta) -> None:
    """Removes replaced arrays that are older than `age`, or than what every write of arrays removes."""
    if not is_local(home_of(uri)) or Path(home_of(uri), f"{_ARRAYS}.lance").is_dir():
        open_table(uri, _ARRAYS).compact(min(age, _KEEP))


def read_arrays(uri: str, only: str | None = None) -> dict[str, np.ndarray] | None:
    """Reads the arrays of `write_arrays`, or only one of them; returns `None` if there are none."""
    home = home_of(uri)
    if is_local(home) and not Path(home, f"{_ARRAYS}.lance").is_dir():
        return None
    try:
        stored = open_table(uri, _ARRAYS)
    except StorageError:
        raise
    except DIMError:
        return None
    table = stored.scan(_ARRAY_SCHEMA.names, None if only is None else f"name = '{only}'")
    names, kinds = table["name"].to_pylist(), table["dtype"].to_pylist()
    return {
        name: np.frombuffer(data.as_buffer(), dtype)
        for name, dtype, data in zip(names, kinds, table["data"], strict=True)
    }
