"""Slices of a split: groups of mentions by properties of the data."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dim.common.ids import gold_indices
from dim.folding_dim import fold

TYPES = 8
"""Largest number of entity types with a slice of their own."""
_LENGTHS = ((1, 10), (11, 30), (31, None))


@dataclass(frozen=True)
class Table:
    """Columns of a split, its knowledge base and its training split.

    Args:
        mentions: Surface forms of the `M` mentions.
        has_picture: Whether each has a picture.
        entity_types: Type of each mention's gold, from the mention's own column; empty if unknown.
        gold: Index of each gold, -1 for NIL `(M,)`.
        names: Name of each of the `E` entities.
        aliases: Their other names.
        descriptions: Their descriptions.
        types: Their types, empty if unknown.
        enhanced: Whether the description of each entity replaces an older one.
        train_forms: Surface forms of the training mentions.
        train_gold: Indices of their entities, -1 for NIL.
    """

    mentions: Sequence[str]
    has_picture: Sequence[bool]
    entity_types: Sequence[str]
    gold: Tensor
    names: Sequence[str]
    aliases: Sequence[Sequence[str]]
    descriptions: Sequence[str | None]
    types: Sequence[str]
    enhanced: Sequence[bool]
    train_forms: Sequence[str] = ()
    train_gold: Sequence[int] = ()

    @classmethod
    def of(cls, mentions: Any, entities: Any, train: Any | None, index: dict[str, int], source: str) -> "Table":
        """Reads the columns from datasets, without decoding pictures.

        Args:
            mentions: `datasets.Dataset` of the split.
            entities: `datasets.Dataset` of the knowledge base.
            train: `datasets.Dataset` of the training split; `None` if there is none.
            index: Index of each entity id.
            source: Name of the dataset, for errors.

        Returns:
            The columns.

        Raises:
            DIMError: If the entity of a mention is not in the index.
        """

        def texts(rows: Any, name: str) -> list:
            return [text or "" for text in rows[name][:]] if name in rows.column_names else [""] * len(rows)

        def golds(rows: Any) -> list[int]:
            return gold_indices(rows["id"][:], rows["entity_id"][:], index, source)

        aliases = entities["aliases"][:] if "aliases" in entities.column_names else [[]] * len(entities)
        original = texts(entities, "description_original")
        return cls(
            mentions=mentions["mention"][:],
            has_picture=mentions.data.column("image").is_valid().to_pylist(),
            entity_types=texts(mentions, "entity_type"),
            gold=torch.tensor(golds(mentions)),
            names=entities["name"][:],
            aliases=[names or [] for names in aliases],
            descriptions=entities["description"][:],
            types=texts(entities, "type"),
            enhanced=[bool(text) for text in original],
            train_forms=train["mention"][:] if train is not None else (),
            train_gold=golds(train) if train is not None else (),
        )


def make_slices(table: Table) -> dict[str, dict[str, Tensor]]:
    """Assigns mentions to slices.

    * `name`: whether the mention equals the gold's name (without case and accents), one of its aliases, or neither.
    * `entity`: whether the gold occurs in training.
    * `picture`: whether the mention has a picture.
    * `form`: ambiguous if the surface form is a name or an alias of two or more entities, or has several golds in this
      split and in training; else unambiguous.
    * `type`: type of the gold, for the most frequent types.
    * `description`: number of words in the gold's description.
    * `enhancement`: whether the gold's description replaces an older one.

    Groups with a single slice are omitted. NIL mentions are in no slice.

    Args:
        table: The columns.

    Returns:
        Masks of the mentions `(M,)`, bool, by slice, by group of slices.
    """
    rows = table.gold.tolist()  # NIL (-1) reads the last entity, but is in no slice
    linked = table.gold >= 0
    forms = [fold(text) for text in table.mentions]
    labels: dict[str, list[str]] = {
        "name": [_name(form, row, table) for form, row in zip(forms, rows, strict=True)],
        "picture": ["with picture" if present else "without picture" for present in table.has_picture],
        "form": _ambiguity(forms, table),
        "type": _types(rows, table),
        "description": [_length(table.descriptions[row]) for row in rows],
        "enhancement": ["enhanced" if table.enhanced[row] else "original" for row in rows],
    }
    if len(table.train_gold):
        seen = set(table.train_gold)
        labels["entity"] = ["seen in training" if row in seen else "unseen in training" for row in rows]
    made = {}
    for group, words in labels.items():
        different = sorted({word for word, has_gold in zip(words, linked.tolist(), strict=True) if has_gold and word})
        if len(different) > 1:
            made[group] = {word: torch.tensor([one == word for one in words]) & linked for word in different}
    return made


def _name(form: str, row: int, table: Table) -> str:
    if form == fold(table.names[row]):
        return "equals the name"
    return "equals an alias" if form in map(fold, table.aliases[row]) else "differs from the name"


def _ambiguity(forms: Sequence[str], table: Table) -> list[str]:
    meanings: defaultdict[str, set[int]] = defaultdict(set)
    for row, names in enumerate(zip(table.names, table.aliases, strict=True)):
        for name in (names[0], *names[1]):
            meanings[fold(name)].add(row)
    answers = [*zip(forms, table.gold.tolist(), strict=True)]
    answers += [(fold(form), row) for form, row in zip(table.train_forms, table.train_gold, strict=True)]
    for form, row in answers:
        if row >= 0:
            meanings[form].add(row)
    return ["ambiguous form" if len(meanings[form]) > 1 else "unambiguous form" for form in forms]


def _types(rows: Sequence[int], table: Table) -> list[str]:
    own = [kind or table.types[row] for kind, row in zip(table.entity_types, rows, strict=True)]
    frequent = {kind for kind, _ in Counter(filter(None, own)).most_common(TYPES)}
    return [kind if kind in frequent else "other types" if kind else "" for kind in own]


def _length(description: str | None) -> str:
    words = len((description or "").split())
    if words == 0:
        return "no description"
    low, high = next((low, high) for low, high in _LENGTHS if high is None or words <= high)
    return f"{low} to {high} words" if high else f"{low} words or more"
