"""Sources of entities: tables, datasets with the config `entities`, MIMIC's `kb_entity.json`, and rows."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dim.common.fields import FieldError
from dim.common.parquet_rows import open_parquet, parquet_batches, parquet_rows
from dim.common.tables import read_table, table_suffix
from dim.corpora.loading import load_entities
from dim.errors import DIMError
from dim.kb.rows import CONTENT, FIELDS, VECTOR_WIDTH, checked_row, vector_arrays, vector_schema

Source = str | Path | Iterable[Mapping[str, Any]]

BATCH_ROWS = 10_000
_BATCH_BYTES = 32 << 20  # of pictures
_VECTORS = ("encoder", "vector")
_STATE = ("updated_at", "content_hash", *_VECTORS)  # columns of an export besides the fields


@dataclass(frozen=True, slots=True)
class Raw:
    """A row of a source: its file and line for errors, its fields, and the vector columns of an export."""

    place: str
    row: Any
    state: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Reader:
    """A reader of the rows of a source.

    Args:
        name: Name of the source, for errors.
        rows: The rows, in order.
        folder: Folder of the pictures.
        width: Number of dimensions of the vectors, 0 if there are none.
    """

    name: str
    rows: Iterator[Raw]
    folder: Path | None = None
    width: int = 0

    @property
    def schema(self) -> pa.Schema:
        """Schema of the batches."""
        return pa.schema([*CONTENT, *vector_schema(self.width)]) if self.width else CONTENT

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yields validated rows, in order.

        Raises:
            DIMError: For the first row that is invalid, or whose id occurred before.
        """
        seen: dict[str, str] = {}
        now = datetime.now(timezone.utc)
        part: list[dict[str, Any]] = []
        states: list[dict[str, Any]] = []
        weight = 0
        for raw in self.rows:
            try:
                row = checked_row(raw.row, self.folder)
            except FieldError as error:
                raise DIMError(f"{raw.place}, {error}.") from error
            first = seen.setdefault(row["id"], raw.place)
            if first is not raw.place:
                raise DIMError(f"{raw.place}: the id {row['id']!r} is also in {first}; ids must be unique.")
            row["updated_at"] = (raw.state or {}).get("updated_at") or now
            part.append(row)
            states.append(raw.state or {})
            weight += sum(len(image["bytes"]) for image in row["images"])
            if len(part) == BATCH_ROWS or weight >= _BATCH_BYTES:
                yield self._batch(part, states)
                part, states, weight = [], [], 0
        if part:
            yield self._batch(part, states)

    def _batch(self, rows: list[dict[str, Any]], states: list[dict[str, Any]]) -> pa.RecordBatch:
        batch = pa.RecordBatch.from_pylist(rows, schema=CONTENT)
        if not self.width:
            return batch
        there = np.array([state["vector"] is not None for state in states])
        vectors = np.zeros((len(rows), self.width), np.float32)
        if there.any():
            vectors[there] = np.stack([state["vector"] for state in states if state["vector"] is not None])
        if not np.isfinite(vectors).all():
            raise DIMError(f"{self.name} contains a vector with NaN or infinity.")
        columns = vector_arrays(vectors)
        mask = pa.array(~there)
        columns |= {name: pa.compute.if_else(mask, pa.scalar(None, array.type), array)
                    for name, array in columns.items()}  # fmt: skip
        columns["encoder"] = pa.array([state["encoder"] for state in states], pa.string())
        hashes = [state["content_hash"] if has else None for state, has in zip(states, there, strict=True)]
        columns["encoded_hash"] = pa.array(hashes, pa.string())
        whole = [*batch.columns, *(columns[name] for name in vector_schema(1).names)]
        return pa.RecordBatch.from_arrays(whole, schema=self.schema)


