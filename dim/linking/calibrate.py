"""Fitting of a calibration, on mentions that the model was not trained on."""

from collections.abc import Hashable, Sequence
from dataclasses import fields, replace

import datasets
import torch
import torch.nn.functional as F
from torch import Tensor

from dim.common.ids import group_indices
from dim.errors import DIMError
from dim.linking.calibration import Calibration, evidence_of, log_probabilities
from dim.linking.linker import DIMLinker
from dim.linking.ranking import Ranking
from dim.metrics.calibration_error import expected_calibration_error
from dim.metrics.nil import best_nil_threshold, nil_metrics, threshold_for

_PENALTY = 1e-3  # on squared weights of standardised evidence


def fit(ranking: Ranking, gold: Tensor, groups: Sequence[Hashable], precision: float | None = None) -> Calibration:
    """Fits a calibration, and measures it by five-fold cross-fitting.

    Args:
        ranking: Ranked candidates of `M` mentions that the model was not trained on.
        gold: Row index of each mention's entity; -1 for NIL `(M,)`.
        groups: Group of each mention, such as its sentence; a group is not split between folds.
        precision: Share of correct links among all links, in 0..1, that the threshold must reach; by default, the
            threshold maximises the F1 of NIL.

    Returns:
        The calibration, fitted on all mentions; `measured` holds the ECE (15 bins of equal mass, of the best
        candidate's probability) and the precision, recall and F1 of NIL, all on the held-out folds.

    Raises:
        DIMError: If there are fewer than five groups, no NIL mention or no correctly linked one, or no threshold
            reaches the precision.

    Example:

        >>> scores = torch.tensor([[8.0, 2.0], [3.0, 2.5]]).repeat(10, 1)  # clear, unclear, clear ...
        >>> rows, channels = torch.tensor([[0, 1]] * 20), torch.ones(20, 2, dtype=torch.long)
        >>> ranking = Ranking(rows, scores, scores, torch.zeros(20, 2, 0), channels)
        >>> fitted = fit(ranking, gold=torch.tensor([0, -1] * 10), groups=range(20))
        >>> (fitted(ranking)[1][:4] > 0.5).tolist(), fitted.measured["NIL F1"]
        ([False, True, False, True], 100.0)
    """
    right = (ranking.rows[:, 0] == gold) & (gold >= 0)
    nil = gold < 0
    for what, mask in (("NIL", nil), ("correctly linked", right)):
        if not bool(mask.any()):
            raise DIMError(f"None of the mentions is {what}; a calibration needs some of both.")
    folds = _folds(groups)
    confidence, predicted = torch.zeros(len(gold), dtype=torch.float64), torch.zeros(len(gold))
    for fold in range(5):
        inside, outside = folds != fold, folds == fold
        fitted = _fit(_part(ranking, inside), gold[inside], precision)
        confidence[outside] = fitted(_part(ranking, outside))[0][:, 0]
        predicted[outside] = (confidence[outside] < fitted.threshold).float()
    whole = _fit(ranking, gold, precision)
    measured: dict[str, float | str] = {
        "mentions": len(gold),
        "NIL share": 100 * nil.double().mean().item(),
        "ECE": 100 * expected_calibration_error(confidence.numpy(), right.numpy()),
        **nil_metrics(predicted.numpy(), nil.numpy()),
    }
    return replace(whole, measured=measured)


def _folds(groups: Sequence[Hashable]) -> Tensor:
    """Assigns each group to one of five folds, at random with seed 0, and returns the fold of each mention."""
    indices = group_indices(groups)
    count = len(set(indices))
    if count < 5:
        raise DIMError(f"There are {count} groups of mentions; cross-fitting needs at least five.")
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))[indices] % 5


def _part(ranking: Ranking, mask: Tensor) -> Ranking:
    return Ranking(*(getattr(ranking, one.name)[mask] for one in fields(Ranking)))


