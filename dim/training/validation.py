"""Ranks the validation split of prepared data against the whole knowledge base."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from dim.encoding.batching import longest_first
from dim.encoding.scoring import score_blocks
from dim.metrics.evaluator import RankingEvaluator
from dim.metrics.protocols import CandidateLists
from dim.modeling_dim import DIMModel
from dim.training.data import MELData, MentionSide
from dim.training.inputs import entity_inputs, mention_inputs


def rank_validation(
    model: DIMModel, data: MELData, batch_size: int, weights: Sequence[float] = (1.0,)
) -> list[dict[str, float]]:
    """Ranks the validation mentions that have an entity against every entity.

    Args:
        model: The model; its training mode is kept.
        data: The prepared dataset.
        batch_size: Rows encoded at a time.
        weights: Factors on the entities' pictures; the mentions are encoded once for all of them.

    Returns:
        For each weight, `H@k` and `MRR` in percent; with a lexical prior also `vectors H@k` and `vectors MRR`, without
        the prior; and where the split has candidates, `candidates H@k` and `candidates MRR`, ranked among these, where
        a gold that is not a candidate is a miss.

    Raises:
        DIMError: If a score is not finite.
    """
    side = data.validation
    rows = (side.gold >= 0).nonzero().flatten()
    gold, candidates = side.gold[rows], side.candidates[rows]
    protocols = ("full_kb", "candidates") if (candidates >= 0).any() else ("full_kb",)
    queries = encode_side(model, data, side, rows, batch_size)
    mentions = [side.mentions[row] for row in rows.tolist()]
    found = []
    for weight in weights:
        with picture_weight(model, weight):
            entities = encode_knowledge_base(model, data, batch_size)
        metrics = {}
        score = partial(score_blocks, queries=queries, entities=entities)
        if data.lexical_features is not None:
            alone = RankingEvaluator(score, gold).metrics(model)["full_kb"]
            metrics = {f"vectors {name}": value for name, value in alone.items()}
            score = partial(score, features=data.lexical_features, mentions=mentions)
        evaluator = RankingEvaluator(score, gold, protocols=protocols, lists=CandidateLists(candidates))
        for protocol, values in evaluator.metrics(model).items():
            prefix = "" if protocol == "full_kb" else f"{protocol} "
            metrics |= {f"{prefix}{name}": value for name, value in values.items()}
        found.append(metrics)
    return found


def rank_at_best_weight(
    model: DIMModel, data: MELData, batch_size: int, weights: Sequence[float], metric: str
) -> tuple[float, dict[str, float]]:
    """Ranks the validation mentions with each weight; returns the weight whose `metric` is best, and its metrics."""
    ranked = zip(weights, rank_validation(model, data, batch_size, weights), strict=True)
    return max(ranked, key=lambda weight_and_metrics: weight_and_metrics[1][metric])


def encode_side(
    model: DIMModel, data: MELData, side: MentionSide, rows: Tensor, batch_size: int, bar: str | None = None
) -> Tensor:
    """Encodes the mentions at indices `rows` of a split, `(len(rows), D)`, float32 on the CPU; `bar` names a bar."""
    lengths = side.sentence_texts.lengths[side.sentence_texts.rows[rows]]

    def inputs(indices: Tensor) -> dict[str, Tensor]:
        return mention_inputs(data, side, rows[indices], side.pictures[rows[indices]])

    return _encode(model, model.get_mention_features, inputs, lengths, batch_size, bar)


def encode_knowledge_base(model: DIMModel, data: MELData, batch_size: int, bar: str | None = None) -> Tensor:
    """Encodes every entity, `(E, D)`, float32 on the CPU; `bar` names a progress bar."""
    texts = data.entities.texts
    lengths = texts.lengths[texts.rows]

    def inputs(rows: Tensor) -> dict[str, Tensor]:
        return entity_inputs(data, data.entities, rows)

    return _encode(model, model.get_entity_features, inputs, lengths, batch_size, bar)


@torch.inference_mode()
def _encode(
    model: DIMModel,
    encode: Callable[..., Tensor],
    inputs: Callable[[Tensor], dict[str, Tensor]],
    lengths: Tensor,
    batch_size: int,
    bar: str | None,
) -> Tensor:
    """Encodes rows in batches of similar length; returns the vectors in the order of the rows."""
    training, device = model.training, model.device
    model.eval()
    batches = [torch.tensor(rows) for rows in longest_first(lengths.tolist(), batch_size)]
    parts = [
        encode(**{name: tensor.to(device) for name, tensor in inputs(rows).items()}).float().cpu()
        for rows in tqdm(batches, desc=bar, leave=False, disable=bar is None)
    ]
    model.train(training)
    return torch.cat(parts)[torch.cat(batches).argsort()]


@contextmanager
def picture_weight(model: DIMModel, weight: float) -> Iterator[None]:
    """Multiplies the contribution of pictures to the entities' vectors, and restores the weights exactly at the end.

    Args:
        model: A model; one without pictures of entities is not changed.
        weight: The factor.
    """
    if model.config.matches_pictures:
        parameters, change = [model.picture_match.log_weight], partial(torch.add, other=math.log(weight))
    else:
        layer = getattr(model, "entity_picture_projection", nn.Identity())
        parameters, change = list(layer.parameters()), partial(torch.mul, other=weight)
    before = [parameter.data for parameter in parameters]
    for parameter in parameters:
        parameter.data = change(parameter.data)
    try:
        yield
    finally:
        for parameter, value in zip(parameters, before, strict=True):
            parameter.data = value