def read_entities(source: Source) -> Reader:
    """Opens a source of entities, recognised by its name.

    Args:
        source: A table that [`dim.common.tables.read_table`] reads, MIMIC's `kb_entity.json` (texts only; `dim build`
            reads its pictures), the folder or Hub name of a dataset with the config `entities`, or rows.

    Returns:
        A reader of the rows.

    Raises:
        DIMError: If there is no such file or dataset, or its format is unknown.
    """
    if not isinstance(source, str | Path):
        return Reader("the rows", (Raw(f"the rows, row {index}", row) for index, row in enumerate(source)))
    path = Path(source).expanduser()
    if path.name == "kb_entity.json" or table_suffix(path):
        if not path.is_file():
            raise DIMError(f"There is no file {path}.")
        if path.name == "kb_entity.json":
            return _mimic(path)
        return _parquet(path) if table_suffix(path) == ".parquet" else _table(path)
    if path.is_file():
        raise DIMError(f"{path} is not a .jsonl, .csv or .parquet file (nor .json, .tsv or MIMIC's kb_entity.json).")
    dataset = load_entities(str(source))
    fields = [name for name in FIELDS if name in dataset.column_names]
    rows = (
        row for batch in dataset.select_columns(fields).with_format("arrow").iter(1000) for row in batch.to_pylist()
    )
    return Reader(str(source), (Raw(f"{source}, row {index}", row) for index, row in enumerate(rows)))


def _table(path: Path) -> Reader:
    def rows() -> Iterator[Raw]:
        is_empty = True
        for line in read_table(path):
            is_empty = False
            yield Raw(*line)
        if is_empty:
            raise DIMError(f"{path} holds no entity.")

    return Reader(str(path), rows(), path.parent)


def _parquet(path: Path) -> Reader:
    file = open_parquet(path)
    schema = file.schema_arrow
    width = _width(path, schema)
    content = [name for name in schema.names if name not in _STATE]

    def rows() -> Iterator[Raw]:
        index = 0
        for batch in parquet_batches(file, path, BATCH_ROWS):
            others = [name for name in _STATE if name in schema.names and name != "vector"]
            states = batch.select(others).to_pylist()
            vectors: Any = [None] * len(batch)
            if width:
                column = batch["vector"]
                if not pc.all(pc.equal(pc.list_value_length(column), width), min_count=0).as_py():
                    raise DIMError(f"{path} contains vectors that are not all {width} wide: export it again.")
                values = column.flatten().to_numpy().reshape(-1, width)
                positions = np.cumsum(column.is_valid().to_numpy(False)) - 1
                vectors = [values[position] if valid.as_py() else None
                           for position, valid in zip(positions, column.is_valid(), strict=True)]  # fmt: skip
            for row, state, values in zip(
                parquet_rows(batch.select(content), path, index), states, vectors, strict=True
            ):
                yield Raw(f"{path}, row {index}", row, {**state, "vector": values})
                index += 1

    return Reader(str(path), rows(), path.parent, width)


def _width(path: Path, schema: pa.Schema) -> int:
    """The width of an export's vectors, 0 if a file has none. Exports of version 0.1 have lists of one length."""
    if "vector" not in schema.names:
        return 0
    kind, written = schema.field("vector").type, (schema.metadata or {}).get(VECTOR_WIDTH.encode(), b"")
    width = kind.list_size if pa.types.is_fixed_size_list(kind) else int(written) if written.isdigit() else 0
    if not width or kind.value_type != pa.float32() or not {"content_hash", "encoder"} <= set(schema.names):
        raise DIMError(f"{path} contains vectors, but not in the format of `dim kb export`: remove them.")
    return int(width)


def _mimic(path: Path) -> Reader:
    try:
        entities = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DIMError(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(entities, list):
        raise DIMError(f"{path} is not a list of entities, as in MIMIC.")

    def rows() -> Iterator[Raw]:
        for index, entity in enumerate(entities):
            if not isinstance(entity, dict):
                raise DIMError(f"{path}, row {index}: it is not an object.")
            missing = next((name for name in ("qid", "entity_name") if not isinstance(entity.get(name), str)), None)
            if missing:
                raise DIMError(f"{path}, row {index}, field {missing!r}: it is missing or not a string.")
            yield Raw(
                f"{path}, row {index}",
                {"id": entity["qid"], "name": unquote(entity["entity_name"]), "description": entity.get("attr") or ""},
            )

    return Reader(str(path), rows())
