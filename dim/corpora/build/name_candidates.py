"""Candidates of a mention: the entities whose name or alias looks most like it."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from tqdm.auto import tqdm

from dim.corpora.release import Entity, Mention
from dim.corpora.splits import seeded_order
from dim.errors import DIMError

SOURCE = "char-ngram tf-idf, names and aliases"
LIMIT = 100
RECALLS = (1, 10, LIMIT)
_BLOCK_CELLS = 4_000_000  # similarities held at a time by one thread, 16 MB
_WORKERS = 2


def name_candidates(
    texts: Sequence[str], entities: Sequence[Entity], limit: int = LIMIT, seed: int = 0, progress: bool = False
) -> dict[str, list[str]]:
    """The entities whose name or alias is most similar to each text: cosine of TF-IDF vectors of character n-grams.

    N-grams have 2 to 4 characters and do not cross words; case and accents do not count. The answer is not known here,
    and so is never forced in. Entities that share no n-gram with the text are left out, so a list may be short.

    Args:
        texts: Surface forms of mentions; repeated ones cost nothing.
        entities: The knowledge base.
        limit: How many entities to give at most.
        seed: Decides the order of entities that are equally similar, on every machine alike.
        progress: Whether to show a progress bar.

    Returns:
        Ids of entities, best first, by text.

    Raises:
        DIMError: If there is no entity, or none of them has a name.

    Example:
        >>> gems = [Entity("e1", "Ruby", aliases=["red gem"]), Entity("e2", "Rubik"), Entity("e3", "Opal")]
        >>> name_candidates(["ruby", "gem"], gems)
        {'ruby': ['e1', 'e2'], 'gem': ['e1']}
    """
    unique = list(dict.fromkeys(texts))
    by_id = {entity.id: entity for entity in entities}
    ordered = [by_id[name] for name in seeded_order(by_id, seed)]
    names = [[entity.name, *entity.aliases] for entity in ordered]
    if not any(name.strip() for group in names for name in group):
        raise DIMError("No entity has a name, so there are no candidates to find: give the knowledge base names.")
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), strip_accents="unicode", dtype=np.float32)
    keys = vectorizer.fit_transform([name for group in names for name in group]).T.tocsr()  # (n-grams, names)
    queries = vectorizer.transform(unique)  # (texts, n-grams)
    firsts = np.cumsum([0, *map(len, names[:-1])])  # where the names of each entity begin
    height = max(1, _BLOCK_CELLS // keys.shape[1])
    blocks = [queries[start : start + height] for start in range(0, len(unique), height)]
    found: list[list[str]] = []
    with ThreadPoolExecutor(_WORKERS) as pool, tqdm(
        total=len(unique), desc="candidates", unit="name", disable=not progress
    ) as bar:  # fmt: skip
        for rows in pool.map(lambda block: list(_best(block, keys, firsts, limit)), blocks):
            found += [[ordered[place].id for place in row] for row in rows]
            bar.update(len(rows))
    return dict(zip(unique, found, strict=True))


def recall(mentions: Sequence[Mention], candidates: Mapping[str, Sequence[str]]) -> dict[int, float]:
    """How often the answer is among the first candidates of its mention.

    Args:
        mentions: Mentions; those without an answer (NIL) do not count.
        candidates: Ids of entities, best first, by surface form.

    Returns:
        Percentage of mentions by number of candidates, for each of `RECALLS`; empty if every mention is NIL.
    """
    golds = [mention for mention in mentions if mention.entity_id]
    if not golds:
        return {}
    return {
        count: 100 * sum(m.entity_id in candidates[m.mention][:count] for m in golds) / len(golds) for count in RECALLS
    }


def _best(block: csr_matrix, keys: csr_matrix, firsts: np.ndarray, limit: int) -> Iterator[np.ndarray]:
    """Places of the best entities of each row, best first; of equally similar ones, the first in order."""
    similarities = np.maximum.reduceat((block @ keys).toarray(), firsts, axis=1).round(6)  # (B, entities)
    for row in similarities:
        lowest = np.partition(row, -limit)[-limit] if len(row) > limit else 0
        good = np.flatnonzero((row >= lowest) & (row > 0))
        yield good[np.argsort(-row[good], kind="stable")][:limit]


__all__ = ["LIMIT", "RECALLS", "SOURCE", "name_candidates", "recall"]
