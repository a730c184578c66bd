"""WikiDiverse's own layout: lists of sentences, or of mentions with candidates, with Wikipedia pages as entities."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from dim.common.fields import RowError
from dim.corpora.readers.draft import Draft
from dim.corpora.readers.fields import checked, list_of, optional_text, text_of
from dim.corpora.readers.files import Files
from dim.corpora.readers.layout import Layout
from dim.corpora.readers.raw import SPLIT_NAME, Kind, RawFile
from dim.corpora.readers.shape import Shape
from dim.corpora.release import Entity, Mention
from dim.errors import DIMError

_SOURCE = ("wangxw5/wikiDiverse", "CC BY-SA 4.0", "wikidiverse")
_PAGE = re.compile(  # the look-behind makes it linear
    r"(?:(?<![a-z-])(?P<language>[a-z-]+)\.)?(?:m\.)?wikipedia\.org/wiki/(?P<title>[^?#\s]+)", re.IGNORECASE
)
_MENTION_FIELDS = ("sentence", "url", "mention", "type", "left", "right", "page", "candidates", "topic", "start", "end")
_IN_SENTENCE, _IN_MENTION = 4, len(_MENTION_FIELDS)  # number of fields in a row of either form


def _is_list(shape: Shape, size: int) -> bool:
    return shape.top == "array" and isinstance(shape.value, list) and len(shape.value) == size


SENTENCES = Kind("WikiDiverse's sentences", "train.json", SPLIT_NAME, lambda s: _is_list(s, _IN_SENTENCE), *_SOURCE)
MENTIONS = Kind(
    "WikiDiverse's mentions with candidates",
    "train_w_10cands.json",
    SPLIT_NAME,
    lambda shape: _is_list(shape, _IN_MENTION),
    *_SOURCE,
)


def read(files: Files, dataset: str, seed: int) -> Draft:
    """Reads WikiDiverse as published, either as sentences or as mentions with candidates.

    Sentences are `[sentence, image url, topic, [[mention, type, start, end, url], ..]]`, mentions
    `[sentence, image url, mention, type, left context, right context, url, [candidate url, ..], topic, start, end]`.

    The id of an entity is the title of its page, with underscores, after the language if that is not English. The
    knowledge base holds the answers and the candidates, without descriptions. Ids of mentions are the split and the
    row's number. Published offsets that do not give the mention are dropped. A picture is named by its URL; its file is
    named by the md5 of the URL's last part, see [`dim.corpora.picture_folder.PictureFolder`].

    Args:
        files: The files, all of one form.
        dataset: Not used: the layout is WikiDiverse's.
        seed: Not used: the files are the splits.

    Returns:
        The draft.

    Raises:
        DIMError: If files are missing or are not valid JSON, or if there are files of both forms.
    """
    if files.of(SENTENCES) and files.of(MENTIONS):
        raise DIMError(f"WikiDiverse is there as sentences and as mentions with candidates: give --raw one of the two "
                       f"folders. {files.describe()}")  # fmt: skip
    draft = Draft(has_numbered_rows=True)
    entities: dict[str, Entity] = {}
    kind = MENTIONS if files.of(MENTIONS) else SENTENCES
    misplaced = 0
    for split, file in files.by_split(kind).items():
        for key, fields in _rows(draft, file, kind):
            try:
                mention, candidates = _mention(f"{split}-{key}", split, fields)
                for page in filter(None, (mention.entity_id, *candidates)):
                    entities.setdefault(page, Entity(page, page.replace("_", " ")))
            except RowError as error:
                draft.reject(file.name, key, str(error))
                continue
            draft.rows_in += 1
            draft.mentions.append(mention)
            misplaced += mention.start < 0
    draft.entities = list(entities.values())
    if misplaced:
        draft.notes.append(f"Mentions not at their published offsets, searched in the sentence instead: {misplaced}.")
    held = "answers and candidates" if kind is MENTIONS else "answers"
    draft.notes.append(f"The knowledge base holds the release's own {held}; their ids are titles of pages.")
    return draft


def _rows(draft: Draft, file: RawFile, kind: Kind) -> Iterator[tuple[str, dict[str, Any]]]:
    """Key and fields of each mention; rejects rows of another form."""
    for number, row in enumerate(file.read()):
        key = str(number)
        if not isinstance(row, list) or len(row) != (_IN_MENTION if kind is MENTIONS else _IN_SENTENCE):
            draft.reject(file.name, key, f"it is not like {kind.what}")
        elif kind is MENTIONS:
            yield key, dict(zip(_MENTION_FIELDS, row, strict=True))
        elif not isinstance(row[3], list) or not row[3]:
            draft.reject(file.name, key, "it has no list of mentions")
        else:
            shared = dict(zip(("sentence", "url", "topic"), row, strict=False)) | {"candidates": []}
            for index, fields in enumerate(row[3]):
                if isinstance(fields, list) and len(fields) == 5:
                    own = dict(zip(("mention", "type", "start", "end", "page"), fields, strict=True))
                    yield f"{key}-{index}", shared | own
                else:
                    draft.reject(file.name, f"{key}-{index}", "it is not a list of mention, type, start, end and url")


def _mention(name: str, split: str, row: dict[str, Any]) -> tuple[Mention, list[str]]:
    """The mention of a row, and the titles of its candidates."""
    sentence, form, image = text_of(row, "sentence"), text_of(row, "mention"), optional_text(row, "url")
    found = Mention(name, sentence, form, split, _title(row["page"]), image=image, image_id=image)
    found.entity_type, found.topic = (checked(row[key], repr(key)) if row[key] else "" for key in ("type", "topic"))
    start, end = row["start"], row["end"]
    if isinstance(start, int) and isinstance(end, int) and 0 <= start < end and sentence[start:end] == form:
        found.start, found.end = start, end
    return found, [_title(candidate) for candidate in list_of(row, "candidates")]


def _title(page: object) -> str:
    """The title in the URL of a Wikipedia page, which may have letters before it; empty for NIL."""
    if page is None or (isinstance(page, str) and page.strip().lower() in ("", "nil")):
        return ""
    url = checked(page, "the entity's url")
    match = _PAGE.search(url)
    if match is None:
        raise RowError(f"{url[:80]!r} is not a page of Wikipedia")
    title = checked(unquote(match["title"]).replace(" ", "_"), "the page's title")
    return title if (match["language"] or "en") in ("en", "www") else f"{match['language']}:{title}"


LAYOUT = Layout(("wikidiverse",), (SENTENCES, MENTIONS), (SENTENCES, MENTIONS), read, ("wikidiverse",))
