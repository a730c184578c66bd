"""A linker with an editable copy of its knowledge base."""

import base64
import io
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from PIL.Image import Image

from dim import DIMError, DIMLinker, KnowledgeBase, LinkedEntity, Links, load_picture
from dim.common.unreadable_pictures import UnreadablePictures
from dim.kb.rows import FIELDS
from dim.linking.mention import mention_row, parse_brackets
from dim.serving.entities import Entities

SHOWN = 5
MAX_PIXELS = 25_000_000
_LONGEST_EXAMPLE = 40  # characters of a name on a button
_SIDE = 144  # pixels of a card's picture
_LIMITS = {"sentence": 2000, "mention": 200, "name": 200, "description": 2000}  # characters


@dataclass(frozen=True)
class Answer:
    """A linked mention.

    Args:
        row: The mention: `sentence`, `mention`, `start`, `end`, `image`.
        links: Its links, each with `why`.
        blind: Its links without the picture; `None` for a mention without one, and for a picture alone.
        pictures: Data URL of each entity's picture that is nearest to the mention's, else of its first, by entity id.
    """

    row: dict
    links: Links
    blind: Links | None
    pictures: dict[str, str]


class Playground:
    """Linker on a copy of a knowledge base, which is deleted at the end of the process; thread-safe.

    Args:
        model: Folder or Hub name of a DIM.
        kb: Its knowledge base, which is not changed; `None` for the one in the model's repository.
        revision: Branch, tag or commit of the repository.

    Raises:
        DIMError: If the model or the knowledge base is missing, or they do not belong together.
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
            sentence: The sentence, with the mention in double brackets unless `mention` is given; empty for a picture
                alone.
            mention: Text of the mention, or empty.
            picture: Path of a picture, or `None`.

        Returns:
            The rankings with and without the picture.

        Raises:
            DIMError: If no mention is marked, a text is too long, or the picture cannot be read.
        """
        row = _mention(_text("sentence", sentence), _text("mention", mention), _picture(picture))
        with self._lock:
            links = self._ask(row)
            blind = self._ask(row | {"image": None}) if picture is not None and row["mention"] else None
            return Answer(row, links, blind, self._pictures([*links, *(blind or [])]))

    def examples(self, sample: list[dict[str, str]]) -> list[dict[str, str]]:
        """Returns the examples that fit the knowledge base.

        Args:
            sample: Examples, each with the `name` of the entity that it is about.

        Returns:
            Those whose entity the knowledge base has, or if there are none one for each of its first entities.
        """
        names = self.linker.kb.table(["name"])["name"].to_pylist()
        known = set(names)
        first = list(dict.fromkeys(name for name in names if len(name) <= _LONGEST_EXAMPLE))[:SHOWN]
        made = [{"label": name, "sentence": f"This is about [[{name}]].", "picture": ""} for name in first]
        return [one for one in sample if one["name"] in known] or made

    def entity(self, name: str) -> tuple[str, str]:
        """Returns name and description of an entity by its id; a DIMError if there is none."""
        with self._lock:
            row = self._row(name)
        return row["name"], row["description"]

    def save(self, entity: str, name: str, description: str, picture: str | None) -> str:
        """Changes an entity, or adds one.

        Args:
            entity: Its id; empty for a new one.
            name: Its name.
            description: Its description.
            picture: Path of a picture that replaces its pictures; `None` keeps them.

        Returns:
            Its id.

        Raises:
            DIMError: If the name is empty, a text is too long, or the picture cannot be read.
        """
        name, description = _text("name", name), _text("description", description)
        if not name:
            raise DIMError("The name is empty: every entity needs one.")
        image = _picture(picture)
        with self._lock:
            kb = self.linker.kb
            if entity:
                self._row(entity)
            else:
                entity = next(one for one in (f"new-{n}" for n in range(1, len(kb) + 2)) if one not in kb.row_of)
            new = {"id": entity, "name": name, "description": description}
            if image is not None:
                new["images"] = [{"bytes": _png(image), "path": None}]
            self._entities.merge([new])
        return entity

    def reset(self) -> None:
        """Reverts all edits."""
        with self._lock:
            self.linker.kb.restore(self._start)

    def _row(self, entity: str) -> dict:
        if entity not in self.linker.kb.row_of:
            raise DIMError(f"The entity {entity!r} no longer exists: link again, and choose another.")
        return self.linker.kb.rows([entity]).select(FIELDS).to_pylist()[0]

    def _ask(self, row: dict) -> Links:
        span = (row["start"], row["end"]) if row["start"] >= 0 else None
        mention = None if span else row["mention"]
        return self.linker(row["sentence"], mention, row["image"], SHOWN, span=span, why=True)

    def _pictures(self, links: list[LinkedEntity]) -> dict[str, str]:
        unreadable = UnreadablePictures()
        nearest = {one.id: one.why["nearest_picture"]["index"] for one in links if "nearest_picture" in (one.why or {})}
        found = {}
        for row in self.linker.kb.rows(sorted({one.id for one in links})).select(["id", "images"]).to_pylist():
            image = unreadable.load(row["images"][nearest.get(row["id"], 0)], row["id"]) if row["images"] else None
            if image is not None:
                found[row["id"]] = data_url(image)
        return found


def data_url(image: Image) -> str:
    """Encodes a picture as a data URL of a small PNG."""
    small = image.copy()
    small.thumbnail((_SIDE, _SIDE))
    return "data:image/png;base64," + base64.b64encode(_png(small)).decode()


def _png(image: Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _text(what: str, value: str | None) -> str:
    if not isinstance(value, str | None):
        raise DIMError(f"The {what} is not a text.")
    value = (value or "").strip()
    if len(value) > _LIMITS[what]:
        raise DIMError(f"The {what} has {len(value):,} characters; at most {_LIMITS[what]:,} are allowed.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DIMError(f"The {what} contains half of a character (a lone surrogate): type it again.") from error
    return value


def _mention(sentence: str, mention: str, picture: Image | None) -> dict:
    if not sentence and not mention and picture is None:
        raise DIMError("Type a sentence, with the mention in [[double brackets]], or add a picture.")
    if "[[" not in sentence and (mention or not sentence):
        return mention_row(sentence, mention, None, picture, None)
    if mention:
        raise DIMError("The mention is marked twice: use either the [[brackets]] or the second box.")
    if "[[" not in sentence or "]]" not in sentence:
        raise DIMError("No mention is marked: put it in [[double brackets]], or write it in the second box.")
    text, spans = parse_brackets(sentence)
    if len(spans) > 1:
        raise DIMError(f"{len(spans)} mentions are marked: mark one at a time.")
    [(start, end)] = spans
    if not text[start:end].strip():
        raise DIMError("There is nothing between the brackets: put the mention there.")
    return mention_row(text, None, (start, end), picture, None)


def _picture(path: str | None) -> Image | None:
    if path is None:
        return None
    source = {"bytes": Path(path).read_bytes(), "path": Path(path).name}  # messages show the name only
    return load_picture(source, max_pixels=MAX_PIXELS)


__all__ = ["SHOWN", "Answer", "Playground", "data_url"]
