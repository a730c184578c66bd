# Copyright 2026 The DIM authors.
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with
# the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on
# an "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
"""Features of a sentence and an entity: years against life spans, pronouns against gender.

They read English words and Arabic numerals; for a text without any, every feature is 0.
"""

import re
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from .folding_dim import fold

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
_BRACKETS = re.compile(r"\(([^()]*)\)")
_FIRST_YEAR = re.compile(r"\b(\d{3,4})\b[^\d–—-]*[–—-]")
_LAST_YEAR = re.compile(r"\b\d{3,4}$")
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
MAX_READ = 10_000
"""Number of characters of a description that are read for its features."""


def life_span(description: str) -> tuple[int | None, int | None]:
    """Reads the years of birth and death from an English description or a list of attributes, in linear time.

    Args:
        description: Description of an entity; its first `MAX_READ` characters are read.

    Returns:
        Each year, or None if it is not given.

    Example:

        >>> life_span("Sex: male. Birth: 1843, Leeds. Death: 1896. Occupation: actor.")
        (1843, 1896)
        >>> life_span("Taylor Swift (born December 13, 1989) is an American singer.")
        (1989, None)
        >>> life_span("Hans Holbein (c. 1497 – 1543) was a painter.")
        (1497, 1543)
    """
    description = description[:MAX_READ]
    birth, death = _BIRTH.search(description), _DEATH.search(description)
    if birth is None and death is None:
        return next(_spans(description), (None, None))
    return (None if birth is None else int(birth[1])), (None if death is None else int(death[1]))


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Yields the years of brackets such as "(c. 1497 - 4 May 1543)": the last thing in them, and one before a dash."""
    for brackets in _BRACKETS.finditer(text):
        inner = brackets[1].rstrip()
        last = _LAST_YEAR.search(inner[-5:])  # a year, and the character before it
        if last is not None:
            first = _FIRST_YEAR.search(inner[: len(inner) - len(last[0])])
            if first is not None:
                yield int(first[1]), int(last[0])


def gender(text: str) -> int:
    """Detects whether a text is about a man or a woman, by an attribute or by English pronouns and titles.

    Args:
        text: A description or a sentence.

    Returns:
        1 for a man, -1 for a woman, 0 for neither or both.

    Example:

        >>> gender("Sex: female. Birth: 1921."), gender("She sang with her band."), gender("Swift and his wife")
        (-1, -1, 0)
    """
    attribute = _SEX.search(text)
    if attribute is not None:
        return 1 if attribute[1].lower() == "male" else -1
    words = set(_WORD.findall(fold(text)))
    return int(not words.isdisjoint(_MALE)) - int(not words.isdisjoint(_FEMALE))


class ContextFeatures:
    """Features of sentence-entity pairs, from the years and pronouns of both.

    All are in `[0, 1]` or, for distances, `log(1 + years) / 5`. `alive`: a year of the sentence is in the entity's
    life; `unborn`, `dead`: all its years are before the birth or after the death (a hundred years after the birth if
    the death is not given); `years_before_birth`, `years_after_death`: distance of the nearest year; `child`, `adult`:
    the age in the first year is below 16, or from 16 to 79; `gender_agrees`, `gender_differs`: [`gender`] of both
    texts. The model weighs them, since a sentence may be about a statue put up in 2010.

    Args:
        descriptions: Descriptions of the `E` entities.

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
        self._gender = np.array([gender(text[:MAX_READ]) for text in descriptions], np.int8)

    def __call__(self, sentences: Sequence[str], rows: Tensor | None = None) -> Tensor:
        """Features of every sentence with every entity.

        Args:
            sentences: `M` sentences.
            rows: Indices of entities, `(E,)` for all sentences or `(M, C)` for each; all entities by default.

        Returns:
            `torch.Tensor` of shape `(M, E, F)` or `(M, C, F)`, float32, in the order of `CONTEXT_FEATURES`.
        """
        entities = np.arange(len(self._birth)) if rows is None else rows.numpy()
        features = np.zeros((len(sentences), entities.shape[-1], len(CONTEXT_FEATURES)), np.float32)
        for index, sentence in enumerate(sentences):
            own = entities if entities.ndim == 1 else entities[index]
            years = np.array(sorted(set(map(int, _YEAR.findall(sentence)))), np.float32)
            if len(years):
                features[index, :, :7] = _against_life(years, self._birth[own], self._death[own])
            sex = gender(sentence)
            if sex:
                features[index, :, 7] = self._gender[own] == sex
                features[index, :, 8] = self._gender[own] == -sex
        return torch.from_numpy(features)


def _against_life(years: np.ndarray, birth: np.ndarray, death: np.ndarray) -> np.ndarray:
    """Computes the features `(E, 7)` of sorted years `(Y,)` against lives `(E,)`; 0 for an unknown bound (NaN)."""
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


__all__ = ["CONTEXT_FEATURES", "MAX_READ", "ContextFeatures", "gender", "life_span"]
