"""How alike a mention and an entity's names are: the features of the model's lexical prior."""

import re
from collections.abc import Sequence
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import torch
from rapidfuzz import fuzz, process
from rapidfuzz.distance import JaroWinkler
from scipy.sparse import csr_array
from torch import Tensor

from dim.corpora.words import fold

LEXICAL_FEATURES = (
    "equal",
    "ratio",
    "token_set_ratio",
    "jaro_winkler",
    "first_word",
    "last_word",
    "words_in_sentence",
    "qualified",
)
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
        ValueError: If there is no entity, or names and aliases differ in number.

    Example:

        >>> features = NameFeatures(["Taylor Swift", "Taylor (band)"], [["T-Swift"], []])
        >>> features(["Taylor"], ["Taylor sang."])[0, :, LEXICAL_FEATURES.index("equal")]
        tensor([0., 1.])
    """

    def __init__(self, names: Sequence[str], aliases: Sequence[Sequence[str]] | None = None):
        if len(names) == 0:
            raise ValueError("There are no names; lexical features need at least one entity.")
        if aliases is None:
            aliases = [()] * len(names)
        if len(aliases) != len(names):
            raise ValueError(f"There are {len(names)} names, but aliases for {len(aliases)} entities.")
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
            `torch.Tensor` of shape `(M, E, F)`, float32, in the order of `LEXICAL_FEATURES`. It is held as a whole, so
            pass a large set in parts.
        """
        entities = np.arange(len(self)) if rows is None else rows.numpy()
        counts = self._starts[entities + 1] - self._starts[entities]
        starts = np.cumsum(counts) - counts
        forms = np.arange(counts.sum()) + np.repeat(self._starts[entities] - starts, counts)  # (S,) rows of the forms

        words = [name_words(mention) for mention in mentions]
        unique: dict[str, int] = {}  # equal mentions are compared once
        index = np.array([unique.setdefault(" ".join(mention), len(unique)) for mention in words])
        texts, choices = list(unique), self._texts[forms].tolist()
        code = self._vocabulary.get
        first = np.array([code(mention[0], -2) if mention else -2 for mention in words])
        last = np.array([code(mention[-1], -2) if mention else -2 for mention in words])
        bags = self._bag([set(_WORD.findall(fold(sentence))) for sentence in sentences])
        names = self._bags[forms]
        found = (bags @ names.T).toarray() / np.maximum(names.sum(1), 1)  # (M, S)

        features = np.empty((len(mentions), len(entities), len(LEXICAL_FEATURES)), np.float32)
        similarities: tuple[tuple[Any, int], ...] = (
            (fuzz.ratio, 100),
            (fuzz.token_set_ratio, 100),
            (JaroWinkler.normalized_similarity, 1),
        )
        for place, (scorer, most) in enumerate(similarities, 1):
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

    def _bag(self, texts: list[set[str]]) -> csr_array:
        """Which words of the vocabulary each text holds, `(N, V)`."""
        places = [(row, self._vocabulary[word]) for row, words in enumerate(texts) for word in words
                  if word in self._vocabulary]  # fmt: skip
        rows, columns = zip(*sorted(places), strict=True) if places else ((), ())
        shape = (len(texts), max(1, len(self._vocabulary)))
        return csr_array((np.ones(len(places), np.float32), (list(rows), list(columns))), shape=shape)


def name_features(entities: datasets.Dataset | pa.Table) -> NameFeatures:
    """Lexical features over a knowledge base.

    Args:
        entities: Columns `name` and, where there are any, `aliases`.

    Returns:
        The features of its entities, in order.
    """
    names = [name for name in ("name", "aliases") if name in entities.column_names]
    table = isinstance(entities, pa.Table)
    columns = entities.select(names).to_pydict() if table else entities.select_columns(names)[:]
    return NameFeatures(columns["name"], columns.get("aliases"))


__all__ = ["LEXICAL_FEATURES", "NameFeatures", "name_features", "name_words"]
