"""MELArt's layout: sentences about paintings by the painting's Wikidata id, with the entities that each mentions."""

import re
from collections import Counter, defaultdict
from typing import Any

from dim.common.fields import RowError
from dim.corpora.readers.draft import Draft, rows_of
from dim.corpora.readers.fields import checked, checked_list, kind_of, optional_text, text_of
from dim.corpora.readers.files import Files
from dim.corpora.readers.layout import Layout
from dim.corpora.readers.raw import Kind, RawFile, split_name
from dim.corpora.readers.shape import Shape
from dim.corpora.release import Entity, Mention


def _is_curated(shape: Shape) -> bool:
    first = next(iter(shape.value), None) if isinstance(shape.value, list) else None
    return shape.top == "object" and isinstance(first, tuple) and {"text", "entities"} <= dict(first).keys()


_DATASET = "melart"
_REPOSITORY = "HPI-Information-Systems/MELArt"
CURATED = Kind(
    "MELArt's curated annotations",
    "curated_annotations.json",
    re.compile(r"curated_annotations\.json"),
    _is_curated,
    _REPOSITORY,
    dataset=_DATASET,
)
ALL = Kind(
    "MELArt's annotations",
    "melart_annotations.json",
    re.compile(r"melart_annotations\.json"),
    lambda shape: shape.has_rows("object", "split", "visual_sentences", "visual_el_matches"),
    _REPOSITORY,
    dataset=_DATASET,
)
ENTITIES = Kind(
    "MELArt's candidates",
    "kb_entity_desc.json",
    re.compile(r"kb_entity_desc\.json"),
    lambda shape: shape.has_rows("array", "qid", "entity_name", "desc"),
    f"{_REPOSITORY}_experiments",
    dataset=_DATASET,
)
_TYPES = ("visual", "contextual")  # of sentences


def read(files: Files, dataset: str, seed: int) -> Draft:
    """Reads MELArt's annotations: all of them with the release's splits, or the curated ones alone, which are its test.

    A picture is named by its URL, and by the painting's id. The topic of a mention is its kind of sentence, `visual` or
    `contextual`. The knowledge base is that of `kb_entity_desc.json`; without it, it holds the answers, by their labels
    in the annotations, or else by their most frequent mention.

    Args:
        files: The files.
        dataset: Not used: the layout is MELArt's.
        seed: Not used: the splits are the release's.

    Returns:
        The draft; a painting, a sentence or a mention that does not fit is rejected with the reason.

    Raises:
        DIMError: If a file is missing or is not valid JSON.
    """
    draft = Draft()
    whole, entities = files.maybe(ALL), files.maybe(ENTITIES)
    labels: dict[str, str] = {}
    if whole is None:
        _read_curated(_Sentences(draft, files.one(CURATED)))
    else:
        labels = _read_all(_Sentences(draft, whole))
    if entities is None:
        _add_answers(draft, labels)
    else:
        _read_entities(entities, draft)
    return draft


class _Sentences:
    """Takes the sentences about paintings from a file, and numbers the mentions of each painting."""

    def __init__(self, draft: Draft, file: RawFile) -> None:
        self.draft, self.file = draft, file
        self._counts: Counter[str] = Counter()

    def reject(self, key: str, error: RowError) -> None:
        self.draft.reject(self.file.name, key, str(error))

    def add(self, painting: str, key: str, text: object, matches: object, **shared: Any) -> None:
        """Adds the mentions of a sentence, or rejects them; `shared` holds other fields of theirs."""
        try:
            found = _list(matches, "the list of its entities")
            sentence = checked(text, "the sentence") if found else ""
        except RowError as error:
            self.reject(key, error)
            return
        for number, match in enumerate(found):
            name = f"{painting}-{self._counts[painting]}"
            self._counts[painting] += 1
            try:
                self.draft.mentions.append(_mention(name, sentence, match, **shared))
                self.draft.rows_in += 1
            except RowError as error:
                self.reject(f"{key}-{number}", error)


def _mention(name: str, sentence: str, match: object, **shared: Any) -> Mention:
    fields = _fields(match)
    text, start, end = text_of(fields, "text"), fields.get("start"), fields.get("end")
    if type(start) is not int or type(end) is not int or start < 0 or sentence[start:end] != text:
        raise RowError(f"the sentence does not have {text!r} from {start!r} to {end!r}")
    answer = checked(_id(text_of(fields, "qid")), "the id in 'qid'")
    return Mention(name, sentence, text, entity_id=answer, start=start, end=end, **shared)


