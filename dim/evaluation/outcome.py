"""Results of a system for each mention: ranks under every protocol, best entities, and confidence."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dim.errors import DIMError
from dim.evaluation.systems.base import System
from dim.metrics.calibration_error import fit_temperature
from dim.metrics.nil import best_nil_threshold
from dim.metrics.protocols import LIMIT, CandidateLists, lists_under, ranks_under
from dim.metrics.ranks import top_k


@dataclass(frozen=True)
class Outcome:
    """Results of a system for `M` mentions.

    Args:
        name: The system's name.
        probabilistic: Whether its confidence is a probability.
        ranks: Ranks of the golds by protocol, each `(M,)`; NaN for mentions that the protocol excludes.
        rows: Indices of the best entities under the first protocol `(M, K)`, `K` at most 100; -1 behind the last.
        scores: Their scores `(M, K)`; `-inf` behind the last.
        gold: Index of each gold, -1 for NIL `(M,)`.
        gold_scores: Scores of the golds `(M,)`, NaN for NIL.
    """

    name: str
    probabilistic: bool
    ranks: dict[str, Tensor]
    rows: Tensor
    scores: Tensor
    gold: Tensor
    gold_scores: Tensor

    @property
    def correct(self) -> Tensor:
        """Whether the gold has rank 1 under the first protocol `(M,)`; `False` for NIL, which is not ranked."""
        return next(iter(self.ranks.values())) == 1

    def confidence(self, temperature: Tensor | None = None) -> Tensor:
        """Computes the confidence in the best entity `(M,)`, 0..1.

        Args:
            temperature: Divides the scores of each mention `(M,)`; 1 by default.

        Returns:
            The best entity's share of the softmax over the 100 best, 0 without candidates; for a system whose scores
                are not logits, the share of mentions whose best score is lower.
        """
        if not self.probabilistic:
            best = self.scores[:, 0].numpy()
            return torch.from_numpy(np.searchsorted(np.sort(best), best) / len(best))
        scores = self.scores.double()
        if temperature is not None:
            scores = scores / temperature[:, None]
        return torch.softmax(scores, dim=1)[:, 0].nan_to_num(0.0)  # NaN: a softmax without candidates


def run_system(
    system: System,
    mentions: Sequence[dict],
    gold: Tensor,
    protocols: Sequence[str],
    lists: CandidateLists | None = None,
    limit: int = LIMIT,
) -> Outcome:
    """Runs a system on a split once, and ranks the golds under every protocol.

    Args:
        system: The system.
        mentions: `M` rows of the config `mentions`.
        gold: Index of each gold, -1 for NIL `(M,)`.
        protocols: Names of [`dim.metrics.protocols.PROTOCOLS`]; the best entities are those of the first.
        lists: The mentions' candidates, for protocols that need them.
        limit: Number of candidates of `candidates_dim`.

    Returns:
        The outcome.

    Raises:
        DIMError: If a score is not finite (the message gives system and mention), or as
            [`dim.metrics.protocols.ranks_under`].
    """
    ranks: dict[str, list[Tensor]] = {name: [] for name in protocols}
    rows, scores, golds = [], [], []
    for part, block in system.scores(mentions):
        own, own_lists = gold[part], None if lists is None else lists[part]
        broken = (~torch.isfinite(block)).any(1).nonzero()
        if len(broken):
            row = part.start + int(broken[0])
            raise DIMError(f"{system.name}: mention {mentions[row]['id']!r} has a score that is not finite.")
        for name in protocols:
            ranks[name].append(ranks_under(name, block, own, own_lists, limit))
        first = lists_under(protocols[0], own, own_lists, limit)
        best, indices = top_k(block, min(LIMIT, block.shape[1])) if first is None else first.best(block, LIMIT)
        rows.append(indices)
        scores.append(best)
        golds.append(block.gather(1, own.clamp(min=0)[:, None])[:, 0].masked_fill(own < 0, math.nan))
    return Outcome(
        system.name,
        system.probabilistic,
        {name: torch.cat(found) for name, found in ranks.items()},
        torch.cat(rows),
        torch.cat(scores),
        gold,
        torch.cat(golds),
    )


def halves(texts: Sequence[str]) -> Tensor:
    """Splits mentions into two halves for cross-fitting; equal texts stay together.

    Args:
        texts: `M` texts, such as the sentences.

    Returns:
        `(M,)` bool, a function of the texts alone.

    Example:
        >>> halves(["a", "b", "a"]).tolist()
        [False, True, False]
    """
    return torch.tensor([hashlib.blake2b(text.encode()).digest()[0] % 2 == 0 for text in texts])


def crossed_temperature(outcome: Outcome, half: Tensor) -> Tensor | None:
    """Fits the temperature of each mention `(M,)` on the mentions of the other half.

    Args:
        outcome: The outcome of a system whose scores are logits.
        half: From [`halves`].

    Returns:
        The temperatures; `None` if a half has no gold among its best entities.
    """
    index = CandidateLists(outcome.rows).gold_index(outcome.gold)
    temperature = torch.empty(len(half), dtype=torch.float64)
    for own in (half, ~half):
        if not bool((index[~own] >= 0).any()):
            return None
        temperature[own] = fit_temperature(outcome.scores[~own], index[~own])
    return temperature


def crossed_nil(confidence: Tensor, gold: Tensor, half: Tensor) -> Tensor | None:
    """Predicts NIL mentions `(M,)` by the confidence threshold that is best for the other half.

    Args:
        confidence: `(M,)`, 0..1.
        gold: Index of each gold, -1 for NIL `(M,)`.
        half: From [`halves`].

    Returns:
        `True` for a predicted NIL; `None` if a half is empty.
    """
    predicted = torch.zeros(len(half), dtype=torch.bool)
    for own in (half, ~half):
        if not bool((~own).any()):
            return None
        predicted[own] = confidence[own] < best_nil_threshold(confidence[~own], gold[~own] < 0)
    return predicted
