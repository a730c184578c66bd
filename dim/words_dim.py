# Copyright 2026 The DIM authors.
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with
# the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on
# an "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
"""Borders of words and characters by Unicode's rules (UAX 29), and where a mention stands in its sentence.

A combining mark belongs to the letter before it, invisible format characters belong to the word around them, and an
emoji sequence is one character. Scripts that are written without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese)
have no borders that can be read without a dictionary: between two of their letters there is no border of a word, but
there is one beside a letter of another script.
"""

import unicodedata
from collections.abc import Callable, Iterator
from functools import cache

from .errors_dim import DIMError

# Ranges of code points of scripts without spaces.
SPACELESS = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19DF),  # Tai Le, New Tai Lue
    (0x1A20, 0x1AAF),  # Tai Tham
    (0x3005, 0x3007),  # Han and its repetition mark
    (0x3031, 0x312F),  # Hiragana, Katakana, Bopomofo
    (0x31A0, 0x31BF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xA9E0, 0xA9FF),
    (0xAA60, 0xAADF),  # Myanmar, Tai Viet
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),
    (0x1AFF0, 0x1B16F),
    (0x20000, 0x3FFFF),
)
_FOLLOWING_VOWELS = "\u0e30\u0e32\u0e33\u0e45\u0eb0\u0eb2\u0eb3\uff9e\uff9f"  # letters that belong to the one before
_LEADING_VOWELS = "\u0e40\u0e41\u0e42\u0e43\u0e44\u0ec0\u0ec1\u0ec2\u0ec3\u0ec4"  # written before their consonant
_STACKERS = "\u1039\u17d2\u1a60"  # the next consonant is written below
_KILLERS = "\u0e4c\u0ecc\u103a"  # their consonant belongs to the syllable before
_JOINER = "\u200d"
_TAIL_SIGNS = "+#"  # belong to a name that they end, as in C++ and C#
_NUMBER_SIGNS = ".,'\u2019"  # between two digits, they belong to the number (UAX 29, WB11 and WB12)
_REACH = 64  # longest run of marks, invisible characters or flags that is looked through
_FORMAT = ("format",)  # kinds that separate nothing
_UNSEEN = ("extend", "format")


@cache
def kind(character: str) -> str:
    """Kind of a character: `extend`, `format`, `letter`, `spaceless`, `symbol`, `flag` or `other`.

    Example:

        >>> [kind(character) for character in ("é", "\\u0301", "京", "🍕", "!")]
        ['letter', 'extend', 'spaceless', 'symbol', 'other']
    """
    code, category = ord(character), unicodedata.category(character)
    if category[0] == "M" or character in _FOLLOWING_VOWELS or character in ("\u200c", _JOINER):
        return "extend"
    if 0x1F3FB <= code <= 0x1F3FF or 0xE0020 <= code <= 0xE007F:  # skin tones, tags of flags
        return "extend"
    if category == "Cf" and character != "\u200b":  # the zero-width space separates words
        return "format"
    if category[0] == "L" or character == "〇":
        return "spaceless" if any(first <= code <= last for first, last in SPACELESS) else "letter"
    if category[0] == "N" or category == "Pc":
        return "letter"
    if 0x1F1E6 <= code <= 0x1F1FF:
        return "flag"
    return "symbol" if category == "So" else "other"


def is_character_border(text: str, index: int) -> bool:
    """Whether a position does not lie within a character as readers see it, or within a written syllable.

    Args:
        text: Any text.
        index: Position, from 0 to `len(text)`.

    Returns:
        Whether a part of the text may begin or end there.

    Example:

        >>> is_character_border("Cafe\\u0301", 4), is_character_border("🇫🇷🇩🇪", 1), is_character_border("🇫🇷🇩🇪", 2)
        (False, False, True)
    """
    if index <= 0 or index >= len(text):
        return True
    before, after = text[index - 1], text[index]
    if kind(after) == "extend" or before in _LEADING_VOWELS or before in _STACKERS:
        return False
    if before == _JOINER:
        return kind(after) != "symbol"
    if kind(before) == kind(after) == "flag":
        start = index - 1
        while start > max(0, index - _REACH) and kind(text[start - 1]) == "flag":
            start -= 1
        return (index - start) % 2 == 0
    if kind(before) == kind(after) == "spaceless" or kind(before) == "extend":
        marks = text[index + 1 : index + 3]
        return not any(mark in _KILLERS for mark in marks[: 1 + (kind(marks[:1] or " ") == "extend")])
    return True


