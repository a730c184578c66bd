"""Candidates of mentions: the union of what the retrieval channels find, ready to be ranked."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dim.encoding.mention import Mention
from dim.errors import DIMError
from dim.kb import database
from dim.kb.store import KnowledgeBase
from dim.linking.channels import CHANNELS, BM25Search, Channel, NameSearch, VectorSearch
from dim.metrics.protocols import CandidateLists
from dim.search.texts import COLUMNS, LexicalIndex, LexicalSearch
from dim.search.vectors import DenseSearch

_FUSION = 10  # of reciprocal rank fusion: 1 / (10 + rank), so that the first of each channel come first


@dataclass(frozen=True)
class Candidates:
    """The candidates of `M` mentions.

    Args:
        rows: Row indices of the `C` best candidates of the union, by reciprocal rank fusion; -1 after the last
            `(M, C)`, int64.
        channels: Bit mask of the retrieval channels that found each candidate, `1 << CHANNELS.index(name)`; 0 after
            the last `(M, C)`, int64.
        lists: Row indices from each channel, best first, -1 after the last `(M, k)`.

    Example:

        >>> kb = KnowledgeBase.open("demo/kb")
        >>> found = CandidateSearch(kb).search([Mention.find("Turkey", "We flew to Turkey.")], k=2)
        >>> kb.take(found.rows[0], ["id", "name"]).to_pylist()
        [{'id': 'e1251', 'name': 'Turkey'}, {'id': 'e1415', 'name': 'turkey'}]
        >>> list(found.lists), found.channels.tolist()  # name search (1) and BM25 (2) found both
        (['name search', 'BM25'], [[3, 3]])
    """

    rows: np.ndarray
    channels: np.ndarray
    lists: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.rows)

    def recall_at(self, k: int, golds: Sequence[int] | np.ndarray) -> dict[str, float]:
        """Computes how often the gold is among the first `k` candidates, for each channel and for the union.

        Args:
            k: Number of candidates; at most the number that was searched.
            golds: Row index of each mention's gold; -1 for NIL, which is not counted.

        Returns:
            Percentage by channel, and for `union`.

        Raises:
            DIMError: If `k` is out of range, there are not as many golds as mentions, or all are NIL.
        """
        most = min(rows.shape[1] for rows in (self.rows, *self.lists.values()))
        if not 1 <= k <= most:
            raise DIMError(f"k must lie between 1 and the {most} candidates that were searched, got {k}.")
        gold = torch.as_tensor(golds, dtype=torch.int64)
        if len(gold) != len(self):
            raise DIMError(f"There are {len(gold)} golds for {len(self)} mentions.")
        if not bool((gold >= 0).any()):
            raise DIMError("Every mention is NIL, so there is no recall.")
        every = {**self.lists, "union": self.rows}
        return {name: 100 * CandidateLists(torch.from_numpy(rows)).recall(gold, k) for name, rows in every.items()}


class CandidateSearch:
    """Searches a knowledge base for candidates; each search uses the newest version.

    Args:
        kb: The knowledge base. Rows that are not encoded are found by name search and BM25 only.
        progress: Whether to show a progress bar while texts are indexed.
        device: A GPU on which the vectors are searched; by default, the CPU.

    Example:

        >>> kb = KnowledgeBase.create("kb_search", [{"id": "Q1", "name": "Arnold Schwarzenegger"},
        ...                                         {"id": "Q2", "name": "Joe Biden"}])
        >>> mentions = [Mention("Schwarzeneger", "A film."), Mention("J. Biden", "A speech.")]
        >>> found = CandidateSearch(kb).search(mentions, k=1)
        >>> found.rows.tolist(), found.recall_at(1, [0, 1])["union"]
        ([[0], [1]], 100.0)
    """

    def __init__(self, kb: KnowledgeBase, progress: bool = False, device: torch.device | None = None):
        self.kb, self._device = kb, device or torch.device("cpu")
        self._dense: DenseSearch | None = None
        with ThreadPoolExecutor(1) as pool:  # each takes a second for a million entities
            index = pool.submit(_read_index, kb, progress)
            self._load_vectors()
            self._index = index.result()
        self._load_channels()

    @property
    def vector_search(self) -> str:
        """How vectors are searched: `none`, `exact` or `8-bit codes`."""
        return "none" if self._dense is None else self._dense.method

    def refresh(self) -> bool:
        """Loads changes of the knowledge base, as every search does, and returns whether there were any."""
        version = self._version
        self.kb.refresh()
        if self.kb.version != version:
            self._load_vectors()
            self._load_channels()
        return self.kb.version != version

    def _load_vectors(self) -> None:
        self._version, self._count = self.kb.version, len(self.kb)
        self._dense = DenseSearch.load(self.kb, self._dense, self._device)

    def vectors(self, rows: np.ndarray) -> Tensor | None:
        """Returns the vectors of rows of the knowledge base `(R, D)`, float32, where they are held for the search.

        Args:
            rows: Row indices `(R,)`.

        Returns:
            The vectors; `None` if those of any row are not held, or the knowledge base has changed since then.
        """
        return self._dense.vectors(rows) if self._dense and self._version == self.kb.version else None

    def _load_channels(self) -> None:
        kb, texts = self.kb, None
        if self._count:
            keys = kb.table(["key"])["key"].to_numpy()
            texts = LexicalSearch(self._index, keys, lambda rows: kb.take(rows, COLUMNS))
        self.channels: list[Channel] = [NameSearch(texts), BM25Search(texts), VectorSearch(self._dense)]

    def search(self, mentions: Sequence[Mention], vectors: Tensor | None = None, k: int = 64) -> Candidates:
        """Finds the candidates of mentions.

        Args:
            mentions: `M` mentions; a sentence may be empty.
            vectors: Their vectors `(M, D)`, from the model that encoded the knowledge base; without them, dense search
                is left out.
            k: Number of candidates from each channel, and of the union.

        Returns:
            The candidates.

        Raises:
            DIMError: If mentions and vectors differ in number, `k` is less than 1, or the vectors have another width
                than those of the knowledge base or are not finite.
        """
        if k < 1:
            raise DIMError(f"k must be at least 1, got {k}.")
        if vectors is not None and len(vectors) != len(mentions):
            raise DIMError(f"There are {len(mentions)} mentions, but {len(vectors)} vectors.")
        if vectors is not None and not torch.isfinite(vectors).all():
            raise DIMError("The mentions' vectors contain NaN or infinity.")
        self.refresh()
        found = {channel.name: channel.search(mentions, vectors, k) for channel in self.channels}
        return _fused({name: rows for name, rows in found.items() if rows is not None}, k)


def _read_index(kb: KnowledgeBase, progress: bool) -> LexicalIndex:
    """Reads the stored lexical index, or builds it if there is none from this version of the package."""
    arrays = database.read_arrays(kb.home)
    index = None if arrays is None else LexicalIndex.from_arrays(arrays)
    return index or LexicalIndex.build(kb.table(COLUMNS), progress)


def _fused(lists: dict[str, np.ndarray], k: int) -> Candidates:
    """Merges the channels by reciprocal rank fusion (Cormack et al. 2009), for all mentions at once."""
    names = list(lists)
    rows = np.concatenate([lists[name] for name in names], axis=1)  # (M, S * k)
    weights = np.tile(1 / (_FUSION + 1 + np.arange(k)), len(names))[None] * (rows >= 0)
    bits = np.repeat([1 << CHANNELS.index(name) for name in names], k)[None] * (rows >= 0)
    order = np.argsort(rows, axis=1, kind="stable")  # equal rows become neighbours
    rows, weights, bits = (np.take_along_axis(part, order, 1) for part in (rows, weights, bits))
    first = np.ones_like(rows, bool)
    first[:, 1:] = rows[:, 1:] != rows[:, :-1]
    starts = np.flatnonzero(first)  # each mention's first cell begins a run
    score, mask = np.zeros(rows.shape), np.zeros(rows.shape, np.int64)
    score.reshape(-1)[starts] = np.add.reduceat(weights.reshape(-1), starts)
    mask.reshape(-1)[starts] = np.bitwise_or.reduceat(bits.reshape(-1), starts)
    order = np.lexsort((rows, -score), axis=1)[:, :k]
    rows, mask = (np.take_along_axis(part, order, 1) for part in (rows, mask))
    return Candidates(np.where(mask > 0, rows, -1), mask, lists)
