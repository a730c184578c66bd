"""Folding of letter case and accents, and words with their offsets in the original text."""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import groupby

import regex  # type: ignore[import-untyped]

from dim.words_dim import SPACELESS

_PARTICLES = """
    a af al av bin conte d da dal das de degli dei del della den der des di do dos du el ibn in l la las le lo los no of
    op t te ten ter the tot van vom von zu zum zur
"""
_CONJUNCTIONS = "and e en et i och og u und y"
_TITLES = """
    archduke baron captain chancellor colonel congressman count countess doctor dr duchess duke earl elector emperor
    empress general governor king lady lord madame major margrave marquess mayor minister miss mr mrs ms pope president
    prince princess professor queen saint secretary senator sir st sultan
"""
PARTICLES = frozenset(_PARTICLES.split())  # connect the parts of a name
SMALL_WORDS = PARTICLES | frozenset(_CONJUNCTIONS.split())  # words that releases drop from names, or add to them
TITLES = frozenset(_TITLES.split())
_ROMAN = re.compile("[IVX]+")

# A word is a run of letters and digits with their marks. Invisible format characters may stand within, and letters of
# scripts without spaces are apart from others. The pattern is possessive, so that it is linear.
_BARE = "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in SPACELESS)
_BARE_LETTER = rf"[[{_BARE}]&&[\p{{L}}\u3007]]"
_OTHER_LETTER = rf"[[\p{{L}}\p{{N}}]--{_BARE_LETTER}]"
INVISIBLE = r"[\p{Cf}--\u200b]"  # U+200B separates words
WORD = "|".join(
    rf"{letter}(?:[{letter}\p{{M}}]|{INVISIBLE}++(?=[{letter}\p{{M}}]))*+" for letter in (_BARE_LETTER, _OTHER_LETTER)
)
_WORD = regex.compile(WORD, regex.V1)
UNSEEN = regex.compile(rf"[{INVISIBLE}\p{{Variation_Selector}}]", regex.V1)
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


class Folded:
    """A folded text with the origin of each of its characters.

    Args:
        text: The original text.
        fold_one: Folds one character.
    """

    def __init__(self, text: str, fold_one: Callable[[str], str] = fold_character) -> None:
        folded = [fold_one(character) for character in text]
        self.text = "".join(folded)
        self._origin = [index for index, part in enumerate(folded) for _ in part]
        self._original = text

    def span(self, start: int, end: int) -> tuple[int, int] | None:
        """Maps a span of the folded text to the original text.

        Args:
            start: Offset in the folded text.
            end: Offset after the span's last character, greater than `start`.

        Returns:
            `(start, end)` in the original, including the combining accents that follow; `None` if the span begins or
            ends inside the folded form of one character ("½" folds to "1⁄2").
        """
        before = self._origin[start - 1] if start else -1
        after = self._origin[end] if end < len(self._origin) else len(self._original)
        first, last = self._origin[start], self._origin[end - 1]
        if first == before or last == after:
            return None
        last += 1
        while last < after and not fold_character(self._original[last]):
            last += 1
        return first, last


@dataclass(frozen=True, slots=True)
class Word:
    """A word with its offsets, its text and its folded form."""

    start: int
    end: int
    text: str
    form: str

    @property
    def is_name(self) -> bool:
        """Whether it may be a name: it does not begin with a lower-case letter. True in scripts without case."""
        return not self.text[0].islower()

    @property
    def is_small(self) -> bool:
        """Whether it is one of `SMALL_WORDS`, in lower case."""
        return not self.is_name and self.form in SMALL_WORDS

    @property
    def is_number(self) -> bool:
        """Whether it is an initial or a Roman numeral, which many forms of a name leave out."""
        return self.is_name and (len(self.text) == 1 or bool(_ROMAN.fullmatch(self.text)))


def words(text: str) -> list[Word]:
    """Splits a text into words: runs of letters and digits with their combining marks.

    Args:
        text: Any text.

    Returns:
        The words, in order.

    Example:
        >>> [word.form for word in words("Noël O'Hara")]
        ['noel', 'o', 'hara']
    """
    folded = Folded(text)
    spans = filter(None, (folded.span(*match.span()) for match in _WORD.finditer(folded.text)))
    found = ((start, end, text[start:end]) for start, end in spans)
    return [Word(start, end, part, fold(UNSEEN.sub("", part))) for start, end, part in found]


def sentence_key(sentence: str) -> str:
    """Removes case, accents and punctuation from a sentence, so that near-duplicates compare equal.

    Args:
        sentence: Any text.

    Returns:
        Its words; the text itself if it has none.

    Example:
        >>> sentence_key("He met Beyoncé.") == sentence_key("he met BEYONCE")
        True
    """
    return " ".join(word.form for word in words(sentence)) or sentence
