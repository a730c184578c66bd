"""GHMFC's and DIM's layout: texts by key in one file per split, and a knowledge base of three files."""

import re

from dim.common.fields import RowError
from dim.corpora.readers.draft import Draft, rows_of
from dim.corpora.readers.fields import checked, checked_list, count_of, kind_of, optional_text
from dim.corpora.readers.files import Files
from dim.corpora.readers.layout import Layout
from dim.corpora.readers.raw import DATASETS, SPLIT_NAME, Kind, RawFile, split_name
from dim.corpora.readers.shape import Shape
from dim.corpora.release import Entity
from dim.corpora.schema import SPLITS
from dim.corpora.splits import disjoint_splits
from dim.errors import DIMError

_REPOSITORY = "seukgcode/MEL-GHMFC"


def _is_texts(shape: Shape) -> bool:
    return shape.has_rows("object", "sentence", "mentions", "answer")


def _is_map(shape: Shape) -> bool:
    return shape.top == "object" and isinstance(shape.value, str)


TEXTS = Kind("GHMFC's or DIM's texts", "train.json", SPLIT_NAME, _is_texts, _REPOSITORY)
SPLIT_IDS = Kind(
    "GHMFC's splits",
    "splits.json",
    re.compile(r"splits\.json"),
    lambda shape: shape.top == "object" and isinstance(shape.value, list),
    _REPOSITORY,
)
NAMES = Kind("GHMFC's names", "qid2ne.json", re.compile(r"qid2ne\.json"), _is_map, _REPOSITORY)
SHORT = Kind("GHMFC's short descriptions", "qid2abs.json", re.compile(r"qid2abs\.json"), _is_map, _REPOSITORY)
LONG = Kind("GHMFC's long descriptions", "qid2abs_long.json", re.compile(r"qid2abs_long\.json"), _is_map, _REPOSITORY)

COLUMNS = ("mentions", "answer", "entities")


def read(files: Files, dataset: str, seed: int) -> Draft:
    """Reads GHMFC's or DIM's texts and knowledge base.

    A picture is named by `imgPath`, by the first name in DIM's `img_list`, or by the row's key. Richpedia has no split
    but `train` (and `test`, which the public copy lacks): see [`make_splits`].

    Args:
        files: The files.
        dataset: The dataset.
        seed: Seed of the splits that are made.

    Returns:
        The draft; its `label` is `dim` if a row has `img_list`.

    Raises:
        DIMError: If a file is missing or is not valid JSON.
    """
    draft = Draft()
    more_pictures = 0
    texts = files.by_split(TEXTS)
    for split, file in texts.items():
        for key, row in rows_of(draft, file.name, file.read(), COLUMNS[0]):
            try:
                image = optional_text(row, "imgPath")
                if "img_list" in row:
                    draft.label = "dim"
                    listed = checked_list(row["img_list"], "'img_list'", "a name in 'img_list'")
                    more_pictures += len(listed) > 1
                    image = listed[0] if listed else ""
                elif "imgPath" not in row:
                    image = f"{key}.jpg"
            except RowError as error:
                draft.reject(file.name, key, str(error), count_of(row, COLUMNS[0]))
                continue
            prefix = f"{split}-" if len(texts) > 1 else ""
            draft.add_sentence(file.name, key, row, split, COLUMNS, prefix, image=image, image_id=image)
    if more_pictures:
        draft.notes.append(f"Sentences that name several pictures, of which the first was taken: {more_pictures}.")
    if dataset == "richpediamel" and "validation" not in texts:
        make_splits(draft, seed)
    read_kb(files, draft)
    return draft


def read_kb(files: Files, draft: Draft) -> None:
    """Adds the entities of `qid2ne.json`, with the long descriptions if there are any, else the short ones."""
    names, texts = files.one(NAMES), files.maybe(LONG) or files.one(SHORT)
    descriptions = dict(texts.read())
    seen = set()
    for key, name in names.read():
        try:
            if key in seen:
                raise RowError("its id occurs a second time; the first was kept")
            seen.add(key)
            description = descriptions.get(key, "")
            if description != "":
                checked(description, "its description")
            draft.entities.append(Entity(checked(key, "its id"), checked(name, "its name"), description))
        except RowError as error:
            draft.reject_entity(names.name, key, str(error))
    extra = len(descriptions.keys() - seen)
    draft.notes.append(f"Names are those of {names.name}, descriptions those of {texts.name}.")
    if extra:
        draft.notes.append(f"Descriptions of {texts.name} that belong to no entity of {names.name}: {extra}.")


def read_splits(file: RawFile, draft: Draft, splits: object, known: set[str]) -> dict[str, str]:
    """Returns the split of each id. An id in several splits goes to the last of train, validation, test, with a note.

    Args:
        file: The file of splits.
        draft: Takes the notes.
        splits: Its content: lists of ids by the name of a split.
        known: The ids of the texts.

    Returns:
        Splits by id.

    Raises:
        DIMError: If it holds anything else, or splits with other names.
    """
    if not isinstance(splits, tuple):
        raise DIMError(f"{file.path} is {kind_of(splits)} where lists of ids by split are expected.")
    by_split: dict[str, list[str]] = {}
    for name, ids in splits:
        split = split_name(name)
        if split is None or split in by_split or not isinstance(ids, list):
            raise DIMError(
                f"{file.path}, key {name!r}: expected a list of ids for each of train, dev or val, and test."
            )
        by_split[split] = [str(number) for number in ids]
    found: dict[str, str] = {}
    twice = set()
    for split in SPLITS:
        ids = by_split.get(split, [])
        twice |= found.keys() & set(ids)
        found.update(dict.fromkeys(ids, split))
    missing = len(found.keys() - known)
    if missing:
        draft.notes.append(f"Sentence ids in {file.name} that are not in the texts: {missing} of {len(found)}.")
    if twice & known:
        listed = ", ".join(sorted(twice & known, key=lambda name: (len(name), name)))
        draft.notes.append(
            f"Sentence ids in several splits, which went to the last one: {len(twice & known)} ({listed})."
        )
    draft.notes.append(f"Splits are those of {file.name}.")
    return found


def make_splits(draft: Draft, seed: int) -> None:
    """Moves a tenth of train's entities to `validation`, and a tenth to `test` if it is empty, with all their mentions.

    A mention without an answer counts as an entity of its own.
    """
    held_out = ("validation",) if any(mention.split == "test" for mention in draft.mentions) else ("validation", "test")
    train = [mention for mention in draft.mentions if mention.split == "train"]
    splits = disjoint_splits((mention.entity_id or f"nil {mention.id}" for mention in train), seed, held_out)
    for mention in train:
        mention.split = splits[mention.entity_id or f"nil {mention.id}"]
    made = " or ".join(held_out)
    draft.notes.append(
        f"The release has no {made}: each got one tenth of train's entities, with all their mentions (seed {seed})."
    )


LAYOUT = Layout(
    ("ghmfc", "dim"), (TEXTS, SPLIT_IDS, NAMES, SHORT, LONG), (TEXTS,), read, DATASETS, {"dim": "season1blue/DIM"}
)
