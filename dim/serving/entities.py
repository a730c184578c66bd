"""Reads and changes of single entities; all of it runs in the linker's thread."""

import base64
import json
import unicodedata
from typing import Any

import torch

from dim.encoding.encode import encode_entities
from dim.encoding.loading import fingerprint
from dim.errors import DIMError
from dim.kb.encode import encoded
from dim.kb.rows import CONTENT, FIELDS, checked_row
from dim.linking.linker import DIMLinker

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

    def put(self, name: str, fields: dict[str, Any]) -> bool:
        """Adds or replaces an entity with its vector; the next request sees it.

        Args:
            name: Its id.
            fields: Its other fields, with `images` as `{"bytes": ...}`.

        Returns:
            Whether it is new.

        Raises:
            DIMError: If a field is invalid, or the model's vector is not finite; nothing is changed.
        """
        name = _id(name)
        given = checked_row({"id": name, **fields})
        vector = encode_entities(self._linker.model, self._linker.processor, [given])
        if not torch.isfinite(vector).all():
            raise DIMError(f"The model gives NaN or infinity for the entity {name!r}.")
        self._kb.refresh()
        new = name not in self._kb.row_of
        if self._kb.upsert([{"id": name, **fields}]):
            if self._kb.width != vector.shape[1]:  # no entity is encoded yet
                self._kb.set_width(vector.shape[1])
            rows = self._kb.take([self._kb.row_of[name]] if name in self._kb.row_of else [], CONTENT.names)
            if rows["key"].to_pylist() == [given["key"]]:  # else another process changed it since: not our vector
                self._kb.write_vectors(encoded(rows, vector.numpy(), self._encoder))
            self._changed()
        return new

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


def _data_url(content: bytes) -> str:
    return "data:application/octet-stream;base64," + base64.b64encode(content).decode()
