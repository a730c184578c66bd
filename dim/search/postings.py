"""Inverted index: the texts of each token, with weights, and their similarities to queries."""

from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_array

from dim.search.tokens import BUCKETS, Tokens

_K1, _B = 1.2, 0.75  # of BM25, the defaults of Lucene
_BLOCK_CELLS = 4_000_000  # maximum number of scores in memory

Arrays = dict[str, np.ndarray]


class Postings:
    """An inverted index, weighted so that its product with a query is a similarity.

    Args:
        matrix: Weights `(BUCKETS, T)`, float32.
        owners: Entity index of each text `(T,)`, int32.
        idf: Inverse document frequency of each bucket `(BUCKETS,)`, float32.
        average: Mean number of tokens in a text, for BM25; 0 for cosines.
    """

    def __init__(self, matrix: csr_array, owners: np.ndarray, idf: np.ndarray, average: float):
        self.matrix, self.owners, self.idf, self.average = matrix, owners, idf, average

    @classmethod
    def cosine(cls, tokens: Tokens, owners: np.ndarray) -> "Postings":
        """Indexes names for cosines of TF-IDF vectors, which count each token once."""
        counts = _counts(tokens)
        frequency = np.bincount(counts.indices, minlength=BUCKETS)
        idf = (np.log((tokens.texts + 1) / (frequency + 1)) + 1).astype(np.float32)
        return cls(_by_token(_unit(counts, idf)), owners, idf, 0.0)

    @classmethod
    def bm25(cls, tokens: Tokens) -> "Postings":
        """Indexes one text per entity for BM25 (Robertson and Zaragoza 2009, with Lucene's positive idf)."""
        counts = _counts(tokens)
        frequency = np.bincount(counts.indices, minlength=BUCKETS)
        idf = np.log1p((tokens.texts - frequency + 0.5) / (frequency + 0.5)).astype(np.float32)
        average = max(1.0, counts.sum() / max(1, tokens.texts))
        return cls(_by_token(_saturated(counts, idf, average)), np.arange(tokens.texts, dtype=np.int32), idf, average)

    def more(self, tokens: Tokens, owners: np.ndarray) -> "Postings":
        """Indexes other texts with the same idf, so that their similarities are comparable."""
        counts = _counts(tokens)
        weights = _saturated(counts, self.idf, self.average) if self.average else _unit(counts, self.idf)
        return Postings(_by_token(weights), owners, self.idf, self.average)

    def queries(self, tokens: Tokens) -> csr_array:
        """Returns the weights of queries `(Q, BUCKETS)`."""
        counts = _counts(tokens)
        return counts if self.average else _unit(counts, self.idf)

    def search(self, queries: csr_array) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields the similarities of each query to the texts that share a token with it.

        Args:
            queries: Weights from [`Postings.queries`].

        Yields:
            For each query, the entity indices of those texts, which may repeat, and the similarities.
        """
        height = max(1, _BLOCK_CELLS // max(1, self.matrix.shape[1]))
        for start in range(0, queries.shape[0], height):
            scores = queries[start : start + height] @ self.matrix
            for row in range(scores.shape[0]):
                part = slice(scores.indptr[row], scores.indptr[row + 1])
                yield self.owners[scores.indices[part]], scores.data[part]

    def to_arrays(self) -> Arrays:
        """Returns the index as arrays, to be stored."""
        return {
            "starts": self.matrix.indptr.astype(np.int64),
            "texts": self.matrix.indices.astype(np.int32),
            "weights": self.matrix.data,
            "owners": self.owners,
            "idf": self.idf,
            "average": np.array([self.average], np.float64),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "Postings":
        """Restores an index from `to_arrays`."""
        starts = arrays["starts"]
        parts = (arrays["weights"], arrays["texts"], starts.astype(_index_type(starts[-1])))
        matrix = csr_array(parts, shape=(BUCKETS, len(arrays["owners"])))
        return cls(matrix, arrays["owners"], arrays["idf"], float(arrays["average"][0]))


def best(entities: np.ndarray, scores: np.ndarray, k: int) -> np.ndarray:
    """Returns the entities with the highest scores, each once.

    Args:
        entities: Entity indices `(H,)`, which may repeat.
        scores: Their scores `(H,)`.
        k: Maximum number of entities.

    Returns:
        Entity indices, best first; equal scores in the order of the indices.

    Example:

        >>> best(np.array([4, 2, 4, 3]), np.array([1.0, 3.0, 5.0, 3.0]), 2).tolist()
        [4, 2]
    """
    count = 4 * k  # an entity may occur several times, by its name and its aliases
    while True:
        if len(scores) > count:
            lowest = np.partition(scores, len(scores) - count)[len(scores) - count]
            top = np.flatnonzero(scores >= lowest)  # including all ties with the last
        else:
            top = np.arange(len(scores))
        order = top[np.lexsort((entities[top], -scores[top]))]
        _, first = np.unique(entities[order], return_index=True)
        if len(first) >= k or len(top) == len(scores):
            return entities[order[np.sort(first)[:k]]]
        count *= 4


def _counts(tokens: Tokens) -> csr_array:
    """Counts each token in each text `(T, BUCKETS)`."""
    keys, counts = np.unique(tokens.owners.astype(np.int64) * BUCKETS + tokens.buckets, return_counts=True)
    owners = keys // BUCKETS
    starts = np.searchsorted(owners, np.arange(tokens.texts + 1)).astype(_index_type(len(keys)))
    parts = (counts.astype(np.float32), (keys % BUCKETS).astype(np.int32), starts)
    return csr_array(parts, shape=(tokens.texts, BUCKETS))


def _index_type(count: int) -> type[np.signedinteger]:
    """Type of the indices of `count` values: the same in all matrices, since a product copies those that differ."""
    return np.int32 if count < 2**31 else np.int64


def _unit(counts: csr_array, idf: np.ndarray) -> csr_array:
    weights = idf[counts.indices]
    lengths = np.diff(counts.indptr)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    norms = np.sqrt(np.bincount(rows, weights.astype(np.float64) ** 2, minlength=len(lengths)))
    return csr_array(((weights / norms[rows]).astype(np.float32), counts.indices, counts.indptr), shape=counts.shape)


def _saturated(counts: csr_array, idf: np.ndarray, average: float) -> csr_array:
    sizes = np.diff(counts.indptr)
    rows = np.repeat(np.arange(len(sizes)), sizes)
    length = np.bincount(rows, counts.data, minlength=len(sizes))
    damping = _K1 * (1 - _B + _B * length[rows] / average)
    weights = idf[counts.indices] * counts.data * (_K1 + 1) / (counts.data + damping)
    return csr_array((weights.astype(np.float32), counts.indices, counts.indptr), shape=counts.shape)


def _by_token(weights: csr_array) -> csr_array:
    return weights.T.tocsr()
