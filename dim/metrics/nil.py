"""Mentions that no entity fits (NIL): how well they are told, and the confidence below which nothing is linked."""

import numpy as np

from dim.errors import DIMError
from dim.metrics.calibration_error import Numbers, _checked


def nil_metrics(predicted: Numbers, nil: Numbers) -> dict[str, float]:
    """Precision, recall and F1 of telling NIL mentions, in percent.

    Args:
        predicted: `(M,)`, 1 or True where the system links nothing.
        nil: `(M,)`, 1 or True where no entity fits.

    Returns:
        `{"NIL precision": ..., "NIL recall": ..., "NIL F1": ...}`. A precision without predictions, a recall without
            NIL mentions, and their F1 are 0.

    Raises:
        DIMError: If nothing is given, shapes differ, or a value is not 0 or 1.

    Example:
        >>> nil_metrics(predicted=[1, 1, 0, 0], nil=[1, 0, 0, 0])
        {'NIL precision': 50.0, 'NIL recall': 100.0, 'NIL F1': 66.66666666666667}
    """
    said, is_nil = _checked(predicted, nil)
    _checked(is_nil, said)  # both must be 0 or 1
    right = float((said * is_nil).sum())
    table = {
        "precision": (right, said.sum()),
        "recall": (right, is_nil.sum()),
        "F1": (2 * right, (said + is_nil).sum()),
    }
    return {f"NIL {name}": 100 * float(part) / max(1.0, float(whole)) for name, (part, whole) in table.items()}


def threshold_for(confidence: Numbers, correct: Numbers, *, precision: float) -> float:
    """The lowest confidence from which on the answers are right often enough: what is below it is better not linked.

    Args:
        confidence: `(M,)` of the best entity of each mention, each in 0..1.
        correct: `(M,)`, 1 or True where it is the gold; 0 for every NIL mention, whatever was found for it.
        precision: The share of right answers to reach, in 0..1.

    Returns:
        The threshold: of the answers whose confidence is at least this, `precision` or more are right.

    Raises:
        DIMError: As [`dim.metrics.calibration_error.reliability_bins`], for a precision outside 0..1, or if no
            threshold reaches it; the best precision that one reaches is named.

    Example:
        >>> threshold_for([0.9, 0.8, 0.6, 0.5], [1, 1, 0, 1], precision=0.75)
        0.5
        >>> threshold_for([0.9, 0.8, 0.6, 0.5], [1, 1, 0, 1], precision=0.9)
        0.8
    """
    sure, right = _checked(confidence, correct)
    if not 0 <= precision <= 1:
        raise DIMError(f"precision is {precision}: it must lie between 0 and 1")
    order = np.argsort(-sure, kind="stable")
    reached = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    ends = np.flatnonzero(np.append(np.diff(sure[order]) != 0, True))  # equal confidences are linked together
    good = ends[reached[ends] >= precision]
    if not len(good):
        raise DIMError(f"no threshold reaches a precision of {precision}: the best is {reached[ends].max():.4f}")
    return float(sure[order][good[-1]])


def best_nil_threshold(confidence: Numbers, nil: Numbers) -> float:
    """The threshold below which calling a mention NIL gives the highest F1 of NIL.

    Fit on mentions other than those it is judged on.

    Args:
        confidence: `(M,)` of the best entity of each mention, each in 0..1.
        nil: `(M,)`, 1 or True where no entity fits.

    Returns:
        The threshold: a mention is NIL if its confidence is below this. 0.0 where no threshold tells any NIL mention.

    Raises:
        DIMError: As [`dim.metrics.calibration_error.reliability_bins`].

    Example:
        >>> best_nil_threshold([0.1, 0.2, 0.7, 0.9], [1, 1, 0, 0])
        0.7
    """
    sure, is_nil = _checked(confidence, nil)
    thresholds = np.append(np.unique(sure), np.nextafter(sure.max(), np.inf))  # each calls what is below it NIL
    order = np.argsort(sure, kind="stable")
    called = np.searchsorted(sure[order], thresholds, side="left")  # how many are below
    right = np.append(0, np.cumsum(is_nil[order]))[called]
    f1 = 2 * right / np.maximum(1, called + is_nil.sum())
    best = float(thresholds[int(f1.argmax())])
    return best if f1.max() > 0 else 0.0


__all__ = ["best_nil_threshold", "nil_metrics", "threshold_for"]
