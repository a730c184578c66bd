"""Calibration: probabilities of the candidates and of NIL."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from dim.common.checksums import changing
from dim.common.files import write_json
from dim.errors import DIMError
from dim.lexical_dim import LEXICAL_FEATURES
from dim.linking.ranking import Ranking

FILE = "calibration.json"
_SCORES = ("best_score", "margin", "best_vector_score", "others")
_WIDEST_MARGIN = 30.0
_COLDEST = 1e-30  # a lower temperature makes scores infinite
_NOTHING = -1e30  # the score of a missing candidate; its probability is 0


@dataclass(frozen=True)
class Calibration:
    """Turns scores into probabilities.

    ``p = softmax([s_1 / T, ..., s_C / T, b + w . x])``, where the last is NIL and `x` is the evidence about the best
    candidate: its score, its margin over the second, its score by vectors alone, the `logsumexp` of the other scores,
    and its lexical features. A single temperature changes no rank (Guo et al. 2017).

    Args:
        temperature: `T`.
        nil_bias: `b`.
        nil_weights: `w`, by the name of the evidence.
        threshold: A mention whose best candidate has a lower probability is NIL.
        measured: Metrics from cross-fitting, with the number of mentions and their NIL share.

    Raises:
        DIMError: If a number is not finite, the temperature is not above 0, or the threshold is no probability.

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

    def __post_init__(self) -> None:
        if not isinstance(self.nil_weights, dict) or not isinstance(self.measured, dict):
            raise DIMError("nil_weights and measured must be objects.")
        weights = {f"nil_weights[{name!r}]": value for name, value in self.nil_weights.items()}
        numbers = {"temperature": self.temperature, "nil_bias": self.nil_bias, "threshold": self.threshold}
        for name, value in (numbers | weights).items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise DIMError(f"{name} must be a finite number, got {value!r}.")
        if not self.temperature >= _COLDEST:
            raise DIMError(f"temperature must be above 0, got {self.temperature}.")
        if not 0 <= self.threshold <= math.nextafter(1, 2):  # above 1, every mention is NIL
            raise DIMError(f"threshold must lie between 0 and 1, got {self.threshold}.")

    def __call__(self, ranking: Ranking) -> tuple[Tensor, Tensor]:
        """Computes the probabilities of each mention's candidates `(M, C)` and of NIL `(M,)`, float64, with sum 1.

        Raises:
            DIMError: If it was fitted for a model with other features.
        """
        names, evidence = evidence_of(ranking)
        if set(names) != set(self.nil_weights):
            raise DIMError("The calibration belongs to a model with other lexical features: run dim calibrate.")
        weights = torch.tensor([self.nil_weights[name] for name in names], dtype=torch.float64)
        nil = self.nil_bias + evidence @ weights
        found = log_probabilities(ranking.scores, self.temperature, nil).exp()
        return found[:, :-1], found[:, -1]

    def save(self, folder: str | Path) -> None:
        """Writes `calibration.json` into a model's folder."""
        with changing(Path(folder), FILE):
            write_json(Path(folder) / FILE, asdict(self))

    @classmethod
    def load(cls, path: str | Path) -> "Calibration":
        """Reads a calibration.

        Args:
            path: Path of a `calibration.json`.

        Returns:
            The calibration.

        Raises:
            DIMError: If the file is not a calibration.
        """
        try:
            return cls(**json.loads(Path(path).read_text(encoding="utf-8")))
        except DIMError as error:
            raise DIMError(f"{path} is not a valid calibration: {error} `dim calibrate` writes one.") from error
        except (TypeError, UnicodeDecodeError, json.JSONDecodeError, RecursionError, OverflowError) as error:
            raise DIMError(f"{path} is not a calibration; `dim calibrate` writes one.") from error


def evidence_of(ranking: Ranking) -> tuple[list[str], Tensor]:
    """Computes the evidence that the best candidate is right, as opposed to NIL.

    Args:
        ranking: Ranked candidates.

    Returns:
        The names of the evidence, and its values `(M, N)`, float64; 0 for a mention without candidates.
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


def log_probabilities(scores: Tensor, temperature: Tensor | float, nil: Tensor) -> Tensor:
    """Computes log probabilities `(M, C + 1)` of candidates and, last, NIL, which is certain without candidates."""
    finite = scores.double().clamp(min=_NOTHING)  # -inf has no gradient
    return torch.cat([finite / temperature, nil[:, None]], 1).log_softmax(1)
