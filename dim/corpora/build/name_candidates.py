"""Candidates of mentions: the entities whose name or alias is most similar, by the name search of `dim.search`."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import torch
from tqdm.auto import tqdm

from dim.corpora.release import Entity, Mention
from dim.corpora.splits import seeded_order
from dim.errors import DIMError
from dim.metrics.ranks import recall_at
from dim.search.texts import LexicalIndex, LexicalSearch

SOURCE = "name search (dim.search), names and aliases"
LIMIT = 100
RECALLS = (1, 10, LIMIT)
_BLOCK = 1000  # texts searched between two updates of the progress bar


def name_candidates(
    texts: Sequence[str], entities: Sequence[Entity], limit: int = LIMIT, seed: int = 0, progress: bool = False
) -> dict[str, list[str]]:
    """Finds the entities whose name or alias is most similar to each text.

    Similarity is the cosine of TF-IDF vectors of words, initials, acronyms and character trigrams; see
    [`dim.search.tokens.name_tokens`]. Case and accents do not count. The answer is not known here, and so is never
    forced in. Entities that share nothing with the text are left out, so a list may be short.

    Args:
        texts: Surface forms of mentions; repeated ones are searched once.
        entities: The knowledge base.
        limit: How many entities to give at most.
        seed: Decides the order of entities that are equally similar, whatever their order in `entities`.
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
    by_id = {entity.id: entity for entity in entities}
    ids = seeded_order(by_id, seed)  # equal similarities stay in this order
    names, aliases = [by_id[one].name for one in ids], [by_id[one].aliases for one in ids]
    if not any(name.strip() for group in (names, *aliases) for name in group):
        raise DIMError("No entity has a name, so there are no candidates to find: give the knowledge base names.")
    keys = np.arange(len(ids))
    nothing = pa.nulls(len(ids), pa.string())
    table = pa.table({"name": names, "aliases": aliases, "description": nothing, "key": keys})
    search = LexicalSearch(LexicalIndex.build(table), keys, table.take)
    unique = list(dict.fromkeys(texts))
    found: dict[str, list[str]] = {}
    with tqdm(total=len(unique), desc="candidates", unit="name", disable=not progress) as bar:
        for start in range(0, len(unique), _BLOCK):
            block = unique[start : start + _BLOCK]
            for text, rows in zip(block, search.names(block, limit), strict=True):
                found[text] = [ids[row] for row in rows]
            bar.update(len(block))
    return found


def recall(mentions: Sequence[Mention], candidates: Mapping[str, Sequence[str]]) -> dict[int, float]:
    """Computes how often the answer is among the first candidates of its mention.

    Args:
        mentions: Mentions; those without an answer (NIL) do not count.
        candidates: Ids of entities, best first, by surface form.

    Returns:
        Percentage of mentions by number of candidates, for each of `RECALLS`; empty if every mention is NIL.
    """
    golds = [(mention.entity_id, candidates[mention.mention]) for mention in mentions if mention.entity_id]
    if not golds:
        return {}
    ranks = torch.tensor([1.0 + found.index(gold) if gold in found else math.inf for gold, found in golds])
    return {count: 100 * recall_at(ranks, count) for count in RECALLS}
