"""Baselines without a model: fuzzy names, BM25, character n-grams, and popularity in the training split."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import bm25s
import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from tqdm.auto import tqdm

from dim.encoding.mention import column
from dim.errors import DIMError
from dim.evaluation.systems.base import Block, as_scores, parts
from dim.evaluation.systems.name_match import NameMatch
from dim.folding_dim import fold


class FuzzyName:
    """The fuzzy name matcher [`dim.evaluation.systems.name_match.NameMatch`] as a system.

    Args:
        names: Name of each of the `E` entities.
        aliases: Their other names.
        progress: Whether to show a progress bar.

    Raises:
        DIMError: As `NameMatch`.

    Example:
        >>> system = FuzzyName(["Taylor Swift", "Paris"], [["T-Swift"], []])
        >>> rows, scores = next(system.scores([{"mention": "t-swift"}, {"mention": "PARIS"}]))
        >>> rows, scores.argmax(1)
        (slice(0, 2, None), tensor([0, 1]))
    """

    name = "fuzzy name"
    probabilistic = False

    def __init__(self, names: Sequence[str], aliases: Sequence[Sequence[str]] | None = None, progress: bool = False):
        self._match, self._size, self._progress = NameMatch(names, aliases), len(names), progress

    def scores(self, mentions: Sequence[dict]) -> Iterator[Block]:
        """As [`dim.evaluation.systems.base.System.scores`]; only `mention` is read."""
        texts = column(mentions, "mention")
        for rows in _bar(self, len(texts), self._size):
            table = torch.zeros(rows.stop - rows.start, self._size)  # all entities tie for a picture alone
            named = [row for row, text in enumerate(texts[rows]) if text.strip()]
            if named:
                table[named] = self._match.scores([texts[rows][row] for row in named])
            yield rows, table


class BM25:
    """BM25 (Robertson and Zaragoza 2009; `bm25s`): mention and sentence as query, name and description as document.

    English stop words and single characters are ignored. `dim.search` is not used here: its other parameters and its
    hashed words would change published figures.

    Args:
        names: Name of each of the `E` entities.
        descriptions: Their descriptions; may be empty.
        progress: Whether to show a progress bar.

    Raises:
        DIMError: If no entity has a word.

    Example:
        >>> system = BM25(["Taylor Swift", "Swift"], ["singer", "bird"])
        >>> rows, scores = next(system.scores([{"mention": "Swift", "sentence": "Swift is a bird."}]))
        >>> scores.argmax(1)
        tensor([1])
    """

    name = "BM25"
    probabilistic = False

    def __init__(self, names: Sequence[str], descriptions: Sequence[str], progress: bool = False):
        texts = [fold(f"{name} {text or ''}") for name, text in zip(names, descriptions, strict=True)]
        tokens = bm25s.tokenize(texts, stopwords="en", show_progress=False)
        if not tokens.vocab:
            raise DIMError("no entity has a word in its name or description: BM25 has nothing to search")
        self._index = bm25s.BM25(method="lucene")
        self._index.index(tokens, show_progress=False)
        self._vocabulary, self._size, self._progress = tokens.vocab, len(texts), progress

    def scores(self, mentions: Sequence[dict]) -> Iterator[Block]:
        """As [`dim.evaluation.systems.base.System.scores`]; `mention` and `sentence` are read."""
        pairs = zip(column(mentions, "mention"), column(mentions, "sentence"), strict=True)
        texts = [fold(f"{mention} {sentence}") for mention, sentence in pairs]
        queries = bm25s.tokenize(texts, stopwords="en", show_progress=False, return_ids=False)
        for rows in _bar(self, len(texts), self._size):
            table = np.zeros((rows.stop - rows.start, self._size), np.float32)
            for row, words in zip(table, queries[rows], strict=True):
                known = [word for word in words if word in self._vocabulary]
                if known:  # bm25s fails on a query without a known word; all entities then score 0
                    row[:] = self._index.get_scores(known)
            yield rows, as_scores(table)


class CharNgrams:
    """Cosine of TF-IDF vectors of character n-grams (2 to 4, within words) of mention and name, or the best alias.

    Args:
        names: Name of each of the `E` entities.
        aliases: Their other names.
        progress: Whether to show a progress bar.

    Raises:
        DIMError: If no entity has a name.

    Example:
        >>> rows, scores = next(CharNgrams(["Ruby", "Opal"]).scores([{"mention": "rubies"}]))
        >>> scores.argmax(1)
        tensor([0])
    """

    name = "character n-grams"
    probabilistic = False

    def __init__(self, names: Sequence[str], aliases: Sequence[Sequence[str]] | None = None, progress: bool = False):
        others = aliases or [()] * len(names)
        forms = [[name, *more] for name, more in zip(names, others, strict=True)]
        self._starts = np.cumsum([0, *map(len, forms[:-1])])  # index of each entity's first form
        self._vectorizer = TfidfVectorizer(
            analyzer="char_wb", ngram_range=(2, 4), preprocessor=fold, lowercase=False, dtype=np.float32
        )
        try:
            keys = self._vectorizer.fit_transform([form for entity in forms for form in entity])
        except ValueError as error:  # an empty vocabulary
            raise DIMError("no entity has a name: there are no n-grams to compare") from error
        self._keys, self._progress = keys.T.tocsr(), progress  # (n-grams, forms)

    def scores(self, mentions: Sequence[dict]) -> Iterator[Block]:
        """As [`dim.evaluation.systems.base.System.scores`]; only `mention` is read."""
        texts = column(mentions, "mention")
        for rows in _bar(self, len(texts), self._keys.shape[1]):
            table = (self._vectorizer.transform(texts[rows]) @ self._keys).toarray()  # (m, forms)
            yield rows, as_scores(np.maximum.reduceat(table, self._starts, axis=1))


class Popularity:
    """Frequency of each entity in training, given the mention's form: ``(n(m, e) + p(e)) / (n(m) + 1)``.

    `p(e)` is the entity's share of all training mentions. Names are not used: an unseen entity scores 0.

    Args:
        forms: Mentions of the training split.
        golds: Indices of their entities, -1 for NIL.
        size: Number of entities `E`.
        progress: Whether to show a progress bar.

    Raises:
        DIMError: If no training mention has an entity.

    Example:
        >>> system = Popularity(["Swift", "swift", "Paris"], [0, 0, 2], 3)
        >>> rows, scores = next(system.scores([{"mention": "SWIFT"}, {"mention": "Rome"}]))
        >>> scores.argmax(1), round(scores[1, 0].item(), 4)  # Rome is unknown: the most frequent entity
        (tensor([0, 0]), 0.6667)
    """

    name = "popularity in train"
    probabilistic = False

    def __init__(self, forms: Sequence[str], golds: Sequence[int], size: int, progress: bool = False):
        self._counts: defaultdict[str, Counter[int]] = defaultdict(Counter)
        prior = np.zeros(size, np.float64)
        for form, gold in zip(forms, golds, strict=True):
            if gold >= 0:
                self._counts[fold(form)][gold] += 1
                prior[gold] += 1
        if not prior.any():
            raise DIMError("no training mention has an entity: there is nothing to count")
        self._prior, self._size, self._progress = prior / prior.sum(), size, progress

    def scores(self, mentions: Sequence[dict]) -> Iterator[Block]:
        """As [`dim.evaluation.systems.base.System.scores`]; only `mention` is read."""
        texts = column(mentions, "mention")
        for rows in _bar(self, len(texts), self._size):
            table = np.repeat(self._prior[None], rows.stop - rows.start, axis=0)
            for row, text in zip(table, texts[rows], strict=True):
                counts = self._counts.get(fold(text), Counter())
                row[list(counts)] += list(counts.values())
                row /= 1 + counts.total()
            yield rows, as_scores(table)


def _bar(system: "FuzzyName | BM25 | CharNgrams | Popularity", mentions: int, columns: int) -> Iterator[slice]:
    every = list(parts(mentions, columns))
    return iter(tqdm(every, desc=system.name, disable=not system._progress))
