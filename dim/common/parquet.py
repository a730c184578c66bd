"""Parquet files of published datasets, which store repeated values once."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from dim.common.files import atomic_file, sha256_of

ROW_GROUP_BYTES = 32 << 20  # of pictures: held in memory by the writer, and later by a streaming reader
ROW_GROUP_ROWS = 10_000
# Equal values of a row group are stored once if the distinct ones fit in this; the default, 1 MiB, is a few photos.
_DICTIONARY_BYTES = 2 * ROW_GROUP_BYTES


@dataclass(frozen=True, slots=True)
class Written:
    """Size and checksum of a Parquet file that was written.

    Args:
        rows: Number of rows.
        num_bytes: Size of the rows in Arrow memory, the `num_bytes` of `datasets`.
        size: Size of the file in bytes.
        sha256: Checksum of the file, hexadecimal.
    """

    rows: int
    num_bytes: int
    size: int
    sha256: str


def write_parquet(path: Path, rows: Iterable[Mapping[str, Any]], features: datasets.Features) -> Written:
    """Writes rows as Parquet with [`dim.common.files.atomic_file`].

    Equal values of a row group are stored once, including the bytes of pictures, so rows that share a picture should
    follow one another. Texts are compressed with zstd, pictures are not compressed again. The schema has no metadata,
    because `datasets` before version 4 cannot read the `List` type of version 5; the features belong in the card.

    Args:
        path: The file; replaced if it exists.
        rows: One mapping per row, with a value for each feature; an image is `{"bytes", "path"}` or `None`.
        features: Columns and their types, in order.

    Returns:
        Size and checksum of the file; `Written.rows` is 0 for an empty table.

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
    """Yields lists of at most `ROW_GROUP_ROWS` rows; a list ends once it holds `ROW_GROUP_BYTES` of pictures."""
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
    """Returns the names of the leaf columns in Parquet, such as `images.list.element.bytes`."""
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink, store_schema=False)
    columns = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    return [columns.column(index).path for index in range(len(columns))]
