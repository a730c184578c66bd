# Copyright 2026 The DIM authors.
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with
# the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on
# an "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
"""Mentions and pictures as users hand them over: sentences with double brackets, and files of pictures."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors_dim import DIMError
from .pictures_dim import picture_error, rgb_picture
from .sentences_dim import NOWHERE

_URL = re.compile(r"(?:[a-z][a-z0-9+.-]+:/|data:)", re.IGNORECASE)  # `Path` turns http://x into http:/x


def parse_brackets(sentence: str) -> tuple[str, list[tuple[int, int]]]:
    """Reads the mentions that a sentence marks by double brackets.

    Args:
        sentence: A text with `[[mentions]]`.

    Returns:
        The text without the brackets, and the character offsets of each mention in it.

    Raises:
        DIMError: If the text marks no mention.

    Example:

        >>> parse_brackets("[[Taylor]] met [[Jonathan]].")
        ('Taylor met Jonathan.', [(0, 6), (11, 19)])
    """
    parts: list[str] = []
    spans: list[tuple[int, int]] = []
    last = length = 0
    for start, end in _brackets(sentence):
        parts += sentence[last:start], sentence[start + 2 : end - 2]
        length += start - last
        spans.append((length, length + end - start - 4))
        length, last = spans[-1][1], end
    if not spans:
        raise DIMError(f"Mark the mention by double brackets, as in 'We saw [[Turkey]].'; got {sentence[:80]!r}.")
    return "".join((*parts, sentence[last:])), spans


def _brackets(sentence: str) -> Iterator[tuple[int, int]]:
    r"""Yields what `\[\[(.+?)\]\]` matches, in linear time also for thousands of brackets that are never closed."""
    start, closing = sentence.find("[["), 0
    while start >= 0:
        if closing < start + 3:
            closing = sentence.find("]]", start + 3)
        if closing < 0:
            return
        line = sentence.rfind("\n", start, closing)
        if line < 0:
            yield start, closing + 2
        start = sentence.find("[[", closing + 2 if line < 0 else line)


def parse_mention(sentence: str) -> tuple[str, str, tuple[int, int]]:
    """Reads the one mention that a sentence marks by double brackets.

    Args:
        sentence: A text with a `[[mention]]`.

    Returns:
        The mention, the text without the brackets, and the character offsets of the mention in it.

    Raises:
        DIMError: If the text marks no mention, or several.

    Example:

        >>> parse_mention("We saw [[Turkey]].")
        ('Turkey', 'We saw Turkey.', (7, 13))
    """
    text, spans = parse_brackets(sentence)
    if len(spans) > 1:
        raise DIMError(f"{len(spans)} mentions are marked in {sentence[:80]!r}; mark one, and give one text for each.")
    [(start, end)] = spans
    return text[start:end], text, (start, end)


def read_texts(texts: Sequence[str]) -> tuple[list[str], list[str], list[tuple[int, int]]]:
    """Reads mentions from texts, each with its mention in double brackets; a text without is a mention on its own.

    Args:
        texts: The texts.

    Returns:
        The mentions, their sentences without the brackets, and their character offsets.

    Raises:
        DIMError: If a text marks several mentions.

    Example:

        >>> read_texts(["We saw [[Turkey]].", "Ada"])
        (['Turkey', 'Ada'], ['We saw Turkey.', 'Ada'], [(7, 13), (0, 3)])
    """
    mentions, sentences, found = [], [], []
    for row, text in enumerate(texts):
        marked = next(_brackets(text), None) is not None
        sentence, spans = parse_brackets(text) if marked else (text, [(0, len(text)) if text else NOWHERE])
        if len(spans) > 1:
            raise DIMError(f"Text {row} marks {len(spans)} mentions; give it once for each of them.")
        [(start, end)] = spans
        mentions.append(sentence[start:end])
        sentences.append(sentence)
        found.append((start, end))
    return mentions, sentences, found


def refuse_url(name: str) -> None:
    """Raises a `PictureError` for a URL in place of a picture's path."""
    if _URL.match(name):
        raise picture_error(name[:200], "URL", "is a URL: download it first and give the file")


def read_picture(picture: Any) -> Any:
    """Reads a picture if it is a file; others, such as PIL images and arrays, the processor takes as they are.

    Args:
        picture: A path, an undecoded image of `datasets`, `{"bytes": ..., "path": ...}`, or a picture for
            [`rgb_picture`].

    Returns:
        The RGB image of a file; any other picture unchanged.

    Raises:
        PictureError: If the file is missing or no picture, or the path is a URL.

    Example:

        >>> read_picture("demo/example.png").mode
        'RGB'
    """
    if isinstance(picture, Mapping) and picture.get("bytes") is None:
        picture = picture.get("path")
    if not isinstance(picture, str | Path):
        return picture
    name = str(picture)
    refuse_url(name)
    try:
        content = Path(name).read_bytes()
    except OSError as error:
        raise picture_error(name, "unreadable file", f"cannot be read: {error.strerror}") from error
    return rgb_picture(content, name=name)


__all__ = ["parse_brackets", "parse_mention", "read_picture", "read_texts", "refuse_url"]