def _fit(ranking: Ranking, gold: Tensor, precision: float | None) -> Calibration:
    """Fits temperature and NIL weights by maximum likelihood (L-BFGS), then the threshold."""
    names, evidence = evidence_of(ranking)
    mean, std = evidence.mean(0), evidence.std(0).clamp(min=1e-6)
    given = (evidence - mean) / std
    hits = (ranking.rows == gold[:, None]).double()
    known = (gold < 0) | hits.any(1)  # a gold that was not found is neither a candidate nor NIL
    target = torch.where(gold < 0, ranking.rows.shape[1], hits.argmax(1))[known]
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    bias = torch.zeros((), dtype=torch.float64, requires_grad=True)
    weights = torch.zeros(len(names), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature, bias, weights], max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        nil = bias + given[known] @ weights
        log_p = log_probabilities(ranking.scores[known], log_temperature.exp(), nil)
        value = F.nll_loss(log_p, target) + _PENALTY * weights.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    with torch.no_grad():
        scaled = weights / std
        fitted = Calibration(
            log_temperature.exp().item(), (bias - scaled @ mean).item(),
            dict(zip(names, scaled.tolist(), strict=True)), 0.0, {},
        )  # fmt: skip
        confidence = fitted(ranking)[0][:, 0].numpy()
        if precision is None:
            threshold = best_nil_threshold(confidence, (gold < 0).numpy())
        else:
            right = (ranking.rows[:, 0] == gold) & (gold >= 0)
            threshold = threshold_for(confidence, right.numpy(), precision=precision)
    return replace(fitted, threshold=threshold)


def calibrate(
    linker: DIMLinker,
    mentions: datasets.Dataset,
    nil_share: float = 0.2,
    seed: int = 0,
    precision: float | None = None,
    batch_size: int = 64,
) -> Calibration:
    """Fits a calibration for a linker on mentions that its model was not trained on.

    Args:
        linker: The linker; its own calibration is not used.
        mentions: A split of a dataset, with `entity_id` (empty for NIL).
        nil_share: Share of the distinct golds that are removed from the candidates, so that their mentions are NIL.
        seed: Seed of the choice of these golds.
        precision: As for [`fit`].
        batch_size: Mentions per batch.

    Returns:
        The calibration.

    Raises:
        DIMError: As [`fit`], or if a gold is not in the knowledge base.

    Example:

        >>> from dim.corpora.loading import load_mentions
        >>> linker = DIMLinker.from_pretrained("demo/model", kb="demo/kb")
        >>> mentions = load_mentions("datasets/namesakes", "validation").select(range(20))
        >>> linker.calibration = calibrate(linker, mentions)
        >>> 0 < linker("We saw [[Turkey]].").nil < 1
        True
    """
    golds, known = mentions["entity_id"][:], linker.kb.row_of
    unknown = next((name for name in golds if name and name not in known), None)
    if unknown is not None:
        raise DIMError(f"The entity {unknown!r} of a mention is not in {linker.kb.uri}.")
    gold = torch.tensor([known[name] if name else -1 for name in golds])
    parts = list(linker.rank(mentions, progress=True, batch_size=batch_size))
    ranking = Ranking(*(torch.cat([getattr(part, one.name) for part in parts]) for one in fields(Ranking)))
    gone = held_out_entities(gold, nil_share, seed)
    gold = gold.masked_fill(torch.isin(gold, gone), -1)
    groups = [text or row for row, text in enumerate(mentions["sentence"][:])]  # a picture alone has no sentence
    return fit(ranking.without(gone), gold, groups, precision)


def held_out_entities(gold: Tensor, share: float, seed: int) -> Tensor:
    """Chooses golds at random to remove from a knowledge base, so that their mentions become NIL.

    Args:
        gold: Row indices of the golds, -1 for NIL.
        share: Share of the distinct golds, in 0..1.
        seed: Seed of the choice.

    Returns:
        Row indices of the chosen golds.

    Example:

        >>> held_out_entities(torch.tensor([4, 4, 7, -1]), share=1.0, seed=0).sort().values
        tensor([4, 7])
    """
    golds = gold[gold >= 0].unique()
    order = torch.randperm(len(golds), generator=torch.Generator().manual_seed(seed))
    return golds[order[: round(share * len(golds))]]
