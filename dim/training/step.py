"""One training step: the loss over the global batch and its gradients, at once or by gradient caching."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from dim.encoding.batching import inputs_to
from dim.errors import DIMError
from dim.losses_dim import IGNORED_LABEL, squared_length
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


class Objective(nn.Module):
    """A DIM with its training objective over a global batch.

    `accelerator.prepare` wraps it, since DDP and FSDP act in the forward pass of what they wrap.

    Args:
        model: The model to train.
    """

    def __init__(self, model: DIMModel):
        super().__init__()
        self.model = model
        self._no_split_modules = model._no_split_modules  # Accelerate's layers to shard

    def forward(self, inputs: Inputs, targets: Inputs, pool_sizes: list[int], weight: float) -> Tensor:
        """Encodes this process's share of a batch, and returns the loss; see [`Batch`] for the arguments."""
        mentions = self.model(**_side(inputs, MENTION_INPUTS)).mention_states
        entities = self.model(**_side(inputs, ENTITY_INPUTS)).entity_states
        return self.loss(mentions, entities, targets, pool_sizes, weight)

    def loss(self, mentions: Tensor, entities: Tensor, targets: Inputs, pool_sizes: list[int], weight: float) -> Tensor:
        """The loss of vectors before normalisation, those of this process's entities `(E', V)` and mentions `(B, V)`.

        It is the N-pair loss against the entities of all processes, with the penalty on the vectors' length. Weighted
        by this process's share of the mentions, its mean over the processes is the loss over the global batch.
        """
        entities = gather_rows(entities, pool_sizes)
        embeds = self.model.normalize_vectors(mentions), self.model.normalize_entities(entities)
        penalty, counted = self.model.config.l2_weight, targets["labels"] != IGNORED_LABEL
        loss = self.model.contrastive_loss(*embeds, **targets) + penalty * squared_length(mentions, counted)
        return weight * loss + penalty * squared_length(entities)


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


def backward(objective: nn.Module, batch: Batch, accelerator: Accelerator, mini_batch_size: int | None) -> Tensor:
    """Computes the loss of a batch and adds its gradients to the parameters.

    Every process scores its own mentions against the entities of all processes, so the gradients do not depend on the
    number of processes.

    Args:
        objective: An [`Objective`], as returned by `accelerator.prepare`.
        batch: This process's share of a global batch.
        accelerator: The run's accelerator.
        mini_batch_size: Rows that go through the towers at a time (gradient caching: Gao et al., *Scaling Deep
            Contrastive Learning Batch Size under Memory Limited Setup*, 2021). Memory depends on it, not on the batch
            size, and the gradient stays the same; the towers run twice. Gradients must then be reduced by
            [`reduce_gradients`]. `None` encodes all rows at once, and DDP reduces the gradients.

    Returns:
        The detached loss; its mean over the processes is the loss over the global batch.
    """
    targets = inputs_to(batch.targets, accelerator.device)
    rest = (targets, batch.pool_sizes, batch.weight)
    if mini_batch_size is None:
        inputs = inputs_to(batch.inputs, accelerator.device)
        with accelerator.accumulate(objective):
            with accelerator.autocast():
                loss = objective(inputs, *rest)
            accelerator.backward(loss)
        return loss.detach()
    return _backward_cached(accelerator.unwrap_model(objective), batch, accelerator, mini_batch_size, rest)


def _backward_cached(
    objective: Objective, batch: Batch, accelerator: Accelerator, size: int, rest: tuple[Inputs, list[int], float]
) -> Tensor:
    model, device = objective.model, accelerator.device
    parts: dict[str, list[_MiniBatch]] = {}
    states: dict[str, Tensor] = {}
    for side, names in (("mention_states", MENTION_INPUTS), ("entity_states", ENTITY_INPUTS)):
        inputs = _side(batch.inputs, names)
        parts[side] = []
        vectors: Tensor | None = None
        for rows, values in _split(inputs, size, batch):
            part = _MiniBatch(rows, values, _random_state(device))
            parts[side].append(part)
            with torch.no_grad(), accelerator.autocast():
                found = _wide(getattr(model(**inputs_to(part.inputs, device)), side))
            if vectors is None:
                vectors = found.new_empty(len(next(iter(inputs.values()))), found.shape[1])
            vectors[to_device(part.rows, device)] = found
        states[side] = vectors.requires_grad_()  # type: ignore[union-attr]

    with accelerator.autocast():
        loss = objective.loss(states["mention_states"], states["entity_states"], *rest)
    accelerator.backward(loss)
    for side, chunks in parts.items():
        for part in chunks:
            with torch.random.fork_rng(_devices(device)), accelerator.autocast():
                _set_random_state(part.random, device)
                found = getattr(model(**inputs_to(part.inputs, device)), side)
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


def _side(inputs: Inputs, names: tuple[str, ...]) -> Inputs:
    """The inputs of mentions, or of entities."""
    return {name: inputs[name] for name in names if name in inputs}


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
