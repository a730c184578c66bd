"""One training step: the loss over the global batch and its gradients, at once or by gradient caching."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from dim.encoding.batching import inputs_to
from dim.errors import DIMError
from dim.modeling_dim import ENTITY_INPUTS, MENTION_INPUTS, DIMModel
from dim.towers_dim import to_device
from dim.training.batches import Batch
from dim.training.distributed import gather_rows
from dim.training.sharded import is_sharded

Inputs = dict[str, Tensor]


@dataclass
class _MiniBatch:
    """Rows that a tower encodes together, and the state of the random generators before their first pass."""

    rows: Tensor
    inputs: Inputs
    random: tuple[Tensor, Tensor | None]


def check_caching(model: DIMModel, accelerator: Accelerator) -> None:
    """Raises `DIMError` where gradient caching would not give the gradient of the full batch."""
    for name, module in model.named_modules():
        norms = isinstance(module, nn.modules.batchnorm._BatchNorm)
        if norms and any(parameter.requires_grad for parameter in module.parameters()):
            raise DIMError(
                f"--mini_batch_size does not fit a tower with batch norm ({name}), whose statistics are those of the "
                "whole batch. Freeze the tower (--freeze_vision true), or leave the option out."
            )
    if is_sharded(accelerator):
        raise DIMError("--mini_batch_size works with one process or DDP, not with FSDP or DeepSpeed.")


def backward(model: nn.Module, batch: Batch, accelerator: Accelerator, mini_batch_size: int | None) -> Tensor:
    """Computes the loss of a batch and adds its gradients to the parameters.

    Every process scores its own mentions against the entities of all processes, so the gradients do not depend on the
    number of processes.

    Args:
        model: The model, as returned by `accelerator.prepare`.
        batch: This process's share of a global batch.
        accelerator: The run's accelerator.
        mini_batch_size: Rows that go through the towers at a time (gradient caching: Gao et al., *Scaling Deep
            Contrastive Learning Batch Size under Memory Limited Setup*, 2021). Memory depends on it, not on the batch
            size, and the gradient stays the same; the towers run twice. Gradients must then be reduced by
            [`reduce_gradients`]. `None` encodes all rows at once, and DDP reduces the gradients.

    Returns:
        The detached loss; its mean over the processes is the loss over the global batch.
    """
    targets = {name: to_device(value, accelerator.device) for name, value in batch.targets.items()}
    extra: dict[str, object] = {**targets, "loss_weight": batch.weight}
    if mini_batch_size is None:
        inputs = inputs_to(batch.inputs, accelerator.device)
        with accelerator.accumulate(model):
            with accelerator.autocast():
                loss = model(**inputs, **extra, gather=lambda rows: gather_rows(rows, batch.pool_sizes)).loss
            accelerator.backward(loss)
        return loss.detach()
    return _backward_cached(model, batch, accelerator, mini_batch_size, extra)


def _backward_cached(model: nn.Module, batch: Batch, accelerator: Accelerator, size: int, extra: dict) -> Tensor:
    network, device = accelerator.unwrap_model(model), accelerator.device
    parts: dict[str, list[_MiniBatch]] = {}
    states: dict[str, Tensor] = {}
    for side, names in (("mention_states", MENTION_INPUTS), ("entity_states", ENTITY_INPUTS)):
        inputs = {name: batch.inputs[name] for name in names if name in batch.inputs}
        parts[side] = []
        vectors: Tensor | None = None
        for rows, rest in _split(inputs, size, batch):
            part = _MiniBatch(rows, rest, _random_state(device))
            parts[side].append(part)
            with torch.no_grad(), accelerator.autocast():
                found = _wide(getattr(network(**inputs_to(part.inputs, device)), side))
            if vectors is None:
                vectors = found.new_empty(len(next(iter(inputs.values()))), found.shape[1])
            vectors[to_device(part.rows, device)] = found
        states[side] = vectors.requires_grad_()  # type: ignore[union-attr]

    with accelerator.autocast():
        loss = network(**states, **extra, gather=lambda rows: gather_rows(rows, batch.pool_sizes)).loss
    accelerator.backward(loss)
    for side, chunks in parts.items():
        for part in chunks:
            with torch.random.fork_rng(_devices(device)), accelerator.autocast():
                _set_random_state(part.random, device)
                found = getattr(network(**inputs_to(part.inputs, device)), side)
            gradient = states[side].grad[to_device(part.rows, device)]  # type: ignore[index]
            (_wide(found) * gradient).sum().backward()
    return loss.detach()


def reduce_gradients(model: DIMModel, accelerator: Accelerator) -> None:
    """Averages the gradients of gradient caching, which bypasses DDP, over all processes."""
    if accelerator.num_processes > 1:
        for parameter in model.parameters():
            if parameter.requires_grad:
                gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad = accelerator.reduce(gradient, "mean")


def _split(inputs: Inputs, size: int, batch: Batch) -> Iterator[tuple[Tensor, Inputs]]:
    """Yields rows sorted by length, `size` at a time, without superfluous padding."""
    masks = [name for name in inputs if name.endswith("attention_mask")]
    count = len(next(iter(inputs.values())))
    lengths = torch.stack([inputs[name].sum(1) for name in masks]).sum(0) if masks else torch.zeros(count)
    for rows in lengths.argsort(stable=True).split(size):
        part = {name: value[to_device(rows, value.device)] for name, value in inputs.items()}
        for name in [] if batch.fixed_length else masks:
            longest = int(part[name].sum(1).max())
            for key in (name, name.replace("attention_mask", "input_ids")):
                part[key] = part[key][:, :longest]
        yield rows, part


def _wide(vectors: Tensor) -> Tensor:
    """Converts half precision to float32."""
    return vectors.to(torch.promote_types(vectors.dtype, torch.float32))


def _devices(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    """The state of the random generators, so that dropout is the same in the second pass."""
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_random_state(state: tuple[Tensor, Tensor | None], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
