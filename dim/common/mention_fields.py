"""The fields of a mention row, checked the same way by `dim link`, `dim build`, training and the service."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dim.common.fields import RowError, absent, optional_text, whole
from dim.common.offsets import find_span
from dim.folding_dim import composed

_SHOWN = 80  # characters of a mention in an error


@dataclass(frozen=True, slots=True)
class MentionFields:
    """The texts and the span of a mention row.

    Args:
        sentence: The sentence; may be empty.
        mention: The mention, or `None` if the row gives it by its span or by brackets in the sentence.
        span: Its character offsets, or `None` if the row gives none.
        expert_answer: A caption of the picture, or `None`.
    """

    sentence: str
    mention: str | None
    span: tuple[int, int] | None
    expert_answer: str | None


def mention_fields(row: Mapping[str, Any]) -> MentionFields:
    """Reads and checks the fields of a mention row; null and NaN count as missing.

    Args:
        row: A row with `sentence`, `mention`, `start`, `end` and `expert_answer`, each optional.

    Returns:
        The fields.

    Raises:
        RowError: If a text is not a string, or the offsets are not whole numbers or do not give the mention.

    Example:

        >>> mention_fields({"sentence": "We saw Turkey.", "mention": "Turkey", "start": 7.0, "end": 13.0}).span
        (7, 13)
        >>> mention_fields({"sentence": "We saw Turkey.", "mention": "Turkey", "start": 6, "end": 12})
        Traceback (most recent call last):
            ...
        dim.common.fields.RowError: 'start' 6 and 'end' 12 do not give the mention 'Turkey'
    """
    sentence, mention = optional_text(row, "sentence") or "", optional_text(row, "mention")
    span = given_span(row)
    if span is not None and mention is not None:
        check_span(sentence, mention, *span)
    return MentionFields(sentence, mention, span, optional_text(row, "expert_answer"))


def given_span(row: Mapping[str, Any]) -> tuple[int, int] | None:
    """Reads the offsets of a row.

    Args:
        row: A row; `start` and `end` are whole numbers, or both missing, null, NaN or -1.

    Returns:
        The offsets, or `None` if there are none.

    Raises:
        RowError: If only one is given, or one is not a whole number.
    """
    values = [row.get("start"), row.get("end")]
    if all(map(absent, values)):
        return None
    start, end = map(whole, values)
    if start is None or end is None:
        raise RowError("'start' and 'end' must both be whole numbers")
    return None if start == end == -1 else (start, end)


def check_span(sentence: str, mention: str, start: int, end: int) -> None:
    """Checks that offsets give the mention, or a form of it that [`find_span`] accepts ("Byron" for "Ada Byron").

    Args:
        sentence: The sentence.
        mention: The mention.
        start: Offset of its first character.
        end: Offset after its last character.

    Raises:
        RowError: If they do not; it says so if they look like offsets in bytes or in UTF-16.

    Example:

        >>> check_span("Beyonc\u00e9 sang.", "beyonce", 0, 7)
        >>> check_span("Zo\u00eb saw Turkey.", "Turkey", 9, 15)
        Traceback (most recent call last):
            ...
        dim.common.fields.RowError: 'start' 9 and 'end' 15 do not give the mention 'Turkey'; they look like byte ...
    """
    if 0 <= start < end <= len(sentence):
        found = sentence[start:end]
        if _same(found, mention) or find_span(found, mention)[:2] == (0, len(found)):
            return
    shown = repr(mention[:_SHOWN])
    raise RowError(f"'start' {_short(start)} and 'end' {_short(end)} do not give the mention {shown}"
                   f"{_hint(sentence, mention, start, end)}")  # fmt: skip


def _same(one: str, other: str) -> bool:
    """Whether two texts are the same but for the ways in which Unicode writes an accent."""
    return one == other or composed(one) == composed(other)


def _short(number: int) -> str:
    digits = str(number)
    return digits if len(digits) <= 20 else f"{digits[:20]}..."


def _hint(sentence: str, mention: str, start: int, end: int) -> str:
    """Names the kind of offsets, if they give the mention as such."""
    if not 0 <= start < end:
        return ""
    for what, encoding, width in (("UTF-16", "utf-16-le", 2), ("byte", "utf-8", 1)):
        part = sentence.encode(encoding)[start * width : end * width]
        if len(part) == (end - start) * width and part == mention.encode(encoding):
            return f"; they look like {what} offsets: count characters"
    return "; they look as if 'end' were included" if sentence[start : end + 1] == mention else ""
