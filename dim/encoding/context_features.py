"""What a sentence tells about whom it can mean: years against life spans, pronouns against gender.

English words and Arabic numerals; where a text has none of them, every feature is 0.
"""

import re
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dim.common.text import fold

CONTEXT_FEATURES = (
    "alive",
    "unborn",
    "dead",
    "years_before_birth",
    "years_after_death",
    "child",
    "adult",
    "gender_agrees",
    "gender_differs",
)
_YEAR = re.compile(r"\b(1\d{3}|20\d{2})(?:['’]?s)?\b")
_BIRTH = re.compile(r"\b(?:birth|born)\b[^.;()]{0,40}?\b(\d{3,4})\b", re.IGNORECASE)
_DEATH = re.compile(r"\b(?:death|died)\b[^.;()]{0,40}?\b(\d{3,4})\b", re.IGNORECASE)
_SPAN = re.compile(r"\([^()]*?\b(\d{3,4})\b[^()\d]*[–—-][^()]*?\b(\d{3,4})\s*\)")
_SEX = re.compile(r"\b(?:sex|gender): (male|female)\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]+")
_HE = """
    actor baron boy brother businessman count duke earl emperor father he him himself his husband king lord man mr
    prince sir son
"""
_SHE = """
    actress baroness businesswoman countess daughter duchess empress girl her hers herself lady miss mother mrs ms
    princess queen she sister wife woman
"""
_MALE, _FEMALE = frozenset(_HE.split()), frozenset(_SHE.split())
_LONGEST_LIFE = 100  # years
_CHILD, _OLD = 16, 80


def life_span(description: str) -> tuple[int | None, int | None]:
    """Years of birth and death, from an English description or a list of attributes.

    Args:
        description: What a knowledge base says of an entity.

    Returns:
        Each year, or None where it is not told.

    Example:

        >>> life_span("Sex: male. Birth: 1843, Leeds. Death: 1896. Occupation: actor.")
        (1843, 1896)
        >>> life_span("Taylor Swift (born December 13, 1989) is an American singer.")
        (1989, None)
        >>> life_span("Hans Holbein (c. 1497 – 1543) was a painter.")
        (1497, 1543)
    """
    birth, death = _BIRTH.search(description), _DEATH.search(description)
    if birth is None and death is None:
        span = _SPAN.search(description)
        return (None, None) if span is None else (int(span[1]), int(span[2]))
    return (None if birth is None else int(birth[1])), (None if death is None else int(death[1]))


def gender(text: str) -> int:
    """Whether a text speaks of a man or of a woman: by an attribute, or by English pronouns and titles.

    Args:
        text: A description or a sentence.

    Returns:
        1 for a man, -1 for a woman, 0 where it tells neither, or both.

    Example:

        >>> gender("Sex: female. Birth: 1921."), gender("She sang with her band."), gender("Swift and his wife")
        (-1, -1, 0)
    """
    told = _SEX.search(text)
    if told is not None:
        return 1 if told[1].lower() == "male" else -1
    words = set(_WORD.findall(fold(text)))
    return int(not words.isdisjoint(_MALE)) - int(not words.isdisjoint(_FEMALE))


class ContextFeatures:
    """Features of pairs of a sentence and an entity, from the years and pronouns of both.

    All in `[0, 1]` or, for distances, `log(1 + years) / 5`. `alive`: a year of the sentence lies in the entity's life;
    `unborn`, `dead`: all of them lie before its birth, after its death (a hundred years after its birth, where its
    death is not told); `years_before_birth`, `years_after_death`: how far the nearest one lies outside; `child`,
    `adult`: its age in the first of those years is below 16, or from 16 to 79; `gender_agrees`, `gender_differs`: of
    the pronouns and titles in both. A sentence may well speak of a statue put up in 2010, so the model weighs them.

    Args:
        descriptions: What the knowledge base says of each of the `E` entities.

    Example:

        >>> features = ContextFeatures(["Birth: 1491. Death: 1547.", "Birth: 1842. Death: 1910."])
        >>> features(["Henry, c. 1531"])[0, :, CONTEXT_FEATURES.index("alive")]
        tensor([1., 0.])
    """

    def __init__(self, descriptions: Sequence[str]):
        spans = [life_span(text) for text in descriptions]
        self._birth = np.array([np.nan if birth is None else birth for birth, _ in spans], np.float32)
        known = np.array([np.nan if death is None else death for _, death in spans], np.float32)
        self._death = np.where(np.isnan(known), self._birth + _LONGEST_LIFE, known)
        self._gender = np.array([gender(text) for text in descriptions], np.int8)

    def __call__(self, sentences: Sequence[str], rows: Tensor | None = None) -> Tensor:
        """Features of every sentence with every entity.

        Args:
            sentences: `M` sentences.
            rows: Which entities, `(E,)` for all sentences or `(M, C)` for each; all of them by default.

        Returns:
            `torch.Tensor` of shape `(M, E, F)` or `(M, C, F)`, float32, in the order of `CONTEXT_FEATURES`.
        """
        entities = np.arange(len(self._birth)) if rows is None else rows.numpy()
        features = np.zeros((len(sentences), entities.shape[-1], len(CONTEXT_FEATURES)), np.float32)
        for place, sentence in enumerate(sentences):
            own = entities if entities.ndim == 1 else entities[place]
            years = np.array(sorted(map(int, _YEAR.findall(sentence))), np.float32)
            if len(years):
                features[place, :, :7] = _against_life(years, self._birth[own], self._death[own])
            told = gender(sentence)
            if told:
                features[place, :, 7] = self._gender[own] == told
                features[place, :, 8] = self._gender[own] == -told
        return torch.from_numpy(features)


def _against_life(years: np.ndarray, birth: np.ndarray, death: np.ndarray) -> np.ndarray:
    """The features `(E, 7)` of years `(Y,)`, in order, against lives `(E,)`; an unknown bound (NaN) tells nothing."""
    first, last = years[0], years[-1]
    with np.errstate(invalid="ignore"):
        alive = ((years[:, None] >= birth) & (years[:, None] <= death)).any(0)
        age = first - birth
        return np.stack(
            [
                alive,
                last < birth,
                first > death,
                np.nan_to_num(np.log1p(np.maximum(0, birth - last)) / 5),
                np.nan_to_num(np.log1p(np.maximum(0, first - death)) / 5),
                (age >= 0) & (age < _CHILD),
                (age >= _CHILD) & (age < _OLD),
            ],
            axis=1,
        )


__all__ = ["CONTEXT_FEATURES", "ContextFeatures", "gender", "life_span"]
