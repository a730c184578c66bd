"""The hand-written tables: surface forms with their senses, and background entities."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
TYPES = frozenset(
    {"animal", "body", "clothing", "company", "country", "creature", "drink", "face", "food", "gesture", "music"}
    | {"nature", "object", "person", "place", "plant", "region", "software", "sport", "symbol", "vehicle", "zodiac"}
)
SENSE_COLUMNS = ["form", "key", "name", "type", "hint", "description", "fixes"]
BACKGROUND_COLUMNS = ["key", "name", "alias", "type", "hint", "description", "fixes"]


@dataclass(frozen=True)
class Concept:
    """One row of a table: an entity before it has an id and pictures.

    Attributes:
        key: what is drawn, see `icons`.
        name: the entity's name.
        type: one of `TYPES`.
        hint: "" or how hinting sentences treat the mention: `bare` (no article) or `nation` (adjective).
        description: one short phrase of our own.
        fixes: styles to leave out (`-style`) and icons named by hand (`style=icon`).
        form: the ambiguous surface form, "" in the background.
        alias: another name of a background entity, "" if none.
    """

    key: str
    name: str
    type: str
    hint: str
    description: str
    fixes: tuple[str, ...]
    form: str = ""
    alias: str = ""

    @property
    def mention(self) -> str:
        """The text that a sentence uses for the entity."""
        return self.form or self.alias or self.name


class TableError(ValueError):
    """A table breaks one of its rules."""


def read(path: Path, columns: list[str]) -> list[Concept]:
    """Reads a table.

    Raises:
        TableError: if the header, a type or a hint is unknown.
    """
    with path.open(encoding="utf-8", newline="") as handle:
        reader = csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE)
        if reader.fieldnames != columns:
            raise TableError(f"{path.name}: columns are {reader.fieldnames}, expected {columns}")
        concepts = []
        for line, row in enumerate(reader, 2):
            if None in row or None in row.values():
                raise TableError(f"{path.name}:{line}: wrong number of cells")
            if row["type"] not in TYPES or row["hint"] not in ("", "bare", "nation"):
                raise TableError(f"{path.name}:{line}: type {row['type']!r}, hint {row['hint']!r}")
            fixes = tuple(row.pop("fixes").split())
            concepts.append(Concept(**row, fixes=fixes))
    return concepts


def load(folder: Path = HERE) -> tuple[list[Concept], list[Concept]]:
    """Reads the senses and the background entities, and checks them against each other.

    Raises:
        TableError: if a key or a (name, description) pair appears twice, a form has one sense only, or a
            background entity bears the name of a surface form.
    """
    senses = read(folder / "senses.tsv", SENSE_COLUMNS)
    background = read(folder / "background.tsv", BACKGROUND_COLUMNS)
    for label, values in (
        ("key", [c.key for c in senses + background]),
        ("name and description", [(c.name, c.description) for c in senses + background]),
    ):
        twice = [value for value, count in Counter(values).items() if count > 1]
        if twice:
            raise TableError(f"{label} more than once: {twice}")
    lonely = [form for form, count in Counter(c.form for c in senses).items() if count < 2]
    if lonely:
        raise TableError(f"surface forms with one sense: {lonely}")
    forms = {c.form.lower() for c in senses}
    clash = [c.name for c in background if {c.name.lower(), c.alias.lower()} & forms]
    if clash:
        raise TableError(f"background entities that bear a surface form: {clash}")
    return senses, background
