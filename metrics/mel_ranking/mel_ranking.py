"""Ranking of multimodal entity linking as a metric of `evaluate`: `evaluate.load("mel_ranking")`.

The file is self-contained: a Space does not need dim-mel, whose tests compare it with `dim.metrics.ranks`.
"""

import math

import datasets
import evaluate
import numpy as np

_DESCRIPTION = """
Ranks the gold entity of each mention among its candidates: H@k (Top-k accuracy, recall@k for one gold) and mean
reciprocal rank, in percent. Ties count half by default; a score that is NaN or infinite is an error; a gold that is not
among the candidates is a miss, or is excluded with `normalize=True`.
"""
_INPUTS = """
Args:
    predictions (list of list of float): for each mention the scores of its candidates, higher is better; lists may
        differ in length. Compared in float32.
    references (list of int): for each mention the index of the gold in its list, or -1 if it is not in it.
    ks (list of int): cut-offs, [1, 3, 5, 10, 20] by default.
    ties (str): "mean" (default), "optimistic" or "pessimistic".
    normalize (bool): exclude mentions whose gold is not among their candidates (default False).

Returns:
    {"H@1": ..., ..., "MRR": ...} in percent, "mean rank" (None if a gold was not retrieved), "median rank" (the lowest
    rank that half of the mentions reach, None if that is a miss), and the number of "mentions".

Examples:
    >>> metric = evaluate.load("mel_ranking")
    >>> metric.compute(predictions=[[0.9, 0.5], [0.5, 0.5], [0.7, 0.1], [0.7]], references=[0, 1, 1, -1], ks=[1, 3])
    {'H@1': 25.0, 'H@3': 75.0, 'MRR': 54.166666666666664, 'mean rank': None, 'median rank': 1.5, 'mentions': 4}
"""
_CITATION = """
@inproceedings{dim2024,
  title = {DIM: Dynamic Integration of Multimodal Entity Linking with Large Language Model},
  booktitle = {Pattern Recognition and Computer Vision (PRCV)},
  year = {2024}
}
"""
_TIES = {"mean": 0.5, "optimistic": 0.0, "pessimistic": 1.0}


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class MELRanking(evaluate.Metric):
    """The metric that `evaluate.load` returns."""

    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {
                    "predictions": datasets.Sequence(datasets.Value("float64")),
                    "references": datasets.Value("int64"),
                }
            ),
            reference_urls=["https://arxiv.org/abs/2407.12019"],
        )

    def _compute(self, predictions, references, ks=(1, 3, 5, 10, 20), ties="mean", normalize=False):
        return mel_ranking(predictions, references, ks, ties, normalize)


def mel_ranking(predictions, references, ks=(1, 3, 5, 10, 20), ties="mean", normalize=False):
    """Computes the metric; arguments and result are those of `compute`."""
    if ties not in _TIES:
        raise ValueError(f"ties is {ties!r}: it must be one of {', '.join(_TIES)}")
    if any(k < 1 for k in ks):
        raise ValueError(f"ks is {list(ks)}: hits are counted at 1 or more")
    ranks = []
    for row, (scores, gold) in enumerate(zip(predictions, references, strict=True)):
        with np.errstate(over="ignore"):  # a value too large for float32 becomes infinite: an error below
            values = np.asarray(scores, np.float32)
        broken = np.flatnonzero(~np.isfinite(values))
        if len(broken):
            raise ValueError(
                f"predictions[{row}][{broken[0]}] is {scores[broken[0]]}: a score that is not finite has no rank"
            )
        if not -1 <= gold < len(values):
            raise ValueError(f"references[{row}] is {gold}: it must be an index of its {len(values)} candidates, or -1")
        if gold >= 0:
            tied = int((values == values[gold]).sum()) - 1
            ranks.append(1 + int((values > values[gold]).sum()) + _TIES[ties] * tied)
        elif not normalize:
            ranks.append(math.inf)
    if not ranks:
        raise ValueError("there is no mention to rank")
    found = np.array(ranks)
    median = float(np.sort(found)[(len(found) - 1) // 2])
    return {
        **{f"H@{k}": 100 * float((found <= k).mean()) for k in ks},
        "MRR": 100 * float((1 / found).mean()),
        "mean rank": float(found.mean()) if np.isfinite(found).all() else None,
        "median rank": median if math.isfinite(median) else None,
        "mentions": len(found),
    }
