"""The check that losses are finite, without waiting for a GPU at every step."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dim.training.batches import Batch


@dataclass
class _Step:
    """What is known of a step whose losses have not been read."""

    losses: Tensor
    mean: Tensor
    batches: list[Batch]
    epoch: int
    step: int


class LossWatch:
    """Raises an error for the first loss that is not finite, before weights that it has changed are used.

    The host reads each loss at once if the optimizer is not a fused one. To read it from a GPU takes as long as all
    that the GPU still has to do. So a fused optimizer is told by a flag on the GPU to leave out a step whose loss is
    not finite, and the losses are read when a line is logged or the weights are evaluated or saved.

    Args:
        optimizer: An optimizer of torch, as it was before `accelerator.prepare`.
    """

    def __init__(self, optimizer: torch.optim.Optimizer):
        self._optimizer, self._later = optimizer, bool(optimizer.defaults.get("fused"))
        self._steps: list[_Step] = []

    def add(self, losses: Tensor, mean: Tensor, batches: list[Batch], epoch: int, step: int) -> None:
        """Adds a step, before the optimizer takes it.

        Args:
            losses: The losses of this process's batches `(A,)`.
            mean: Their mean over all processes.
            batches: The batches.
            epoch: Index of the epoch.
            step: Index of the step in it.

        Raises:
            FloatingPointError: If the loss is read now and not finite.
        """
        self._steps.append(_Step(losses, mean, batches, epoch, step))
        if self._later:
            self._optimizer.found_inf = (~torch.isfinite(mean)).float()  # type: ignore[attr-defined]
        else:
            self.check()

    def check(self) -> None:
        """Reads the losses since the last check.

        Raises:
            FloatingPointError: If one is not finite; the message names the batch's mentions.
        """
        steps, self._steps = self._steps, []
        if not steps or all(torch.stack([step.mean for step in steps]).isfinite().tolist()):
            return
        first = next(step for step in steps if not step.mean.isfinite())
        bad = [place for place, finite in enumerate(first.losses.isfinite().tolist()) if not finite]
        ids = first.batches[bad[0]].ids if bad else [name for batch in first.batches for name in batch.ids]
        value = (first.losses[bad[0]] if bad else first.mean).item()
        raise FloatingPointError(
            f"The loss is {value} at epoch {first.epoch + 1}, step {first.step + 1}; the batch's mentions are "
            f"{', '.join(ids)}."
        )
