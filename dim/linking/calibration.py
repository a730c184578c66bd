"""How sure a link is: probabilities of the candidates and of NIL, fitted on mentions that the model did not learn."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import datasets
import torch
import torch.nn.functional as F
from torch import Tensor

from dim.common.files import write_json
from dim.encoding.prior_features import LEXICAL_FEATURES
from dim.errors import DIMError
from dim.linking.ranking import Ranking

if TYPE_CHECKING:
    from dim.linking.linker import DIMLinker

FILE = "calibration.json"
_SCORES = ("best_score", "margin", "best_vector_score", "others")
_WIDEST_MARGIN = 30.0
_NOTHING = -1e30  # the score of a candidate that is not there; its probability is 0
_PENALTY = 1e-3  # on squared weights of standardised evidence


@dataclass(frozen=True)
class Calibration:
    """Turns scores into probabilities.

    ``p = softmax([s_1 / T, ..., s_C / T, b + w . x])``: the last is NIL, and `x` is the evidence about the best
    candidate: its score, its distance to the second, its score by vectors alone, the `logsumexp` of the others' scores,
    and its lexical features. Dividing all scores by one temperature changes no rank (Guo et al. 2017).

    Args:
        temperature: `T`.
        nil_bias: `b`.
        nil_weights: `w`, by the name of the evidence.
        threshold: A best candidate whose probability is below this is not linked: the mention is NIL.
        measured: What cross-fitting measured when it was fitted, and on what.

    Example:

        >>> calibration = Calibration(2.0, nil_bias=0.5, nil_weights={"margin": -1.0}, threshold=0.4, measured={})
        >>> calibration.save(".")
        >>> Calibration.load("calibration.json") == calibration
        True
    """

    temperature: float
    nil_bias: float
    nil_weights: dict[str, float]
    threshold: float
    measured: dict[str, float | str]

    def __call__(self, ranking: Ranking) -> tuple[Tensor, Tensor]:
        """Probabilities of each mention's candidates `(M, C)` and of NIL `(M,)`, float64; together 1.

        Raises:
            DIMError: If it was fitted for a model with other features.
        """
        names, evidence = evidence_of(ranking)
        if set(names) != set(self.nil_weights):
            raise DIMError("The calibration belongs to a model with other lexical features: dim calibrate makes one.")
        weights = torch.tensor([self.nil_weights[name] for name in names], dtype=torch.float64)
        nil = self.nil_bias + evidence @ weights
        found = _log_probabilities(ranking.scores, self.temperature, nil).exp()
        return found[:, :-1], found[:, -1]

    def save(self, folder: str | Path) -> None:
        """Writes `calibration.json` into a model's folder."""
        write_json(Path(folder) / FILE, asdict(self))

    @classmethod
    def load(cls, path: str | Path) -> "Calibration":
        """Reads a calibration.

        Args:
            path: The file.

        Returns:
            The calibration.

        Raises:
            DIMError: If the file holds none.
        """
        try:
            return cls(**json.loads(Path(path).read_text(encoding="utf-8")))
        except (TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise DIMError(f"{path} holds no calibration; `dim calibrate` writes one.") from error


def evidence_of(ranking: Ranking) -> tuple[list[str], Tensor]:
    """What tells whether the best candidate is the answer at all.

    Args:
        ranking: Ranked candidates.

    Returns:
        Names, and values `(M, N)`, float64; 0 for a mention without candidates.
    """
    scores = ranking.scores.double()
    if scores.shape[1] < 2:
        scores = F.pad(scores, (0, 2 - scores.shape[1]), value=-math.inf)
    best, second = scores[:, 0], scores[:, 1]
    margin = (best - second).nan_to_num(nan=0.0, posinf=_WIDEST_MARGIN).clamp(max=_WIDEST_MARGIN)
    others = scores[:, 1:].logsumexp(1)
    others = torch.where(others.isinf(), best - _WIDEST_MARGIN, others)
    first = ranking.vector_scores[:, 0].double() if ranking.rows.shape[1] else torch.zeros(len(ranking)).double()
    parts = torch.stack([best, margin, first, others], 1)
    names = list(_SCORES)
    if ranking.features.shape[-1]:
        parts = torch.cat([parts, ranking.features[:, 0].double()], 1)
        names += LEXICAL_FEATURES
    empty = best.isinf()
    return names, parts.masked_fill(empty[:, None], 0.0)


def _log_probabilities(scores: Tensor, temperature: Tensor | float, nil: Tensor) -> Tensor:
    """Log probabilities of candidates `(M, C)` and, last, of NIL: `(M, C + 1)`; NIL is sure where nothing was found."""
    finite = scores.double().clamp(min=_NOTHING)  # -inf has no gradient
    return torch.cat([finite / temperature, nil[:, None]], 1).log_softmax(1)


def fit(ranking: Ranking, gold: Tensor, groups: Sequence[object], precision: float | None = None) -> Calibration:
    """Fits a calibration, and measures it by five-fold cross-fitting.

    Args:
        ranking: Ranked candidates of `M` mentions that the model was not trained on.
        gold: Row number of each mention's entity; -1 for NIL `(M,)`.
        groups: What must not be split between folds, such as each mention's sentence.
        precision: The share of right answers among those that are linked, in 0..1, that the threshold must reach; by
            default the threshold is that of the highest F1 of NIL.

    Returns:
        The calibration, fitted on all mentions; `measured` holds the ECE (15 bins of equal mass, of the best
        candidate's probability) and NIL precision, recall and F1 of mentions outside the folds that were fitted.

    Raises:
        DIMError: If there are fewer than five groups, no NIL mention or none that is linked rightly, or no threshold
            reaches the precision.

    Example:

        >>> scores = torch.tensor([[8.0, 2.0], [3.0, 2.5]]).repeat(10, 1)  # sure, unsure, sure ...
        >>> rows, channels = torch.tensor([[0, 1]] * 20), torch.ones(20, 2, dtype=torch.long)
        >>> ranking = Ranking(rows, scores, scores, torch.zeros(20, 2, 0), channels)
        >>> fitted = fit(ranking, gold=torch.tensor([0, -1] * 10), groups=range(20))
        >>> (fitted(ranking)[1][:4] > 0.5).tolist(), fitted.measured["NIL F1"]
        ([False, True, False, True], 100.0)
    """
    from dim.metrics.calibration_error import (
        expected_calibration_error,  # brings scikit-learn, which linking does without
    )
    from dim.metrics.nil import nil_metrics

    right = (ranking.rows[:, 0] == gold) & (gold >= 0)
    nil = gold < 0
    for what, mask in (("NIL", nil), ("rightly linked", right)):
        if not bool(mask.any()):
            raise DIMError(f"None of the mentions is {what}; a calibration needs some of both.")
    folds = _folds(groups)
    confidence, said = torch.zeros(len(gold), dtype=torch.float64), torch.zeros(len(gold))
    for fold in range(5):
        inside, outside = folds != fold, folds == fold
        fitted = _fit(_part(ranking, inside), gold[inside], precision)
        confidence[outside] = fitted(_part(ranking, outside))[0][:, 0]
        said[outside] = (confidence[outside] < fitted.threshold).float()
    whole = _fit(ranking, gold, precision)
    measured: dict[str, float | str] = {
        "mentions": len(gold),
        "NIL share": 100 * nil.double().mean().item(),
        "ECE": 100 * expected_calibration_error(confidence.numpy(), right.numpy()),
        **nil_metrics(said.numpy(), nil.numpy()),
    }
    return Calibration(whole.temperature, whole.nil_bias, whole.nil_weights, whole.threshold, measured)


def _folds(groups: Sequence[object]) -> Tensor:
    """One of five folds for each mention, the same for a group; drawn with seed 0."""
    numbers: dict[object, int] = {}
    of = torch.tensor([numbers.setdefault(group, len(numbers)) for group in groups])
    if len(numbers) < 5:
        raise DIMError(f"There are {len(numbers)} groups of mentions; cross-fitting needs five or more.")
    order = torch.randperm(len(numbers), generator=torch.Generator().manual_seed(0))
    return order[of] % 5


def _part(ranking: Ranking, mask: Tensor) -> Ranking:
    return Ranking(*(getattr(ranking, one.name)[mask] for one in fields(Ranking)))


def _fit(ranking: Ranking, gold: Tensor, precision: float | None) -> Calibration:
    """The most likely temperature and NIL weights (L-BFGS), and the threshold."""
    from dim.metrics.nil import best_nil_threshold, threshold_for

    names, evidence = evidence_of(ranking)
    mean, std = evidence.mean(0), evidence.std(0).clamp(min=1e-6)
    given = (evidence - mean) / std
    place = (ranking.rows == gold[:, None]).double()
    known = (gold < 0) | place.any(1)  # a gold that was not found is neither a candidate nor NIL
    target = torch.where(gold < 0, ranking.rows.shape[1], place.argmax(1))[known]
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    bias = torch.zeros((), dtype=torch.float64, requires_grad=True)
    weights = torch.zeros(len(names), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature, bias, weights], max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        nil = bias + given[known] @ weights
        log_p = _log_probabilities(ranking.scores[known], log_temperature.exp(), nil)
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
    return Calibration(fitted.temperature, fitted.nil_bias, fitted.nil_weights, threshold, {})


def calibrate(
    linker: "DIMLinker",
    mentions: datasets.Dataset,
    nil_share: float = 0.2,
    seed: int = 0,
    precision: float | None = None,
    batch_size: int = 64,
) -> Calibration:
    """Fits a calibration for a linker on mentions that its model was not trained on.

    Args:
        linker: The linker; its own calibration, if it has one, is not used.
        mentions: A split of a dataset, with `entity_id` (empty for NIL).
        nil_share: Share of the different golds that are taken out of the candidates, so that their mentions are NIL.
        seed: Draws them.
        precision: As for [`fit`].
        batch_size: Mentions encoded at a time.

    Returns:
        The calibration.

    Raises:
        DIMError: As [`fit`], or if a gold is not in the knowledge base.

    Example:

        >>> from dim.corpora.loading import load_mentions
        >>> from dim.linking.linker import DIMLinker
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
    return fit(ranking.without(gone), gold, mentions["sentence"][:], precision)


def held_out_entities(gold: Tensor, share: float, seed: int) -> Tensor:
    """Which golds to take out of a knowledge base, so that their mentions become NIL.

    Args:
        gold: Row numbers of the golds, -1 for NIL.
        share: How many of the different golds, in 0..1.
        seed: Draws them.

    Returns:
        Row numbers.

    Example:

        >>> held_out_entities(torch.tensor([4, 4, 7, -1]), share=1.0, seed=0).sort().values
        tensor([4, 7])
    """
    golds = gold[gold >= 0].unique()
    order = torch.randperm(len(golds), generator=torch.Generator().manual_seed(seed))
    return golds[order[: round(share * len(golds))]]


__all__ = ["FILE", "Calibration", "calibrate", "evidence_of", "fit", "held_out_entities"]
