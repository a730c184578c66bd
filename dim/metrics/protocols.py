"""The field's protocols, each with its own name in every output, so that no two of them meet in one table."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dim.errors import DIMError
from dim.metrics.ranks import gold_ranks, recall_at, top_k

LIMIT = 100
"""Most candidates of a mention, in the field's tables and here."""


@dataclass(frozen=True)
class Protocol:
    """How a gold is ranked.

    Args:
        name: `full_kb`, `candidates`, `candidates_normalised` or `candidates_dim`.
        meaning: What it is, for the head of a table.
        ties: What a tie costs, see [`dim.metrics.ranks.gold_ranks`].
        comparable: Whether its numbers say how good a linker is; `False` for what is only there to compare with
            published tables.

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
            f"ranked among the mention's published candidates (at most {LIMIT}); a gold that is not there is a miss",
        ),
        Protocol(
            "candidates_normalised",
            "as `candidates`, only over mentions whose gold is among their candidates",
            comparable=False,
        ),
        Protocol(
            "candidates_dim",
            f"as the reference code of DIM does it: at most {LIMIT} candidates (80 for WikiDiverse), the gold forced "
            "in, ties for the gold; flatters, and is here to compare with published tables only",
            ties="optimistic",
            comparable=False,
        ),
    )
}


@dataclass(frozen=True)
class CandidateLists:
    """Candidates of `M` mentions as rows of the knowledge base.

    Args:
        rows: Rows of entities `(M, C)`, best first, -1 behind the last.

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
        """Makes them of ids.

        Args:
            candidates: Ids of entities by mention, best first; a mention may be missing.
            mentions: Ids of the mentions.
            entities: Row of each entity id.

        Returns:
            The lists.

        Raises:
            DIMError: If a list is longer than 100, names an entity twice, or one that is not in the knowledge base.
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

    def place_of(self, gold: Tensor) -> Tensor:
        """Place of each gold `(M,)` in its list, -1 where it is not there."""
        found = (self.rows == gold[:, None]) & (gold >= 0)[:, None]
        return torch.where(found.any(1), found.long().argmax(1), -1)

    def recall(self, gold: Tensor, k: int) -> float:
        """Share of mentions with a gold whose gold is among the first `k` candidates, 0..1 (recall@k)."""
        index = self.place_of(gold)[gold >= 0]
        return recall_at(torch.where(index < 0, math.inf, index + 1.0), k)

    def forced(self, gold: Tensor, limit: int) -> "CandidateLists":
        """The first `limit` candidates, with the gold in place of the last where it is not among them."""
        rows = self.rows[:, :limit].clone()
        if rows.shape[1] < limit:
            rows = torch.cat([rows, rows.new_full((len(rows), 1), -1)], 1)
        missing = (CandidateLists(rows).place_of(gold) < 0) & (gold >= 0)
        last = (rows >= 0).sum(1).clamp(max=rows.shape[1] - 1)  # the first free place, or the last one
        rows[missing, last[missing]] = gold[missing]
        return CandidateLists(rows)

    def ranks(self, scores: Tensor, gold: Tensor, ties: str) -> Tensor:
        """Rank each gold among its candidates.

        Args:
            scores: Scores of every entity `(M, E)`, finite.
            gold: Row of each gold, -1 for NIL `(M,)`.
            ties: As for [`dim.metrics.ranks.gold_ranks`].

        Returns:
            `(M,)` float64; `inf` where the gold is no candidate.

        Raises:
            DIMError: As [`dim.metrics.ranks.gold_ranks`].
        """
        return gold_ranks(self._own(scores), self.place_of(gold), ties)

    def best(self, scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Each mention's `k` best candidates, fewer where no list is as long.

        Args:
            scores: Scores of every entity `(M, E)`, finite.
            k: How many.

        Returns:
            Their scores and their rows `(M, min(k, C))`, best first, equal scores in the order of the list; `-inf` and
                -1 behind the last.

        Example:
            >>> CandidateLists(torch.tensor([[1, 0], [2, -1]])).best(torch.tensor([[0.9, 0.1, 0.5]] * 2), 2)
            (tensor([[0.9000, 0.1000],
                    [0.5000,   -inf]]), tensor([[ 0,  1],
                    [ 2, -1]]))
        """
        values, places = top_k(self._own(scores), min(k, self.rows.shape[1]))
        rows = self.rows.gather(1, places)
        return values.masked_fill(rows < 0, -math.inf), rows

    def _own(self, scores: Tensor) -> Tensor:
        """Scores of the candidates `(M, C)`; empty places of a short list score lower than anything."""
        lowest = torch.finfo(torch.float32).min
        found = scores.float().gather(1, self.rows.clamp(min=0))
        if bool((found == lowest).any()):
            raise DIMError("a score is the lowest number of float32: it cannot be told from an empty place.")
        return found.masked_fill(self.rows < 0, lowest)


def dim_limit(dataset: str) -> int:
    """How many candidates the reference code of DIM gives: 80 for WikiDiverse, else 100.

    Args:
        dataset: Folder or Hub name.

    Returns:
        The number.

    Example:
        >>> dim_limit("data/wikidiverse_plus"), dim_limit("data/wikimel")
        (80, 100)
    """
    return 80 if dataset.rstrip("/").rpartition("/")[2].lower().startswith("wikidiverse") else LIMIT


def ranks_under(
    protocol: str, scores: Tensor, gold: Tensor, lists: CandidateLists | None, limit: int = LIMIT
) -> Tensor:
    """Ranks of golds under a protocol.

    Args:
        protocol: A name of [`PROTOCOLS`].
        scores: Scores of every entity `(M, E)`.
        gold: Row of each gold, -1 for NIL `(M,)`.
        lists: The mentions' candidates; not needed for `full_kb`.
        limit: Candidates of `candidates_dim`, see [`dim_limit`].

    Returns:
        `(M,)` float64: `inf` for a miss, and NaN for a mention that the protocol leaves out: NIL, and under
            `candidates_normalised` a gold that is no candidate.

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
    left_out = gold < 0
    if protocol == "candidates_normalised":
        left_out = left_out | ranks.isinf()
    return ranks.masked_fill(left_out, math.nan)


def lists_under(protocol: str, gold: Tensor, lists: CandidateLists | None, limit: int = LIMIT) -> CandidateLists | None:
    """What a protocol ranks among.

    Args:
        protocol, gold, lists, limit: As for [`ranks_under`].

    Returns:
        The lists; `None` for every entity.

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
    """The protocol of a name.

    Args:
        name: One of `full_kb`, `candidates`, `candidates_normalised`, `candidates_dim`.

    Returns:
        The protocol.

    Raises:
        DIMError: If there is none.

    Example:
        >>> find_protocol("full_kb").meaning
        'the gold is ranked among all entities of the knowledge base'
    """
    if name not in PROTOCOLS:
        raise DIMError(f"there is no protocol {name!r}; there are {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]


__all__ = [
    "LIMIT", "PROTOCOLS", "CandidateLists", "Protocol", "dim_limit", "find_protocol", "lists_under", "ranks_under",
]  # fmt: skip
