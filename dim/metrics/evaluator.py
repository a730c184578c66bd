"""Evaluator for trainers: a callable from a model to ranking metrics, with a primary metric."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from dim.errors import DIMError
from dim.metrics.protocols import LIMIT, CandidateLists, find_protocol, ranks_under
from dim.metrics.ranks import DEFAULT_KS, ranking_metrics

Block = tuple[slice, Tensor]
"""A slice of the mentions, and their scores with every entity `(m, E)`."""


class RankingEvaluator:
    """Ranks a split under one or more protocols, like the evaluators of Sentence Transformers.

    It does not depend on models or datasets: `score` does the encoding, so a trainer can pass data that it prepared
    once.

    Args:
        score: Takes the model and yields slices of the mentions, in order, with their scores for every entity `(m, E)`.
        gold: Index of each gold, -1 for NIL `(M,)`; NIL mentions are not ranked.
        name: Prefix of the name of every metric.
        protocols: Names of [`dim.metrics.protocols.PROTOCOLS`].
        lists: The mentions' candidates, for protocols that need them.
        limit: Number of candidates of `candidates_dim`.
        metric: Primary metric, of the first protocol: `H@1`, `H@3`, `H@5`, `H@10`, `H@20` or `MRR`.

    Raises:
        DIMError: If no mention has an entity, a protocol is unknown or needs candidates, or the metric is unknown.

    Example:
        >>> scores = torch.tensor([[0.9, 0.1], [0.8, 0.2]])
        >>> evaluator = RankingEvaluator(lambda model: [(slice(0, 2), model * scores)], torch.tensor([0, 1]))
        >>> evaluator.primary_metric, evaluator(1.0)["validation_full_kb_MRR"]
        ('validation_full_kb_MRR', 75.0)
    """

    greater_is_better = True

    def __init__(
        self,
        score: Callable[[Any], Iterable[Block]],
        gold: Tensor,
        *,
        name: str = "validation",
        protocols: Sequence[str] = ("full_kb",),
        lists: CandidateLists | None = None,
        limit: int = LIMIT,
        metric: str = "MRR",
    ):
        known = [*(f"H@{k}" for k in DEFAULT_KS), "MRR"]
        if metric not in known:
            raise DIMError(f"metric is {metric!r}: it must be one of {', '.join(known)}")
        if not bool((gold >= 0).any()):
            raise DIMError("no mention has an entity: there is nothing to rank")
        for protocol in protocols:
            find_protocol(protocol)
            if protocol != "full_kb" and lists is None:
                raise DIMError(f"the protocol {protocol} needs candidates")
        self._score, self._gold, self._lists, self._limit = score, gold, lists, limit
        self.name, self.protocols = name, tuple(protocols)
        self.primary_metric = f"{name}_{protocols[0]}_{metric}"

    def __call__(self, model: Any) -> dict[str, float]:
        """Ranks the split.

        Args:
            model: The argument of `score`.

        Returns:
            `{"NAME_PROTOCOL_H@1": ..., ..., "NAME_PROTOCOL_MRR": ...}` in percent.

        Raises:
            DIMError: As [`RankingEvaluator.metrics`].
        """
        return {
            f"{self.name}_{protocol}_{metric}": value
            for protocol, values in self.metrics(model).items()
            for metric, value in values.items()
        }

    def metrics(self, model: Any) -> dict[str, dict[str, float]]:
        """Ranks the split, with one table for each protocol.

        Args:
            model: The argument of `score`.

        Returns:
            The metrics of [`dim.metrics.ranks.ranking_metrics`], by protocol.

        Raises:
            DIMError: If a score is not finite, blocks do not cover the mentions, or a protocol excludes them all.
        """
        found: dict[str, list[Tensor]] = {protocol: [] for protocol in self.protocols}
        done = 0
        for part, block in self._score(model):
            if part.start != done:
                raise DIMError(f"expected scores of the mentions from {done} on, got those from {part.start} on")
            done = part.stop
            lists = None if self._lists is None else self._lists[part]
            for protocol, ranks in found.items():
                ranks.append(ranks_under(protocol, block, self._gold[part], lists, self._limit))
        if done != len(self._gold):
            raise DIMError(f"only {done} of {len(self._gold)} mentions were scored")
        whole = {protocol: torch.cat(parts) for protocol, parts in found.items()}
        return {protocol: ranking_metrics(ranks[~ranks.isnan()]) for protocol, ranks in whole.items()}
