"""Rows of a user's Parquet file; whatever is wrong with it is an error of one line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dim.errors import DIMError


def open_parquet(path: Path) -> pq.ParquetFile:
    """Opens a Parquet file.

    Args:
        path: The file.

    Returns:
        The file.

    Raises:
        DIMError: If it is not a Parquet file, or a column occurs twice.
    """
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise DIMError(f"{path} is not a Parquet file: {_line(error)}.") from error
    names = file.schema_arrow.names
    if len(set(names)) < len(names):
        raise DIMError(f"{path}: a column occurs twice in {names}.")
    return file


def parquet_batches(file: pq.ParquetFile, path: Path, rows: int) -> Iterator[pa.RecordBatch]:
    """Reads a Parquet file in batches.

    Args:
        file: The file, from [`open_parquet`].
        path: Its path, for errors.
        rows: Rows of a batch.

    Yields:
        The batches.

    Raises:
        DIMError: If a part of the file is damaged.
    """
    number = 0
    try:
        for batch in file.iter_batches(batch_size=rows):
            yield batch
            number += len(batch)
    except (pa.ArrowException, OSError) as error:
        raise DIMError(f"{path} is damaged after row {number}: {_line(error)}.") from error


def parquet_rows(batch: pa.RecordBatch, path: Path, start: int = 0) -> list[dict[str, Any]]:
    """Returns the rows of a batch.

    Args:
        batch: A batch of a Parquet file.
        path: The file's path, for errors.
        start: Number of the first row in the file, for errors.

    Raises:
        DIMError: If a text is not valid UTF-8, or a value cannot be represented in Python.
    """
    try:
        return batch.to_pylist()
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise DIMError(f"{path}, from row {start}: a value cannot be read: {_line(error)}.") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
