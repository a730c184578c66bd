"""Texts as numbers: words and character n-grams, hashed into buckets, many texts at a time."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from anyascii import anyascii

from dim.common.text import fold

BUCKETS = 1 << 20  # of the hash; what collides only adds a little to a similarity

_QUALIFIER = re.compile(r"\s*\([^()]*\)\s*$")
_PRIME = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio, for multiplicative hashing
_SPACE = 32
_LAST = 0x3FFFF  # no letter lies beyond, and nothing has this code
_WORD, _INITIAL, _GRAM = (np.uint64(seed) for seed in (1, 2, 3))  # kinds of tokens do not meet


@dataclass(frozen=True, slots=True)
class Words:
    """The words of some texts.

    Args:
        codes: Code points of all the words, one after the other `(C,)`, uint64.
        starts: Where each word begins in `codes` `(W,)`.
        owners: Which text each word belongs to `(W,)`, ascending.
        texts: How many texts there are.
    """

    codes: np.ndarray
    starts: np.ndarray
    owners: np.ndarray
    texts: int


@dataclass(frozen=True, slots=True)
class Tokens:
    """What texts hold, as buckets: token `i` is in text `owners[i]`; `owners` need not be sorted."""

    owners: np.ndarray
    buckets: np.ndarray
    texts: int


def folded(text: str) -> str:
    """What [`fold`] gives; faster where a text is plain ASCII."""
    return text.lower() if text.isascii() else fold(text)


def spellings(name: str) -> list[str]:
    """Folded forms under which a name is found: without the qualifier in brackets at its end, and, where it is not in
    Latin letters, as these would spell it.

    Example:

        >>> spellings("Beyoncé (singer)"), spellings("Путин")
        (['beyonce'], ['путин', 'putin'])
    """
    plain = folded(_QUALIFIER.sub("", name) or name)
    return [plain] if plain.isascii() else list(dict.fromkeys([plain, anyascii(plain).lower()]))


def split_words(texts: Sequence[str]) -> Words:
    """Splits folded texts into words: letters, digits, and the marks that some scripts write on letters.

    Args:
        texts: `T` folded texts.

    Returns:
        Their words.
    """
    codes = np.frombuffer("\n".join([*texts, ""]).encode("utf-32-le"), np.uint32)
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)) + 1)  # (T,) behind each text
    inside = _letters()[np.minimum(codes, _LAST)]
    edges = np.diff(inside.view(np.int8), prepend=0)
    starts = np.flatnonzero(edges == 1)
    owners = np.searchsorted(ends, starts, side="right")
    counts = np.cumsum(inside)
    return Words(codes[inside].astype(np.uint64), counts[starts] - 1, owners, len(texts))


def word_tokens(words: Words) -> Tokens:
    """One token a word."""
    return Tokens(words.owners, _bucket(_spelled(words.codes, words.starts), _WORD), words.texts)


def name_tokens(words: Words) -> Tokens:
    """Tokens that alike names share: words, their first letters, their trigrams (`_jo joe oe_`), and of several words
    the acronym, which meets another name's word ("UN").

    Args:
        words: The words of names or mentions.

    Returns:
        Their tokens.
    """
    if len(words.starts) == 0:
        return Tokens(words.owners, words.starts, words.texts)
    spelled, initials = _spelled(words.codes, words.starts), words.codes[words.starts]
    number = np.repeat(np.arange(len(words.starts)), np.diff(words.starts, append=len(words.codes)))  # (C,) the word
    # Each word between two spaces: its letters move right by one for each word begun before, and by one more.
    padded = np.full(len(words.codes) + 2 * len(words.starts), _SPACE, np.uint64)
    padded[np.arange(len(words.codes)) + 2 * number + 1] = words.codes
    middle = np.arange(len(words.codes)) + 2 * number + 1  # each letter is the middle of one trigram
    grams = (padded[middle - 1] * _PRIME + padded[middle]) * _PRIME + padded[middle + 1]
    first = np.flatnonzero(np.diff(words.owners, prepend=-1))  # the first word of each text that has one
    several = np.diff(first, append=len(words.owners)) > 1
    acronyms = _spelled(initials, first)[several]
    parts = [
        (words.owners, _bucket(spelled, _WORD)),
        (words.owners, _bucket(initials, _INITIAL)),
        (words.owners[first][several], _bucket(acronyms, _WORD)),
        (words.owners[number], _bucket(grams, _GRAM)),
    ]
    owners, buckets = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Tokens(owners, buckets, words.texts)


def _spelled(codes: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """A hash of each run of codes: a polynomial in their places."""
    if len(starts) == 0:
        return np.zeros(0, np.uint64)
    place = np.arange(len(codes)) - np.repeat(starts, np.diff(starts, append=len(codes)))
    powers = np.cumprod(np.full(place.max() + 1, _PRIME))
    return np.add.reduceat(codes * powers[place], starts)


def _bucket(values: np.ndarray, kind: np.uint64) -> np.ndarray:
    mixed = (values + kind) * _PRIME
    mixed ^= mixed >> np.uint64(29)
    return ((mixed * _PRIME) >> np.uint64(44)).astype(np.int32)  # the upper 20 bits


@cache
def _letters() -> np.ndarray:
    """Which code points make words."""
    return np.fromiter(
        (chr(code).isalnum() or unicodedata.category(chr(code))[0] == "M" for code in range(_LAST + 1)), bool, _LAST + 1
    )


__all__ = ["BUCKETS", "Tokens", "Words", "folded", "name_tokens", "spellings", "split_words", "word_tokens"]
