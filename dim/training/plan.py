"""The steps of a run: how many there are, how long it warms up, and what hinders it from learning."""

from collections.abc import Iterator
from dataclasses import dataclass

from dim.errors import DIMError
from dim.training.arguments import TrainArguments
from dim.training.batches import BatchDataset


@dataclass(frozen=True)
class Plan:
    """The steps of a run.

    Args:
        per_epoch: Steps of an epoch.
        total: Steps of the run.
        warmup: Steps over which the learning rate rises.
    """

    per_epoch: int
    total: int
    warmup: int


def plan_steps(batches: BatchDataset, arguments: TrainArguments) -> Plan:
    """Counts the steps of a run.

    Args:
        batches: Its batches.
        arguments: Its arguments.

    Raises:
        DIMError: If a step needs more batches than an epoch has.
    """
    accumulation = arguments.gradient_accumulation_steps
    if accumulation > len(batches):
        raise DIMError(f"--gradient_accumulation_steps is {accumulation}, but an epoch has {len(batches)} batches.")
    per_epoch = len(batches) // accumulation
    total = per_epoch * arguments.num_train_epochs
    total = total if arguments.max_steps < 0 else min(total, arguments.max_steps)
    steps = arguments.warmup_steps
    return Plan(per_epoch, total, round(arguments.warmup_ratio * total) if steps is None else steps)


def obstacles(plan: Plan, batches: BatchDataset, arguments: TrainArguments) -> Iterator[str]:
    """Says in a line each why a run can hardly learn, if it is so.

    Args:
        plan: Its steps.
        batches: Its batches.
        arguments: Its arguments.
    """
    if arguments.lr_scheduler_type != "constant" and plan.warmup >= max(2, plan.total):
        yield (
            f"the run has {plan.total} steps, all of them within its warm-up of {plan.warmup}: it hardly learns; leave "
            "--warmup_steps out, or train for more epochs"
        )
    if len(batches) == 1:
        yield (
            f"an epoch is one batch of {len(batches.rows)} mentions: a smaller --per_device_train_batch_size gives "
            "more steps, in which the model learns"
        )
    if batches.batch_size == 1 and batches.data.arguments.negatives == "in_batch":
        yield "a batch of one mention has no negatives: nothing is learned; raise --per_device_train_batch_size"
