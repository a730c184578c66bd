"""How far a confidence can be believed: calibration error, reliability bins, and fits that make it believable."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from sklearn.isotonic import IsotonicRegression
from torch import Tensor

from dim.errors import DIMError

Numbers = Tensor | np.ndarray | Sequence[float]


@dataclass(frozen=True)
class ReliabilityBin:
    """One bin of a reliability diagram.

    Args:
        count: How many answers are in it.
        confidence: Their mean confidence, 0..1.
        accuracy: The share of them that is right, 0..1.

    Example:
        >>> [one] = reliability_bins([0.75, 0.5], [1, 1], bins=1)
        >>> one
        ReliabilityBin(count=2, confidence=0.625, accuracy=1.0)
    """

    count: int
    confidence: float
    accuracy: float


def reliability_bins(confidence: Numbers, correct: Numbers, bins: int = 15) -> list[ReliabilityBin]:
    """Sorts answers by confidence and cuts them into bins of equal mass (sizes differ by one at most).

    Where a cut falls between answers of equal confidence, each of them counts with their mean accuracy, so the order of
    the input does not matter.

    Args:
        confidence: `(M,)`, each in 0..1.
        correct: `(M,)`, 1 or True for a right answer.
        bins: How many; no more than there are answers are made.

    Returns:
        The bins, from the lowest confidence to the highest.

    Raises:
        DIMError: If nothing is given, shapes differ, a confidence is outside 0..1 or NaN, `correct` holds anything
            but 0 and 1, or `bins` is below 1.

    Example:
        >>> for one in reliability_bins([0.9, 0.1, 0.8, 0.2], [1, 0, 0, 0], bins=2):
        ...     print(one.count, round(one.confidence, 2), one.accuracy)
        2 0.15 0.0
        2 0.85 0.5
    """
    sure, right = _checked(confidence, correct)
    if bins < 1:
        raise DIMError(f"bins is {bins}: give at least 1")
    order = np.argsort(sure, kind="stable")
    _, group = np.unique(sure, return_inverse=True)
    right = (np.bincount(group, right) / np.bincount(group))[group]
    return [
        ReliabilityBin(len(part), float(sure[part].mean()), float(right[part].mean()))
        for part in np.array_split(order, min(bins, len(order)))
    ]


def expected_calibration_error(confidence: Numbers, correct: Numbers, bins: int = 15) -> float:
    """Mean distance between confidence and accuracy over bins of equal mass (Nguyen and O'Connor 2015, adaptive ECE).

    ``ECE = sum_b (n_b / M) * |accuracy_b - confidence_b|``

    Args:
        confidence, correct, bins: As for [`reliability_bins`].

    Returns:
        The error, 0 (calibrated) to 1.

    Raises:
        DIMError: As [`reliability_bins`].

    Example:
        >>> round(expected_calibration_error([0.9, 0.1, 0.8, 0.2], [1, 0, 0, 0], bins=2), 3)  # (0.15 + 0.35) / 2
        0.25
    """
    made = reliability_bins(confidence, correct, bins)
    return sum(one.count * abs(one.accuracy - one.confidence) for one in made) / sum(one.count for one in made)


def fit_temperature(scores: Tensor, gold: Tensor) -> float:
    """The temperature `T` under which `softmax(scores / T)` gives the golds the highest likelihood (Guo et al. 2017).

    Dividing all scores by one number changes no rank. Fit on mentions other than those it is judged on.

    Args:
        scores: Scores of candidates `(M, K)`, floating point; `-inf` for a place without a candidate.
        gold: Index of the gold among the candidates `(M,)`, or -1 where it is not there: such rows are left out.

    Returns:
        The temperature, between 0.01 and 100.

    Raises:
        DIMError: If shapes do not fit, a score is NaN or `inf`, or no row has its gold.

    Example:
        >>> scores = torch.tensor([[2.0, 0.0], [2.0, 0.0], [2.0, 0.0], [2.0, 0.0]])
        >>> temperature = fit_temperature(scores, torch.tensor([0, 0, 0, 1]))  # right in 3 of 4
        >>> round(torch.softmax(scores[0] / temperature, 0)[0].item(), 3)
        0.75
    """
    if scores.ndim != 2 or gold.shape != scores.shape[:1]:
        raise DIMError(f"scores (M, K) and gold (M,) do not fit: {tuple(scores.shape)} and {tuple(gold.shape)}")
    there = gold >= 0
    if not bool(there.any()):
        raise DIMError("no mention has its gold among the candidates: there is nothing to fit a temperature on")
    scores, gold = scores[there].double(), gold[there]
    if bool(scores.isnan().any()) or bool((scores == math.inf).any()):
        raise DIMError("a score is NaN or inf: correct what computed it")

    def loss(log_temperature: float) -> float:
        return float(torch.nn.functional.cross_entropy(scores / math.exp(log_temperature), gold))

    bound = math.log(100)
    return math.exp(minimize_scalar(loss, bounds=(-bound, bound), method="bounded").x)


@dataclass(frozen=True)
class IsotonicCalibration:
    """A confidence made believable by a rising step-wise linear function (Zadrozny and Elkan 2002).

    Args:
        confidences: Where the function bends, rising.
        accuracies: Its values there, rising, in 0..1; between two places it is linear, outside them constant.

    Example:
        >>> fitted = IsotonicCalibration.fit([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1])
        >>> fitted([0.1, 0.5, 0.95]).round(6).tolist()
        [0.0, 0.5, 1.0]
    """

    confidences: tuple[float, ...]
    accuracies: tuple[float, ...]

    @classmethod
    def fit(cls, confidence: Numbers, correct: Numbers) -> "IsotonicCalibration":
        """Fits it by scikit-learn.

        Args:
            confidence: `(M,)`, each in 0..1.
            correct: `(M,)`, 1 or True for a right answer.

        Returns:
            The calibration.

        Raises:
            DIMError: As [`reliability_bins`].
        """
        sure, right = _checked(confidence, correct)
        fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(sure, right)
        return cls(tuple(fitted.X_thresholds_.tolist()), tuple(fitted.y_thresholds_.tolist()))

    def __call__(self, confidence: Numbers) -> np.ndarray:
        """Calibrated confidences, float64, of the same shape."""
        return np.interp(np.asarray(confidence, np.float64), self.confidences, self.accuracies)

    def to_dict(self) -> dict[str, list[float]]:
        """The function as JSON can hold it."""
        return {"confidences": list(self.confidences), "accuracies": list(self.accuracies)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Sequence[float]]) -> "IsotonicCalibration":
        """The calibration that [`IsotonicCalibration.to_dict`] gave."""
        return cls(tuple(values["confidences"]), tuple(values["accuracies"]))


def _checked(confidence: Numbers, correct: Numbers) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 `(M,)`."""
    sure, right = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    if sure.ndim != 1 or sure.shape != right.shape or len(sure) == 0:
        raise DIMError(
            f"confidence and correct must have one shape (answers >= 1,), got {sure.shape} and {right.shape}"
        )
    outside = np.flatnonzero(~((sure >= 0) & (sure <= 1)))  # also NaN
    if len(outside):
        raise DIMError(f"confidence[{outside[0]}] is {sure[outside[0]]}: it must lie between 0 and 1")
    odd = np.flatnonzero((right != 0) & (right != 1))
    if len(odd):
        raise DIMError(f"correct[{odd[0]}] is {right[odd[0]]}: it must be 0 or 1")
    return sure, right


__all__ = [
    "IsotonicCalibration",
    "ReliabilityBin",
    "expected_calibration_error",
    "fit_temperature",
    "reliability_bins",
]
