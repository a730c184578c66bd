"""Ranking of the candidates of mentions by the model's scores, in float32."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from dim.encoding.mention import Mention
from dim.encoding.scoring import check_lexical, exact
from dim.errors import DIMError
from dim.lexical_dim import LexicalFeatures
from dim.modeling_dim import DIMModel


@dataclass(frozen=True)
class Ranking:
    """The candidates of `M` mentions, best first; equal scores in the order of the row indices.

    Args:
        rows: Row indices in the knowledge base `(M, C)`, int64; -1 after the last candidate.
        scores: The model's scores `(M, C)`, float32; `-inf` after the last.
        vector_scores: Scores by the vectors alone `(M, C)`, float32.
        features: Lexical features of the pairs `(M, C, F)`; `F` is 0 for a model without a lexical prior.
        channels: Bit mask of the retrieval channels that found each candidate `(M, C)`, see `Candidates.channels`.

    Example:

        >>> scores = torch.tensor([[9.0, 4.0, 2.0]])
        >>> ranking = Ranking(torch.tensor([[7, 3, 5]]), scores, scores, torch.zeros(1, 3, 0), torch.ones(1, 3).long())
        >>> ranking.first(2).rows, ranking.without(torch.tensor([7])).rows
        (tensor([[7, 3]]), tensor([[ 3, 5, -1]]))
    """

    rows: Tensor
    scores: Tensor
    vector_scores: Tensor
    features: Tensor
    channels: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def without(self, entities: Tensor) -> "Ranking":
        """Removes entities from the candidates, as if the knowledge base lacked them.

        Args:
            entities: Row indices of the entities.

        Returns:
            The ranking without them.
        """
        gone = torch.isin(self.rows, entities)
        left = replace(self, rows=self.rows.masked_fill(gone, -1))
        return left.rescored(self.scores.masked_fill(gone, -torch.inf))

    def first(self, count: int) -> "Ranking":
        """Returns the best candidates of each mention.

        Args:
            count: Number of candidates.

        Returns:
            The ranking of these candidates `(M, min(count, C))`.
        """
        return Ranking(*(getattr(self, field.name)[:, :count] for field in fields(self)))

    def rescored(self, scores: Tensor) -> "Ranking":
        """Sorts the candidates by other scores.

        Args:
            scores: The other scores `(M, C)`; `-inf` where there is no candidate.

        Returns:
            The ranking of the same candidates by these scores.
        """
        last = torch.where(self.rows < 0, torch.iinfo(torch.int64).max, self.rows)
        order = last.argsort(dim=1, stable=True)
        order = order.gather(1, scores.gather(1, order).argsort(dim=1, descending=True, stable=True))
        wide = order[:, :, None].expand(-1, -1, self.features.shape[-1])
        return Ranking(
            self.rows.gather(1, order), scores.gather(1, order), self.vector_scores.gather(1, order),
            self.features.gather(1, wide), self.channels.gather(1, order),
        )  # fmt: skip


@torch.inference_mode()
def rank_candidates(
    model: DIMModel,
    queries: Tensor,
    vectors: Tensor,
    features: LexicalFeatures | None,
    mentions: Sequence[Mention],
    places: Tensor,
    rows: Tensor,
    channels: Tensor,
) -> Ranking:
    """Scores each mention's candidates with [`DIMModel.score_pairs`] and sorts them.

    Args:
        model: A DIM.
        queries: Mention vectors `(M, D)`.
        vectors: Vectors of the entities that are a candidate of any mention `(U, D)`.
        features: Lexical features of those entities; `None` for a model without a lexical prior.
        mentions: The `M` mentions.
        places: Each mention's candidates, as indices in `vectors`, -1 for none `(M, C)`.
        rows: The same candidates, as row indices in the knowledge base `(M, C)`.
        channels: Bit mask of their retrieval channels `(M, C)`.

    Returns:
        The ranking.

    Raises:
        DIMError: If the prior was trained on other features, or a score is not finite.
    """
    check_lexical(model)
    there, own = places >= 0, places.clamp(min=0)
    pairs = exact(queries, model), exact(vectors, model)[own.to(model.device)]
    scores = vector_scores = model.score_pairs(*pairs, False).float().cpu()
    lexical = torch.zeros(*places.shape, 0)
    if features is not None:
        lexical = features.pairs(mentions, own)
        scores = model.score_pairs(*pairs, lexical.to(model.device)).float().cpu()
    if not torch.isfinite(scores[there]).all():
        index = int((~torch.isfinite(scores) & there).any(1).nonzero()[0])
        raise DIMError(f"The score of a candidate of mention {mentions[index].text!r} is not finite.")
    scores = scores.masked_fill(~there, -torch.inf)
    return Ranking(rows, scores, vector_scores, lexical, channels).rescored(scores)
