"""Detection of mentions without an entity (NIL): metrics, and confidence thresholds for linking."""

import numpy as np
from sklearn.metrics import precision_recall_fscore_support

from dim.errors import DIMError
from dim.metrics.calibration_error import Numbers, checked_answers


def nil_metrics(predicted: Numbers, nil: Numbers) -> dict[str, float]:
    """Computes precision, recall and F1 of detecting NIL mentions, in percent.

    Args:
        predicted: `(M,)`, 1 or True if the system links nothing.
        nil: `(M,)`, 1 or True if no entity fits.

    Returns:
        `{"NIL precision": ..., "NIL recall": ..., "NIL F1": ...}`; 0 where a denominator is 0.

    Raises:
        DIMError: If the input is empty, shapes differ, or a value is not 0 or 1.

    Example:
        >>> nil_metrics(predicted=[1, 1, 0, 0], nil=[1, 0, 1, 0])
        {'NIL precision': 50.0, 'NIL recall': 50.0, 'NIL F1': 50.0}
    """
    said, is_nil = checked_answers(predicted, nil)
    checked_answers(is_nil, said)  # both must be 0 or 1
    precision, recall, f1, _ = precision_recall_fscore_support(is_nil, said, average="binary", zero_division=0)
    return {"NIL precision": 100 * float(precision), "NIL recall": 100 * float(recall), "NIL F1": 100 * float(f1)}


def threshold_for(confidence: Numbers, correct: Numbers, *, precision: float) -> float:
    """Finds the lowest confidence threshold at which the links reach a precision.

    Args:
        confidence: `(M,)` of the best entity of each mention, each in 0..1.
        correct: `(M,)`, 1 or True if it is the gold; 0 for every NIL mention.
        precision: The precision to reach, in 0..1.

    Returns:
        The threshold: among answers with at least this confidence, a share of `precision` or more is right.

    Raises:
        DIMError: As [`dim.metrics.calibration_error.reliability_bins`], for a precision outside 0..1, or if no
            threshold reaches it; the message gives the best precision.

    Example:
        >>> threshold_for([0.9, 0.8, 0.6, 0.5], [1, 1, 0, 1], precision=0.75)
        0.5
        >>> threshold_for([0.9, 0.8, 0.6, 0.5], [1, 1, 0, 1], precision=0.9)
        0.8
    """
    sure, right = checked_answers(confidence, correct)
    if not 0 <= precision <= 1:
        raise DIMError(f"precision is {precision}: it must lie between 0 and 1")
    order = np.argsort(-sure, kind="stable")
    reached = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    ends = np.flatnonzero(np.append(np.diff(sure[order]) != 0, True))  # equal confidences are on one side
    good = ends[reached[ends] >= precision]
    if not len(good):
        raise DIMError(f"no threshold reaches a precision of {precision}: the best is {reached[ends].max():.4f}")
    return float(sure[order][good[-1]])


def best_nil_threshold(confidence: Numbers, nil: Numbers) -> float:
    """Finds the confidence threshold that maximises the F1 of NIL.

    Do not evaluate on the mentions that it was fitted on.

    Args:
        confidence: `(M,)` of the best entity of each mention, each in 0..1.
        nil: `(M,)`, 1 or True if no entity fits.

    Returns:
        The threshold: a mention is NIL if its confidence is below this; 0.0 if no threshold finds a NIL mention.

    Raises:
        DIMError: As [`dim.metrics.calibration_error.reliability_bins`].

    Example:
        >>> best_nil_threshold([0.1, 0.2, 0.7, 0.9], [1, 1, 0, 0])
        0.7
    """
    sure, is_nil = checked_answers(confidence, nil)
    thresholds = np.append(np.unique(sure), np.nextafter(sure.max(), np.inf))  # a mention below the threshold is NIL
    order = np.argsort(sure, kind="stable")
    called = np.searchsorted(sure[order], thresholds, side="left")  # number of mentions below each threshold
    right = np.append(0, np.cumsum(is_nil[order]))[called]
    f1 = 2 * right / np.maximum(1, called + is_nil.sum())
    best = float(thresholds[int(f1.argmax())])
    return best if f1.max() > 0 else 0.0
