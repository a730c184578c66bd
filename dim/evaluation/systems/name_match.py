"""Rankers that need no model. Every table carries them: a linker that cannot beat a name matcher has learned little."""

import unicodedata
from collections.abc import Sequence

import numpy as np
import torch
from rapidfuzz import fuzz, process

from dim.common.text import fold
from dim.errors import DIMError


def comparable(text: str) -> str:
    """Make a name comparable: accents removed (U+0300-U+036F after NFKD), case folded.

    Marks outside that block, such as the vowel signs of Devanagari, belong to the spelling and stay.

    Args:
        text (`str`): a mention or a name.

    Returns:
        `str`: its comparable form.

    Example:
        >>> comparable("Beyoncé GROẞ")
        'beyonce gross'
    """
    return unicodedata.normalize("NFC", fold(text))


class NameMatch:
    """Fuzzy match of the mention against the entities' names and aliases (RapidFuzz).

    ``score = max over name and aliases of (token_set_ratio + ratio / 1000)``, both in 0..100 after [`comparable`], so a
    score lies in 0..100.1. `token_set_ratio` is 100 as soon as the words of one are among the words of the other
    ("Taylor" and "Taylor Swift"); `ratio` then prefers the name with fewer other letters. It adds at most 0.1, so it
    decides between equal token sets and hardly between others. Entities of one name tie.

    Args:
        names (`Sequence[str]`): the name of each of the `N` entities.
        aliases (`Sequence[Sequence[str]]`, *optional*): their other names, one sequence (it may be empty) an entity.

    Raises:
        DIMError: for no names, aliases that are not one sequence an entity, or a name or alias that is blank.

    Example:
        >>> match = NameMatch(["Taylor Swift", "Jonathan Swift"], [["T-Swift"], []])
        >>> match.scores(["JONATHAN SWIFT"])[0, 1].item() == torch.tensor(100.1).item()
        True
        >>> match.scores(["Taylor"]).argmax(dim=1)
        tensor([0])
    """

    def __init__(self, names: Sequence[str], aliases: Sequence[Sequence[str]] | None = None) -> None:
        if len(names) == 0:
            raise DIMError("names is empty: a name matcher needs at least one entity")
        if aliases is None:
            aliases = [()] * len(names)
        if len(aliases) != len(names):
            raise DIMError(f"aliases has {len(aliases)} entries for {len(names)} names: give one sequence an entity")
        self._forms: list[str] = []  # the S comparable names and aliases, entity by entity
        self._starts: list[int] = []  # (N,) where each entity's forms begin
        for index, (name, others) in enumerate(zip(names, aliases, strict=True)):
            if isinstance(others, str):
                raise DIMError(f"aliases[{index}] is the string {others!r}: give a sequence of strings")
            self._starts.append(len(self._forms))
            for form in (name, *others):
                if not form.strip():
                    raise DIMError(f"names[{index}] or one of its aliases is blank: leave blank aliases out")
                self._forms.append(comparable(form))

    def scores(self, mentions: Sequence[str]) -> torch.Tensor:
        """Score every mention against every entity, on all cores; equal mentions are scored once.

        Args:
            mentions (`Sequence[str]`): the `M` surface forms. `M * N` scores are held, so pass a large set in parts.

        Returns:
            `torch.Tensor` of shape `(M, N)`: float32 in 0..100.1, higher is better.

        Raises:
            DIMError: for a blank mention, or one string in place of a sequence.
        """
        if isinstance(mentions, str):
            raise DIMError(f"mentions is the string {mentions!r}: give a sequence of strings")
        rows: dict[str, int] = {}  # comparable mention -> row of the table of unique ones
        index = []
        for position, mention in enumerate(mentions):
            if not mention.strip():
                raise DIMError(f"mentions[{position}] is blank: there is no name to match")
            index.append(rows.setdefault(comparable(mention), len(rows)))
        unique = list(rows)
        forms = process.cdist(unique, self._forms, scorer=fuzz.token_set_ratio, dtype=np.float32, workers=-1)  # (U, S)
        forms += process.cdist(unique, self._forms, scorer=fuzz.ratio, dtype=np.float32, workers=-1) / np.float32(1000)
        table = np.maximum.reduceat(forms, self._starts, axis=1)  # (U, N)
        return torch.from_numpy(table[index])  # (M, N)
