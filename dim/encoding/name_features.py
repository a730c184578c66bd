"""How alike a mention and an entity's names are, as features of the model's lexical prior."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from rapidfuzz import fuzz, process
from rapidfuzz.distance import JaroWinkler
from scipy.sparse import csr_array
from torch import Tensor

from dim.common.text import fold
from dim.errors import DIMError

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
_FEW_PAIRS = 10_000  # are compared sooner than threads start
_QUALIFIER = re.compile(r"\([^()]*\)\s*$")
_WORD = re.compile(r"[^\W_]+")


def name_words(name: str) -> list[str]:
    """The words of a name, without case, accents, signs and a qualifier in brackets at its end.

    Args:
        name: A mention or a name.

    Returns:
        Its words, in order; those of the qualifier where there is nothing else.

    Example:

        >>> name_words("Beyoncé Knowles-Carter (singer, born 1981)")
        ['beyonce', 'knowles', 'carter']
    """
    return _WORD.findall(fold(_QUALIFIER.sub("", name))) or _WORD.findall(fold(name))


class NameFeatures:
    """Lexical features of pairs of a mention and an entity; of an entity's name and aliases, the likest counts.

    The features, all in `[0, 1]`, on the words that [`name_words`] gives: `equal`, 1 for the same words in the same
    order; `ratio` (normalised indel similarity), `token_set_ratio` (1 as soon as the words of one are among those of
    the other) and `jaro_winkler`, as RapidFuzz defines them; `first_word` and `last_word`, 1 where they are the same;
    `words_in_sentence`, the share of the name's words that are in the mention's sentence; `qualified`, 1 where the
    name has a qualifier in brackets, which tells an entity from a better known namesake. None knows which entity it is,
    or how often one was an answer.

    Args:
        names: The name of each of the `E` entities.
        aliases: Their other names.

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
        self._starts = np.cumsum([0] + [len(entity) for entity in forms])  # where each entity's forms begin
        words = [name_words(form) for entity in forms for form in entity]
        self._vocabulary: dict[str, int] = {}
        for form in words:
            for word in form:
                self._vocabulary.setdefault(word, len(self._vocabulary))
        self._texts = np.array([" ".join(form) for form in words], dtype=object)
        self._first = np.array([self._vocabulary[form[0]] if form else -1 for form in words])
        self._last = np.array([self._vocabulary[form[-1]] if form else -1 for form in words])
        self._bags = self._bag([set(form) for form in words])  # (S, V)
        self._qualified = np.array([_QUALIFIER.search(name) is not None for name in names], np.float32)

    def __len__(self) -> int:
        return len(self._qualified)

    def __call__(self, mentions: Sequence[str], sentences: Sequence[str], rows: Tensor | None = None) -> Tensor:
        """Features of every mention with every entity, on all cores.

        Args:
            mentions: `M` mentions.
            sentences: Their sentences.
            rows: Which entities `(E,)`; all by default.

        Returns:
            `torch.Tensor` of shape `(M, E, F)`, float32, in the order of `NAME_FEATURES`. It is held as a whole, so
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
        for place, (scorer, most) in enumerate(_SIMILARITIES, 1):
            table = process.cdist(texts, choices, scorer=scorer, dtype=np.float32, workers=-1) / np.float32(most)
            best = np.maximum.reduceat(table, starts, axis=1)  # (U, S) -> (U, E)
            features[:, :, place] = best[index]
            if scorer is fuzz.ratio:
                features[:, :, 0] = (best == 1)[index]
        for place, table in ((4, first[:, None] == self._first[forms]), (5, last[:, None] == self._last[forms]),
                             (6, found)):  # fmt: skip
            features[:, :, place] = np.maximum.reduceat(table, starts, axis=1)
        features[:, :, 7] = self._qualified[entities]
        return torch.from_numpy(features)

    def pairs(self, mentions: Sequence[str], sentences: Sequence[str], rows: Tensor) -> Tensor:
        """Features of each mention with entities of its own: those of a call, pair by pair.

        Args:
            mentions: `M` mentions.
            sentences: Their sentences.
            rows: Which entities, `(M, C)`.

        Returns:
            `torch.Tensor` of shape `(M, C, F)`, float32.
        """
        forms, starts = self._forms(rows.flatten().numpy())  # (P,) one after another, S forms in all
        words, texts, index = _unique_words(mentions)
        counts = np.diff(np.append(starts, len(forms)))
        owners = np.repeat(np.repeat(np.arange(len(mentions)), rows.shape[1]), counts)  # (S,) mention of each form
        queries = np.array(texts, dtype=object)[index[owners]].tolist()
        choices = self._texts[forms].tolist()
        names = self._bags[forms]
        found = self._sentences(sentences)[owners].multiply(names).sum(1) / np.maximum(names.sum(1), 1)  # (S,)

        features = np.empty((rows.numel(), len(NAME_FEATURES)), np.float32)
        workers = -1 if len(choices) > _FEW_PAIRS else 1
        for place, (scorer, most) in enumerate(_SIMILARITIES, 1):
            table = process.cpdist(queries, choices, scorer=scorer, dtype=np.float32, workers=workers)
            table /= np.float32(most)
            features[:, place] = np.maximum.reduceat(table, starts)
        features[:, 0] = features[:, 1] == 1
        for place, table in ((4, self._codes(words, 0)[owners] == self._first[forms]),
                             (5, self._codes(words, -1)[owners] == self._last[forms]), (6, found)):  # fmt: skip
            features[:, place] = np.maximum.reduceat(table, starts)
        features[:, 7] = self._qualified[rows.flatten().numpy()]
        return torch.from_numpy(features).view(*rows.shape, -1)

    def _forms(self, entities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of these entities' forms, one entity after another `(S,)`, and where each entity's begin."""
        counts = self._starts[entities + 1] - self._starts[entities]
        starts = np.cumsum(counts) - counts
        return np.arange(counts.sum()) + np.repeat(self._starts[entities] - starts, counts), starts

    def _codes(self, words: list[list[str]], place: int) -> np.ndarray:
        """Number of each name's first or last word, -2 for one that no entity's name has."""
        return np.array([self._vocabulary.get(name[place], -2) if name else -2 for name in words])

    def _sentences(self, sentences: Sequence[str]) -> csr_array:
        """Which words of the names each sentence holds, `(M, V)`."""
        return self._bag([set(_WORD.findall(fold(sentence))) for sentence in sentences])

    def _bag(self, texts: list[set[str]]) -> csr_array:
        """Which words of the vocabulary each text holds, `(N, V)`."""
        places = [(row, self._vocabulary[word]) for row, words in enumerate(texts) for word in words
                  if word in self._vocabulary]  # fmt: skip
        rows, columns = zip(*sorted(places), strict=True) if places else ((), ())
        shape = (len(texts), max(1, len(self._vocabulary)))
        return csr_array((np.ones(len(places), np.float32), (list(rows), list(columns))), shape=shape)


def _unique_words(mentions: Sequence[str]) -> tuple[list[list[str]], list[str], np.ndarray]:
    """The words of each mention, its distinct texts, and which of these each is: equal ones are compared once."""
    words = [name_words(mention) for mention in mentions]
    unique: dict[str, int] = {}
    index = np.array([unique.setdefault(" ".join(mention), len(unique)) for mention in words])
    return words, list(unique), index


__all__ = ["NAME_FEATURES", "NameFeatures", "name_words"]
