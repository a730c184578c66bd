"""Search over the texts of entities: names and aliases by n-grams, names and descriptions by BM25."""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm.auto import tqdm

from dim.search.postings import Arrays, Postings, best
from dim.search.tokens import Tokens, name_tokens, searchable, spellings, split_names, split_words, word_tokens

COLUMNS = ("name", "aliases", "description", "key")
_CHUNK = 20_000  # entities split into words at a time
_TRANSLITERATED = np.float32(0.999)  # so that of two equal names, one in the mention's own script comes first
INDEX_VERSION = 2  # of the tokens; an index of another version is built again


class LexicalIndex:
    """An index of the names and descriptions of entities. An entity's `key` is a hash of its content.

    Args:
        keys: Keys of the `E` entities, int64.
        names: Index of the spellings of names and aliases.
        words: Index of the words of names and descriptions.
    """

    def __init__(self, keys: np.ndarray, names: Postings, words: Postings):
        self.keys, self.names, self.words = keys, names, words

    @classmethod
    def build(cls, table: pa.Table, progress: bool = False) -> "LexicalIndex":
        """Indexes entities.

        Args:
            table: The columns `COLUMNS`.
            progress: Whether to show a progress bar.

        Returns:
            The index.
        """
        spelled, owners, words = _tokens(table, progress)
        return cls(_keys(table), Postings.cosine(spelled, owners), Postings.bm25(words))

    def more(self, table: pa.Table) -> "LexicalIndex":
        """Indexes other entities, with similarities that are comparable to those of this index."""
        spelled, owners, words = _tokens(table, False)
        everyone = np.arange(len(table), dtype=np.int32)
        return LexicalIndex(_keys(table), self.names.more(spelled, owners), self.words.more(words, everyone))

    def to_arrays(self) -> Arrays:
        """Returns the index as arrays, to be stored."""
        parts = {"names": self.names.to_arrays(), "words": self.words.to_arrays()}
        arrays = {f"{part}.{name}": array for part, all_of in parts.items() for name, array in all_of.items()}
        return {**arrays, "keys": self.keys, "version": np.array([INDEX_VERSION])}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "LexicalIndex | None":
        """Restores an index from `to_arrays`; returns `None` if another version of the package made it."""
        if arrays["version"][0] != INDEX_VERSION:
            return None
        names, words = ({name.partition(".")[2]: array for name, array in arrays.items() if name.startswith(part)}
                        for part in ("names.", "words."))  # fmt: skip
        return cls(arrays["keys"], Postings.from_arrays(names), Postings.from_arrays(words))


