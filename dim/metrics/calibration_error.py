"""Calibration of confidences: reliability bins, expected calibration error, temperature scaling."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from dim.errors import DIMError

Numbers = Tensor | np.ndarray | Sequence[float]


@dataclass(frozen=True)
class ReliabilityBin:
    """One bin of a reliability diagram.

    Args:
        count: Number of answers in the bin.
        confidence: Their mean confidence, 0..1.
        accuracy: Share of right answers, 0..1.

    Example:
        >>> reliability_bins([0.75, 0.5], [1, 1], bins=1)[0]
        ReliabilityBin(count=2, confidence=0.625, accuracy=1.0)
    """

    count: int
    confidence: float
    accuracy: float


def reliability_bins(confidence: Numbers, correct: Numbers, bins: int = 15) -> list[ReliabilityBin]:
    """Sorts answers by confidence and splits them into bins of equal mass (sizes differ by one at most).

    If a boundary falls between answers of equal confidence, each of them counts with their mean accuracy, so the order
    of the input does not matter.

    Args:
        confidence: `(M,)`, each in 0..1.
        correct: `(M,)`, 1 or True for a right answer.
        bins: Number of bins, at most one for each answer.

    Returns:
        The bins, from the lowest confidence to the highest.

    Raises:
        DIMError: If the input is empty, shapes differ, a confidence is NaN or outside 0..1, `correct` has values other
            than 0 and 1, or `bins` is below 1.

    Example:
        >>> for part in reliability_bins([0.9, 0.1, 0.8, 0.2], [1, 0, 0, 0], bins=2):
        ...     print(part.count, round(part.confidence, 2), part.accuracy)
        2 0.15 0.0
        2 0.85 0.5
    """
    sure, right = checked_answers(confidence, correct)
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
    """Computes the adaptive expected calibration error (Nguyen and O'Connor 2015) over bins of equal mass.

    ``ECE = sum_b (n_b / M) * |accuracy_b - confidence_b|``

    Args:
        confidence, correct, bins: As for [`reliability_bins`].

    Returns:
        The error, from 0 (calibrated) to 1.

    Raises:
        DIMError: As [`reliability_bins`].

    Example:
        >>> round(expected_calibration_error([0.9, 0.1, 0.8, 0.2], [1, 0, 0, 0], bins=2), 3)  # (0.15 + 0.35) / 2
        0.25
    """
    made = reliability_bins(confidence, correct, bins)
    return sum(one.count * abs(one.accuracy - one.confidence) for one in made) / sum(one.count for one in made)


def fit_temperature(scores: Tensor, gold: Tensor) -> float:
    """Fits the temperature `T` of ``softmax(scores / T)`` by maximum likelihood of the golds (Guo et al. 2017).

    Dividing all scores by one number changes no rank. Do not evaluate on the mentions that it was fitted on.

    Args:
        scores: Scores of candidates `(M, K)`, floating point; `-inf` behind the last candidate.
        gold: Index of the gold among the candidates `(M,)`, or -1 if it is not among them: such rows are ignored.

    Returns:
        The temperature, between 0.01 and 100.

    Raises:
        DIMError: If the shapes do not match, a score is NaN or `inf`, or no row has its gold.

    Example:
        >>> scores = torch.tensor([[2.0, 0.0], [2.0, 0.0], [2.0, 0.0], [2.0, 0.0]])
        >>> temperature = fit_temperature(scores, torch.tensor([0, 0, 0, 1]))  # right in 3 of 4
        >>> round(torch.softmax(scores[0] / temperature, 0)[0].item(), 3)
        0.75
    """
    if scores.ndim != 2 or gold.shape != scores.shape[:1]:
        raise DIMError(f"scores (M, K) and gold (M,) do not fit: {tuple(scores.shape)} and {tuple(gold.shape)}")
    found = gold >= 0
    if not bool(found.any()):
        raise DIMError("no mention has its gold among the candidates: there is nothing to fit a temperature on")
    scores, gold = scores[found].double(), gold[found]
    if bool(scores.isnan().any()) or bool((scores == math.inf).any()):
        raise DIMError("a score is NaN or inf: check the code that computed it")

    def loss(log_temperature: float) -> float:
        return float(torch.nn.functional.cross_entropy(scores / math.exp(log_temperature), gold))

    bound = math.log(100)
    return math.exp(minimize_scalar(loss, bounds=(-bound, bound), method="bounded").x)


def checked_answers(confidence: Numbers, correct: Numbers) -> tuple[np.ndarray, np.ndarray]:
    """Checks confidences and whether each answer is right.

    Args:
        confidence: `(M,)`, each in 0..1.
        correct: `(M,)`, 1 or True for a right answer.

    Returns:
        Both as float64 `(M,)`.

    Raises:
        DIMError: As [`reliability_bins`].

    Example:
        >>> checked_answers([0.5], [True])
        (array([0.5]), array([1.]))
    """
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
