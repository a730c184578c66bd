"""MELBench's layout: one file of texts, with GHMFC's knowledge base and, for WikiMEL, its splits."""

import re

from dim.corpora.readers.draft import Draft, rows_of
from dim.corpora.readers.files import Files
from dim.corpora.readers.ghmfc import COLUMNS, SPLIT_IDS, make_splits, read_kb, read_splits
from dim.corpora.readers.raw import Kind, Shape
from dim.errors import DIMError


def _is_texts(shape: Shape) -> bool:
    return shape.has_rows("object", "id", "sentence", "mentions", "entities", "answer")


_REPOSITORY = "seukgcode/MELBench"
WIKIMEL = Kind(
    "MELBench's WikiMEL texts",
    "Wikidata-MEL.json",
    re.compile(r"wikidata[-_ ]?mel\.json", re.IGNORECASE),
    _is_texts,
    _REPOSITORY,
    "MIT",
    "wikimel",
)
RICHPEDIA = Kind(
    "MELBench's Richpedia texts",
    "Richpedia-MEL.json",
    re.compile(r"richpedia[-_ ]?mel\.json", re.IGNORECASE),
    _is_texts,
    _REPOSITORY,
    "MIT",
    "richpediamel",
)
KINDS = (WIKIMEL, RICHPEDIA)


def read(files: Files, dataset: str, seed: int) -> Draft:
    """Reads MELBench's texts with GHMFC's knowledge base.

    A picture is called like its sentence's id. WikiMEL takes GHMFC's splits; Richpedia has none, see
    `make_splits` in `dim.corpora.readers.ghmfc`.

    Args:
        files: The files.
        dataset: `wikimel` or `richpediamel`.
        seed: Seed of splits that are made.

    Returns:
        What they hold.

    Raises:
        DIMError: If a file is missing or no JSON.
    """
    draft = Draft(label="melbench")
    if dataset == "wikidiverse":
        raise DIMError("MELBench has no WikiDiverse: give another --layout.")
    texts = files.one(WIKIMEL if dataset == "wikimel" else RICHPEDIA)
    rows = list(rows_of(draft, texts.name, texts.read(), COLUMNS[0]))
    splits: dict[str, str] | None = None
    if dataset == "wikimel":
        ids = files.one(SPLIT_IDS)
        splits = read_splits(ids, draft, ids.read(), {key for key, _ in rows})
    for key, row in rows:
        image = f"{key}.jpg"
        split = "train" if splits is None else splits.get(key)
        draft.add_sentence(texts.name, key, row, split, COLUMNS, image=image, image_id=image)
    if splits is None:
        make_splits(draft, seed)
    read_kb(files, draft)
    return draft


__all__ = ["KINDS", "RICHPEDIA", "WIKIMEL", "read"]
