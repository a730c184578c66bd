"""Tokens of texts: words and character n-grams, hashed into buckets, many texts at a time."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from anyascii import anyascii

from dim.folding_dim import UNSEEN, fold
from dim.names_dim import name_words, telling_signs
from dim.words_dim import SPACELESS

BUCKETS = 1 << 20  # of the hash; a collision adds little to a similarity

_PRIME = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio, for multiplicative hashing
_SPACE, _NEW_LINE = 32, 10
_JOINER = 0x200D  # of emoji
_WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F) if not chr(code).isalnum()}
_MARKUP = "|<>=~^`´¨¯¸©®"  # symbols that are no part of a name
_LAST = 0x3FFFF  # above the last letter; no character has this code
_OUTSIDE, _LETTER, _BARE_LETTER, _SIGN = range(4)  # kinds of code points; the third: of a script without spaces
_WORD, _INITIAL, _GRAM, _PAIR = (np.uint64(seed) for seed in (1, 2, 3, 4))  # kinds of tokens, which do not match


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
    """Returns the forms of a name for the index: its [`name_words`], then the [`telling_signs`]; and if the words are
    not ASCII, also transliterated to Latin letters.

    Example:

        >>> spellings("Beyoncé (singer)"), spellings("Путин"), spellings("Help!")
        (['beyonce'], ['путин', 'putin'], ['help !'])
    """
    words, signs = name_words(name), telling_signs(name)
    plain = " ".join([*words, signs] if signs else words)
    if plain.isascii():
        return [plain]
    latin = [anyascii(word).lower() if word[0].isalpha() else word for word in words]
    return list(dict.fromkeys([plain, " ".join([*latin, signs] if signs else latin)]))


def searchable(name: str, text: str) -> str:
    """Folds a name and a text for [`split_words`], without invisible characters.

    The signs of the name's [`spellings`] are added in their full width, which no folded text has, so that they count
    and those of the text do not.
    """
    plain = f"{name} {text}"
    folded = plain.lower() if plain.isascii() else UNSEEN.sub("", fold(plain))
    signs = [part for part in spellings(name)[0].split() if not part[0].isalnum()]
    return " ".join([folded, *(part.translate(_WIDE) for part in signs)])


def split_names(names: Sequence[str]) -> Words:
    """Splits the [`spellings`] of names at spaces.

    Args:
        names: `T` spellings.

    Returns:
        The words.
    """
    codes, ends = _codes(names)
    return _split(codes, np.isin(codes, (_SPACE, _NEW_LINE), invert=True).view(np.uint8), ends)


def split_words(texts: Sequence[str]) -> Words:
    """Splits folded texts into words: runs of letters, digits and combining marks, and runs of symbols.

    Args:
        texts: `T` folded texts.

    Returns:
        The words. Letters of a script without spaces are apart from others.
    """
    codes, ends = _codes(texts)
    return _split(codes, _kinds()[np.minimum(codes, _LAST)], ends)


def _codes(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Code points of texts, each with a new line after it `(C,)`, and where each text ends `(T,)`."""
    codes = np.frombuffer("\n".join([*texts, ""]).encode("utf-32-le"), np.uint32)
    return codes, np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)) + 1)


def _split(codes: np.ndarray, kinds: np.ndarray, ends: np.ndarray) -> Words:
    """Finds the runs of code points of one kind, except `_OUTSIDE`."""
    inside = kinds != _OUTSIDE
    starts = np.flatnonzero(inside & (np.diff(kinds, prepend=np.uint8(_OUTSIDE)) != 0))
    counts = np.cumsum(inside)
    return Words(codes[inside].astype(np.uint64), counts[starts] - 1, np.searchsorted(ends, starts, "right"), len(ends))


def word_tokens(words: Words) -> Tokens:
    """Returns one token per word. In scripts without spaces, the pairs of neighbouring characters of a run are the
    tokens, since words cannot be told.
    """
    spelled = _spelled(words.codes, words.starts)
    if len(spelled) == 0:
        return Tokens(words.owners, words.starts, words.texts)
    word = np.repeat(np.arange(len(words.starts)), np.diff(words.starts, append=len(words.codes)))  # (C,)
    bare = _kinds()[np.minimum(words.codes, _LAST).astype(np.int64)][words.starts] == _BARE_LETTER
    first = np.flatnonzero(bare[word[:-1]] & (word[:-1] == word[1:]))  # where a pair begins
    pairs = words.codes[first] * _PRIME + words.codes[first + 1]
    split = np.zeros(len(words.starts), bool)
    split[word[first]] = True
    owners = np.concatenate([words.owners[~split], words.owners[word[first]]])
    return Tokens(owners, np.concatenate([_bucket(spelled[~split], _WORD), _bucket(pairs, _PAIR)]), words.texts)


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
def _kinds() -> np.ndarray:
    """Kind of each code point, uint8."""
    kinds = np.zeros(_LAST + 1, np.uint8)
    for code in range(_LAST + 1):
        category = unicodedata.category(chr(code))
        if category[0] in "LNM":
            kinds[code] = _LETTER
        elif category in ("So", "Sc", "Sk", "Sm") and chr(code) not in _MARKUP:
            kinds[code] = _SIGN
    for first, last in SPACELESS:
        part = kinds[first : last + 1]
        part[part == _LETTER] = _BARE_LETTER
    kinds[[ord("#"), *_WIDE.values(), _JOINER, _LAST]] = _SIGN  # the last also stands for the tags of flags
    return kinds
