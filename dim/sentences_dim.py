# Copyright 2026 The DIM authors.
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with
# the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on
# an "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
"""A mention in its sentence: where it is, how it is marked, and the window of a long sentence that is kept."""

from collections.abc import Sequence

from .errors_dim import DIMError
from .words_dim import find_mention

NOWHERE = (-1, -1)
"""The span of a mention that is not in its sentence."""


def is_picture_alone(mention: str | None, sentence: str | None) -> bool:
    """Whether a mention has no text, neither its own nor a sentence's.

    Example:

        >>> is_picture_alone("", " "), is_picture_alone("Ada", "")
        (True, False)
    """
    return not (mention or "").strip() and not (sentence or "").strip()


def mark_mention(sentence: str, start: int, end: int, marks: Sequence[str]) -> str:
    """Puts marks before and after a mention in its sentence.

    Example:

        >>> mark_mention("Jordan played well; in Jordan it rained.", 23, 29, ("[", "]"))
        'Jordan played well; in [Jordan] it rained.'
    """
    opening, closing = marks
    return f"{sentence[:start]}{opening}{sentence[start:end]}{closing}{sentence[end:]}"


def locate_mentions(
    mentions: Sequence[str], sentences: Sequence[str], pictured: Sequence[bool]
) -> list[tuple[int, int]]:
    """Finds each mention in its sentence.

    Args:
        mentions: The mentions.
        sentences: Their sentences.
        pictured: Which of them have a picture, and so need no text.

    Returns:
        The span of each, from [`find_mention`]; `NOWHERE` for a picture alone.

    Raises:
        DIMError: If a mention is empty, or not in its sentence.

    Example:

        >>> locate_mentions(["Ada", ""], ["Ada sat.", ""], [False, True])
        [(0, 3), (-1, -1)]
    """
    return [
        NOWHERE if there and is_picture_alone(mention, sentence) else find_mention(sentence, mention)
        for mention, sentence, there in zip(mentions, sentences, pictured, strict=True)
    ]


def mark_mentions(
    mentions: Sequence[str], sentences: Sequence[str], spans: Sequence[tuple[int, int]], marks: Sequence[str]
) -> tuple[list[str], list[tuple[int, int]]]:
    """Marks mentions in their sentences.

    Args:
        mentions: The mentions; a picture alone has an empty one and an empty sentence.
        sentences: Their sentences.
        spans: Their character offsets; `NOWHERE` for a mention that is not in its sentence.
        marks: The marks before and after a mention.

    Returns:
        The sentences, and the spans of the marked mentions; `""` and `(0, 0)` for a picture alone.

    Raises:
        DIMError: If a text is empty, or a span lies outside of its sentence.

    Example:

        >>> mark_mentions(["Ada", ""], ["Ada sat.", ""], [(0, 3), NOWHERE], "[]")
        (['[Ada] sat.', ''], [(0, 5), (0, 0)])
    """
    texts, marked = [], []
    for row, (mention, sentence, (start, end)) in enumerate(zip(mentions, sentences, spans, strict=True)):
        alone = is_picture_alone(mention, sentence) and (start, end) == NOWHERE
        if not alone:
            if not sentence or not sentence.strip():
                raise DIMError(f"Sentence {row} is empty; give the text that contains the mention {mention!r}.")
            if not mention or not mention.strip():
                raise DIMError(f"Mention {row} is empty; give the part of the sentence that names the entity.")
        if (start, end) == NOWHERE:
            texts.append("" if alone else sentence)
            marked.append((0, 0))
        elif 0 <= start < end <= len(sentence):
            texts.append(mark_mention(sentence, start, end, marks))
            marked.append((start, end + sum(map(len, marks))))
        else:
            raise DIMError(
                f"Span {row} is ({start}, {end}), outside its sentence of {len(sentence)} characters; "
                "use (-1, -1) for a mention that is not in its sentence."
            )
    return texts, marked


def token_window(text: str, offsets: list[tuple[int, int]], marked: tuple[int, int], budget: int) -> tuple[int, int]:
    """Returns the first and last token of a window around a mention.

    Args:
        text: The text.
        offsets: Where each of its tokens begins and ends.
        marked: The span of the mention.
        budget: Tokens of the window, at most.

    Example:

        >>> token_window("a b c d e", [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)], marked=(4, 5), budget=3)
        (1, 3)
    """
    inside = [token for token, (start, end) in enumerate(offsets) if start < marked[1] and end > marked[0]]
    first, last = (inside[0], inside[-1]) if inside else (0, 0)
    if last - first + 1 >= budget:
        return first, first + budget - 1
    spare = budget - (last - first + 1)
    before, after = first, len(offsets) - 1 - last
    left = min(before, max(spare // 2, spare - after))
    right = min(after, spare - left)
    start, end = first - left, last + right
    while start < first and start > 0 and not text[offsets[start][0] - 1].isspace():
        start += 1
    while end > last and end < len(offsets) - 1 and not text[offsets[end][1] : offsets[end][1] + 1].isspace():
        end -= 1
    # A script without spaces has no word borders: cut between tokens there.
    return (start if start < first else first - left), (end if end > last else last + right)


__all__ = [
    "NOWHERE",
    "is_picture_alone",
    "locate_mentions",
    "mark_mention",
    "mark_mentions",
    "token_window",
]
