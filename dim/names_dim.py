# Copyright 2026 The DIM authors.
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with
# the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on
# an "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
"""Words of names and sentences in any script, and the signs that tell names apart (C, C++, C#, .NET, Help!)."""

import re
from collections.abc import Iterator

import regex  # type: ignore[import-untyped]

from .folding_dim import UNSEEN, WORD, decomposed, fold

_TAIL = r"(?:[+#]++(?![\p{L}\p{N}]))?+"  # signs at the end of a word, as in C++
_SIGN = r"(?<!\S)\.(?=[\p{L}\p{N}])|[\p{S}--\p{Sk}--[©®]]|[!?*%¡¿؟‽]"
_WORDS = regex.compile(f"(?:{WORD}){_TAIL}", regex.V1)
_PARTS = regex.compile(f"(?P<word>(?:{WORD}){_TAIL})|(?P<sign>{_SIGN})", regex.V1)
_ASCII_WORDS = re.compile(r"[a-z0-9]+(?:[+#]+(?![+#a-z0-9]))?")  # `_WORDS` for folded ASCII, ten times as fast
_ASCII_SIGN = re.compile(r"[^a-z0-9 ,&/:;_()'\"-]")
_LONE_SIGNS = regex.compile(r"(?<!\S)[^\s\p{L}\p{N}]+(?!\S)", regex.V1)
_EMOJI = regex.compile(
    r"\p{RI}\p{RI}?|(?=[\p{Emoji}--[\x00-\x7f©®™]]|[©®™]\ufe0f|[0-9#*]\ufe0f?\u20e3)\X", regex.V1
)  # a flag, or one character with its joiners, skin tones and tags
_VARIANT = regex.compile(r"\p{Variation_Selector}", regex.V1)


def without_qualifier(name: str) -> str:
    """Removes a qualifier in brackets from the end of a name.

    Args:
        name: A name.

    Returns:
        The name up to the qualifier, or the name itself if it has none.

    Example:

        >>> without_qualifier("Taylor (band) ")
        'Taylor '
    """
    text = name.rstrip()
    start = text.rfind("(")
    if not text.endswith(")") or start < 0 or ")" in text[start:-1]:
        return name
    return text[:start]


def name_words(name: str) -> list[str]:
    """Splits a name into words, without case, accents, punctuation and a qualifier in brackets at its end.

    Combining marks belong to their word. `+` and `#` at the end of a word are part of it. An emoji is a word. In a
    script without spaces, a run of letters is one word. A name that has no words gives its signs.

    Args:
        name: A mention or a name.

    Returns:
        The words, in order; those of the qualifier if there are no others. The result is the same for the composed
        (NFC) and the decomposed (NFD) form of a name.

    Example:

        >>> name_words("Beyoncé Knowles-Carter (singer, born 1981)")
        ['beyonce', 'knowles', 'carter']
        >>> name_words("C++"), name_words("!!! (band)"), name_words("हिन्दी"), name_words("IBM公司")
        (['c++'], ['!!!'], ['हिन्दी'], ['ibm', '公司'])
    """
    plain = without_qualifier(name)
    words = _words(plain) or UNSEEN.sub("", fold(plain)).split()
    return words or _words(name) or UNSEEN.sub("", fold(name)).split() or decomposed(name).split()


def telling_signs(name: str) -> str:
    """Reads the signs of a name that tell it from a name of the same words.

    These are symbols, exclamation and question marks, `*` and `%`, a full stop before the name, and hyphens before a
    number or after the name. Other punctuation does not count, nor do the signs that [`name_words`] gives as words.

    Args:
        name: A mention or a name.

    Returns:
        The signs, in order.

    Example:

        >>> telling_signs("Help!"), telling_signs(".NET"), telling_signs("C++"), telling_signs("Martin L. King, Jr.")
        ('!', '.', '', '')
    """
    plain = without_qualifier(name).strip()
    text = plain.lower() if plain.isascii() else fold(_EMOJI.sub(" ", plain)).strip()
    if text.isascii() and not _ASCII_SIGN.search(text) and not text.startswith("-") and not text.endswith("-"):
        return ""
    parts = [(match.lastgroup, match[0]) for match in _PARTS.finditer(text)]
    if not any(group == "word" for group, _ in parts):
        return ""
    before, after = text[: len(text) - len(text.lstrip("-"))], text[len(text.rstrip("-")) :]
    before = before if text[len(before)].isnumeric() else ""
    return before + "".join(part for group, part in parts if group == "sign") + after


def sentence_words(sentence: str) -> set[str]:
    """Finds the words of a sentence, as [`name_words`] gives them, and the signs that stand alone.

    Args:
        sentence: Any text.

    Returns:
        The different words.

    Example:

        >>> sorted(sentence_words("We heard !!! play C#."))
        ['!!!', 'c#', 'heard', 'play', 'we']
    """
    signs = _LONE_SIGNS.findall(UNSEEN.sub("", fold(sentence)))
    return {*_words(sentence), *signs}


def _words(text: str) -> list[str]:
    """Words and emoji of a text."""
    if text.isascii():
        return _ASCII_WORDS.findall(text.lower())
    return [word for piece in _pieces(text) for word in piece]


def _pieces(text: str) -> Iterator[list[str]]:
    """Yields the words between emoji, and each emoji without its choice of a style (U+FE0E, U+FE0F)."""
    last = 0
    for emoji in _EMOJI.finditer(text):
        yield _plain_words(text[last : emoji.start()])
        yield [_VARIANT.sub("", emoji[0])]
        last = emoji.end()
    yield _plain_words(text[last:])


def _plain_words(text: str) -> list[str]:
    folded = fold(text)
    if folded.isascii():
        return _ASCII_WORDS.findall(folded)
    return [UNSEEN.sub("", word) for word in _WORDS.findall(folded)]


__all__ = ["name_words", "sentence_words", "telling_signs", "without_qualifier"]
