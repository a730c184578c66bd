"""Scores of mentions with every entity of a knowledge base."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from tqdm.auto import tqdm

from dim.encoding.mention import Mention
from dim.errors import DIMError
from dim.lexical_dim import LEXICAL_FEATURES, LexicalFeatures
from dim.modeling_dim import DIMModel
from dim.outputs_dim import Features

_PAIRS = 2**21  # pairs scored at a time: 64 MiB of features, 256 MiB inside the prior


def check_lexical(model: DIMModel) -> None:
    """Raises a `DIMError` if the model's lexical prior was trained on features other than `LEXICAL_FEATURES`."""
    count = model.config.num_lexical_features
    if count not in (0, len(LEXICAL_FEATURES)):
        raise DIMError(
            f"The model weighs {count} lexical features, but there are {len(LEXICAL_FEATURES)}; "
            "it was trained with another version of dim-mel."
        )


def exact(vectors: Tensor, model: DIMModel) -> Tensor:
    """Moves vectors to the model's device in float64 (float32 on MPS): a dot product that is rounded once to float32
    does not depend on its batch, and equal entities tie."""
    return vectors.to(model.device, torch.float32 if model.device.type == "mps" else torch.float64)


@torch.inference_mode()
def score_blocks(
    model: DIMModel,
    queries: Tensor,
    entities: Tensor,
    features: LexicalFeatures | None = None,
    mentions: Sequence[Mention] = (),
    progress: bool = False,
) -> Iterator[tuple[slice, Tensor]]:
    """Scores mentions against every entity with [`DIMModel.score`], a block of mentions at a time.

    Args:
        model: A DIM.
        queries: Mention vectors `(M, D)`.
        entities: Entity vectors `(E, D)`.
        features: Lexical features of the entities, for a model with a lexical prior; `None` scores by vectors alone.
        mentions: The `M` mentions; needed with `features`.
        progress: Whether to show a progress bar.

    Yields:
        A slice of the mentions, and their scores `(B, E)`, float32, on the CPU.

    Raises:
        DIMError: If mentions and vectors differ in number, or the prior was trained on other features.
    """
    check_lexical(model)
    if features is not None and len(mentions) != len(queries):
        raise DIMError(f"There are {len(queries)} mention vectors, but {len(mentions)} mentions.")
    queries, entities, size = exact(queries, model), exact(entities, model), max(1, _PAIRS // len(entities))
    for start in tqdm(range(0, len(queries), size), desc="scoring", disable=not progress):
        part = slice(start, min(start + size, len(queries)))
        lexical: Features = False if features is None else features(mentions[part]).to(model.device)
        yield part, model.score(queries[part], entities, lexical).float().cpu()
