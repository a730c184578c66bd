"""A mention in its sentence, and the columns of mention rows."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dim.common.fields import RowError, text
from dim.common.mention_fields import check_span, given_span
from dim.errors import DIMError
from dim.sentences_dim import NOWHERE
from dim.words_dim import find_mention

_COLUMNS = ("mention", "sentence", "start", "end")


class Mention(NamedTuple):
    """A mention and its span in a sentence: the input of search, lexical features and the reranker.

    Args:
        text: The mention.
        sentence: Its sentence.
        start: Offset of its first character, -1 for a mention that is not in its sentence.
        end: Offset after its last character.

    Example:

        >>> Mention.find("Jordan", "Jordan played well; in Jordan it rained.")
        Mention(text='Jordan', sentence='Jordan played well; in Jordan it rained.', start=0, end=6)
    """

    text: str
    sentence: str
    start: int = -1
    end: int = -1

    @classmethod
    def find(cls, text: str, sentence: str) -> "Mention":
        """Finds a mention in its sentence with [`find_mention`]; its span is `NOWHERE` if it is not there."""
        return cls(text, sentence, *(find_mention(sentence, text) if text in sentence else NOWHERE))


def mentions_of(rows: Sequence[dict]) -> list[Mention]:
    """Reads mentions from rows with the columns `mention`, `sentence`, `start` and `end`.

    Args:
        rows: A list of rows, or a `datasets.Dataset`.

    Returns:
        One mention per row.

    Raises:
        DIMError: If a row lacks one of the fields, a text is not a string, or the offsets give another piece of the
            sentence than a form of the mention.
    """
    columns = (column(rows, name) for name in _COLUMNS)
    mentions = []
    for index, fields in enumerate(zip(*columns, strict=True)):
        try:
            mentions.append(mention_of(dict(zip(_COLUMNS, fields, strict=True))))
        except RowError as error:
            raise DIMError(f"Row {index}: {error}.") from error
    return mentions


def mention_of(row: Mapping[str, Any]) -> Mention:
    """Reads the mention of one row; raises a `RowError`, which says no place, where [`mentions_of`] raises."""
    mention, sentence = (text(row[name], name) for name in ("mention", "sentence"))
    span = given_span(row)
    if span is None:
        return Mention(mention, sentence)
    check_span(sentence, mention, *span)
    return Mention(mention, sentence, *span)


def column(rows: Sequence[dict], name: str) -> Sequence[Any]:
    """Reads a field of every row without decoding pictures.

    Args:
        rows: A list of rows, or a `datasets.Dataset`.
        name: Name of the field.

    Returns:
        The values, in the order of the rows.

    Raises:
        DIMError: If a row of a list lacks the field.
    """
    if not isinstance(rows, list):
        return rows[name][:]  # type: ignore[call-overload]  # a datasets.Dataset: no picture is decoded
    missing = next((index for index, row in enumerate(rows) if name not in row), None)
    if missing is not None:
        raise DIMError(f"Row {missing} has no {name!r}.")
    return [row[name] for row in rows]
