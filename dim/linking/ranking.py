"""Ranking the candidates of mentions: the model's score of every pair, in float32, best first."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from dim.encoding.prior_features import LexicalFeatures
from dim.encoding.scoring import check_lexical
from dim.errors import DIMError
from dim.modeling_dim import DIMModel


@dataclass(frozen=True)
class Ranking:
    """The candidates of `M` mentions, best first; equal scores in the order of their row numbers.

    Args:
        rows: Row numbers of the knowledge base `(M, C)`, int64; -1 behind the last candidate.
        scores: The model's scores `(M, C)`, float32; `-inf` behind the last.
        vector_scores: Scores by the vectors alone `(M, C)`, float32.
        features: Lexical features of the pairs `(M, C, F)`; `F` is 0 for a model without a lexical prior.
        sources: Bit mask of who found each candidate `(M, C)`: see `dim.linking.candidates.SOURCES`.

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
    sources: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def without(self, entities: Tensor) -> "Ranking":
        """The ranking as it would be if the knowledge base lacked some entities.

        Args:
            entities: Their row numbers.

        Returns:
            The ranking in which they are no candidates.
        """
        gone = torch.isin(self.rows, entities)
        left = replace(self, rows=self.rows.masked_fill(gone, -1))
        return left.rescored(self.scores.masked_fill(gone, -torch.inf))

    def first(self, count: int) -> "Ranking":
        """The best candidates of each mention.

        Args:
            count: How many.

        Returns:
            The ranking of those `(M, min(count, C))`.
        """
        return Ranking(*(getattr(self, field.name)[:, :count] for field in fields(self)))

    def rescored(self, scores: Tensor) -> "Ranking":
        """The same candidates in the order of other scores.

        Args:
            scores: `(M, C)`, `-inf` for none.

        Returns:
            Their ranking.
        """
        last = torch.where(self.rows < 0, torch.iinfo(torch.int64).max, self.rows)
        order = last.argsort(dim=1, stable=True)
        order = order.gather(1, scores.gather(1, order).argsort(dim=1, descending=True, stable=True))
        wide = order[:, :, None].expand(-1, -1, self.features.shape[-1])
        return Ranking(
            self.rows.gather(1, order), scores.gather(1, order), self.vector_scores.gather(1, order),
            self.features.gather(1, wide), self.sources.gather(1, order),
        )  # fmt: skip


@torch.inference_mode()
def rank_candidates(
    model: DIMModel,
    queries: Tensor,
    vectors: Tensor,
    names: LexicalFeatures | None,
    mentions: list[tuple[str, str]],
    places: Tensor,
    rows: Tensor,
    sources: Tensor,
) -> Ranking:
    """Scores each mention's candidates with the model and sorts them.

    Dot products are summed in float64 and rounded once, so that equal entities tie whatever else is scored.

    Args:
        model: A DIM; its own score is used.
        queries: Mention vectors `(M, D)`.
        vectors: Vectors of the entities that are somebody's candidate `(U, D)`.
        names: Lexical features of those entities; `None` for a model without a lexical prior.
        mentions: Each mention and its sentence.
        places: Each mention's candidates, as places in `vectors`, -1 for none `(M, C)`.
        rows: The same as row numbers of the knowledge base `(M, C)`.
        sources: Who found them `(M, C)`.

    Returns:
        The ranking.

    Raises:
        DIMError: If the prior knows other features, or a score is not finite.
    """
    check_lexical(model)
    there, own = places >= 0, places.clamp(min=0)
    products = torch.einsum("md,mcd->mc", queries.double(), vectors[own].double())
    vector_scores = (model.score_scale * products).float()
    scores, features = vector_scores, torch.zeros(*places.shape, 0)
    if names is not None:
        texts, sentences = [text for text, _ in mentions], [sentence for _, sentence in mentions]
        features = names.pairs(texts, sentences, own)
        weights = next(model.lexical_prior.parameters())
        scores = model.lexical_prior(vector_scores.to(weights), features.to(weights)).float().cpu()
    if not torch.isfinite(scores[there]).all():
        place = int((~torch.isfinite(scores) & there).any(1).nonzero()[0])
        raise DIMError(f"The score of a candidate of mention {mentions[place][0]!r} is not finite.")
    scores = scores.masked_fill(~there, -torch.inf)
    return Ranking(rows, scores, vector_scores, features, sources).rescored(scores)


__all__ = ["Ranking", "rank_candidates"]
