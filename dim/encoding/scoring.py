"""Scores of mentions against a whole knowledge base: vectors, and names where the model has a lexical prior."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from tqdm.auto import tqdm

from dim.encoding.prior_features import LEXICAL_FEATURES, LexicalFeatures
from dim.errors import DIMError
from dim.modeling_dim import DIMModel

_PAIRS = 2**21  # pairs scored at a time: 64 MiB of features, 256 MiB inside the prior


def check_lexical(model: DIMModel) -> None:
    """Raises `DIMError` if the model's lexical prior was trained on other features than there are."""
    count = model.config.num_lexical_features
    if count not in (0, len(LEXICAL_FEATURES)):
        raise DIMError(
            f"The model weighs {count} lexical features, but there are {len(LEXICAL_FEATURES)}; "
            "it was trained with another version of dim-mel."
        )


@torch.inference_mode()
def score_blocks(
    model: DIMModel,
    queries: Tensor,
    entities: Tensor,
    names: LexicalFeatures | None = None,
    mentions: Sequence[tuple[str, str]] = (),
    progress: bool = False,
) -> Iterator[tuple[slice, Tensor]]:
    """Scores mentions against every entity, a block of mentions at a time.

    Dot products are summed in float64 and rounded once, so that a score does not depend on the block and equal
    entities tie.

    Args:
        model: A DIM; its own score is used.
        queries: Mention vectors `(M, D)`.
        entities: Entity vectors `(E, D)`.
        names: Features of the entities' names, for a model with a lexical prior; `None` scores by vectors alone.
        mentions: Each mention and its sentence, `M` pairs; needed with `names`.
        progress: Whether to show a bar.

    Yields:
        Which mentions, and their scores `(B, E)`, float32, on the CPU.

    Raises:
        DIMError: If mentions and vectors differ in number, or the prior knows other features.
    """
    check_lexical(model)
    if names is not None and len(mentions) != len(queries):
        raise DIMError(f"There are {len(queries)} mention vectors, but {len(mentions)} mentions.")
    wide, size = entities.double().T, max(1, _PAIRS // len(entities))
    prior = model.lexical_prior if names is not None else None
    for start in tqdm(range(0, len(queries), size), desc="scoring", disable=not progress):
        part = slice(start, min(start + size, len(queries)))
        scores = (model.score_scale * (queries[part].double() @ wide)).float()
        if names is not None and prior is not None:
            features = names([name for name, _ in mentions[part]], [sentence for _, sentence in mentions[part]])
            weights = next(prior.parameters())
            scores = prior(scores.to(weights), features.to(weights)).float().cpu()
        yield part, scores


__all__ = ["check_lexical", "score_blocks"]
