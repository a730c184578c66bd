"""What several processes share: the pool of entities, with gradients, and the check that they are as many as meant."""

import os

import torch
import torch.distributed as dist
from accelerate import Accelerator, DistributedType
from torch import Tensor, nn
from transformers.integrations import unset_hf_deepspeed_config


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


def is_sharded(accelerator: Accelerator) -> bool:
    """Whether each process holds a part of the weights (FSDP, DeepSpeed), not all of them."""
    return accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED)


def configure_deepspeed(accelerator: Accelerator, batch_size: int, max_grad_norm: float) -> None:
    """Tells DeepSpeed, where it is in use, what it would take from a data loader, and to clip, which it does itself.

    Models that are loaded afterwards are whole on every process: with ZeRO-3, transformers would shard them at once.

    Args:
        accelerator: The run's accelerator.
        batch_size: Mentions of one process.
        max_grad_norm: Length to which gradients are clipped.
    """
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        config = {"train_micro_batch_size_per_gpu": batch_size, "gradient_clipping": max_grad_norm}
        accelerator.state.deepspeed_plugin.deepspeed_config.update(config)
        unset_hf_deepspeed_config()


def gather_weights(prepared: nn.Module, model: nn.Module, accelerator: Accelerator) -> None:
    """Copies the weights of a sharded model into a whole one, on every process.

    Args:
        prepared: What `accelerator.prepare` made of the model that trains.
        model: The whole one, on the accelerator's device. Where nothing is sharded it *is* what trains, and stays.
        accelerator: The run's accelerator.
    """
    if not is_sharded(accelerator):
        return
    state = accelerator.get_state_dict(prepared)  # complete on the main process alone
    if accelerator.is_main_process:
        model.load_state_dict(state)
    for tensor in model.state_dict().values():
        dist.broadcast(tensor, 0)


def check_processes(accelerator: Accelerator, expected: int | None) -> None:
    """Says how many processes train, and stops where they are not as many as meant.

    `accelerate launch --cpu --num_processes 2` runs one process without a word, and so does a launcher that sets the
    variables of a process group which Accelerate does not take up.

    Args:
        accelerator: The run's accelerator.
        expected: How many there should be, if that was told.

    Raises:
        ValueError: If there are more or fewer, or the environment names a master, but no group was formed.
    """
    count = accelerator.num_processes
    accelerator.print(f"processes: {count}, device: {accelerator.device}")
    launch = "ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes N train.py, or torchrun"
    if expected is not None and expected != count:
        raise ValueError(f"--expected_processes is {expected}, but {count} trains. Without GPUs use: {launch}.")
    world = os.environ.get("WORLD_SIZE")
    if os.environ.get("MASTER_ADDR") and world is None:
        raise ValueError(f"The environment sets MASTER_ADDR, but no WORLD_SIZE. Unset it, or use: {launch}.")
    if world is not None and int(world) != count:
        raise ValueError(
            f"The environment's WORLD_SIZE is {world}, but this run has {count}: each process would train alone. "
            f"Without GPUs set ACCELERATE_USE_CPU=true."
        )


__all__ = ["check_processes", "configure_deepspeed", "gather_rows", "gather_weights", "is_sharded"]
