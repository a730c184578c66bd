"""Baselines without a model: fuzzy names, BM25, character n-grams, and popularity in the training split."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from tqdm.auto import tqdm

from dim.common.text import fold
from dim.encoding.mention import column
from dim.errors import DIMError
from dim.evaluation.systems.base import Block, as_scores, parts
from dim.evaluation.systems.name_match import NameMatch
from dim.search.postings import Postings
from dim.search.tokens import Tokens, split_words, word_tokens

_WORD = re.compile(r"\w\w+")
_ENGLISH = """
    a an and are as at be but by for if in into is it no not of on or such that the their then there these they this to
    was will with
"""
_STOP_WORDS = frozenset(_ENGLISH.split())  # those of Lucene


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
            yield rows, self._match.scores(texts[rows])


class BM25:
    """BM25 (Robertson and Zaragoza 2009): mention and sentence as the query, name and description as the document.

    English stop words and single characters are ignored. The index is that of [`dim.search.postings.Postings`].

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
        tokens = _content_words(names, descriptions)
        if not len(tokens.buckets):
            raise DIMError("no entity has a word in its name or description: BM25 has nothing to search")
        self._postings, self._size, self._progress = Postings.bm25(tokens), len(names), progress

    def scores(self, mentions: Sequence[dict]) -> Iterator[Block]:
        """As [`dim.evaluation.systems.base.System.scores`]; `mention` and `sentence` are read."""
        tokens = _content_words(column(mentions, "mention"), column(mentions, "sentence"))
        queries = self._postings.queries(tokens)
        for rows in _bar(self, len(mentions), self._size):
            yield rows, as_scores((queries[rows] @ self._postings.matrix).toarray())


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


def _content_words(firsts: Sequence[str], seconds: Sequence[str]) -> Tokens:
    """Tokens of pairs of texts without English stop words and single characters."""
    texts = [fold(f"{first} {second}") for first, second in zip(firsts, seconds, strict=True)]
    kept = (" ".join(word for word in _WORD.findall(text) if word not in _STOP_WORDS) for text in texts)
    return word_tokens(split_words(list(kept)))


def _bar(system: "FuzzyName | BM25 | CharNgrams | Popularity", mentions: int, columns: int) -> Iterator[slice]:
    every = list(parts(mentions, columns))
    return iter(tqdm(every, desc=system.name, disable=not system._progress))
