"""Ranking a split against the whole knowledge base, from prepared data."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from dim.evaluation.ranking import gold_ranks_from_embeddings, ranking_metrics
from dim.modeling_dim import DIMModel
from dim.training.batches import entity_inputs, mention_inputs
from dim.training.data import MELData


@torch.inference_mode()
def rank_validation(
    model: DIMModel, data: MELData, batch_size: int, weights: Sequence[float] = (1.0,)
) -> list[dict[str, float]]:
    """Ranks the validation mentions that have an entity against every entity.

    Args:
        model: The model; left in the mode it was in.
        data: The prepared dataset.
        batch_size: Rows encoded at a time.
        weights: Factors on the entities' pictures; the mentions are encoded once for all of them.

    Returns:
        For each weight, `H@k` and `MRR` in percent.

    Raises:
        ValueError: If a score is not finite.
    """
    training, device = model.training, model.device
    model.eval()
    side = data.validation
    rows = (side.gold >= 0).nonzero().flatten()
    mentions = [
        model.get_mention_features(**_to(mention_inputs(data, side, part, side.pictures[part]), device)).float().cpu()
        for part in rows.split(batch_size)
    ]
    everyone = torch.arange(len(data.entities.ids))
    found = []
    for weight in weights:
        with picture_weight(model, weight):
            entities = [
                model.get_entity_features(**_to(entity_inputs(data, data.entities, part), device)).float().cpu()
                for part in everyone.split(batch_size)
            ]
        ranks = gold_ranks_from_embeddings(torch.cat(mentions), torch.cat(entities), side.gold[rows])
        found.append(ranking_metrics(ranks))
    model.train(training)
    return found


@contextmanager
def picture_weight(model: DIMModel, weight: float) -> Iterator[None]:
    """Multiplies what an entity's pictures add to its vector, and takes it back at the end, to the last bit.

    Args:
        model: A model whose entities have pictures; another one is left as it is.
        weight: The factor.
    """
    layer = getattr(model, "entity_picture_projection", None)
    if layer is None:
        yield
        return
    kept = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    layer.load_state_dict({name: tensor * weight for name, tensor in kept.items()})
    try:
        yield
    finally:
        layer.load_state_dict(kept)


def _to(batch: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    return {name: tensor.to(device) for name, tensor in batch.items()}


__all__ = ["picture_weight", "rank_validation"]
