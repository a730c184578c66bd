"""KGMEL's layout of WikiDiverse: sentences with Wikidata ids and picture URLs, and a file of split ids."""

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from dim.corpora.readers.draft import Draft, RowError, count_of, picture_of, rows_of
from dim.corpora.readers.files import Files
from dim.corpora.readers.ghmfc import read_splits
from dim.corpora.readers.raw import Kind, Shape
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
KINDS = (TEXTS, SPLIT_IDS)
_COLUMNS = ("mention", "answer", "entity")


def read(files: Files, dataset: str, seed: int) -> Draft:
    """Reads KGMEL's WikiDiverse. Its knowledge base is that of its own answers, by their names in the texts.

    A picture is its `img-url`, with `imgPath` as its other name. A file that several rows with different URLs name is a
    stand-in for lost pictures and no name of any.

    Args:
        files: The files.
        dataset: Not used: the layout is WikiDiverse's.
        seed: Not used: the splits are the release's.

    Returns:
        What they hold.

    Raises:
        DIMError: If a file is missing or no JSON, or if the splits are not those of WikiDiverse.
    """
    draft = Draft(label="kgmel")
    texts, ids = files.one(TEXTS), files.one(SPLIT_IDS)
    rows: dict[str, dict[str, Any]] = {}
    for key, row in rows_of(draft, texts.name, texts.read()):
        name = str(row.get("id", ""))
        if not isinstance(row.get("id"), str | int) or not name:
            draft.reject(texts.name, f"row {key}", "it has no id", count_of(row, _COLUMNS[0]))
        elif name in rows:
            reason = f"the id {name!r} occurs a second time; the first row was kept"
            draft.reject(texts.name, f"row {key}", reason, count_of(row, _COLUMNS[0]))
        else:
            rows[name] = row
    content = dict(ids.read())
    mapping = next((value for name, value in content.items() if _NAME.fullmatch(f"{name}.json")), None)
    if mapping is None:
        raise DIMError(f"{ids.path} has no splits of WikiDiverse; it has {', '.join(map(repr, content))}.")
    splits = read_splits(ids, draft, mapping, set(rows))
    stand_ins = _stand_ins(rows)
    lost = 0
    for name, row in rows.items():
        try:
            url, path = picture_of(row, "img-url"), picture_of(row, "imgPath")
        except RowError as error:
            draft.reject(texts.name, name, str(error), count_of(row, _COLUMNS[0]))
            continue
        own_path = "" if path in stand_ins else path
        lost += bool(path) and not (url or own_path)
        image = url or own_path
        shared: dict[str, Any] = {
            "image": image,
            "image_id": image,
            "image_keys": (own_path,) if url and own_path else (),
        }
        draft.add_sentence(texts.name, name, row, splits.get(name), _COLUMNS, **shared)
    _add_entities(draft, rows.values())
    if stand_ins:
        named = ", ".join(sorted(stand_ins))
        draft.notes.append(f"{named} stands for several lost pictures and is none: sentences left without one: {lost}.")
    return draft


def _add_entities(draft: Draft, rows: Iterable[dict[str, Any]]) -> None:
    """Adds the answers of the mentions by their names in the rows: the first as name, others as aliases."""
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


def _stand_ins(rows: dict[str, dict[str, Any]]) -> set[str]:
    urls: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows.values():
        if isinstance(row.get("imgPath"), str) and isinstance(row.get("img-url"), str):
            urls[row["imgPath"]].add(row["img-url"])
    return {path for path, found in urls.items() if len(found) > 1}


__all__ = ["KINDS", "TEXTS", "read"]
