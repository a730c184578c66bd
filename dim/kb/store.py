"""The knowledge base: entities in LanceDB that can be added, changed, taken away, encoded, and brought back."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dim.errors import DIMError
from dim.kb import database
from dim.kb.export import write_export
from dim.kb.rows import CONTENT, VECTOR_COLUMNS, vector_schema
from dim.kb.sources import Source, read_entities
from dim.kb.view import EntityView
from dim.modeling_dim import DIMModel
from dim.processing_dim import DIMProcessor
from dim.search.texts import COLUMNS, LexicalIndex
from dim.search.vectors import method_for

_FOREVER = timedelta(days=36_500)  # every version is kept: LanceDB would drop those older than a week
_INDEX_SHARE = 0.1  # of rows that the lexical index does not know, beyond which encoding builds it anew


class KnowledgeBase(EntityView):
    """Entities in a LanceDB database. Made by `create` or `open`.

    Every change is one commit, and so a version of its own: a process that is killed in the middle leaves the last one.
    Several may write at once; LanceDB does the later change again upon the earlier. Rows are numbered from 0 in an
    order that is fixed for a version.

    Args:
        uri: The database.
        table: Its table of entities.
        version: The version that is looked at; `None` for the newest.

    Example:

        >>> kb = KnowledgeBase.create("my_kb", [{"id": "Q1", "name": "Ada Lovelace"}, {"id": "Q2", "name": "Paris"}])
        >>> kb.upsert([{"id": "Q2", "name": "Paris", "aliases": ["Lutetia"]}])
        1
        >>> len(kb), kb.rows(["Q2"])["aliases"].to_pylist()
        (2, [['Lutetia']])
    """

    def __init__(self, uri: str, table: Any, version: int | None = None):
        super().__init__(uri, table)
        self._pinned = version is not None
        if version is not None:
            self._checkout(version)

    @classmethod
    def create(
        cls, uri: str | Path, source: Source, *, overwrite: bool = False, progress: bool = False
    ) -> "KnowledgeBase":
        """Makes a knowledge base. An export brings its vectors along.

        Args:
            uri: A folder, or another URI of LanceDB.
            source: What `read_entities` takes.
            overwrite: Whether a knowledge base that is there may be replaced; it becomes an older version.
            progress: Whether to show a bar.

        Returns:
            It.

        Raises:
            DIMError: If there is one and `overwrite` is not set, a row is not as it should be, or LanceDB is missing.
        """
        uri = str(uri)
        there = database.exists(uri)
        if there and not overwrite:
            raise DIMError(f"{uri} is a knowledge base already; add to it (dim kb add) or replace it (--overwrite).")
        made = cls(uri, database.create_table(uri, read_entities(source), overwrite))
        made.index(progress)
        return made

    @classmethod
    def open(cls, uri: str | Path, version: int | None = None) -> "KnowledgeBase":
        """Opens a knowledge base.

        Args:
            uri: Where it is.
            version: An older version, which cannot be changed; the newest by default.

        Returns:
            It.

        Raises:
            DIMError: If there is none, or no such version, or LanceDB is missing.
        """
        return cls(str(uri), database.open_table(str(uri)), version)

    def refresh(self) -> bool:
        """Looks at the newest version, unless an older one was asked for; true if that is another one."""
        if self._pinned:
            return False
        before = self.version
        self._table.checkout_latest()
        if self.version == before:
            return False
        self._forget()
        return True

    def upsert(self, rows: Source) -> int:
        """Adds rows, and replaces those whose id is there, in one commit. Rows that are there as they are stay.

        Args:
            rows: What `read_entities` takes; an export only without its vectors.

        Returns:
            How many rows were added or changed.

        Raises:
            DIMError: If a row is not as it should be, or an old version is looked at.
        """
        self._writable()
        reader = read_entities(rows)
        if reader.width:
            raise DIMError(f"{reader.name} holds vectors; make a knowledge base of it: dim kb import KB {reader.name}")
        batches = list(reader.batches())
        given = pa.Table.from_batches(batches, CONTENT)
        known = self._scan(["id", "key"])
        place = pc.index_in(given["id"], value_set=known["id"])
        differs = pc.fill_null(pc.not_equal(known["key"].take(place), given["key"]), True)
        changed = self._with_vectors(given.filter(differs), place.filter(differs))
        if len(changed):
            merge = self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
            merge.execute(changed, on_bad_vectors="null")  # null for what is not encoded
            self._forget()
        return len(changed)

    def _with_vectors(self, rows: pa.Table, numbers: pa.ChunkedArray) -> pa.Table:
        """Rows with the vectors that are stored for them, which `encoded_hash` tells stale if so. Whole rows are merged
        a hundred times faster than some of their columns, for which LanceDB reads every vector there is."""
        if not self.width:
            return rows
        known = pc.unique(numbers.drop_null())
        stored = self.take(known.to_numpy(), VECTOR_COLUMNS)
        stored = stored.take(pc.index_in(numbers, value_set=known))
        for name in VECTOR_COLUMNS:
            rows = rows.append_column(stored.schema.field(name), stored[name])
        return rows.select(self._table.schema.names)

    def delete(self, ids: Sequence[str]) -> None:
        """Takes rows away, in one commit.

        Args:
            ids: Their ids.

        Raises:
            DIMError: If an id is unknown, or an old version is looked at.
        """
        self._writable()
        if isinstance(ids, str):
            raise DIMError(f"delete takes a list of ids, got the text {ids!r}.")
        known = set(self._scan(["id"], database.in_list(list(ids)))["id"].to_pylist()) if ids else set()
        unknown = next((name for name in ids if name not in known), None)
        if unknown is not None:
            raise DIMError(f"{self.uri} has no entity {unknown!r}; nothing was removed.")
        if ids:
            self._table.delete(database.in_list(list(ids)))
            self._forget()

    def encode(self, model: DIMModel, processor: DIMProcessor, **options: Any) -> int:
        """Encodes what has no vector of this model: see [`encode_entities_of`], whose options these are."""
        from dim.kb.encode import encode_entities_of

        self._writable()
        return encode_entities_of(self, model, processor, **options)

    def set_width(self, width: int) -> None:
        """Makes room for vectors; those of another width go.

        Args:
            width: Dimensions of a vector.
        """
        self._writable()
        if self.width:
            self._table.drop_columns(list(VECTOR_COLUMNS))
        self._table.add_columns(vector_schema(width))

    def write_vectors(self, vectors: pa.Table) -> None:
        """Sets the vectors of rows, in one commit; a row that changed since it was read, or is gone, is left alone.

        Args:
            vectors: Whole rows, with the columns of `vector_schema`.
        """
        self._writable()
        same = self._table.merge_insert("id").when_matched_update_all(where="target.key = source.key")
        same.execute(vectors.select(self._table.schema.names))
        self._forget()

    def index(self, progress: bool = False) -> None:
        """Indexes names and descriptions anew; searches do without, but take longer to begin.

        Args:
            progress: Whether to show a bar.
        """
        table = self._scan(list(COLUMNS))
        database.write_arrays(self.uri, LexicalIndex.build(table, progress).to_arrays())

    def finish(self, progress: bool = False) -> None:
        """Joins the small files that many changes leave, and indexes anew where much has changed."""
        self._writable()
        self._table.optimize(cleanup_older_than=_FOREVER)
        self._forget()
        if self._indexed() < (1 - _INDEX_SHARE) * len(self):
            self.index(progress)

    def export(self, path: str | Path) -> None:
        """Writes every row with its vector as Parquet: see [`write_export`]."""
        write_export(self, Path(path))

    def info(self) -> dict[str, Any]:
        """What it holds: rows, version, encoders, how vectors are searched, what the lexical index knows."""
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
        """The versions, oldest first: `version`, `time` and `entities`."""
        return [
            {"version": one["version"], "time": one["timestamp"], "entities": int(one["metadata"]["total_rows"])}
            for one in self._table.list_versions()
        ]

    def checkout(self, version: int) -> "KnowledgeBase":
        """An older version, to be read.

        Args:
            version: Its number.

        Returns:
            The knowledge base as it was.

        Raises:
            DIMError: If there is no such version.
        """
        return KnowledgeBase.open(self.uri, version)

    def restore(self, version: int) -> None:
        """Makes an older version the newest; what came after it stays a version, too.

        Args:
            version: Its number.

        Raises:
            DIMError: If there is no such version, or an old version is looked at.
        """
        self._writable()
        self._checkout(version)
        self._table.restore()
        self._forget()

    def _indexed(self) -> int:
        """How many rows the stored lexical index knows as they are now."""
        stored = database.read_arrays(self.uri, "keys")
        keys = self._scan(["key"])["key"].to_numpy()
        return 0 if stored is None else int(np.isin(keys, stored["keys"]).sum())

    def _checkout(self, version: int) -> None:
        known = [one["version"] for one in self._table.list_versions()]
        if version not in known:
            raise DIMError(f"{self.uri} has no version {version}; there are {known[0]} to {known[-1]}.")
        self._table.checkout(version)
        self._forget()

    def _writable(self) -> None:
        if self._pinned:
            raise DIMError(f"Version {self.version} of {self.uri} cannot be changed; restore it first.")
        self._table.checkout_latest()
        self._forget()


__all__ = ["KnowledgeBase"]
