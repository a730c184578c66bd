"""LanceDB: opening its tables with errors that say what to do, and arrays kept beside the entities."""

import os
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dim.errors import DIMError
from dim.kb.sources import Reader

if TYPE_CHECKING:
    import lancedb

ENTITIES = "entities"
_ARRAYS = "arrays"
_KEEP = timedelta(hours=1)  # how long replaced arrays stay for those who are reading them
_ARRAY_SCHEMA = pa.schema([("name", pa.string()), ("dtype", pa.string()), ("data", pa.large_binary())])


def connect(uri: str) -> "lancedb.DBConnection":
    """Connects to a database: a folder, or what else LanceDB takes (`s3://...`, `db://...`).

    Args:
        uri: Where it is.

    Returns:
        The connection.

    Raises:
        DIMError: If LanceDB is not installed.
    """
    os.environ.setdefault("LANCEDB_LOG", "error")  # it warns of what is meant so, such as a table that is made
    try:
        import lancedb
    except ImportError as error:
        raise DIMError("A knowledge base needs LanceDB: pip install 'dim-mel[kb]'.") from error
    return lancedb.connect(uri)


def is_local(uri: str) -> bool:
    """Whether a URI is a folder."""
    return re.match(r"[a-z][a-z0-9+.-]+://", uri) is None


def exists(uri: str) -> bool:
    """Whether there is a knowledge base."""
    try:
        open_table(uri)
    except ValueError:
        return False
    return True


def open_table(uri: str, name: str = ENTITIES) -> Any:
    """Opens a table.

    Args:
        uri: The database.
        name: The table.

    Returns:
        A `lancedb.table.Table`.

    Raises:
        DIMError: If there is none.
    """
    if not is_local(uri) or Path(uri, f"{name}.lance").is_dir():
        try:
            return connect(uri).open_table(name)
        except (ValueError, FileNotFoundError) as error:
            if "not found" not in str(error).lower():
                raise
    raise DIMError(f"{uri} is no knowledge base. Make one: dim kb create {uri} --from FILE_OR_DATASET")


def create_table(uri: str, reader: Reader, overwrite: bool) -> Any:
    """Writes a source's rows as the table of entities, all in one commit.

    Args:
        uri: The database.
        reader: The rows.
        overwrite: Whether a table that is there becomes an older version of this one.

    Returns:
        The table.

    Raises:
        DIMError: If a row is not as it should be; nothing is written then.
    """
    failed: list[DIMError] = []

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            yield from reader.batches()
        except DIMError as error:  # LanceDB would show it as the text of an error of its own
            failed.append(error)
            raise

    rows = pa.RecordBatchReader.from_batches(reader.schema, batches())
    mode = "overwrite" if overwrite else "create"
    try:
        return connect(uri).create_table(ENTITIES, rows, schema=reader.schema, mode=mode, on_bad_vectors="null")
    except (RuntimeError, ValueError, OSError):
        if failed:
            raise failed[0] from None
        raise


def in_list(ids: list[str]) -> str:
    """A condition that one of the ids is the row's.

    Example:

        >>> in_list(["Q1", "O'Hara"])
        "id IN ('Q1', 'O''Hara')"
    """
    quoted = ("'" + name.replace("'", "''") + "'" for name in ids)
    return f"id IN ({', '.join(quoted)})"


def write_arrays(uri: str, arrays: dict[str, np.ndarray]) -> None:
    """Keeps one-dimensional arrays in a table of their own, in place of those that were there, in one commit.

    Args:
        uri: The database.
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
    table = connect(uri).create_table(_ARRAYS, rows, schema=_ARRAY_SCHEMA, mode="overwrite")
    table.optimize(cleanup_older_than=_KEEP)


def read_arrays(uri: str, only: str | None = None) -> dict[str, np.ndarray] | None:
    """What `write_arrays` kept, or one array of it; `None` if there is nothing."""
    try:
        query = open_table(uri, _ARRAYS).search()
    except ValueError:
        return None
    table = (query if only is None else query.where(f"name = '{only}'")).to_arrow()
    names, kinds = table["name"].to_pylist(), table["dtype"].to_pylist()
    return {
        name: np.frombuffer(data.as_buffer(), dtype)
        for name, dtype, data in zip(names, kinds, table["data"], strict=True)
    }


__all__ = [
    "ENTITIES",
    "connect",
    "create_table",
    "exists",
    "in_list",
    "is_local",
    "open_table",
    "read_arrays",
    "write_arrays",
]
