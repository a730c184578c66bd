"""What a system did to each mention: its ranks under every protocol, its best entities, and how sure it was."""

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
    """What a system did to `M` mentions.

    Args:
        name: The system's name.
        probabilistic: Whether its confidence is a probability.
        ranks: Ranks of the golds by protocol, each `(M,)`; NaN for mentions that the protocol leaves out.
        rows: Rows of the best entities under the first protocol `(M, K)`, `K` at most 100; -1 behind the last.
        scores: Their scores `(M, K)`; `-inf` behind the last.
        gold: Row of each gold, -1 for NIL `(M,)`.
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
        """Whether the gold has rank 1 under the first protocol `(M,)`; NIL, which is not ranked, is not right."""
        return next(iter(self.ranks.values())) == 1

    def confidence(self, temperature: Tensor | None = None) -> Tensor:
        """How sure the system is of its best entity `(M,)`, 0..1.

        Args:
            temperature: Divides the scores of each mention `(M,)`; none divides by 1.

        Returns:
            The best entity's part in the softmax over the 100 best, 0 where there is no candidate; for a system whose
                scores are no logits, the share of mentions whose best score is lower.
        """
        if not self.probabilistic:
            best = self.scores[:, 0].numpy()
            return torch.from_numpy(np.searchsorted(np.sort(best), best) / len(best))
        scores = self.scores.double()
        if temperature is not None:
            scores = scores / temperature[:, None]
        return torch.softmax(scores, dim=1)[:, 0].nan_to_num(0.0)  # NaN: a softmax of nothing


def run_system(
    system: System,
    mentions: Sequence[dict],
    gold: Tensor,
    protocols: Sequence[str],
    lists: CandidateLists | None = None,
    limit: int = LIMIT,
) -> Outcome:
    """Runs a system over a split once, and ranks the golds under every protocol.

    Args:
        system: The system.
        mentions: `M` rows of the config `mentions`.
        gold: Row of each gold, -1 for NIL `(M,)`.
        protocols: Names of [`dim.metrics.protocols.PROTOCOLS`]; the best entities kept are those of the first.
        lists: The mentions' candidates, for protocols that need them.
        limit: Candidates of `candidates_dim`.

    Returns:
        The outcome.

    Raises:
        DIMError: If a score is not finite (system and mention are named), or as
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
        best, places = top_k(block, min(LIMIT, block.shape[1])) if first is None else first.best(block, LIMIT)
        rows.append(places)
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
    """Splits mentions in two, so that what is fitted on one half is judged on the other; equal texts stay together.

    Args:
        texts: What must not be split, such as the sentences.

    Returns:
        `(M,)` bool, by the texts alone.

    Example:
        >>> halves(["a", "b", "a"]).tolist()
        [False, True, False]
    """
    return torch.tensor([hashlib.blake2b(text.encode()).digest()[0] % 2 == 0 for text in texts])


def crossed_temperature(outcome: Outcome, half: Tensor) -> Tensor | None:
    """The temperature of each mention `(M,)`, fitted on the mentions of the other half.

    Args:
        outcome: The outcome of a system whose scores are logits.
        half: From [`halves`].

    Returns:
        The temperatures; `None` where a half has no gold among its best entities.
    """
    found = (outcome.rows == outcome.gold[:, None]) & (outcome.rows >= 0)
    place = torch.where(found.any(1), found.long().argmax(1), -1)
    temperature = torch.empty(len(half), dtype=torch.float64)
    for own in (half, ~half):
        if not bool((place[~own] >= 0).any()):
            return None
        temperature[own] = fit_temperature(outcome.scores[~own], place[~own])
    return temperature


def crossed_nil(confidence: Tensor, gold: Tensor, half: Tensor) -> Tensor | None:
    """Which mentions are called NIL `(M,)`, by the threshold that is best for the other half.

    Args:
        confidence: `(M,)`, 0..1.
        gold: Row of each gold, -1 for NIL `(M,)`.
        half: From [`halves`].

    Returns:
        Bool; `None` where a half is empty.
    """
    called = torch.zeros(len(half), dtype=torch.bool)
    for own in (half, ~half):
        if not bool((~own).any()):
            return None
        called[own] = confidence[own] < best_nil_threshold(confidence[~own], gold[~own] < 0)
    return called


__all__ = ["Outcome", "crossed_nil", "crossed_temperature", "halves", "run_system"]
