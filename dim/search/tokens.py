"""Tokens of texts: words and character n-grams, hashed into buckets, many texts at a time."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from anyascii import anyascii

from dim.common.text import fold

BUCKETS = 1 << 20  # of the hash; a collision adds little to a similarity

_QUALIFIER = re.compile(r"\s*\([^()]*\)\s*$")
_PRIME = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio, for multiplicative hashing
_SPACE = 32
_LAST = 0x3FFFF  # above the last letter; no character has this code
_WORD, _INITIAL, _GRAM = (np.uint64(seed) for seed in (1, 2, 3))  # so that tokens of different kinds do not match


@dataclass(frozen=True, slots=True)
class Words:
    """The words of several texts.

    Args:
        codes: Code points of all words, concatenated `(C,)`, uint64.
        starts: Index of each word's first code point `(W,)`.
        owners: Index of each word's text `(W,)`, ascending.
        texts: Number of texts.
    """

    codes: np.ndarray
    starts: np.ndarray
    owners: np.ndarray
    texts: int


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of several texts, as buckets: token `i` is in text `owners[i]`; `owners` need not be sorted."""

    owners: np.ndarray
    buckets: np.ndarray
    texts: int


def spellings(name: str) -> list[str]:
    """Returns the folded forms of a name for the index: without a qualifier in brackets at its end and, if that is not
    ASCII, also transliterated to Latin letters.

    Example:

        >>> spellings("Beyoncé (singer)"), spellings("Путин")
        (['beyonce'], ['путин', 'putin'])
    """
    plain = fold(_QUALIFIER.sub("", name) or name)
    return [plain] if plain.isascii() else list(dict.fromkeys([plain, anyascii(plain).lower()]))


def split_words(texts: Sequence[str]) -> Words:
    """Splits folded texts into words: runs of letters, digits and combining marks.

    Args:
        texts: `T` folded texts.

    Returns:
        The words.
    """
    codes = np.frombuffer("\n".join([*texts, ""]).encode("utf-32-le"), np.uint32)
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)) + 1)  # (T,) after each text
    inside = _letters()[np.minimum(codes, _LAST)]
    edges = np.diff(inside.view(np.int8), prepend=0)
    starts = np.flatnonzero(edges == 1)
    owners = np.searchsorted(ends, starts, side="right")
    counts = np.cumsum(inside)
    return Words(codes[inside].astype(np.uint64), counts[starts] - 1, owners, len(texts))


def word_tokens(words: Words) -> Tokens:
    """Returns one token per word."""
    return Tokens(words.owners, _bucket(_spelled(words.codes, words.starts), _WORD), words.texts)


def name_tokens(words: Words) -> Tokens:
    """Returns tokens that similar names share: words, initials, trigrams (`_jo joe oe_`) and, for several words, the
    acronym, which matches a word of another name ("UN").

    Args:
        words: The words of names or mentions.

    Returns:
        The tokens.
    """
    if len(words.starts) == 0:
        return Tokens(words.owners, words.starts, words.texts)
    spelled, initials = _spelled(words.codes, words.starts), words.codes[words.starts]
    word = np.repeat(np.arange(len(words.starts)), np.diff(words.starts, append=len(words.codes)))  # (C,)
    # Each word gets a space on both sides: its letters move right by two for each earlier word, and by one more.
    padded = np.full(len(words.codes) + 2 * len(words.starts), _SPACE, np.uint64)
    padded[np.arange(len(words.codes)) + 2 * word + 1] = words.codes
    middle = np.arange(len(words.codes)) + 2 * word + 1  # each letter is the middle of one trigram
    grams = (padded[middle - 1] * _PRIME + padded[middle]) * _PRIME + padded[middle + 1]
    first = np.flatnonzero(np.diff(words.owners, prepend=-1))  # the first word of each text that has one
    several = np.diff(first, append=len(words.owners)) > 1
    acronyms = _spelled(initials, first)[several]
    parts = [
        (words.owners, _bucket(spelled, _WORD)),
        (words.owners, _bucket(initials, _INITIAL)),
        (words.owners[first][several], _bucket(acronyms, _WORD)),
        (words.owners[word], _bucket(grams, _GRAM)),
    ]
    owners, buckets = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Tokens(owners, buckets, words.texts)


def _spelled(codes: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Hashes each run of codes, by a polynomial of their positions."""
    if len(starts) == 0:
        return np.zeros(0, np.uint64)
    index = np.arange(len(codes)) - np.repeat(starts, np.diff(starts, append=len(codes)))
    powers = np.cumprod(np.full(index.max() + 1, _PRIME))
    return np.add.reduceat(codes * powers[index], starts)


def _bucket(values: np.ndarray, kind: np.uint64) -> np.ndarray:
    mixed = (values + kind) * _PRIME
    mixed ^= mixed >> np.uint64(29)
    return ((mixed * _PRIME) >> np.uint64(44)).astype(np.int32)  # the upper 20 bits


@cache
def _letters() -> np.ndarray:
    """Whether each code point is part of a word."""
    return np.fromiter(
        (chr(code).isalnum() or unicodedata.category(chr(code))[0] == "M" for code in range(_LAST + 1)), bool, _LAST + 1
    )
