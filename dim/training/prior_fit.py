"""Fits the lexical prior to trained vectors, on hard negatives."""

import copy

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor

from dim.errors import DIMError
from dim.losses_dim import n_pair_loss
from dim.modeling_dim import DIMModel
from dim.training.arguments import TrainArguments
from dim.training.data import MELData
from dim.training.mining import HardNegativeMiner

_BATCH = 512


class LexicalPriorFitter:
    """Fits a model's lexical prior, in place, on each training mention's gold against its hard negatives.

    Most negatives of a training batch are easy, so a prior trained on them relies on the vectors; and vectors trained
    together with a prior do not learn names. Here the vectors are fixed, and the prior is fitted to entities such as it
    will rank. Each fit starts from the initial prior, so that a resumed run gives the same result.

    Args:
        model: A model with a lexical prior.
        data: The prepared dataset.
        miner: Finds the negatives.
        arguments: `prior_epochs`, `prior_learning_rate` and the seed of the batches.

    Raises:
        DIMError: If the model has no lexical prior.
    """

    def __init__(self, model: DIMModel, data: MELData, miner: HardNegativeMiner, arguments: TrainArguments):
        if data.lexical_features is None:
            raise DIMError("--prior_epochs fits a lexical prior, but the model has none; add --lexical_prior true.")
        self.model, self.data, self.miner, self.arguments = model, data, miner, arguments
        self.lexical_features = data.lexical_features
        self.start = copy.deepcopy(model.lexical_prior.state_dict())
        model.lexical_prior.requires_grad_(False)  # the optimizer of the vectors, and DDP, skip it

    def fit(self, accelerator: Accelerator) -> None:
        """Fits the prior by AdamW with a linearly falling rate on the N-pair loss, the same on every process."""
        mentions, entities, features, pairs, there = self._examples(accelerator)
        model, prior, device = self.model, self.model.lexical_prior, self.model.device
        prior.load_state_dict(self.start)
        parameters = list(prior.requires_grad_(True).parameters())
        rate = self.arguments.prior_learning_rate or self.arguments.learning_rate
        optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0)
        generator = torch.Generator().manual_seed(self.arguments.seed)
        steps = self.arguments.prior_epochs * -(-len(pairs) // _BATCH)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
        for _ in range(self.arguments.prior_epochs):
            for part in torch.randperm(len(pairs), generator=generator).split(_BATCH):
                own = mentions[part], entities[pairs[part]], features[part]
                logits = model.score_pairs(*(one.to(device) for one in own))
                logits = logits.masked_fill(~there[part].to(device), torch.finfo(logits.dtype).min)
                loss = n_pair_loss(logits, torch.zeros(len(part), dtype=torch.long, device=device))
                # The temperature gets no gradient, and no hook of DDP runs.
                for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                    parameter.grad = gradient
                optimizer.step()
                schedule.step()
        prior.requires_grad_(False)
        for parameter in parameters:  # processes may sum in another order
            parameter.data, parameter.grad = broadcast(parameter.data), None

    def _examples(self, accelerator: Accelerator) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Vectors of the mentions that have a gold `(N, D)` and of the entities `(E, D)`, features of the pairs
        `(N, 1 + C, F)`, indices of the gold and its hard negatives `(N, 1 + C)`, and which of these cells count."""
        with accelerator.autocast():
            mentions, entities = self.miner.encode(self.model)
        train = self.data.train
        rows = (train.gold >= 0).nonzero().flatten()
        pairs = torch.cat([train.gold[:, None], self.miner.mine(mentions, entities)], 1)[rows]
        there, pairs = (pairs >= 0) & ~_repeated(pairs), pairs.clamp(min=0)
        features = self.lexical_features.pairs([train.mentions[row] for row in rows.tolist()], pairs)
        return mentions[rows], entities, features, pairs, there


def _repeated(rows: Tensor) -> Tensor:
    """Whether each cell of `(N, C)` repeats an earlier cell of its row."""
    found, order = rows.sort(dim=1, stable=True)
    same = torch.zeros_like(rows, dtype=torch.bool)
    same[:, 1:] = found[:, 1:] == found[:, :-1]
    return torch.zeros_like(same).scatter_(1, order, same)
