"""Text without letter case and accents, and its words, each with its place in the original."""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

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
PARTICLES = frozenset(_PARTICLES.split())  # bind one part of a name to the next
SMALL_WORDS = PARTICLES | frozenset(_CONJUNCTIONS.split())  # what releases drop from names, or add to them
TITLES = frozenset(_TITLES.split())
_ROMAN = re.compile("[IVX]+")
_WORD = re.compile(r"[^\W_]+")


def fold(text: str) -> str:
    """A text in which letter case and accents do not count (NFKD without U+0300-U+036F, case folded).

    Args:
        text: Any text.

    Returns:
        Its folded form.

    Example:
        >>> fold("Beyoncé GROẞ")
        'beyonce gross'
    """
    return "".join(map(fold_character, text))


@cache
def fold_character(character: str) -> str:
    """What [`fold`] makes of one character: any number of characters, none for an accent of its own."""
    parts = unicodedata.normalize("NFKD", character)
    return "".join(part for part in parts if not "\u0300" <= part <= "\u036f").casefold()


class Folded:
    """A folded text that knows where each of its characters comes from.

    Args:
        text: The original.
        fold_one: What becomes of one character.
    """

    def __init__(self, text: str, fold_one: Callable[[str], str] = fold_character) -> None:
        folded = [fold_one(character) for character in text]
        self.text = "".join(folded)
        self._origin = [place for place, part in enumerate(folded) for _ in part]
        self._original = text

    def span(self, start: int, end: int) -> tuple[int, int] | None:
        """Offsets in the original of a part of the folded text.

        Args:
            start: Offset in the folded text.
            end: Offset behind the part's last character, more than `start`.

        Returns:
            `(start, end)`, with the accents that follow as characters of their own; `None` where the part begins or
            ends within what one character became ("½" folds to "1⁄2").
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
    """A word: where it stands, and its letters as they are and folded."""

    start: int
    end: int
    text: str
    form: str

    @property
    def is_name(self) -> bool:
        """Whether it does not begin with a lower-case letter; so in scripts without case every word may be a name."""
        return not self.text[0].islower()

    @property
    def is_small(self) -> bool:
        """Whether it is one of `SMALL_WORDS`, in lower case."""
        return not self.is_name and self.form in SMALL_WORDS

    @property
    def is_number(self) -> bool:
        """Whether it is an initial or a Roman numeral, which names are given with and without."""
        return self.is_name and (len(self.text) == 1 or bool(_ROMAN.fullmatch(self.text)))


def words(text: str) -> list[Word]:
    """The words of a text: letters and digits without signs between them.

    Args:
        text: Any text.

    Returns:
        Its words, in order.

    Example:
        >>> [word.form for word in words("Noël O'Hara")]
        ['noel', 'o', 'hara']
    """
    folded = Folded(text)
    spans = (folded.span(*match.span()) for match in _WORD.finditer(folded.text))
    return [Word(start, end, text[start:end], fold(text[start:end])) for start, end in filter(None, spans)]


__all__ = ["PARTICLES", "SMALL_WORDS", "TITLES", "Folded", "Word", "fold", "fold_character", "words"]
