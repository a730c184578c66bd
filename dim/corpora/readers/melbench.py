"""MELBench's layout: one file of texts, GHMFC's knowledge base and, for WikiMEL, GHMFC's splits."""

import re

from dim.corpora.readers.draft import Draft, rows_of
from dim.corpora.readers.files import Files
from dim.corpora.readers.ghmfc import COLUMNS, SPLIT_IDS, make_splits, read_kb, read_splits
from dim.corpora.readers.layout import Layout
from dim.corpora.readers.raw import Kind
from dim.corpora.readers.shape import Shape


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


def read(files: Files, dataset: str, seed: int) -> Draft:
    """Reads MELBench's texts with GHMFC's knowledge base.

    A picture is named by the id of its sentence. WikiMEL takes GHMFC's splits; Richpedia has none, see
    [`dim.corpora.readers.ghmfc.make_splits`].

    Args:
        files: The files.
        dataset: `wikimel` or `richpediamel`.
        seed: Seed of the splits that are made.

    Returns:
        The draft.

    Raises:
        DIMError: If a file is missing or is not valid JSON.
    """
    draft = Draft()
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


LAYOUT = Layout(("melbench",), (WIKIMEL, RICHPEDIA), (WIKIMEL, RICHPEDIA), read, ("wikimel", "richpediamel"))
