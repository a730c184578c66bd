# Copyright 2026 The DIM authors.
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with
# the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on
# an "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
"""Folding of letter case and accents, canonical forms, and what a word is, for texts in any script."""

import unicodedata
from functools import cache
from itertools import groupby

import regex  # type: ignore[import-untyped]

from .words_dim import SPACELESS

# A word is a run of letters and digits with their marks. Invisible format characters may stand within, and letters of
# scripts without spaces are apart from others. The pattern is possessive, so that it is linear.
_BARE = "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in SPACELESS)
_BARE_LETTER = rf"[[{_BARE}]&&[\p{{L}}\u3007]]"
_OTHER_LETTER = rf"[[\p{{L}}\p{{N}}]--{_BARE_LETTER}]"
_INVISIBLE = r"[\p{Cf}--\u200b]"  # U+200B separates words
WORD = "|".join(
    rf"{letter}(?:[{letter}\p{{M}}]|{_INVISIBLE}++(?=[{letter}\p{{M}}]))*+" for letter in (_BARE_LETTER, _OTHER_LETTER)
)
UNSEEN = regex.compile(rf"[{_INVISIBLE}\p{{Variation_Selector}}]", regex.V1)
"""Characters that change only how others look: format characters and variation selectors."""
_MARKS = regex.compile(r"\p{M}{2,}")
_ACCENTS = ("\u0300", "\u036f")
_NEGATION = "\u0338"  # in the block of accents, but part of signs such as "≠"


def fold(text: str) -> str:
    """Removes letter case and accents from a text (NFKD without U+0300-U+036F, case folded).

    A text and its composed or decomposed form (NFC, NFD) have the same folded form.

    Args:
        text: Any text.

    Returns:
        The folded text.

    Example:
        >>> fold("Beyoncé GROẞ")
        'beyonce gross'
    """
    if text.isascii():
        return text.lower()
    return _MARKS.sub(_in_order, "".join(map(fold_character, text)))


def decomposed(text: str) -> str:
    """Decomposes a text like `unicodedata.normalize("NFD", text)`, but not in quadratic time for long runs of marks.

    Args:
        text: Any text.

    Returns:
        The decomposed text.
    """
    return _MARKS.sub(_in_order, "".join(unicodedata.normalize("NFD", character) for character in text))


def composed(text: str) -> str:
    """Composes a text like `unicodedata.normalize("NFC", text)`, but not in quadratic time for long runs of marks.

    Args:
        text: Any text.

    Returns:
        The composed text.
    """
    return text if text.isascii() else unicodedata.normalize("NFC", decomposed(text))


def _in_order(marks: regex.Match[str]) -> str:
    """Puts a run of marks in canonical order."""
    runs = groupby(marks[0], key=lambda mark: unicodedata.combining(mark) > 0)
    return "".join("".join(sorted(run, key=unicodedata.combining) if moves else run) for moves, run in runs)


@cache
def fold_character(character: str) -> str:
    """Folds one character, to any number of characters; to none for a combining accent."""
    parts = unicodedata.normalize("NFKD", character)
    first, last = _ACCENTS
    return "".join(part for part in parts if not first <= part <= last or part == _NEGATION).casefold()


__all__ = ["UNSEEN", "WORD", "composed", "decomposed", "fold", "fold_character"]
