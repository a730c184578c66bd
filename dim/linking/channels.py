"""Retrieval channels: the ways in which candidates of a mention are found.

A new channel is a class with the two members of [`Channel`], added to `CHANNELS` and to `CandidateSearch`.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from torch import Tensor

from dim.encoding.mention import Mention
from dim.search.texts import LexicalSearch
from dim.search.vectors import DenseSearch


class Channel(Protocol):
    """A retrieval channel over one version of a knowledge base."""

    name: str
    """What the channel is called in results."""

    def search(self, mentions: Sequence[Mention], vectors: Tensor | None, k: int) -> np.ndarray | None:
        """Finds the best `k` entities of each mention.

        Args:
            mentions: `M` mentions.
            vectors: Their vectors `(M, D)`, if they are encoded.
            k: Number of entities.

        Returns:
            Row indices `(M, k)`, int64, best first, -1 after the last; `None` if the channel cannot search for these
            mentions, such as dense search without vectors.
        """


class NameSearch:
    """Names and aliases that look like the mention: cosine of TF-IDF vectors of character n-grams."""

    name = "name search"

    def __init__(self, texts: LexicalSearch | None):
        self._texts = texts

    def search(self, mentions: Sequence[Mention], vectors: Tensor | None, k: int) -> np.ndarray:
        """See [`Channel.search`]."""
        found = self._texts.names([mention.text for mention in mentions], k) if self._texts else []
        return _padded(found, len(mentions), k)


class BM25Search:
    """Names and descriptions that share words with the mention and its sentence: BM25."""

    name = "BM25"

    def __init__(self, texts: LexicalSearch | None):
        self._texts = texts

    def search(self, mentions: Sequence[Mention], vectors: Tensor | None, k: int) -> np.ndarray:
        """See [`Channel.search`]."""
        texts, sentences = [mention.text for mention in mentions], [mention.sentence for mention in mentions]
        return _padded(self._texts.words(texts, sentences, k) if self._texts else [], len(mentions), k)


class VectorSearch:
    """Entity vectors with the highest dot product with the mention's vector."""

    name = "dense"

    def __init__(self, vectors: DenseSearch | None):
        self._vectors = vectors

    def search(self, mentions: Sequence[Mention], vectors: Tensor | None, k: int) -> np.ndarray | None:
        """See [`Channel.search`]."""
        if vectors is None:
            return None
        return _padded(self._vectors.search(vectors, k) if self._vectors else [], len(mentions), k)


CHANNELS = (NameSearch.name, BM25Search.name, VectorSearch.name)
"""The names of the channels; a channel's bit in a mask is `1 << CHANNELS.index(name)`."""


def _padded(found: Sequence[np.ndarray] | np.ndarray, count: int, k: int) -> np.ndarray:
    rows = np.full((count, k), -1, np.int64)
    for index, entities in enumerate(found):
        rows[index, : len(entities)] = entities
    return rows
