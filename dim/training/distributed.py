"""Distributed training: gathering entity vectors with gradients, and checking the number of processes."""

import os

import torch
import torch.distributed as dist
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import GradientAccumulationPlugin
from torch import Tensor

from dim.errors import DIMError
from dim.training.arguments import TrainArguments
from dim.training.sharded import configure_deepspeed


class _GatherRows(torch.autograd.Function):
    """Gathers rows of all processes, in their order; the gradient of a row returns to the process it came from."""

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
    """Gathers rows of all processes, with gradients.

    `Accelerator.gather` has no gradient with several processes.

    Args:
        rows: Rows of this process `(n, D)`.
        sizes: How many rows each process has.

    Returns:
        `torch.Tensor` of shape `(sum(sizes), D)`, process by process.
    """
    return rows if len(sizes) == 1 else _GatherRows.apply(rows, sizes, dist.get_rank())


def start_accelerator(arguments: TrainArguments) -> Accelerator:
    """Makes the accelerator of a run, and checks the number of processes.

    Args:
        arguments: The arguments of the run.

    Returns:
        The accelerator.

    Raises:
        DIMError: As [`check_processes`], or if this machine has no such mixed precision.
    """
    try:
        accelerator = Accelerator(
            mixed_precision=arguments.mixed_precision,
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=arguments.gradient_accumulation_steps),
            log_with=arguments.report_to or None,
            project_dir=str(arguments.output_dir),
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],  # a batch without pictures
        )
    except ValueError as error:  # such as fp16 without a GPU
        raise DIMError(f"--mixed_precision {arguments.mixed_precision}: {error}") from error
    check_processes(accelerator, arguments.expected_processes)
    configure_deepspeed(accelerator, arguments.per_device_train_batch_size, arguments.gradient_accumulation_steps,
                        arguments.max_grad_norm)  # fmt: skip
    return accelerator


def check_processes(accelerator: Accelerator, expected: int | None) -> None:
    """Prints the number of processes, and checks that it is the intended one.

    `accelerate launch --cpu --num_processes 2` silently runs one process, and so does a launcher whose environment
    variables Accelerate does not use.

    Args:
        accelerator: The run's accelerator.
        expected: The intended number of processes, if given.

    Raises:
        DIMError: If the number differs from `expected` or from the environment's `WORLD_SIZE`, or the environment sets
            `MASTER_ADDR` without `WORLD_SIZE`.
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
            f"The environment's WORLD_SIZE is {world}, but this run has {count} processes: each would train alone. "
            "Without GPUs set ACCELERATE_USE_CPU=true."
        )
