"""Reading a knowledge base: its rows in a fixed order, by number and by id, and their vectors."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor

from dim.common.ids import index_of
from dim.errors import DIMError
from dim.kb.rows import VECTOR_COLUMNS
from dim.search.vectors import vectors_of

_SCANNED = 65_536  # rows read at a time


class EntityView:
    """The entities of one version. Rows are numbered from 0, in an order that is fixed for the version.

    Args:
        uri: The database.
        table: Its table of entities, a `lancedb.table.Table`.
    """

    def __init__(self, uri: str, table: Any):
        self.uri, self._table = uri, table

    def __len__(self) -> int:
        return self._table.count_rows()

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns there are, those of no use to a reader as well."""
        return self._table.schema

    @property
    def version(self) -> int:
        """The version that is looked at."""
        return self._table.version

    @property
    def width(self) -> int:
        """Dimensions of the vectors, 0 if nothing was encoded yet."""
        return self.schema.field("vector").type.list_size if "vector" in self.schema.names else 0

    @cached_property
    def ids(self) -> list[str]:
        """The ids, by row number."""
        return self._scan(["id"])["id"].to_pylist()

    @cached_property
    def row_of(self) -> dict[str, int]:
        """The row number of each id."""
        return index_of(self.ids)

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Every row, in the order of the row numbers.

        Args:
            columns: Which columns; all but the codes by default.

        Returns:
            The table.

        Raises:
            DIMError: If there is no such column.
        """
        return self._scan(self._columns(columns))

    def take(self, numbers: Sequence[int] | np.ndarray, columns: Sequence[str] | None = None) -> pa.Table:
        """Rows by their numbers, which may repeat.

        Args:
            numbers: Row numbers.
            columns: Which columns; all but the codes by default.

        Returns:
            The rows in the order of `numbers`.
        """
        unique, places = np.unique(np.asarray(numbers, np.int64), return_inverse=True)
        if len(unique) == 0:
            return self.schema.empty_table().select(self._columns(columns))
        found = self._table.take_offsets(unique.tolist()).select(self._columns(columns)).to_arrow()
        return found.take(places)

    def rows(self, ids: Sequence[str]) -> pa.Table:
        """Rows by their ids.

        Args:
            ids: Ids.

        Returns:
            The rows in the order of `ids`.

        Raises:
            DIMError: If an id is unknown.
        """
        unknown = next((name for name in ids if name not in self.row_of), None)
        if unknown is not None:
            raise DIMError(f"{self.uri} has no entity {unknown!r}.")
        return self.take([self.row_of[name] for name in ids])

    def vectors(self, numbers: Sequence[int] | np.ndarray | None = None) -> Tensor:
        """Vectors by row numbers.

        Args:
            numbers: Row numbers; all rows by default.

        Returns:
            `torch.Tensor` of shape `(N, D)`, float32.

        Raises:
            DIMError: If one of the rows is not encoded as it is now.
        """
        if not self.width:
            raise DIMError(f"Nothing in {self.uri} is encoded: dim kb encode {self.uri} --model MODEL")
        columns = ["vector", "encoded_hash", "content_hash"]
        found = self._scan(columns) if numbers is None else self.take(numbers, columns)
        stale = len(found) - int(pc.sum(fresh(found)).as_py() or 0)
        if stale:
            raise DIMError(f"{stale} of the entities are not encoded: dim kb encode {self.uri} --model MODEL")
        return vectors_of(found)

    def encoders(self) -> dict[str | None, int]:
        """How many rows have a vector of each encoder; `None` for rows that are not encoded as they are now."""
        if not self.width:
            return {None: len(self)} if len(self) else {}
        state = self._scan(["encoder", "encoded_hash", "content_hash"])
        of = pc.if_else(fresh(state), state["encoder"], pa.scalar(None, pa.string()))
        return {item["values"]: item["counts"] for item in pc.value_counts(of).to_pylist()}

    def encoded(self) -> tuple[np.ndarray, np.ndarray, frozenset[str]]:
        """Which rows are encoded as they are now `(N,)`, the keys of all rows `(N,)`, and by whom they are encoded."""
        state = self._scan(["key", "encoder", "encoded_hash", "content_hash"])
        valid = fresh(state)
        encoders = frozenset(pc.unique(state["encoder"].filter(valid)).to_pylist())
        return valid.to_numpy(), state["key"].to_numpy(), encoders

    def pending(self, encoder: str) -> np.ndarray:
        """Numbers of the rows that this encoder has not encoded as they are now.

        Args:
            encoder: Fingerprint of the model.

        Returns:
            Row numbers, ascending.
        """
        state = self._scan(["encoder", "encoded_hash", "content_hash"])
        done = pc.and_(fresh(state), pc.fill_null(pc.equal(state["encoder"], encoder), False))
        return np.flatnonzero(~done.to_numpy())

    def check_encoder(self, encoder: str, complete: bool = True) -> None:
        """Checks that the knowledge base belongs to a model: that no other model encoded any of it.

        Args:
            encoder: Fingerprint of the model (`dim.encoding.loading.fingerprint`).
            complete: Whether every entity must be encoded; else one is enough.

        Raises:
            DIMError: If entities are not encoded, or were encoded by another model.
        """
        counts = self.encoders()
        missing = counts.pop(None, 0)
        others = sum(count for name, count in counts.items() if name != encoder)
        cure = f"encode it: dim kb encode {self.uri} --model MODEL"
        if others:
            raise DIMError(f"{others:,} entities of {self.uri} were encoded by another model; {cure}")
        if missing and (complete or not counts):
            raise DIMError(f"{missing:,} entities of {self.uri} are not encoded yet; {cure}")

    def batches(self, columns: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
        """Every row, some at a time, in the order of the row numbers.

        Args:
            columns: Which columns.
            size: Rows at a time, at most.

        Yields:
            The rows.
        """
        yield from self._table.search().select(self._columns(columns)).to_batches(size)

    def _forget(self) -> None:
        for name in ("ids", "row_of", "schema"):
            self.__dict__.pop(name, None)

    def _columns(self, columns: Iterable[str] | None) -> list[str]:
        names = self.schema.names
        if columns is None:
            hidden = {"key", *VECTOR_COLUMNS} - {"vector", "encoder"}
            return [name for name in names if name not in hidden]
        unknown = next((name for name in columns if name not in names), None)
        if unknown is not None:
            raise DIMError(f"{self.uri} has no column {unknown!r}; there are {', '.join(names)}.")
        return list(columns)

    def _scan(self, columns: list[str], where: str | None = None) -> pa.Table:
        query = self._table.search().select(columns)
        rows = query if where is None else query.where(where)
        return rows.to_batches(_SCANNED).read_all()  # `to_arrow` reads 1,024 rows at a time


def fresh(table: pa.Table) -> pa.ChunkedArray:
    """Which rows have the vector of what they hold now; of the columns `encoded_hash` and `content_hash`."""
    return pc.fill_null(pc.equal(table["encoded_hash"], table["content_hash"]), False)


__all__ = ["EntityView", "fresh"]
