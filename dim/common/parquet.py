"""Parquet files of a published dataset, in which a value that repeats is stored once."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from dim.common.files import atomic_file, sha256_of

ROW_GROUP_BYTES = 32 << 20  # of pictures: what the writer, and later a reader who streams, holds in memory
ROW_GROUP_ROWS = 10_000
# A value is stored once in a row group if the different ones fit into this; Parquet's own 1 MiB is a few photos.
_DICTIONARY_BYTES = 2 * ROW_GROUP_BYTES


@dataclass(frozen=True, slots=True)
class Written:
    """A Parquet file that was written.

    Args:
        rows: Number of rows.
        num_bytes: Size of the rows in Arrow's memory, what `datasets` calls `num_bytes`.
        size: Size of the file in bytes.
        sha256: Checksum of the file, hexadecimal.
    """

    rows: int
    num_bytes: int
    size: int
    sha256: str


def write_parquet(path: Path, rows: Iterable[Mapping[str, Any]], features: datasets.Features) -> Written:
    """Writes rows as Parquet, whole or not at all.

    Equal values of a row group are stored once, the bytes of pictures too: give rows that share a picture one after
    the other. Texts are compressed by zstd, pictures are left as they are. The schema carries no metadata: `datasets`
    before version 4 does not know the `List` that version 5 writes there, so the features belong into the card.

    Args:
        path: The file; replaced if it exists.
        rows: One mapping a row, with a value for each of the features; an image is `{"bytes", "path"}` or `None`.
        features: Columns and their types, in order.

    Returns:
        What was written; `Written.rows` is 0 for an empty table.

    Raises:
        OSError: If the disk is full, or the folder cannot be written to.
    """
    schema = pa.schema(features.arrow_schema.remove_metadata())
    leaves = _leaves(schema)
    count = num_bytes = 0
    with (
        atomic_file(path) as temporary,
        pq.ParquetWriter(
            temporary,
            schema,
            compression={leaf: "none" if leaf.endswith(".bytes") else "zstd" for leaf in leaves},
            write_statistics=[leaf for leaf in leaves if not leaf.endswith(".bytes")],
            dictionary_pagesize_limit=_DICTIONARY_BYTES,
            store_schema=False,
        ) as writer,
    ):
        for group in _row_groups(rows):
            table = pa.Table.from_pylist(group, schema=schema)
            writer.write_table(table, row_group_size=len(group))
            count += len(group)
            num_bytes += table.nbytes
    return Written(rows=count, num_bytes=num_bytes, size=path.stat().st_size, sha256=sha256_of(path))


def _row_groups(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Rows in lists of at most `ROW_GROUP_ROWS`, which end as soon as they hold `ROW_GROUP_BYTES` of pictures."""
    group: list[Mapping[str, Any]] = []
    weight = 0
    for row in rows:
        group.append(row)
        pictures = [row["image"]] if row.get("image") else row.get("images") or []
        weight += sum(len(picture["bytes"]) for picture in pictures)
        if len(group) == ROW_GROUP_ROWS or weight >= ROW_GROUP_BYTES:
            yield group
            group, weight = [], 0
    if group:
        yield group


def _leaves(schema: pa.Schema) -> list[str]:
    """Parquet's names of the columns that hold values, such as `images.list.element.bytes`."""
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink, store_schema=False)
    columns = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    return [columns.column(place).path for place in range(len(columns))]


__all__ = ["ROW_GROUP_BYTES", "ROW_GROUP_ROWS", "Written", "write_parquet"]
