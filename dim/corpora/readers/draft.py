"""A release while it is read: mentions, entities, and rows that were left out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dim.common.fields import RowError
from dim.corpora.readers.fields import answer_of, checked, count_of, kind_of, list_of, text_of
from dim.corpora.release import Entity, Mention, Rejected


@dataclass
class Draft:
    """The result of a reader. `image_id` of a mention is still the release's name of its picture.

    Args:
        mentions: The mentions.
        entities: The entities.
        rejected: Rows that were left out, with the reason.
        notes: Sentences for the card.
        rows_in: Number of mentions in the raw files, rejected ones included.
        label: Which of its layout's names fits; empty for the first.
        has_numbered_rows: Whether the ids of mentions are numbers of rows, which cannot reveal the answer.
        blank_mentions: Ids of mentions that are blank in the release.
        rejected_entities: The rejected row of each entity, by its id where that is known.

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
    label: str = ""
    has_numbered_rows: bool = False
    blank_mentions: list[str] = field(default_factory=list)
    rejected_entities: dict[str, Rejected] = field(default_factory=dict)

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
            key: Key or number of the row in the file.
            row: The row; its `sentence` is the sentence.
            split: The split; `None` where the row is in no split.
            columns: Keys of the mentions, of the answers, and of the answers' names (which may be missing); each holds
                one string, or a list with one for each mention.
            prefix: Text before the key in the ids of mentions.
            **shared: Other fields of the mentions.
        """
        try:
            if split is None:
                raise RowError("it is in no split")
            sentence = text_of(row, "sentence")
            triples = _triples(row, columns)
        except RowError as error:
            self.reject(file, key, str(error), count_of(row, columns[0]))
            return
        for number, (text, gold, title) in enumerate(triples):
            self.rows_in += 1
            name = f"{prefix}{key}-{number}"
            try:
                answer, mention = answer_of(gold), _mention_or_title(text, title)
            except RowError as error:
                self.rejected.append(Rejected(file, f"{key}-{number}", str(error)))
            else:
                if isinstance(text, str) and not text.strip():
                    self.blank_mentions.append(name)
                self.mentions.append(Mention(name, sentence, mention, split, answer, **shared))

    def reject_mention(self, file: str, key: str, reason: str, _name: str = "") -> None:
        """Rejects a mention, whose id is of no use."""
        self.reject(file, key, reason)

    def reject(self, file: str, key: str, reason: str, count: int = 1) -> None:
        """Rejects a row that holds `count` mentions."""
        self.rows_in += count
        keys = [key] if count == 1 else [f"{key}-{number}" for number in range(count)]
        self.rejected += [Rejected(file, name, reason) for name in keys]

    def reject_entity(self, file: str, key: str, reason: str, name: str = "") -> None:
        """Rejects the row of an entity, whose id may be known."""
        row = Rejected(file, key, reason, "entity")
        self.rejected.append(row)
        self.rejected_entities.setdefault(name or key, row)


def _triples(row: Mapping[str, Any], columns: tuple[str, str, str]) -> list[tuple[Any, Any, Any]]:
    """Mention, answer and the answer's name, for each mention of a sentence."""
    mentions, answers, names = columns
    texts, golds = list_of(row, mentions), list_of(row, answers)
    titles = list_of(row, names) if names in row else [""] * len(texts)
    if not len(texts) == len(golds) == len(titles):
        lengths = f"{len(texts)}, {len(golds)}, {len(titles)}"
        raise RowError(f"{mentions!r}, {answers!r} and {names!r} differ in length: {lengths}")
    if not texts:
        raise RowError(f"{mentions!r} is empty")
    return list(zip(texts, golds, titles, strict=True))


def _mention_or_title(text: object, title: object) -> str:
    """The mention, or the name of its answer where the release left it blank."""
    if not isinstance(text, str) or text.strip():
        return checked(text, "the mention")
    return checked(title, "the mention is blank, and the name of its answer")


def rows_of(draft: Draft, file: str, content: Any, mentions: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the rows of a file with their keys; rejects rows that are not objects, and rows of a repeated key.

    Args:
        draft: Takes the rejected rows.
        file: Name of the file.
        content: Its content, as [`dim.corpora.readers.shape.read_json`] returns it: an object of rows, or a list.
        mentions: Key of a row's mentions, to count those of a rejected row.

    Yields:
        Key, or number, and row.

    Example:
        >>> draft = Draft()
        >>> list(rows_of(draft, "rows.json", (("7", (("sentence", "Ada met Al."),)), ("8", None))))
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
