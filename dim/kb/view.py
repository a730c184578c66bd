"""Reading of a knowledge base: rows by index and by id, and their vectors."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor

from dim.common.ids import index_of
from dim.errors import DIMError
from dim.kb import database
from dim.kb.database import home_of
from dim.kb.rows import VECTOR_COLUMNS
from dim.kb.sources import Source, read_entities
from dim.kb.table import Table
from dim.search.texts import INDEX_VERSION
from dim.search.vectors import method_for, vectors_of

_ASKED = 10_000  # ids in one query


class EntityView:
    """The entities of one version of a knowledge base, in an order that is fixed for the version.

    Args:
        uri: URI of the database.
        table: Its table of entities.
    """

    def __init__(self, uri: str, table: Table):
        self.uri, self._table = uri, table
        self.home = home_of(uri)  # also after a change of the working directory

    def __len__(self) -> int:
        return self._table.count()

    @cached_property
    def schema(self) -> pa.Schema:
        """All columns of the table, including internal ones."""
        return self._table.schema

    @property
    def version(self) -> int:
        """Number of the version that is open."""
        return self._table.version

    @property
    def width(self) -> int:
        """Number of dimensions of the vectors, 0 if nothing was encoded yet."""
        return self.schema.field("vector").type.list_size if "vector" in self.schema.names else 0

    @cached_property
    def ids(self) -> list[str]:
        """The ids, by row index."""
        return self._scan(["id"])["id"].to_pylist()

    @cached_property
    def row_of(self) -> dict[str, int]:
        """The row index of each id."""
        return index_of(self.ids)

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Reads all rows, in order.

        Args:
            columns: Columns to read; all but internal ones by default.

        Returns:
            The table.

        Raises:
            DIMError: If there is no such column.
        """
        return self._scan(self._columns(columns))

    def take(self, numbers: Sequence[int] | np.ndarray, columns: Sequence[str] | None = None) -> pa.Table:
        """Reads rows by index.

        Args:
            numbers: Row indices, which may repeat.
            columns: Columns to read; all but internal ones by default.

        Returns:
            The rows in the order of `numbers`.
        """
        unique, inverse = np.unique(np.asarray(numbers, np.int64), return_inverse=True)
        if len(unique) == 0:
            return self.schema.empty_table().select(self._columns(columns))
        return self._table.take(unique.tolist(), self._columns(columns)).take(inverse)

    def rows(self, ids: Sequence[str]) -> pa.Table:
        """Reads rows by id.

        Args:
            ids: Ids of the rows.

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
        """Reads vectors by row index.

        Args:
            numbers: Row indices; all rows by default.

        Returns:
            `torch.Tensor` of shape `(N, D)`, float32.

        Raises:
            DIMError: If one of the rows has no up-to-date vector.
        """
        if not self.width:
            raise DIMError(f"Nothing in {self.uri} is encoded: dim kb encode {self.uri} --model MODEL")
        columns = ["vector", "encoded_hash", "content_hash"]
        found = self._scan(columns) if numbers is None else self.take(numbers, columns)
        stale = len(found) - int(pc.sum(up_to_date(found)).as_py() or 0)
        if stale:
            raise DIMError(f"{stale} of the entities are not encoded: dim kb encode {self.uri} --model MODEL")
        return vectors_of(found)

    def encoders(self) -> dict[str | None, int]:
        """Counts the rows with an up-to-date vector by encoder; the count of rows without one is under `None`."""
        if not self.width:
            return {None: len(self)} if len(self) else {}
        state = self._scan(["encoder", "encoded_hash", "content_hash"])
        of = pc.if_else(up_to_date(state), state["encoder"], pa.scalar(None, pa.string()))
        return {item["values"]: item["counts"] for item in pc.value_counts(of).to_pylist()}

    def encoded(self) -> tuple[np.ndarray, np.ndarray, frozenset[str]]:
        """Whether each row has an up-to-date vector `(N,)`, the keys of all rows `(N,)`, and the encoders."""
        state = self._scan(["key", "encoder", "encoded_hash", "content_hash"])
        valid = up_to_date(state)
        encoders = frozenset(pc.unique(state["encoder"].filter(valid)).to_pylist())
        return valid.to_numpy(), state["key"].to_numpy(), encoders

    def pending(self, encoder: str) -> np.ndarray:
        """Finds the rows without an up-to-date vector of an encoder.

        Args:
            encoder: Fingerprint of the model.

        Returns:
            Row indices, ascending.
        """
        state = self._scan(["encoder", "encoded_hash", "content_hash"])
        done = pc.and_(up_to_date(state), pc.fill_null(pc.equal(state["encoder"], encoder), False))
        return np.flatnonzero(~done.to_numpy())

    def check_encoder(self, encoder: str, complete: bool = True) -> None:
        """Checks that no other model than this one encoded the knowledge base.

        Args:
            encoder: Fingerprint of the model (`dim.encoding.loading.fingerprint`).
            complete: Whether every entity must be encoded; otherwise, one is enough.

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

    def holds(self, source: Source) -> bool:
        """Whether the rows are those of a source, in any order.

        Args:
            source: Any source that `read_entities` takes.

        Returns:
            Whether they are equal, apart from vectors.

        Raises:
            DIMError: If a row of the source is invalid.
        """
        given = {key for batch in read_entities(source).batches() for key in batch["key"].to_pylist()}
        return given == set(self._scan(["key"])["key"].to_pylist())

    def batches(self, columns: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
        """Yields all rows in order, in batches.

        Args:
            columns: Columns to read.
            size: Maximum number of rows per batch.

        Yields:
            Batches of rows.
        """
        yield from self._table.batches(self._columns(columns), size)

    def info(self) -> dict[str, Any]:
        """Summarises the knowledge base: version, number of rows, encoders, search method and indexed rows."""
        counts = self.encoders()
        pending = counts.pop(None, 0)
        return {
            "uri": self.uri,
            "version": self.version,
            "entities": len(self),
            "encoded": len(self) - pending,
            "pending": pending,
            "encoders": counts,
            "width": self.width,
            "vector_search": method_for(len(self), self.width),
            "indexed": self._indexed(),
        }

    def versions(self) -> list[dict[str, Any]]:
        """Lists the versions, oldest first, with `version`, `time`, `entities`, and `bytes` of their rows."""
        return [
            {
                "version": one["version"],
                "time": one["timestamp"],
                "entities": int(one["metadata"]["total_rows"]),
                "bytes": int(one["metadata"]["total_files_size"]),
            }
            for one in self._table.versions()
        ]

    def _stored(self, ids: pa.ChunkedArray, columns: list[str]) -> pa.Table:
        """Reads the rows of those ids that are known, in any order, by the index of the ids."""
        parts = [ids.slice(start, _ASKED).to_pylist() for start in range(0, max(1, len(ids)), _ASKED)]
        return pa.concat_tables([self._scan(columns, database.in_list(part)) for part in parts])

    def _with_vectors(self, rows: pa.Table, stored: pa.Table) -> pa.Table:
        """Adds the vectors of stored rows to rows by their ids; `encoded_hash` shows which are outdated. Complete rows
        are merged a hundred times faster than some of their columns, for which LanceDB reads all vectors."""
        stored = stored.combine_chunks().take(pc.index_in(rows["id"], value_set=stored["id"]))
        for name in VECTOR_COLUMNS:
            rows = rows.append_column(stored.schema.field(name), stored[name])
        return rows.select(self.schema.names)

    def _indexed(self) -> int:
        """Counts the rows that are up to date in the stored lexical index."""
        version, stored = (database.read_arrays(self.home, name) for name in ("version", "keys"))
        if version is None or stored is None or version["version"][0] != INDEX_VERSION:
            return 0
        keys = self._scan(["key"])["key"].to_numpy()
        return int(np.isin(keys, stored["keys"]).sum())

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
            raise DIMError(f"{self.uri} has no column {unknown!r}; its columns are {', '.join(names)}.")
        return list(columns)

    def _scan(self, columns: list[str], where: str | None = None) -> pa.Table:
        return self._table.scan(columns, where)


def up_to_date(table: pa.Table) -> pa.ChunkedArray:
    """Whether each row has an up-to-date vector, from the columns `encoded_hash` and `content_hash`."""
    return pc.fill_null(pc.equal(table["encoded_hash"], table["content_hash"]), False)
