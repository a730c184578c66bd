"""Ranking a split against the whole knowledge base, from prepared data."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

from dim.encoding.scoring import score_blocks
from dim.metrics.evaluator import RankingEvaluator
from dim.metrics.protocols import CandidateLists
from dim.modeling_dim import DIMModel
from dim.training.batches import entity_inputs, mention_inputs
from dim.training.data import MELData, MentionSide


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
        For each weight, `H@k` and `MRR` in percent; with a lexical prior also `vectors H@k` and `vectors MRR`, those
        of the vectors alone; and where the split has candidates, `candidates H@k` and `candidates MRR`: among these,
        a gold that is not one of them being a miss.

    Raises:
        DIMError: If a score is not finite.
    """
    side = data.validation
    rows = (side.gold >= 0).nonzero().flatten()
    gold, candidates = side.gold[rows], side.candidates[rows]
    protocols = ("full_kb", "candidates") if (candidates >= 0).any() else ("full_kb",)
    mentions = encode_side(model, data, side, rows, batch_size)
    names = [side.names[row] for row in rows.tolist()]
    found = []
    for weight in weights:
        with picture_weight(model, weight):
            entities = encode_knowledge_base(model, data, batch_size)
        metrics = {}
        score = partial(score_blocks, queries=mentions, entities=entities)
        if data.names is not None:
            alone = RankingEvaluator(score, gold).metrics(model)["full_kb"]
            metrics = {f"vectors {name}": value for name, value in alone.items()}
            score = partial(score, features=data.names, mentions=names)
        evaluator = RankingEvaluator(score, gold, protocols=protocols, lists=CandidateLists(candidates))
        for protocol, values in evaluator.metrics(model).items():
            prefix = "" if protocol == "full_kb" else f"{protocol} "
            metrics |= {f"{prefix}{name}": value for name, value in values.items()}
        found.append(metrics)
    return found


def encode_side(model: DIMModel, data: MELData, side: MentionSide, rows: Tensor, batch_size: int) -> Tensor:
    """Vectors of mentions `rows` of a split, `(len(rows), D)`, float32 on the CPU."""
    lengths = side.sentences.lengths[side.sentences.rows[rows]]

    def inputs(places: Tensor) -> dict[str, Tensor]:
        part = rows[places]
        return mention_inputs(data, side, part, side.pictures[part])

    return _encode(model, model.get_mention_features, inputs, lengths, batch_size)


def encode_knowledge_base(model: DIMModel, data: MELData, batch_size: int) -> Tensor:
    """Vectors of every entity, `(E, D)`, float32 on the CPU."""
    texts = data.entities.texts
    lengths = texts.lengths[texts.rows]
    return _encode(
        model, model.get_entity_features, lambda rows: entity_inputs(data, data.entities, rows), lengths, batch_size
    )


@torch.inference_mode()
def _encode(
    model: DIMModel,
    encode: Callable[..., Tensor],
    inputs: Callable[[Tensor], dict[str, Tensor]],
    lengths: Tensor,
    batch_size: int,
) -> Tensor:
    """Encodes rows in batches of one length, and puts them back in order."""
    training, device = model.training, model.device
    model.eval()
    order = lengths.argsort(descending=True, stable=True)
    parts = [
        encode(**{name: tensor.to(device) for name, tensor in inputs(rows).items()}).float().cpu()
        for rows in order.split(batch_size)
    ]
    model.train(training)
    return torch.cat(parts)[order.argsort()]


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


__all__ = ["encode_knowledge_base", "encode_side", "picture_weight", "rank_validation"]
