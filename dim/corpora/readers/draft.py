"""What a reader has gathered from a release so far, row by row, and why rows were left out."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dim.corpora.release import Entity, Mention, Rejected

_HALF_CHARACTER = re.compile("[\ud800-\udfff]")  # JSON can hold what UTF-8 cannot


class RowError(Exception):
    """Why a row is left out.

    Example:
        >>> draft = Draft()
        >>> try:
        ...     text_of({"id": "m1"}, "sentence")
        ... except RowError as error:
        ...     draft.reject("mentions.jsonl", "line 1", str(error))
        >>> draft.rejected
        [Rejected(file='mentions.jsonl', key='line 1', reason="it has no 'sentence'", kind='mention')]
    """


@dataclass
class Draft:
    """Mentions, entities and what was left out. `image_id` of a mention is still the release's name of its picture.

    Example:
        >>> draft = Draft()
        >>> row = {"sentence": "Ada met Al.", "mentions": ["Ada", "Al"], "answers": ["Q7259", "nil"]}
        >>> draft.add_sentence("train.json", "7", row, "train", ("mentions", "answers", "titles"))
        >>> [(mention.id, mention.mention, mention.entity_id) for mention in draft.mentions]
        [('7-0', 'Ada', 'Q7259'), ('7-1', 'Al', '')]
        >>> draft.reject("train.json", "8", "it has no 'sentence'")
        >>> draft.rows_in, len(draft.mentions), len(draft.rejected)
        (3, 2, 1)
    """

    mentions: list[Mention] = field(default_factory=list)
    entities: list[Entity] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rows_in: int = 0
    label: str = ""  # the layout, where its reader knows better than its name
    has_numbered_rows: bool = False  # ids of mentions are numbers of rows, which tell nothing
    blank_mentions: list[str] = field(default_factory=list)

    def add_sentence(
        self,
        file: str,
        key: str,
        row: Mapping[str, Any],
        split: str | None,
        columns: tuple[str, str, str],
        prefix: str = "",
        **shared: Any,
    ) -> None:
        """Adds the mentions of a sentence, or rejects them.

        Args:
            file: Name of the file.
            key: The row's key or number in it.
            row: The row; its `sentence` is the sentence.
            split: Its split; `None` where no split holds it.
            columns: Keys of the mentions, of the answers, and of the answers' names (which the row may lack); each
                holds one string, or a list with one for each mention.
            prefix: What stands before the key in the mentions' ids.
            **shared: Other fields of the mentions.
        """
        mentions, answers, names = columns
        count = count_of(row, mentions)
        try:
            if split is None:
                raise RowError("it is in no split")
            sentence = text_of(row, "sentence")
            texts, golds = list_of(row, mentions), list_of(row, answers)
            titles = list_of(row, names) if names in row else [""] * len(texts)
            if not len(texts) == len(golds) == len(titles):
                raise RowError(f"{mentions!r}, {answers!r} and {names!r} differ in length: {len(texts)}, {len(golds)}, "
                               f"{len(titles)}")  # fmt: skip
            if not texts:
                raise RowError(f"{mentions!r} is empty")
        except RowError as error:
            self.reject(file, key, str(error), count)
            return
        for place, (text, gold, title) in enumerate(zip(texts, golds, titles, strict=True)):
            self.rows_in += 1
            try:
                answer, mention = answer_of(gold), self._mention(text, title)
            except RowError as error:
                self.rejected.append(Rejected(file, f"{key}-{place}", str(error)))
            else:
                name = f"{prefix}{key}-{place}"
                if isinstance(text, str) and not text.strip():
                    self.blank_mentions.append(name)
                self.mentions.append(Mention(name, sentence, mention, split, answer, **shared))

    def _mention(self, text: object, title: object) -> str:
        """The mention, or the name of its answer where the release left it blank."""
        if not isinstance(text, str) or text.strip():
            return checked(text, "the mention")
        return checked(title, "the mention is blank, and the name of its answer")

    def reject(self, file: str, key: str, reason: str, count: int = 1) -> None:
        """Rejects a row that holds `count` mentions."""
        self.rows_in += count
        keys = [key] if count == 1 else [f"{key}-{place}" for place in range(count)]
        self.rejected += [Rejected(file, name, reason) for name in keys]

    def reject_entity(self, file: str, key: str, reason: str) -> None:
        """Rejects an entity."""
        self.rejected.append(Rejected(file, key, reason, "entity"))


def rows_of(draft: Draft, file: str, content: Any, mentions: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a file, with their keys; rejects rows of mentions that are no objects, and keys that are repeated.

    Args:
        draft: Takes what is rejected.
        file: Name of the file.
        content: Its content: an object of rows, or a list of them.
        mentions: Key of a row's mentions, to count those of a repeated one.

    Yields:
        Key, or number, and row.

    Example:
        >>> from dim.corpora.readers.raw import read_json
        >>> from pathlib import Path
        >>> _ = Path("rows.json").write_text('{"7": {"sentence": "Ada met Al."}, "8": null}')
        >>> draft = Draft()
        >>> list(rows_of(draft, "rows.json", read_json(Path("rows.json"))))
        [('7', {'sentence': 'Ada met Al.'})]
        >>> draft.rejected[0].key, draft.rejected[0].reason
        ('8', 'it is null, not an object')
    """
    pairs = content if isinstance(content, tuple) else ((str(number), row) for number, row in enumerate(content))
    seen = set()
    for key, row in pairs:
        if not isinstance(row, tuple):
            draft.reject(file, key, f"it is {kind_of(row)}, not an object")
            continue
        fields = dict(row)
        if key in seen:
            draft.reject(file, key, "its key occurs a second time; the first row was kept", count_of(fields, mentions))
        elif len(fields) < len(row):
            draft.reject(file, key, "one of its keys occurs twice")
        else:
            seen.add(key)
            yield key, fields


