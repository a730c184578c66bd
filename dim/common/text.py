"""Words of a text with their offsets, and small words of names."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import regex  # type: ignore[import-untyped]

from dim.folding_dim import UNSEEN, WORD, fold, fold_character

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
_WORD = regex.compile(WORD, regex.V1)


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
