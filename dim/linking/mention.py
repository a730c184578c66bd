"""Mentions from users: marked by double brackets, or given as text or span."""

from collections.abc import Sequence
from typing import Any

from dim.common.pictures import load_picture
from dim.common.regions import Region, given_region
from dim.encoding.mention import NOWHERE, Mention
from dim.errors import DIMError
from dim.inputs_dim import parse_brackets
from dim.sentences_dim import is_picture_alone


def load_pictures(image: Any) -> Any:
    """Reads the picture of a mention at once, so that one that cannot be read raises an error.

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
    text: str,
    mention: str | None,
    span: tuple[int, int] | None,
    image: object,
    expert_answer: str | None,
    region: Region | None = None,
) -> dict:
    """Makes the row of a mention, for the encoders.

    Args:
        text: The sentence, with the mention in double brackets if neither `mention` nor `span` is given; empty for a
            mention without a sentence, and for a picture alone.
        mention: The mention. If it is not in the sentence, no part of the sentence is marked.
        span: Character offsets of the mention in the sentence.
        image: The picture, or several in a list, or None.
        expert_answer: A caption of the picture from an expert.
        region: The part of the picture that is the mention, `(left, top, right, bottom)` in pixels.

    Returns:
        A row for `encode_mentions`.

    Raises:
        DIMError: If the mention is not marked or marked several times, is empty, or its offsets are out of range, or if
            the region is none or has no picture.

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
    elif is_picture_alone(mention, text) and image is not None and image != []:
        text, mention, (start, end) = "", "", NOWHERE
    elif mention is None:
        text, spans = parse_brackets(text)
        if len(spans) > 1:
            raise DIMError(f"{len(spans)} mentions are marked; `link_sentence` links them all, a row holds one.")
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
        "region": given_region({"image": image, "region": region}),
        "expert_answer": expert_answer,
    }


def one_picture_each(rows: Sequence[dict]) -> tuple[Sequence[dict], list[int] | None]:
    """Splits mentions with several pictures into rows of one picture each.

    Args:
        rows: Mentions whose `image` may be a list.

    Returns:
        The rows, and the mention index of each row; `None` if no `image` is a list.

    Raises:
        FieldError: If a mention with a region has several pictures.
    """
    if not isinstance(rows, list) or not any(isinstance(row.get("image"), list | tuple) for row in rows):
        return rows, None
    single, owners = [], []
    for index, row in enumerate(rows):
        image = row.get("image")
        given_region(row)
        for one in (image or [None]) if isinstance(image, list | tuple) else [image]:
            single.append({**row, "image": one})
            owners.append(index)
    return single, owners
