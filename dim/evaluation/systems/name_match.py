"""Fuzzy match of mentions against names and aliases, the baseline that every linker must beat."""

from collections.abc import Sequence

import numpy as np
import torch
from rapidfuzz import fuzz, process

from dim.common.ids import group_indices
from dim.errors import DIMError
from dim.folding_dim import composed, fold


def comparable(text: str) -> str:
    """Makes a name comparable: accents removed (U+0300-U+036F after NFKD), case folded.

    Marks outside that block, such as the vowel signs of Devanagari, belong to the spelling and stay.

    Args:
        text (`str`): a mention or a name.

    Returns:
        `str`: its comparable form.

    Example:
        >>> comparable("Beyoncé GROẞ")
        'beyonce gross'
    """
    return composed(fold(text))


class NameMatch:
    """Fuzzy match of mentions against names and aliases of entities (RapidFuzz).

    ``score = max over name and aliases of (token_set_ratio + ratio / 1000)``, both in 0..100 after [`comparable`], so a
    score lies in 0..100.1. `token_set_ratio` is 100 if the words of one text are among those of the other ("Taylor" and
    "Taylor Swift"); `ratio` then prefers the name with fewer other letters. It adds at most 0.1, so it mainly decides
    between equal token sets. Entities with the same name tie.

    Args:
        names (`Sequence[str]`): the name of each of the `N` entities.
        aliases (`Sequence[Sequence[str]]`, *optional*): their other names, one sequence (may be empty) for each entity.

    Raises:
        DIMError: if there are no names, not one sequence of aliases for each entity, or a blank name or alias.

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
            raise DIMError(f"aliases has {len(aliases)} entries for {len(names)} names: give one sequence per entity")
        self._forms: list[str] = []  # the S comparable names and aliases, entity by entity
        self._starts: list[int] = []  # (N,) index of each entity's first form
        for index, (name, others) in enumerate(zip(names, aliases, strict=True)):
            if isinstance(others, str):
                raise DIMError(f"aliases[{index}] is the string {others!r}: give a sequence of strings")
            self._starts.append(len(self._forms))
            for form in (name, *others):
                if not form.strip():
                    raise DIMError(f"names[{index}] or one of its aliases is blank: leave blank aliases out")
                self._forms.append(comparable(form))

    def scores(self, mentions: Sequence[str]) -> torch.Tensor:
        """Scores every mention against every entity, on all cores; equal mentions are scored once.

        Args:
            mentions (`Sequence[str]`): the `M` surface forms. Pass a large set in parts: `M * N` scores are in memory.

        Returns:
            `torch.Tensor` of shape `(M, N)`: float32 in 0..100.1, higher is better.

        Raises:
            DIMError: for a blank mention, or a string instead of a sequence.
        """
        if isinstance(mentions, str):
            raise DIMError(f"mentions is the string {mentions!r}: give a sequence of strings")
        blank = next((index for index, mention in enumerate(mentions) if not mention.strip()), None)
        if blank is not None:
            raise DIMError(f"mentions[{blank}] is blank: there is no name to match")
        texts = [comparable(mention) for mention in mentions]
        unique = list(dict.fromkeys(texts))
        forms = process.cdist(unique, self._forms, scorer=fuzz.token_set_ratio, dtype=np.float32, workers=-1)  # (U, S)
        forms += process.cdist(unique, self._forms, scorer=fuzz.ratio, dtype=np.float32, workers=-1) / np.float32(1000)
        table = np.maximum.reduceat(forms, self._starts, axis=1)  # (U, N)
        return torch.from_numpy(table[group_indices(texts)])  # (M, N)
