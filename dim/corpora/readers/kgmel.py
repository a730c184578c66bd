"""KGMEL's layout of WikiDiverse: sentences with Wikidata ids and picture URLs, and a file of split ids."""

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from dim.common.fields import RowError
from dim.corpora.readers.draft import Draft, rows_of
from dim.corpora.readers.fields import count_of, optional_text
from dim.corpora.readers.files import Files
from dim.corpora.readers.ghmfc import read_splits
from dim.corpora.readers.layout import Layout
from dim.corpora.readers.raw import Kind, RawFile
from dim.corpora.readers.shape import Shape
from dim.corpora.release import Entity
from dim.errors import DIMError

_SOURCE = ("juyeonnn/KGMEL after wangxw5/wikiDiverse", "CC BY-SA 4.0", "wikidiverse")


def _is_texts(shape: Shape) -> bool:
    return shape.has_rows("array", "id", "sentence", "mention", "entity", "answer")


def _is_splits(shape: Shape) -> bool:
    is_nested = isinstance(shape.value, dict) and all(isinstance(ids, list) for ids in shape.value.values())
    return shape.top == "object" and is_nested


_NAME = re.compile(r"wiki[-_ ]?diverse\.json", re.IGNORECASE)
TEXTS = Kind("KGMEL's WikiDiverse texts", "WikiDiverse.json", _NAME, _is_texts, *_SOURCE)
SPLIT_IDS = Kind(
    "KGMEL's splits",
    "ids_split_mappings.json",
    re.compile(r"ids_split_mappings\.json"),
    _is_splits,
    *_SOURCE,
)
_COLUMNS = ("mention", "answer", "entity")


def read(files: Files, dataset: str, seed: int) -> Draft:
    """Reads KGMEL's WikiDiverse. The knowledge base holds the answers, by their names in the texts.

    A picture is named by its `img-url`, and `imgPath` is its other name. A file that rows with different URLs name is a
    placeholder for lost pictures and is not used.

    Args:
        files: The files.
        dataset: Not used: the layout is WikiDiverse's.
        seed: Not used: the splits are the release's.

    Returns:
        The draft.

    Raises:
        DIMError: If a file is missing or is not valid JSON, or if the splits are not those of WikiDiverse.
    """
    draft = Draft()
    texts, ids = files.one(TEXTS), files.one(SPLIT_IDS)
    rows = _rows_by_id(draft, texts)
    splits = read_splits(ids, draft, _wikidiverse_of(ids), set(rows))
    placeholders = _placeholders(rows)
    lost = 0
    for name, row in rows.items():
        try:
            url, path = optional_text(row, "img-url"), optional_text(row, "imgPath")
        except RowError as error:
            draft.reject(texts.name, name, str(error), count_of(row, _COLUMNS[0]))
            continue
        own_path = "" if path in placeholders else path
        image = url or own_path
        lost += bool(path) and not image
        keys = (own_path,) if url and own_path else ()
        shared: dict[str, Any] = {"image": image, "image_id": image, "image_keys": keys}
        draft.add_sentence(texts.name, name, row, splits.get(name), _COLUMNS, **shared)
    _add_entities(draft, rows.values())
    if placeholders:
        named = ", ".join(sorted(placeholders))
        draft.notes.append(f"{named} is a placeholder for lost pictures: sentences left without a picture: {lost}.")
    return draft


def _rows_by_id(draft: Draft, texts: RawFile) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for key, row in rows_of(draft, texts.name, texts.read()):
        name = str(row.get("id", ""))
        if isinstance(row.get("id"), str | int) and name and name not in rows:
            rows[name] = row
            continue
        reason = f"the id {name!r} occurs a second time; the first row was kept" if name in rows else "it has no id"
        draft.reject(texts.name, f"row {key}", reason, count_of(row, _COLUMNS[0]))
    return rows


def _wikidiverse_of(ids: RawFile) -> Any:
    """The splits of WikiDiverse in a file of the splits of several datasets."""
    content = dict(ids.read())
    for name, splits in content.items():
        if _NAME.fullmatch(f"{name}.json"):
            return splits
    raise DIMError(f"{ids.path} has no splits of WikiDiverse; it has {', '.join(map(repr, content))}.")


def _add_entities(draft: Draft, rows: Iterable[dict[str, Any]]) -> None:
    """Adds the answers of the mentions. Of their names in the rows, the first is the name, the others are aliases."""
    answers = {mention.entity_id for mention in draft.mentions}
    names: dict[str, dict[str, None]] = {}
    for row in rows:
        for answer, name in zip(_list(row.get("answer")), _list(row.get("entity")), strict=False):
            if isinstance(answer, str) and answer in answers and isinstance(name, str) and name.strip():
                names.setdefault(answer, {})[name] = None
    for answer, (first, *others) in names.items():
        draft.entities.append(Entity(answer, first, aliases=others))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _placeholders(rows: dict[str, dict[str, Any]]) -> set[str]:
    """Files that rows with different URLs name."""
    urls: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows.values():
        if isinstance(row.get("imgPath"), str) and isinstance(row.get("img-url"), str):
            urls[row["imgPath"]].add(row["img-url"])
    return {path for path, found in urls.items() if len(found) > 1}


LAYOUT = Layout(("kgmel",), (TEXTS, SPLIT_IDS), (TEXTS,), read, ("wikidiverse",))
