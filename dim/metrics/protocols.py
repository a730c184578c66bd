"""Evaluation protocols; each has its own name in every output, so that their numbers are never mixed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dim.errors import DIMError
from dim.metrics.ranks import gold_ranks, recall_at, top_k

LIMIT = 100
"""Largest number of candidates of a mention, as in published tables."""


@dataclass(frozen=True)
class Protocol:
    """A protocol: the candidates among which a gold is ranked, and how ties count.

    Args:
        name: `full_kb`, `candidates`, `candidates_normalised` or `candidates_dim`.
        meaning: Description for the head of a table.
        ties: How ties count, see [`dim.metrics.ranks.gold_ranks`].
        comparable: `False` if its numbers serve only for comparison with published tables.

    Example:
        >>> protocol = PROTOCOLS["candidates_dim"]
        >>> protocol.ties, protocol.comparable
        ('optimistic', False)
    """

    name: str
    meaning: str
    ties: str = "mean"
    comparable: bool = True


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("full_kb", "the gold is ranked among all entities of the knowledge base"),
        Protocol(
            "candidates",
            f"ranked among the mention's published candidates (at most {LIMIT}); any other gold is a miss",
        ),
        Protocol(
            "candidates_normalised",
            "as `candidates`, only over mentions whose gold is among their candidates",
            comparable=False,
        ),
        Protocol(
            "candidates_dim",
            f"as in the reference code of DIM: at most {LIMIT} candidates (80 for WikiDiverse), the gold always added, "
            "ties count as hits; flatters, only for comparison with published tables",
            ties="optimistic",
            comparable=False,
        ),
    )
}


@dataclass(frozen=True)
class CandidateLists:
    """Candidates of `M` mentions as row indices of the knowledge base.

    Args:
        rows: Indices of entities `(M, C)`, best first, -1 behind the last.

    Example:
        >>> lists = CandidateLists.from_ids({"m1": ["e2", "e1"]}, ["m1", "m2"], {"e1": 0, "e2": 1})
        >>> lists.rows
        tensor([[ 1,  0],
                [-1, -1]])
    """

    rows: Tensor

    @classmethod
    def from_ids(
        cls, candidates: Mapping[str, Sequence[str]], mentions: Sequence[str], entities: Mapping[str, int]
    ) -> "CandidateLists":
        """Converts lists of ids.

        Args:
            candidates: Ids of entities by mention, best first; a mention may be missing.
            mentions: Ids of the mentions.
            entities: Index of each entity id.

        Returns:
            The lists.

        Raises:
            DIMError: If a list has more than 100 entities, a repeated one, or one that is not in the knowledge base.
        """
        lists = [candidates.get(name, ()) for name in mentions]
        for name, ids in zip(mentions, lists, strict=True):
            if len(ids) > LIMIT or len(set(ids)) < len(ids):
                raise DIMError(f"the candidates of mention {name!r} must be at most {LIMIT} different entities.")
            unknown = next((entity for entity in ids if entity not in entities), None)
            if unknown is not None:
                raise DIMError(f"the candidate {unknown!r} of mention {name!r} is not in the entities.")
        width = max(1, max(map(len, lists), default=1))
        rows = [[entities[entity] for entity in ids] + [-1] * (width - len(ids)) for ids in lists]
        return cls(torch.tensor(rows).view(len(lists), width))

    def __getitem__(self, mentions: slice) -> "CandidateLists":
        return CandidateLists(self.rows[mentions])

    def gold_index(self, gold: Tensor) -> Tensor:
        """Index of each gold `(M,)` in its list, -1 if it is not in it."""
        found = (self.rows == gold[:, None]) & (gold >= 0)[:, None]
        return torch.where(found.any(1), found.long().argmax(1), -1)

    def recall(self, gold: Tensor, k: int) -> float:
        """Computes recall@k over the mentions with a gold, 0..1."""
        index = self.gold_index(gold)[gold >= 0]
        return recall_at(torch.where(index < 0, math.inf, index + 1.0), k)

    def forced(self, gold: Tensor, limit: int) -> "CandidateLists":
        """The first `limit` candidates; the gold replaces the last one if it is not among them."""
        rows = self.rows[:, :limit].clone()
        if rows.shape[1] < limit:
            rows = torch.cat([rows, rows.new_full((len(rows), 1), -1)], 1)
        missing = (CandidateLists(rows).gold_index(gold) < 0) & (gold >= 0)
        last = (rows >= 0).sum(1).clamp(max=rows.shape[1] - 1)  # the first free column, or the last one
        rows[missing, last[missing]] = gold[missing]
        return CandidateLists(rows)

    def ranks(self, scores: Tensor, gold: Tensor, ties: str) -> Tensor:
        """Ranks each gold among its candidates.

        Args:
            scores: Scores of every entity `(M, E)`, finite.
            gold: Index of each gold, -1 for NIL `(M,)`.
            ties: As for [`dim.metrics.ranks.gold_ranks`].

        Returns:
            `(M,)` float64; `inf` if the gold is not a candidate.

        Raises:
            DIMError: As [`dim.metrics.ranks.gold_ranks`].
        """
        return gold_ranks(self._own(scores), self.gold_index(gold), ties)

    def best(self, scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Finds the `k` best candidates of each mention, or fewer if no list is that long.

        Args:
            scores: Scores of every entity `(M, E)`, finite.
            k: Number of candidates.

        Returns:
            Their scores and their indices `(M, min(k, C))`, best first, equal scores in the order of the list; `-inf`
                and -1 behind the last.

        Example:
            >>> CandidateLists(torch.tensor([[1, 0], [2, -1]])).best(torch.tensor([[0.9, 0.1, 0.5]] * 2), 2)
            (tensor([[0.9000, 0.1000],
                    [0.5000,   -inf]]), tensor([[ 0,  1],
                    [ 2, -1]]))
        """
        values, columns = top_k(self._own(scores), min(k, self.rows.shape[1]))
        rows = self.rows.gather(1, columns)
        return values.masked_fill(rows < 0, -math.inf), rows

    def _own(self, scores: Tensor) -> Tensor:
        """Scores of the candidates `(M, C)`; the lowest float32 behind the last."""
        lowest = torch.finfo(torch.float32).min
        found = scores.float().gather(1, self.rows.clamp(min=0))
        if bool((found == lowest).any()):
            raise DIMError("a score is the lowest number of float32, which marks the end of a list.")
        return found.masked_fill(self.rows < 0, lowest)


