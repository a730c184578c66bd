"""Mentions as people give them: by double brackets, by their text, or by their place in the sentence."""

import re
from collections.abc import Sequence
from typing import Any

from dim.common.pictures import load_picture
from dim.encoding.mention import Mention
from dim.errors import DIMError

_BRACKETS = re.compile(r"\[\[(.+?)\]\]")


def parse_brackets(sentence: str) -> tuple[str, list[tuple[int, int]]]:
    """Takes the mentions from a sentence that marks them by double brackets.

    Args:
        sentence: A text with `[[mentions]]`.

    Returns:
        The text without the brackets, and each mention's character offsets in it.

    Raises:
        DIMError: If the text marks no mention.

    Example:

        >>> parse_brackets("[[Taylor]] met [[Jonathan]].")
        ('Taylor met Jonathan.', [(0, 6), (11, 19)])
    """
    text, spans = "", []
    last = 0
    for found in _BRACKETS.finditer(sentence):
        text += sentence[last : found.start()] + found[1]
        spans.append((len(text) - len(found[1]), len(text)))
        last = found.end()
    if not spans:
        raise DIMError(f"Mark the mention by double brackets, as in 'We saw [[Turkey]].'; got {sentence[:80]!r}.")
    return text + sentence[last:], spans


def read_pictures(image: Any) -> Any:
    """Reads what somebody gave as a mention's picture, so that one that cannot be read is an error at once.

    Args:
        image: A picture in any form that `load_picture` takes, several in a list, or None.

    Returns:
        The RGB image, the list of them, or None.

    Raises:
        PictureError: If one cannot be read.
    """
    if isinstance(image, list | tuple):
        return [load_picture(one) for one in image]
    return None if image is None else load_picture(image)


def mention_row(
    text: str, mention: str | None, span: tuple[int, int] | None, image: object, expert_answer: str | None
) -> dict:
    """One mention as the encoders take it.

    Args:
        text: The sentence; with the mention in double brackets if neither `mention` nor `span` is given; empty for a
            mention that has none.
        mention: What is mentioned. It need not stand in the sentence, which is then read without a mark.
        span: Its character offsets in the sentence.
        image: The picture, or several in a list, or None.
        expert_answer: What an expert said about the picture.

    Returns:
        A row for `encode_mentions`.

    Raises:
        DIMError: If the mention is not marked or marked several times, is empty, or its offsets are out of range.

    Example:

        >>> row = mention_row("We saw Turkey.", "Turkey", span=None, image="photo.jpg", expert_answer=None)
        >>> row == mention_row("We saw [[Turkey]].", None, None, "photo.jpg", None)
        True
        >>> row["mention"], row["start"], row["end"]
        ('Turkey', 7, 13)
    """
    if mention is not None and span is not None:
        raise DIMError("Give the mention or its span, not both.")
    if span is not None:
        start, end = span
        if not 0 <= start < end <= len(text):
            raise DIMError(f"The span {span} does not lie in the sentence, which has {len(text)} characters.")
    elif mention is None:
        text, spans = parse_brackets(text)
        if len(spans) > 1:
            raise DIMError(f"{len(spans)} mentions are marked; `link_sentence` links them all.")
        [(start, end)] = spans
    elif not mention.strip():
        raise DIMError("The mention is empty; give the part of the sentence that names the entity.")
    else:
        text = text or mention  # a mention on its own
        start, end = Mention.find(mention, text)[2:]
    return {
        "sentence": text,
        "mention": mention if mention is not None else text[start:end],
        "start": start,
        "end": end,
        "image": image,
        "expert_answer": expert_answer,
    }


def one_picture_each(rows: Sequence[dict]) -> tuple[Sequence[dict], list[int] | None]:
    """Rows of one picture each, for mentions that have several.

    Args:
        rows: Mentions whose `image` may be a list.

    Returns:
        The rows, and which mention each belongs to; `None` where nothing was to be done.
    """
    if not isinstance(rows, list) or not any(isinstance(row.get("image"), list | tuple) for row in rows):
        return rows, None
    single, owners = [], []
    for place, row in enumerate(rows):
        image = row.get("image")
        for one in (image or [None]) if isinstance(image, list | tuple) else [image]:
            single.append({**row, "image": one})
            owners.append(place)
    return single, owners


__all__ = ["mention_row", "one_picture_each", "parse_brackets"]
