"""An evaluator as trainers want one: called with a model, it gives numbers, and names the one that counts."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from dim.errors import DIMError
from dim.metrics.protocols import LIMIT, CandidateLists, find_protocol, ranks_under
from dim.metrics.ranks import DEFAULT_KS, ranking_metrics

Block = tuple[slice, Tensor]
"""Which mentions, and their scores with every entity `(m, E)`."""


class RankingEvaluator:
    """Ranks a split under one protocol or several; in the manner of Sentence Transformers' evaluators.

    It knows nothing of models or datasets: `score` does the encoding, so a trainer can hand in data that it has
    prepared once.

    Args:
        score: Given the model, yields which mentions, in order, and their scores with every entity `(m, E)`.
        gold: Row of each gold, -1 for NIL `(M,)`; NIL mentions are not ranked.
        name: Begins the name of every number.
        protocols: Names of [`dim.metrics.protocols.PROTOCOLS`].
        lists: The mentions' candidates, for protocols that need them.
        limit: Candidates of `candidates_dim`.
        metric: Which number of the first protocol counts: `H@1`, `H@3`, `H@5`, `H@10`, `H@20` or `MRR`.

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
            model: What `score` takes.

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
        """The same, protocol by protocol.

        Args:
            model: What `score` takes.

        Returns:
            What [`dim.metrics.ranks.ranking_metrics`] gives, by protocol.

        Raises:
            DIMError: If a score is not finite, blocks do not cover the mentions, or a protocol leaves out them all.
        """
        found: dict[str, list[Tensor]] = {protocol: [] for protocol in self.protocols}
        done = 0
        for part, block in self._score(model):
            if part.start != done:
                raise DIMError(f"scores of mentions {done} and on were expected, got those of {part.start} and on")
            done = part.stop
            lists = None if self._lists is None else self._lists[part]
            for protocol, ranks in found.items():
                ranks.append(ranks_under(protocol, block, self._gold[part], lists, self._limit))
        if done != len(self._gold):
            raise DIMError(f"{done} mentions were scored of {len(self._gold)}")
        whole = {protocol: torch.cat(parts) for protocol, parts in found.items()}
        return {protocol: ranking_metrics(ranks[~ranks.isnan()]) for protocol, ranks in whole.items()}


__all__ = ["RankingEvaluator"]
