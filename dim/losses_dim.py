# Copyright 2026 The DIM authors.
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with
# the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on
# an "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
"""The training objective of DIM: N-pair loss and a penalty on the length of the vectors."""

import torch
from torch import Tensor

from .errors_dim import DIMError

IGNORED_LABEL = -100  # as in torch's cross-entropy


def n_pair_loss(logits: Tensor, labels: Tensor, entity_ids: Tensor | None = None) -> Tensor:
    r"""N-pair loss: each mention against its gold entity and every other entity of the pool.

    .. math:: \frac{1}{B} \sum_i \log\Big(1 + \sum_{j \ne y_i} e^{s_{ij} - s_{i y_i}}\Big)

    (Sohn, *Improved Deep Metric Learning with Multi-class N-pair Loss Objective*, NeurIPS 2016, equation 7; the loss
    of the DIM paper.) It equals the cross-entropy over a row, and is computed by `logsumexp` of the differences,
    without overflow or loss of the gold's score. The pool is the batch's own entities (in-batch negatives), followed
    by any explicit hard negatives. A further column with the mention's own entity, as when two mentions of a batch
    share an entity, is not a negative and is left out.

    Args:
        logits (`torch.Tensor` of shape `(B, E)`): Scores of `B` mentions against a pool of `E` entities.
            Half precision is raised to float32.
        labels (`torch.LongTensor` of shape `(B,)`): Column index of each mention's gold entity; -100 for a mention
            that is left out, as in torch's cross-entropy.
        entity_ids (`torch.LongTensor` of shape `(E,)`, *optional*): Integer id of each entity of the pool. Without it,
            every column but the gold's is a negative.

    Returns:
        Scalar tensor, the mean over the mentions, in float32 or wider. 0 for a mention without negatives, and if no
        mention is left.

    Raises:
        DIMError: If shapes do not match or a label is not a column index. (The values of labels on a GPU are not read,
            which would make every step wait for it, nor in a compiled graph; CUDA itself stops at such a label.)

    Example:

        Two mentions, two entities; each gold leads by 0, so each term is log(1 + e^0) = log 2.

        >>> n_pair_loss(torch.tensor([[5.0, 5.0], [1.0, 1.0]]), torch.tensor([0, 1]))
        tensor(0.6931)

        Both columns hold the same entity: there is no negative, and no loss.

        >>> n_pair_loss(torch.tensor([[5.0, 9.0]]), torch.tensor([0]), entity_ids=torch.tensor([7, 7]))
        tensor(0.)
    """
    if logits.dim() != 2 or logits.shape[0] == 0:
        raise DIMError(f"logits must have shape (B, E) with B > 0, got {tuple(logits.shape)}.")
    if labels.shape != logits.shape[:1]:
        raise DIMError(f"labels must have shape ({logits.shape[0]},) to match logits, got {tuple(labels.shape)}.")
    if entity_ids is not None and entity_ids.shape != logits.shape[1:]:
        raise DIMError(f"entity_ids must have shape ({logits.shape[1]},), got {tuple(entity_ids.shape)}.")
    counted = labels != IGNORED_LABEL
    read = not labels.is_cuda and not torch.compiler.is_compiling()
    if read and ((outside := (labels < 0) | (labels >= logits.shape[1])) & counted).any():
        raise DIMError(f"labels must lie in [0, {logits.shape[1]}), or be -100, got {labels[outside & counted][0]}.")
    logits, labels = logits.masked_fill(~counted[:, None], 0.0), labels.masked_fill(~counted, 0)
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()

    columns = torch.arange(logits.shape[1], device=logits.device)
    ids = columns if entity_ids is None else entity_ids
    own = ids[None, :] == ids[labels][:, None]  # (B, E), true for the gold and its duplicates
    margins = logits - logits.gather(1, labels[:, None])  # (B, E), score of each entity above the gold's
    margins = margins.masked_fill(own, -torch.inf)
    margins = torch.cat([margins.new_zeros(len(margins), 1), margins], dim=1)  # (B, 1 + E), e^0 is the 1
    return _mean(margins.logsumexp(dim=1), counted)


def squared_length(vectors: Tensor, counted: Tensor | None = None) -> Tensor:
    """Computes the paper's penalty on long vectors: their mean squared length.

    Args:
        vectors (`torch.Tensor` of shape `(N, D)`): Vectors before normalisation.
        counted (`torch.BoolTensor` of shape `(N,)`, *optional*): Which vectors count; all by default.

    Returns:
        Scalar tensor in float32 or wider, to be multiplied by `config.l2_weight`; 0 without vectors.

    Example:

        >>> squared_length(torch.tensor([[3.0, 4.0], [1.0, 0.0]]))
        tensor(13.)
    """
    if counted is not None:
        vectors = vectors.masked_fill(~counted[:, None], 0.0)
    lengths = vectors.to(torch.promote_types(vectors.dtype, torch.float32)).square().sum(-1)
    return _mean(lengths, torch.ones_like(lengths, dtype=torch.bool) if counted is None else counted)


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    """The mean of the values that count, 0 if none does; their number is not read, since it may be on a GPU."""
    return values.masked_fill(~counted, 0.0).sum() / counted.sum().clamp(min=1)


__all__ = ["IGNORED_LABEL", "n_pair_loss", "squared_length"]