class LexicalSearch:
    """Searches an index and the rows of the knowledge base that changed since it was built.

    Args:
        index: The index.
        keys: Keys of the current rows of the knowledge base `(N,)`.
        fetch: Reads the columns `COLUMNS` of rows by index.
    """

    def __init__(self, index: LexicalIndex, keys: np.ndarray, fetch: Callable[[np.ndarray], pa.Table]):
        self.index = index
        if np.array_equal(index.keys, keys):
            self._rows, self.unindexed = None, np.zeros(0, np.int64)
        else:
            self._rows, self.unindexed = match_keys(index.keys, keys)
        self._more = index.more(fetch(self.unindexed)) if len(self.unindexed) else None

    def names(self, mentions: Sequence[str], k: int) -> list[np.ndarray]:
        """Finds the rows whose names or aliases are most similar to each mention.

        Args:
            mentions: `M` mentions.
            k: Maximum number of rows.

        Returns:
            `M` arrays of row indices, best first.
        """
        unique = list(dict.fromkeys(mentions))
        forms = [spellings(mention) for mention in unique]
        tokens = name_tokens(split_names([spelling for group in forms for spelling in group]))
        firsts = np.cumsum([0, *map(len, forms)])
        found = dict(zip(unique, self._search("names", tokens, firsts, k), strict=True))
        return [found[mention] for mention in mentions]

    def words(self, mentions: Sequence[str], sentences: Sequence[str], k: int) -> list[np.ndarray]:
        """Finds the rows whose names and descriptions best match each mention and its sentence; see `names`."""
        texts = [searchable(mention, sentence) for mention, sentence in zip(mentions, sentences, strict=True)]
        return self._search("words", word_tokens(split_words(texts)), np.arange(len(texts) + 1), k)

    def _search(self, which: str, tokens: Tokens, firsts: np.ndarray, k: int) -> list[np.ndarray]:
        """Searches for mentions; the queries `firsts[i]` to `firsts[i + 1]` belong to mention `i`."""
        postings: Postings = getattr(self.index, which)
        queries = postings.queries(tokens)
        old = postings.search(queries)
        new = None if self._more is None else getattr(self._more, which).search(queries)
        found = []
        for mention in range(len(firsts) - 1):
            parts = []
            for form in range(firsts[mention + 1] - firsts[mention]):
                entities, scores = next(old)
                scores = scores * _TRANSLITERATED if form else scores
                if self._rows is not None:
                    entities = self._rows[entities]
                    there = entities >= 0
                    entities, scores = entities[there], scores[there]
                parts.append((entities, scores))
                if new is not None:
                    entities, scores = next(new)
                    scores = scores * _TRANSLITERATED if form else scores
                    parts.append((self.unindexed[entities], scores))
            entities, scores = (np.concatenate(part) for part in zip(*parts, strict=True))
            found.append(best(entities, scores, k))
        return found


def match_keys(old: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matches the keys of an earlier version to those of a later one.

    Args:
        old: Keys of the earlier rows, int64.
        new: Keys of the later rows, int64.

    Returns:
        The later index of each earlier row, -1 if it is gone; and the indices of the later rows that are new.

    Example:

        >>> match_keys(np.array([7, 8, 9]), np.array([9, 5, 7]))
        (array([ 2, -1,  0]), array([1]))
    """
    found = pc.index_in(pa.array(old), value_set=pa.array(new))
    rows = pc.fill_null(found, -1).to_numpy().astype(np.int64)
    is_new = np.ones(len(new), bool)
    is_new[rows[rows >= 0]] = False
    return rows, np.flatnonzero(is_new)


def _keys(table: pa.Table) -> np.ndarray:
    return table["key"].to_numpy()


def _tokens(table: pa.Table, progress: bool) -> tuple[Tokens, np.ndarray, Tokens]:
    """Returns the tokens of the spellings, the entity index of each spelling, and the tokens of the words."""
    spelled: list[Tokens] = []
    words: list[Tokens] = []
    owners: list[np.ndarray] = []
    with tqdm(total=len(table), desc="indexing", unit="entity", disable=not progress) as bar:
        for start in range(0, len(table), _CHUNK):
            part = table.slice(start, _CHUNK)
            names = part["name"].to_pylist()
            forms = [
                [spelling for text in (name, *(aliases or ())) for spelling in spellings(text)]
                for name, aliases in zip(names, part["aliases"].to_pylist(), strict=True)
            ]
            spelled.append(name_tokens(split_names([form for group in forms for form in group])))
            owners.append(start + np.repeat(np.arange(len(part)), [len(group) for group in forms]))
            texts = [searchable(name, text or "")
                     for name, text in zip(names, part["description"].to_pylist(), strict=True)]  # fmt: skip
            words.append(word_tokens(split_words(texts)))
            bar.update(len(part))
    every = np.concatenate(owners).astype(np.int32) if owners else np.zeros(0, np.int32)
    return _joined(spelled), every, _joined(words)


def _joined(parts: list[Tokens]) -> Tokens:
    firsts = np.cumsum([0, *(part.texts for part in parts)])
    none = np.zeros(0, np.int64)
    owners = np.concatenate([none, *(part.owners + first for part, first in zip(parts, firsts[:-1], strict=True))])
    return Tokens(owners, np.concatenate([none, *(part.buckets for part in parts)]), int(firsts[-1]))
