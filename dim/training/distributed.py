"""What several processes share: the pool of entities, with gradients, and the check that they are as many as meant."""

import os

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor

from dim.errors import DIMError


class _GatherRows(torch.autograd.Function):
    """Rows of all processes, in the order of the processes; the gradient of a row goes back to where it came from."""

    @staticmethod
    def forward(ctx, rows: Tensor, sizes: list[int], rank: int) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.sizes, ctx.rank = sizes, rank
        padded = rows.new_zeros(max(sizes), *rows.shape[1:])  # all_gather wants equal shapes
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx, *gradients: Tensor) -> tuple:  # type: ignore[no-untyped-def]
        gradient = gradients[0].contiguous().clone()
        dist.all_reduce(gradient)
        start = sum(ctx.sizes[: ctx.rank])
        return gradient[start : start + ctx.sizes[ctx.rank]], None, None


def gather_rows(rows: Tensor, sizes: list[int]) -> Tensor:
    """Rows of all processes with gradients; those of one process as they are.

    `Accelerator.gather` has no gradient with several processes.

    Args:
        rows: Rows of this process `(n, D)`.
        sizes: How many rows each process has.

    Returns:
        `torch.Tensor` of shape `(sum(sizes), D)`, process by process.
    """
    return rows if len(sizes) == 1 else _GatherRows.apply(rows, sizes, dist.get_rank())


def check_processes(accelerator: Accelerator, expected: int | None) -> None:
    """Says how many processes train, and stops where they are not as many as meant.

    `accelerate launch --cpu --num_processes 2` runs one process without a word, and so does a launcher that sets the
    variables of a process group which Accelerate does not take up.

    Args:
        accelerator: The run's accelerator.
        expected: How many there should be, if that was told.

    Raises:
        DIMError: If there are more or fewer, or the environment names a master, but no group was formed.
    """
    count = accelerator.num_processes
    accelerator.print(f"processes: {count}, device: {accelerator.device}")
    launch = "ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes N train.py, or torchrun"
    if expected is not None and expected != count:
        raise DIMError(f"--expected_processes is {expected}, but {count} trains. Without GPUs use: {launch}.")
    world = os.environ.get("WORLD_SIZE")
    if os.environ.get("MASTER_ADDR") and world is None:
        raise DIMError(f"The environment sets MASTER_ADDR, but no WORLD_SIZE. Unset it, or use: {launch}.")
    if world is not None and int(world) != count:
        raise DIMError(
            f"The environment's WORLD_SIZE is {world}, but this run has {count}: each process would train alone. "
            f"Without GPUs set ACCELERATE_USE_CPU=true."
        )


__all__ = ["check_processes", "gather_rows"]