def is_word_start(text: str, index: int) -> bool:
    """Whether a word, or a name of any characters, may begin at a position.

    Args:
        text: Any text.
        index: Position, less than `len(text)`.

    Returns:
        Whether the text before the position does not continue into it.

    Example:

        >>> is_word_start("in Bahrain", 3), is_word_start("in Bahrain", 6), is_word_start("ASP.NET", 3)
        (True, False, False)
    """
    if not is_character_border(text, index):
        return False
    before = _past(text, index - 1, -1, _UNSEEN)
    is_dotted = before == index - 1 >= 0 and text[before] == "." and kind(text[index]) == "letter"
    if is_dotted and (before == 0 or text[before - 1].isspace()):
        return False  # .NET
    return _may_stand(text, index, before)


def is_word_end(text: str, index: int) -> bool:
    """Whether a word, or a name of any characters, may end at a position.

    Args:
        text: Any text.
        index: Position, greater than 0.

    Returns:
        Whether the text before the position does not continue after it.

    Example:

        >>> is_word_end("C and C++", 1), is_word_end("C and C++", 7), is_word_end("C and C++", 9)
        (True, False, True)
    """
    if not is_character_border(text, index):
        return False
    after, last = _past(text, index, 1, _FORMAT), max(0, _past(text, index - 1, -1, _UNSEEN, _REACH - 1))
    if after < len(text) and text[after] in _TAIL_SIGNS and kind(text[last]) in ("letter", "spaceless"):
        end = after
        while end < min(len(text), after + _REACH) and text[end] in _TAIL_SIGNS:
            end += 1
        if kind(text[end : end + 1] or " ") != "letter":
            return False  # "C++" is one name, "1+1" is two
    return kind(text[after : after + 1] or " ") != "extend" and _may_stand(text, last, after)


def _past(text: str, index: int, step: int, kinds: tuple[str, ...], most: int = _REACH) -> int:
    """Moves an index forwards or backwards over characters of some kinds, at most so many; it may leave the text."""
    end = index + step * most
    while index != end and 0 <= index < len(text) and kind(text[index]) in kinds:
        index += step
    return index


def _may_stand(text: str, edge: int, beside: int) -> bool:
    """Whether a name with the character at `edge` at its edge may stand beside that at `beside`, or beside no text."""
    if not 0 <= beside < len(text):
        return True
    return not _in_number(text, beside) and _may_part(text[edge], text[beside])


def _in_number(text: str, index: int) -> bool:
    """Whether a position holds a sign between two digits, as in 1,000 and 3.14."""
    return text[index] in _NUMBER_SIGNS and text[index - 1 : index].isdigit() and text[index + 1 : index + 2].isdigit()


def _may_part(inside: str, outside: str) -> bool:
    """Whether a name with the character `inside` at its edge may stand beside the character `outside`."""
    if kind(outside) == "spaceless":
        return kind(inside) != "spaceless"
    if kind(outside) == "letter":
        return kind(inside) in ("spaceless", "symbol", "flag")
    return inside != outside or kind(inside) != "other" or inside.isspace()  # "!!" is no word of "!!!"


def occurrences(text: str, part: str, whole_words: bool) -> Iterator[tuple[int, int]]:
    """Yields the occurrences of a part of a text that do not overlap, in time that grows with the text's length.

    Args:
        text: Any text.
        part: The part; not empty.
        whole_words: Whether an occurrence must begin and end at borders of words; else, at borders of characters.

    Yields:
        Character offsets `(start, end)`.

    Example:

        >>> list(occurrences("The hen and he", "he", whole_words=True))
        [(12, 14)]
    """
    begins: Callable[[str, int], bool] = is_word_start if whole_words else is_character_border
    ends: Callable[[str, int], bool] = is_word_end if whole_words else is_character_border
    start = text.find(part)
    while start >= 0:
        end = start + len(part)
        if begins(text, start) and ends(text, end):
            yield start, end
            start = text.find(part, end)
            continue
        start += 1
        while start < len(text) and not begins(text, start):  # occurrences within a long word are not tried one by one
            start += 1
        start = text.find(part, start)


def find_mention(sentence: str, mention: str) -> tuple[int, int]:
    """Finds a mention in its sentence: its first occurrence as whole words, or otherwise its first occurrence.

    Args:
        sentence: The sentence.
        mention: The mention, exactly as in the sentence.

    Returns:
        Character offsets `(start, end)`, with `sentence[start:end] == mention`. An occurrence that cuts a character,
        such as "Cafe" in a decomposed "Café", is taken only if there is no other.

    Raises:
        DIMError: If the mention is empty or not in the sentence.

    Example:

        >>> find_mention("The hen and he", "he")
        (12, 14)
    """
    if not mention.strip():
        raise DIMError("The mention is empty; give the part of the sentence that names the entity.")
    for whole_words in (True, False):
        for span in occurrences(sentence, mention, whole_words):
            return span
    start = sentence.find(mention)
    if start < 0:
        raise DIMError(
            f"The mention {mention[:80]!r} is not in the sentence {sentence[:80]!r}; give its span, or fix it."
        )
    return start, start + len(mention)
