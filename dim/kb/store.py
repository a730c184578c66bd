"""The knowledge base: entities in LanceDB that can be added, changed, deleted, encoded and restored."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dim.errors import DIMError
from dim.kb import database
from dim.kb.export import write_export
from dim.kb.rows import CONTENT, VECTOR_COLUMNS, vector_schema
from dim.kb.sources import Source, read_entities
from dim.kb.table import Table
from dim.kb.view import EntityView
from dim.modeling_dim import DIMModel
from dim.processing_dim import DIMProcessor
from dim.search.texts import COLUMNS, LexicalIndex

_EQUAL = "(target.{name} = source.{name} OR (target.{name} IS NULL AND source.{name} IS NULL))"
_INDEXED_FROM = 20_000  # rows from which the ids have an index; fewer are as fast to scan
_UNINDEXED = 4_096  # changed rows that the index may lack; looking for ids among them takes time
_INDEX_SHARE = 0.1  # of rows that are not in the lexical index, above which encoding builds it again


class KnowledgeBase(EntityView):
    """Entities in a LanceDB database, from `create` or `open`.

    Every change is one commit and makes a new version, so a process that is killed leaves the last version intact.
    Several processes may write at once; LanceDB repeats the later change on top of the earlier one. Row indices are
    fixed within a version.

    Args:
        uri: URI of the database.
        table: Its table of entities.
        version: The version to read; `None` for the newest.

    Example:

        >>> kb = KnowledgeBase.create("my_kb", [{"id": "Q1", "name": "Ada Lovelace"}, {"id": "Q2", "name": "Paris"}])
        >>> kb.upsert([{"id": "Q2", "name": "Paris", "aliases": ["Lutetia"]}])
        1
        >>> len(kb), kb.rows(["Q2"])["aliases"].to_pylist()
        (2, [['Lutetia']])
    """

    def __init__(self, uri: str, table: Table, version: int | None = None):
        super().__init__(uri, table)
        self._pinned = version is not None
        if version is not None:
            self._checkout(version)

    @classmethod
    def create(
        cls, uri: str | Path, source: Source, *, overwrite: bool = False, progress: bool = False
    ) -> "KnowledgeBase":
        """Creates a knowledge base. The vectors of an export are kept.

        Args:
            uri: A folder, or another URI of LanceDB.
            source: Any source that `read_entities` takes.
            overwrite: Whether an existing knowledge base may be replaced; it becomes an older version.
            progress: Whether to show a progress bar.

        Returns:
            The knowledge base.

        Raises:
            DIMError: If it exists and `overwrite` is not set, a row is invalid, or LanceDB is not installed.
        """
        uri = str(uri)
        if database.exists(uri) and not overwrite:
            raise DIMError(f"{uri} is a knowledge base already; add to it (dim kb add) or replace it (--overwrite).")
        made = cls(uri, database.create_table(uri, read_entities(source), overwrite))
        made.index(progress)
        return made

    @classmethod
    def open(cls, uri: str | Path, version: int | None = None) -> "KnowledgeBase":
        """Opens a knowledge base.

        Args:
            uri: A folder, or another URI of LanceDB.
            version: An older version, which cannot be changed; the newest by default.

        Returns:
            The knowledge base.

        Raises:
            DIMError: If there is no such knowledge base or version, or LanceDB is not installed.
        """
        return cls(str(uri), database.open_table(str(uri)), version)

    def refresh(self) -> bool:
        """Moves to the newest version, unless a version was given, and returns whether the version changed."""
        if self._pinned:
            return False
        before = self.version
        self._table.checkout(None)
        if self.version == before:
            return False
        self._forget()
        return True

    def upsert(self, rows: Source) -> int:
        """Adds rows, and replaces those with the same id, in one commit. Equal rows are not written.

        Args:
            rows: Any source that `read_entities` takes, but without vectors.

        Returns:
            The number of rows that were added or changed.

        Raises:
            DIMError: If a row is invalid, or an older version is open.
        """
        self._writable()
        reader = read_entities(rows)
        if reader.width:
            raise DIMError(f"{reader.name} contains vectors; create a knowledge base: dim kb import KB {reader.name}")
        given = pa.Table.from_batches(list(reader.batches()), CONTENT)
        known = self._stored(given["id"], ["id", "key"])
        stored = known["key"].take(pc.index_in(given["id"], value_set=known["id"]))
        changed = given.filter(pc.fill_null(pc.not_equal(stored, given["key"]), True))
        count = len(changed)
        while len(changed):  # once, unless another process encodes these rows at the same moment
            changed = changed.filter(pc.invert(self._merge(changed, insert=True)))
            self._writable()
        if count:
            self._index_ids(new=max(_UNINDEXED, len(self) // 100))
        return count

    def replace(self, rows: Sequence[Mapping[str, Any]], keys: Mapping[str, int]) -> set[str]:
        """Replaces the rows that nobody changed since they were read, in one commit.

        Args:
            rows: Complete rows.
            keys: For each id, the `key` of the row that was read.

        Returns:
            The ids of the rows that were replaced.

        Raises:
            DIMError: If a row is invalid, or an older version is open.
        """
        self._writable()
        given = pa.Table.from_batches(list(read_entities(rows).batches()), CONTENT)
        expected = ", ".join(str(keys[name]) for name in given["id"].to_pylist())
        if not expected:
            return set()
        done = self._merge(given, f"target.key IN ({expected})")  # a key is a hash of the complete row
        self._writable()
        return set(given["id"].filter(done).to_pylist())

    def _merge(self, rows: pa.Table, where: str | None = None, insert: bool = False) -> pa.Array:
        """Writes rows with their stored vectors, except for those that another process encodes meanwhile."""
        same = [where] if where else []
        if self.width:
            rows = self._with_vectors(rows, self._stored(rows["id"], ["id", *VECTOR_COLUMNS]))
            same += [_EQUAL.format(name=name) for name in ("encoder", "encoded_hash")]
        return self._table.merge(rows, " AND ".join(same) or None, insert)

    def delete(self, ids: Sequence[str]) -> None:
        """Deletes rows, in one commit.

        Args:
            ids: Ids of the rows.

        Raises:
            DIMError: If an id is unknown, or an older version is open.
        """
        self._writable()
        if isinstance(ids, str):
            raise DIMError(f"delete takes a list of ids, got the text {ids!r}.")
        known = set(self._scan(["id"], database.in_list(list(ids)))["id"].to_pylist()) if ids else set()
        unknown = next((name for name in ids if name not in known), None)
        if unknown is not None:
            raise DIMError(f"{self.uri} has no entity {unknown!r}; nothing was deleted.")
        if ids:
            self._table.delete(database.in_list(list(ids)))
            self._forget()

    def encode(self, model: DIMModel, processor: DIMProcessor, **options: Any) -> int:
        """Encodes the rows without an up-to-date vector of this model; see [`encode_entities_of`] for the options."""
        from dim.kb.encode import encode_entities_of

        self._writable()
        return encode_entities_of(self, model, processor, **options)

    def set_width(self, width: int) -> None:
        """Adds the columns of vectors, and drops those of another width.

        Args:
            width: Number of dimensions of a vector.
        """
        self._writable()
        if self.width:
            self._table.drop_columns(VECTOR_COLUMNS)
        self._table.add_columns(vector_schema(width))

    def write_vectors(self, vectors: pa.Table) -> None:
        """Writes the vectors of rows, in one commit. Rows that changed or were deleted meanwhile are skipped.

        Args:
            vectors: Complete rows, with the columns of `vector_schema`.
        """
        self._writable()
        self._table.merge(vectors.select(self._table.schema.names), "target.key = source.key")
        self._forget()

    def index(self, progress: bool = False) -> None:
        """Builds the lexical index and stores it. Search works without it, but takes longer to start.

        Args:
            progress: Whether to show a progress bar.
        """
        database.write_arrays(self.home, LexicalIndex.build(self._scan(list(COLUMNS)), progress).to_arrays())
        self._index_ids()

    def _index_ids(self, new: int = 0) -> None:
        if len(self) >= _INDEXED_FROM:
            self._table.index_ids(new)

    def finish(self, progress: bool = False) -> None:
        """Merges the small files of many changes, and builds the lexical index again if many rows changed."""
        self._writable()
        self._index_ids()
        self._table.compact()
        self._forget()
        if self._indexed() < (1 - _INDEX_SHARE) * len(self):
            self.index(progress)

    def forget_older_than(self, age: timedelta) -> None:
        """Removes older versions but the newest, and the files that only they need.

        Args:
            age: How old a version is that is removed.
        """
        self._writable()
        self._table.compact(age)
        database.forget_arrays(self.home, age)
        self._forget()

    def export(self, path: str | Path) -> None:
        """Writes every row with its vector as Parquet: see [`write_export`]."""
        write_export(self, Path(path))

    def checkout(self, version: int) -> "KnowledgeBase":
        """Opens an older version for reading.

        Args:
            version: Number of the version.

        Returns:
            The knowledge base at that version.

        Raises:
            DIMError: If there is no such version.
        """
        return KnowledgeBase(self.uri, database.open_table(self.home), version)

    def restore(self, version: int) -> None:
        """Makes an older version the newest; the versions in between are kept.

        Args:
            version: Number of the version.

        Raises:
            DIMError: If there is no such version, or an older version is open.
        """
        self._writable()
        self._checkout(version)
        self._table.restore()
        self._forget()

    def _checkout(self, version: int) -> None:
        known = [one["version"] for one in self._table.versions()]
        if version not in known:
            raise DIMError(f"{self.uri} has no version {version}; its versions are {known[0]} to {known[-1]}.")
        self._table.checkout(version)
        self._forget()

    def _writable(self) -> None:
        if self._pinned:
            raise DIMError(f"Version {self.version} of {self.uri} cannot be changed; restore it first.")
        self._table.checkout(None)
        self._forget()
