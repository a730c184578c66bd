"""What the app does: link with and without the picture, change an entity, take the changes back."""

import base64
import io
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from PIL.Image import Image

from dim.common.pictures import load_picture
from dim.common.unreadable_pictures import UnreadablePictures
from dim.corpora.schema import PROVENANCE
from dim.kb.rows import FIELDS
from dim.kb.store import KnowledgeBase
from dim.linking.linker import DIMLinker
from dim.linking.links import Links
from dim.linking.mention import mention_row, parse_brackets
from dim.serving.entities import Entities

SHOWN = 5
MAX_PIXELS = 25_000_000
_SIDE = 144  # pixels of a card's picture
_LIMITS = {"sentence": 2000, "mention": 200, "name": 200, "description": 2000}  # characters


@dataclass(frozen=True)
class Answer:
    """A mention that was linked.

    Args:
        row: The mention: `sentence`, `mention`, `start`, `end`, `image`.
        links: What it was linked to, each with its `why`.
        blind: The same without the picture; `None` for a mention that has none.
        pictures: Data URLs by entity id, of those that have a picture.
    """

    row: dict
    links: Links
    blind: Links | None
    pictures: dict[str, str]


class Playground:
    """A linker on a copy of its knowledge base, which is removed when the process ends. Safe to use from threads.

    Args:
        model: Folder or Hub name of a DIM.
        kb: Its knowledge base, which is only read; `None` for the one that the model's repository brings.
        revision: Branch, tag or commit of such a repository.

    Raises:
        ValueError: If there is no such model or knowledge base, or they do not belong together.
    """

    def __init__(self, model: str, kb: str | None, revision: str | None = None):
        found = DIMLinker.from_pretrained(model, kb, revision=revision)
        self._folder = tempfile.TemporaryDirectory(prefix="dim-space-")
        export = Path(self._folder.name) / "entities.parquet"
        found.kb.export(export)
        copy = KnowledgeBase.create(export.with_name("kb"), export)
        export.unlink()
        self.linker = DIMLinker(found.model, found.processor, copy, found.calibration)
        self._entities, self._start, self._lock = Entities(self.linker), copy.version, threading.Lock()

    def link(self, sentence: str, mention: str, picture: str | None) -> Answer:
        """Links a mention.

        Args:
            sentence: With the mention in double brackets, unless `mention` says it.
            mention: What is mentioned, or empty.
            picture: A file, or None.

        Returns:
            The answer.

        Raises:
            ValueError: If the mention cannot be told, a text is too long, or the picture cannot be read.
        """
        row = _mention(_text("sentence", sentence), _text("mention", mention)) | {"image": _picture(picture)}
        with self._lock:
            links = self._ask(row)
            blind = None if picture is None else self._ask(row | {"image": None})
            return Answer(row, links, blind, self._pictures({one.id for one in [*links, *(blind or [])]}))

    def entity(self, name: str) -> tuple[str, str]:
        """Name and description of an entity, by its id; a ValueError if there is none."""
        with self._lock:
            row = self._row(name)
        return row["name"], row["description"]

    def save(self, entity: str, name: str, description: str, picture: str | None) -> str:
        """Changes an entity, or adds one.

        Args:
            entity: Its id; empty for a new one.
            name: Its name.
            description: Its description.
            picture: A file that replaces its pictures; `None` leaves them.

        Returns:
            Its id.

        Raises:
            ValueError: If the name is empty, a text is too long, or the picture cannot be read.
        """
        name, description = _text("name", name), _text("description", description)
        if not name:
            raise ValueError("The name is empty: every entity needs one.")
        image = _picture(picture)
        with self._lock:
            kb = self.linker.kb
            if entity:
                old = self._row(entity)
            else:
                entity = next(one for one in (f"new-{n}" for n in range(1, len(kb) + 2)) if one not in kb.row_of)
                old = {}
            new = {**old, "id": entity, "name": name, "description": description}
            if description != old.get("description"):
                new |= dict.fromkeys(PROVENANCE)  # a person's words now
            if image is not None:
                new["images"] = [{"bytes": _png(image), "path": None}]
            del new["id"]
            self._entities.put(entity, new)
        return entity

    def reset(self) -> None:
        """Takes every change back."""
        with self._lock:
            self.linker.kb.restore(self._start)

    def _row(self, entity: str) -> dict:
        if entity not in self.linker.kb.row_of:
            raise ValueError(f"There is no entity {entity!r} any more: link again, and choose another.")
        return self.linker.kb.rows([entity]).select(FIELDS).to_pylist()[0]

    def _ask(self, row: dict) -> Links:
        span = (row["start"], row["end"]) if row["start"] >= 0 else None
        mention = None if span else row["mention"]
        return self.linker(row["sentence"], mention, row["image"], SHOWN, span=span, why=True)

    def _pictures(self, ids: set[str]) -> dict[str, str]:
        unreadable = UnreadablePictures()
        found = {}
        for row in self.linker.kb.rows(sorted(ids)).select(["id", "images"]).to_pylist():
            image = unreadable.load(row["images"][0], row["id"]) if row["images"] else None
            if image is not None:
                found[row["id"]] = data_url(image)
        return found


def data_url(image: Image) -> str:
    """A picture as a small PNG that stands in the page itself."""
    small = image.copy()
    small.thumbnail((_SIDE, _SIDE))
    return "data:image/png;base64," + base64.b64encode(_png(small)).decode()


def _png(image: Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _text(what: str, value: str | None) -> str:
    if not isinstance(value, str | None):
        raise ValueError(f"The {what} is no text.")
    value = (value or "").strip()
    if len(value) > _LIMITS[what]:
        raise ValueError(f"The {what} has {len(value):,} characters; at most {_LIMITS[what]:,} are read here.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"The {what} holds half of a character (a lone surrogate): type it again.") from error
    return value


def _mention(sentence: str, mention: str) -> dict:
    if not sentence and not mention:
        raise ValueError("Type a sentence, with the mention in [[double brackets]].")
    if mention and "[[" not in sentence:
        return mention_row(sentence, mention, None, None, None)
    if mention:
        raise ValueError("The mention is marked twice: use the [[brackets]] or the second box, and leave the other.")
    if "[[" not in sentence or "]]" not in sentence:
        raise ValueError("No mention is marked: put it in [[double brackets]], or write it in the second box.")
    text, spans = parse_brackets(sentence)
    if len(spans) > 1:
        raise ValueError(f"{len(spans)} mentions are marked: mark one at a time.")
    [(start, end)] = spans
    if not text[start:end].strip():
        raise ValueError("There is nothing between the brackets: put the mention there.")
    return mention_row(text, None, (start, end), None, None)


def _picture(path: str | None) -> Image | None:
    if path is None:
        return None
    source = {"bytes": Path(path).read_bytes(), "path": Path(path).name}  # messages tell the name alone
    return load_picture(source, max_pixels=MAX_PIXELS)


__all__ = ["SHOWN", "Answer", "Playground", "data_url"]