def _id(name: str) -> str:
    """The id in a Wikidata URL, or the id itself."""
    return name.rsplit("/", 1)[-1]


def _read_curated(sentences: _Sentences) -> None:
    seen = set()
    for painting, rows in sentences.file.read():
        try:
            if painting in seen:
                raise RowError("its key occurs a second time; the first was kept")
            seen.add(painting)
            checked(painting, "its key")
            listed = _list(rows, "it")
        except RowError as error:
            sentences.reject(painting, error)
            continue
        image = f"{painting}.jpg"
        for number, row in enumerate(listed):
            key = f"{painting}-{number}"
            try:
                fields = _fields(row)
                topic = optional_text(fields, "sentence_type")
            except RowError as error:
                sentences.reject(key, error)
                continue
            shared = {"split": "test", "topic": topic, "image": image, "image_id": painting}
            sentences.add(painting, key, fields.get("text"), fields.get("entities"), **shared)


def _read_all(sentences: _Sentences) -> dict[str, str]:
    """Reads the annotations of all splits, and returns the labels of what the paintings depict, by their ids."""
    labels: dict[str, str] = {}
    for painting, row in rows_of(sentences.draft, sentences.file.name, sentences.file.read()):
        try:
            checked(painting, "its key")
            split = split_name(text_of(row, "split"))
            if split is None:
                raise RowError("it is in no split")
            shared = {"split": split, "image": optional_text(row, "img_url"), "image_id": painting}
            listed = {kind: _sentences_of(row, kind) for kind in _TYPES}
        except RowError as error:
            sentences.reject(painting, error)
            continue
        for kind, pairs in listed.items():
            for number, (text, matches) in enumerate(pairs):
                key = f"{painting}-{kind}-{number}"
                sentences.add(painting, key, text, matches, topic=kind, image_keys=(f"{painting}.jpg",), **shared)
        depicted = row.get("P180")
        for name, label in depicted if isinstance(depicted, tuple) else ():
            try:
                labels.setdefault(_id(name), checked(label, "the label"))
            except RowError:  # the answer gets the name of its mentions
                continue
    return labels


def _sentences_of(row: dict[str, Any], kind: str) -> list[tuple[Any, Any]]:
    """The sentences of a kind, each with its entities."""
    texts = _list(row.get(f"{kind}_sentences"), f"'{kind}_sentences'")
    matches = _list(row.get(f"{kind}_el_matches"), f"'{kind}_el_matches'")
    if len(texts) != len(matches):
        raise RowError(f"'{kind}_sentences' and '{kind}_el_matches' differ in length: {len(texts)}, {len(matches)}")
    return list(zip(texts, matches, strict=True))


def _read_entities(file: RawFile, draft: Draft) -> None:
    seen: set[str] = set()
    for number, row in enumerate(file.read()):
        qid = ""
        try:
            fields = _fields(row)
            qid = text_of(fields, "qid")
            if qid in seen:
                raise RowError(f"the qid {qid} occurs a second time; the first was kept")
            name, description = text_of(fields, "entity_name"), optional_text(fields, "desc")
            images = checked_list(fields.get("image_list") or [], "'image_list'", "a name in 'image_list'")
            draft.entities.append(Entity(qid, name, description, images=images, type=optional_text(fields, "instance")))
            seen.add(qid)
        except RowError as error:
            draft.reject_entity(file.name, f"row {number}", str(error), qid)


def _add_answers(draft: Draft, labels: dict[str, str]) -> None:
    texts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for mention in draft.mentions:
        texts[mention.entity_id][mention.mention] += 1
    for answer, counts in texts.items():
        draft.entities.append(Entity(answer, labels.get(answer) or counts.most_common(1)[0][0]))
    labelled = len(texts.keys() & labels.keys())
    draft.notes.append(
        f"Without {ENTITIES.called} the knowledge base holds the {len(texts)} answers alone, {labelled} by their "
        f"labels and {len(texts) - labelled} by their most frequent mention: rankings are much easier than with the "
        "release's candidates."
    )


def _fields(row: object) -> dict[str, Any]:
    if not isinstance(row, tuple):
        raise RowError(f"it is {kind_of(row)}, not an object")
    return dict(row)


def _list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise RowError(f"{what} is {kind_of(value)}, not a list")
    return value


LAYOUT = Layout((_DATASET,), (CURATED, ALL, ENTITIES), (CURATED, ALL), read, (_DATASET,))