def dim_limit(dataset: str) -> int:
    """Returns the number of candidates in the reference code of DIM: 80 for WikiDiverse, else 100.

    Args:
        dataset: Folder or Hub name.

    Returns:
        The number of candidates.

    Example:
        >>> dim_limit("data/wikidiverse_plus"), dim_limit("data/wikimel")
        (80, 100)
    """
    return 80 if dataset.rstrip("/").rpartition("/")[2].lower().startswith("wikidiverse") else LIMIT


def ranks_under(
    protocol: str, scores: Tensor, gold: Tensor, lists: CandidateLists | None, limit: int = LIMIT
) -> Tensor:
    """Ranks golds under a protocol.

    Args:
        protocol: A name of [`PROTOCOLS`].
        scores: Scores of every entity `(M, E)`.
        gold: Index of each gold, -1 for NIL `(M,)`.
        lists: The mentions' candidates; not needed for `full_kb`.
        limit: Candidates of `candidates_dim`, see [`dim_limit`].

    Returns:
        `(M,)` float64: `inf` for a miss, and NaN for a mention that the protocol excludes: NIL, and under
            `candidates_normalised` a gold that is not a candidate.

    Raises:
        DIMError: If the protocol is unknown or needs candidates, or as [`dim.metrics.ranks.gold_ranks`].

    Example:
        >>> lists = CandidateLists(torch.tensor([[2, 0], [2, 0]]))
        >>> scores, gold = torch.tensor([[0.1, 0.9, 0.5], [0.1, 0.9, 0.5]]), torch.tensor([0, 1])
        >>> for name in PROTOCOLS:
        ...     print(name, ranks_under(name, scores, gold, lists, limit=2).tolist())
        full_kb [3.0, 1.0]
        candidates [2.0, inf]
        candidates_normalised [2.0, nan]
        candidates_dim [2.0, 1.0]
    """
    ties, own = find_protocol(protocol).ties, lists_under(protocol, gold, lists, limit)
    ranks = gold_ranks(scores, gold, ties) if own is None else own.ranks(scores, gold, ties)
    excluded = gold < 0
    if protocol == "candidates_normalised":
        excluded = excluded | ranks.isinf()
    return ranks.masked_fill(excluded, math.nan)


def lists_under(protocol: str, gold: Tensor, lists: CandidateLists | None, limit: int = LIMIT) -> CandidateLists | None:
    """Returns the candidate lists of a protocol.

    Args:
        protocol, gold, lists, limit: As for [`ranks_under`].

    Returns:
        The lists; `None` if every entity is a candidate.

    Raises:
        DIMError: If the protocol needs candidates and there are none.

    Example:
        >>> lists, gold = CandidateLists(torch.tensor([[2, 0]])), torch.tensor([1])
        >>> lists_under("candidates", gold, lists).rows, lists_under("candidates_dim", gold, lists, limit=2).rows
        (tensor([[2, 0]]), tensor([[2, 1]]))
    """
    if protocol == "full_kb":
        return None
    if lists is None:
        raise DIMError(f"the protocol {protocol} needs candidates: the dataset has none for this split.")
    return lists.forced(gold, limit) if protocol == "candidates_dim" else lists


def find_protocol(name: str) -> Protocol:
    """Returns the protocol with a name.

    Args:
        name: One of `full_kb`, `candidates`, `candidates_normalised`, `candidates_dim`.

    Returns:
        The protocol.

    Raises:
        DIMError: If the name is unknown.

    Example:
        >>> find_protocol("full_kb").meaning
        'the gold is ranked among all entities of the knowledge base'
    """
    if name not in PROTOCOLS:
        raise DIMError(f"there is no protocol {name!r}; there are {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]