def count_of(row: Mapping[str, Any], mentions: str) -> int:
    """How many mentions a row holds; one, where it cannot be told.

    Example:
        >>> count_of({"mentions": ["Ada", "Al"]}, "mentions"), count_of({"mentions": "Ada"}, "mentions")
        (2, 1)
    """
    value = row.get(mentions)
    return len(value) if isinstance(value, list) and value else 1


def text_of(row: Mapping[str, Any], key: str) -> str:
    """A text of a row.

    Raises:
        RowError: If it is missing, no string, blank, or not to be written as UTF-8.

    Example:
        >>> text_of({"sentence": "Ada met Al."}, "sentence")
        'Ada met Al.'
    """
    if key not in row:
        raise RowError(f"it has no {key!r}")
    return checked(row[key], repr(key))


def checked(value: object, what: str) -> str:
    """A text, if it is one that is not blank and that UTF-8 can hold.

    Raises:
        RowError: If it is not.

    Example:
        >>> checked("Ada", "the mention")
        'Ada'
        >>> checked(7, "the mention")
        Traceback (most recent call last):
        dim.corpora.readers.draft.RowError: the mention is a number, not a string
    """
    if not isinstance(value, str):
        raise RowError(f"{what} is {kind_of(value)}, not a string")
    if not value.strip():
        raise RowError(f"{what} is blank")
    if _HALF_CHARACTER.search(value):
        raise RowError(f"{what} holds half a character (U+D800-U+DFFF)")
    return value


def list_of(row: Mapping[str, Any], key: str) -> list[Any]:
    """A list of a row; what is no list makes one of its own.

    Raises:
        RowError: If the row has no such key.

    Example:
        >>> list_of({"mentions": ["Ada", "Al"]}, "mentions"), list_of({"mentions": "Ada"}, "mentions")
        (['Ada', 'Al'], ['Ada'])
    """
    if key not in row:
        raise RowError(f"it has no {key!r}")
    value = row[key]
    return value if isinstance(value, list) else [value]


def picture_of(row: Mapping[str, Any], key: str) -> str:
    """The name of a row's picture; empty where there is none.

    Example:
        >>> picture_of({"image": "7.jpg"}, "image"), picture_of({"image": None}, "image"), picture_of({}, "image")
        ('7.jpg', '', '')
    """
    return checked(row[key], repr(key)) if row.get(key) not in (None, "") else ""


def answer_of(value: object) -> str:
    """An answer; empty for NIL, which releases also write `null` and `nil`.

    Example:
        >>> answer_of("Q7259"), answer_of("NIL"), answer_of(None)
        ('Q7259', '', '')
    """
    if value is None or (isinstance(value, str) and value.strip().lower() in ("", "nil")):
        return ""
    return checked(value, "the answer")


def kind_of(value: object) -> str:
    """What a value of JSON is called.

    >>> kind_of([]), kind_of(None), kind_of(3)
    ('a list', 'null', 'a number')
    """
    if isinstance(value, bool):
        return "true or false"
    names = {tuple: "an object", dict: "an object", list: "a list", str: "a string", type(None): "null"}
    return names.get(type(value), "a number")


__all__ = [
    "Draft",
    "RowError",
    "answer_of",
    "checked",
    "count_of",
    "kind_of",
    "list_of",
    "picture_of",
    "rows_of",
    "text_of",
]
