# Copyright 2026 The DIM authors.
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with
# the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on
# an "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
"""Similarities of a mention and an entity's names, as features of the lexical prior."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from rapidfuzz import fuzz, process
from rapidfuzz.distance import JaroWinkler
from scipy.sparse import csr_array
from torch import Tensor

from .errors_dim import DIMError
from .names_dim import name_words, sentence_words, telling_signs, without_qualifier
from .words_dim import is_character_border, kind

NAME_FEATURES = (
    "equal",
    "ratio",
    "token_set_ratio",
    "jaro_winkler",
    "first_word",
    "last_word",
    "words_in_sentence",
    "qualified",
)
_SIMILARITIES: tuple[tuple[Any, int], ...] = (
    (fuzz.ratio, 100),
    (fuzz.token_set_ratio, 100),
    (JaroWinkler.normalized_similarity, 1),
)  # a scorer, and its value for equal texts
_FEW_PAIRS = 10_000  # up to this many, threads take longer to start than the comparison takes
_LONGEST_INSIDE = 32  # characters of a word that is looked for within a run of a script without spaces


class NameFeatures:
    """Features of the names in mention-entity pairs; of an entity's name and aliases, the most similar one counts.

    The features, all in `[0, 1]`, compare the words of [`name_words`]: `equal`, 1 for the same words in the same order
    and the same [`telling_signs`], so that "Help" differs from "Help!"; `ratio` (normalised indel similarity),
    `token_set_ratio` (1 if the words of one are a subset of the other's) and `jaro_winkler`, as RapidFuzz defines them;
    `first_word` and `last_word`, 1 if they are equal; `words_in_sentence`, the share of the name's words that are in
    the mention's sentence (in a script without spaces, anywhere in a run of letters, at borders of characters);
    `qualified`, 1 if the name has a qualifier in brackets, which distinguishes an entity from a better-known namesake.
    None depends on the identity of the entity or on how often it was an answer.

    Args:
        names: Names of the `E` entities.
        aliases: Aliases of each entity; none by default.

    Raises:
        DIMError: If there is no entity, or names and aliases differ in number.

    Example:

        >>> features = NameFeatures(["Taylor Swift", "Taylor (band)"], [["T-Swift"], []])
        >>> features(["Taylor"], ["Taylor sang."])[0, :, NAME_FEATURES.index("equal")]
        tensor([0., 1.])
    """

    def __init__(self, names: Sequence[str], aliases: Sequence[Sequence[str]] | None = None):
        if len(names) == 0:
            raise DIMError("There are no names; lexical features need at least one entity.")
        if aliases is None:
            aliases = [()] * len(names)
        if len(aliases) != len(names):
            raise DIMError(f"There are {len(names)} names, but aliases for {len(aliases)} entities.")
        forms = [[name, *others] for name, others in zip(names, aliases, strict=True)]
        self._starts = np.cumsum([0] + [len(entity) for entity in forms])  # index of each entity's first form
        words = [name_words(form) for entity in forms for form in entity]
        self._vocabulary: dict[str, int] = {}
        for form in words:
            for word in form:
                self._vocabulary.setdefault(word, len(self._vocabulary))
        self._texts = np.array([" ".join(form) for form in words], dtype=object)
        self._whole: dict[tuple[str, str], int] = {}  # a code for each different text with its signs
        keys = zip(self._texts, (telling_signs(form) for entity in forms for form in entity), strict=True)
        self._equal = np.array([self._whole.setdefault(key, len(self._whole)) for key in keys])
        self._first = np.array([self._vocabulary[form[0]] if form else -1 for form in words])
        self._last = np.array([self._vocabulary[form[-1]] if form else -1 for form in words])
        self._bags = self._bag([set(form) for form in words])  # (S, V)
        self._qualified = np.array([without_qualifier(name) != name for name in names], np.float32)
        spaceless = {len(word) for word in self._vocabulary if kind(word[0]) == "spaceless"}
        self._sizes = sorted(size for size in spaceless if size <= _LONGEST_INSIDE)

    def __len__(self) -> int:
        return len(self._qualified)

    def __call__(self, mentions: Sequence[str], sentences: Sequence[str], rows: Tensor | None = None) -> Tensor:
        """Features of every mention with every entity, on all CPU cores.

        Args:
            mentions: `M` mentions.
            sentences: Their sentences.
            rows: Indices of entities `(E,)`; all entities by default.

        Returns:
            `torch.Tensor` of shape `(M, E, F)`, float32, in the order of `NAME_FEATURES`. It must fit in memory, so
            pass a large set in parts.
        """
        entities = np.arange(len(self)) if rows is None else rows.numpy()
        forms, starts = self._forms(entities)
        words, texts, index = _unique_words(mentions)
        first, last = self._codes(words, 0), self._codes(words, -1)
        names = self._bags[forms]
        found = (self._sentences(sentences) @ names.T).toarray() / np.maximum(names.sum(1), 1)  # (M, S)

        features = np.empty((len(mentions), len(entities), len(NAME_FEATURES)), np.float32)
        choices = self._texts[forms].tolist()
        for feature, (scorer, most) in enumerate(_SIMILARITIES, 1):
            table = process.cdist(texts, choices, scorer=scorer, dtype=np.float32, workers=-1) / np.float32(most)
            best = np.maximum.reduceat(table, starts, axis=1)  # (U, S) -> (U, E)
            features[:, :, feature] = best[index]
        whole = self._signed(mentions, texts, index)
        tables = (
            (0, whole[:, None] == self._equal[forms]),
            (4, first[:, None] == self._first[forms]),
            (5, last[:, None] == self._last[forms]),
            (6, found),
        )
        for feature, table in tables:
            features[:, :, feature] = np.maximum.reduceat(table, starts, axis=1)
        features[:, :, 7] = self._qualified[entities]
        return torch.from_numpy(features)

    def pairs(self, mentions: Sequence[str], sentences: Sequence[str], rows: Tensor) -> Tensor:
        """Features of each mention with its own candidates, equal to those of a call.

        Args:
            mentions: `M` mentions.
            sentences: Their sentences.
            rows: Indices of each mention's candidates, `(M, C)`.

        Returns:
            `torch.Tensor` of shape `(M, C, F)`, float32.
        """
        forms, starts = self._forms(rows.flatten().numpy())  # of all P pairs, S forms in total
        words, texts, index = _unique_words(mentions)
        counts = np.diff(np.append(starts, len(forms)))
        owners = np.repeat(np.repeat(np.arange(len(mentions)), rows.shape[1]), counts)  # (S,) mention of each form
        queries = np.array(texts, dtype=object)[index[owners]].tolist()
        choices = self._texts[forms].tolist()
        names = self._bags[forms]
        found = self._sentences(sentences)[owners].multiply(names).sum(1) / np.maximum(names.sum(1), 1)  # (S,)

        features = np.empty((rows.numel(), len(NAME_FEATURES)), np.float32)
        workers = -1 if len(choices) > _FEW_PAIRS else 1
        for feature, (scorer, most) in enumerate(_SIMILARITIES, 1):
            table = process.cpdist(queries, choices, scorer=scorer, dtype=np.float32, workers=workers)
            table /= np.float32(most)
            features[:, feature] = np.maximum.reduceat(table, starts)
        whole = self._signed(mentions, texts, index)
        tables = (
            (0, whole[owners] == self._equal[forms]),
            (4, self._codes(words, 0)[owners] == self._first[forms]),
            (5, self._codes(words, -1)[owners] == self._last[forms]),
            (6, found),
        )
        for feature, table in tables:
            features[:, feature] = np.maximum.reduceat(table, starts)
        features[:, 7] = self._qualified[rows.flatten().numpy()]
        return torch.from_numpy(features).view(*rows.shape, -1)

    def _forms(self, entities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Indices of the entities' forms `(S,)`, and where the forms of each entity begin in them."""
        counts = self._starts[entities + 1] - self._starts[entities]
        starts = np.cumsum(counts) - counts
        return np.arange(counts.sum()) + np.repeat(self._starts[entities] - starts, counts), starts

    def _codes(self, words: list[list[str]], index: int) -> np.ndarray:
        """Vocabulary index of the word at `index` of each name, -2 for a word that no entity's name has."""
        return np.array([self._vocabulary.get(name[index], -2) if name else -2 for name in words])

    def _signed(self, mentions: Sequence[str], texts: list[str], index: np.ndarray) -> np.ndarray:
        """Code of each mention's text with its signs, -2 for one that no entity's name has."""
        keys = ((texts[place], telling_signs(mention)) for place, mention in zip(index, mentions, strict=True))
        return np.array([self._whole.get(key, -2) for key in keys])

    def _sentences(self, sentences: Sequence[str]) -> csr_array:
        """Which words of the vocabulary each sentence contains, `(M, V)`."""
        found = map(sentence_words, sentences)
        return self._bag([words | {part for word in words for part in self._within(word)} for words in found])

    def _within(self, word: str) -> Iterator[str]:
        """Yields the words of the vocabulary within a run of letters of a script without spaces."""
        if not self._sizes or kind(word[0]) != "spaceless":
            return
        borders = [is_character_border(word, index) for index in range(len(word) + 1)]
        for start in range(len(word)):
            for size in self._sizes if borders[start] else ():
                end = start + size
                if end <= len(word) and borders[end] and word[start:end] in self._vocabulary:
                    yield word[start:end]

    def _bag(self, texts: list[set[str]]) -> csr_array:
        """Which words of the vocabulary each text contains, `(N, V)`."""
        cells = [(row, self._vocabulary[word]) for row, words in enumerate(texts) for word in words
                 if word in self._vocabulary]  # fmt: skip
        rows, columns = zip(*sorted(cells), strict=True) if cells else ((), ())
        shape = (len(texts), max(1, len(self._vocabulary)))
        return csr_array((np.ones(len(cells), np.float32), (list(rows), list(columns))), shape=shape)


def _unique_words(mentions: Sequence[str]) -> tuple[list[list[str]], list[str], np.ndarray]:
    """Words of each mention, the distinct texts, and each mention's index in them: equal texts are compared once."""
    words = [name_words(mention) for mention in mentions]
    texts = [" ".join(mention) for mention in words]
    places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    return words, list(places), np.array([places[text] for text in texts])


__all__ = ["NAME_FEATURES", "NameFeatures"]
