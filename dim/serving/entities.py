"""Reads, searches and changes of entities; all of it runs in the linker's thread."""

import base64
import json
import unicodedata
from collections.abc import Sequence
from typing import Any

import torch

from dim.common.fields import FieldError
from dim.corpora.schema import PROVENANCE
from dim.encoding.encode import encode_entities
from dim.encoding.loading import fingerprint
from dim.encoding.mention import Mention
from dim.errors import DIMError
from dim.kb.encode import encoded
from dim.kb.rows import CONTENT, FIELDS, checked_row
from dim.linking.linker import DIMLinker

_FOUND = ("id", "name", "aliases", "description", "type")  # columns of a search
_FINISH = 256  # changes between two compactions of the small files that they leave


class Entities:
    """Access to the knowledge base of a linker by entity id.

    Args:
        linker: The linker.
    """

    def __init__(self, linker: DIMLinker):
        self._linker, self._kb = linker, linker.kb
        self._encoder = fingerprint(linker.model, linker.processor)
        self._changes = 0
        self.count = len(linker.kb)  # at the last answer or change
        self.version = linker.kb.version

    def observe(self) -> None:
        """Updates `version` and `count`, which other threads read."""
        if self._kb.version != self.version:
            self.version, self.count = self._kb.version, len(self._kb)

    def get(self, name: str) -> dict[str, Any] | None:
        """Reads an entity.

        Args:
            name: Its id.

        Returns:
            `id`, `entity` (its other fields) and `updated_at`; `None` if there is no such entity.
        """
        self._kb.refresh()
        self.observe()
        index = self._kb.row_of.get(_id(name))
        if index is None:
            return None
        [row] = self._kb.take([index], [*FIELDS, "updated_at"]).to_pylist()
        row["images"] = [_data_url(image["bytes"]) for image in row["images"]]
        row["extra"] = None if row["extra"] is None else json.loads(row["extra"])
        return {"id": row.pop("id"), "updated_at": row.pop("updated_at"), "entity": row}

    def search(self, text: str, k: int) -> list[dict[str, Any]]:
        """Finds entities whose name or alias looks like a text, or whose name or description shares words with it.

        Args:
            text: The text.
            k: Number of entities, at most.

        Returns:
            `id`, `name`, `aliases`, `description` and `type` of each, best first.
        """
        found = self._linker.search.search([Mention(text, "")], k=k).rows[0]
        self.observe()
        return self._kb.take(found[found >= 0], _FOUND).to_pylist()

    def put(self, rows: Sequence[dict[str, Any]]) -> dict[str, bool]:
        """Adds or replaces entities with their vectors, all or none; the next request sees them.

        Args:
            rows: The entities, with `images` as `{"bytes": ...}`; a field that is left out becomes empty.

        Returns:
            Whether each is new, by its id.

        Raises:
            DIMError: If a field is invalid, or the model's vector is not finite; nothing is changed.
        """
        rows = [{**row, "id": _id(row["id"])} for row in rows]
        given = {row["id"]: _checked(row) for row in rows}
        if len(given) < len(rows):
            raise DIMError("Two of the entities have the same id; send each entity once.")
        vectors = encode_entities(self._linker.model, self._linker.processor, list(given.values()))
        for name, finite in zip(given, torch.isfinite(vectors).all(1).tolist(), strict=True):
            if not finite:
                raise DIMError(f"The model gives NaN or infinity for the entity {name!r}.")
        self._kb.refresh()
        new = {name: name not in self._kb.row_of for name in given}
        if self._kb.upsert(rows):
            if self._kb.width != vectors.shape[1]:  # no entity is encoded yet
                self._kb.set_width(vectors.shape[1])
            self._write_vectors(given, vectors)
            self._changed()
        return new

    def merge(self, rows: Sequence[dict[str, Any]]) -> dict[str, bool]:
        """Adds entities, and changes the given fields of those that exist; see [`Entities.put`]."""
        self._kb.refresh()
        return self.put([self._merged({**row, "id": _id(row["id"])}) for row in rows])

    def _merged(self, row: dict[str, Any]) -> dict[str, Any]:
        if row["id"] not in self._kb.row_of:
            return row
        [old] = self._kb.rows([row["id"]]).select(FIELDS).to_pylist()
        if row.get("description", old["description"]) != old["description"]:
            old |= dict.fromkeys(PROVENANCE)  # no longer a generated text
        return old | row

    def _write_vectors(self, given: dict[str, dict[str, Any]], vectors: torch.Tensor) -> None:
        """Writes the vectors of rows, except for those that another process changed since: not our vectors."""
        places = {name: place for place, name in enumerate(given) if name in self._kb.row_of}
        rows = self._kb.take([self._kb.row_of[name] for name in places], CONTENT.names)
        ours = [given[name]["key"] == key for name, key in zip(places, rows["key"].to_pylist(), strict=True)]
        if any(ours):
            kept = [place for place, mine in zip(places.values(), ours, strict=True) if mine]
            self._kb.write_vectors(encoded(rows.filter(ours), vectors[kept].numpy(), self._encoder))

    def delete(self, name: str) -> bool:
        """Deletes an entity.

        Args:
            name: Its id.

        Returns:
            Whether it existed.
        """
        name = _id(name)
        self._kb.refresh()
        if name not in self._kb.row_of:
            return False
        self._kb.delete([name])
        self._changed()
        return True

    def _changed(self) -> None:
        self._changes += 1
        if self._changes % _FINISH == 0:
            self._kb.finish()
        self.observe()


def _id(name: str) -> str:
    """An id as the knowledge base spells it; see [`dim.common.fields.identifier`]."""
    return unicodedata.normalize("NFC", name)


def _checked(row: dict[str, Any]) -> dict[str, Any]:
    try:
        return checked_row(row)
    except FieldError as error:
        raise DIMError(f"Entity {row['id'][:80]!r}: {error}.") from error


def _data_url(content: bytes) -> str:
    return "data:application/octet-stream;base64," + base64.b64encode(content).decode()
