"""The state of an optimizer, a schedule and the random generators as safetensors and JSON: reading it runs no code."""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dim.common.files import write_json
from dim.errors import DIMError

_WEIGHTS, _OPTIMIZER, _SCHEDULE = "model.safetensors", "optimizer.safetensors", "schedule.json"
_META = "state"


def save_tensors(folder: Path, accelerator: Accelerator, objective: nn.Module, optimizer: Optimizer) -> None:
    """Writes the weights and the optimizer's state; one process of a run does.

    Args:
        folder: Folder of the checkpoint.
        accelerator: The run's accelerator.
        objective: The objective with the model, as returned by `accelerator.prepare`.
        optimizer: Its optimizer.
    """
    save_model(accelerator.unwrap_model(objective).model, str(folder / _WEIGHTS))
    state = optimizer.state_dict()
    tensors = {
        f"{row}.{name}": value.contiguous() for row, values in state["state"].items() for name, value in values.items()
    }
    save_file(tensors, folder / _OPTIMIZER, metadata={_META: json.dumps(state["param_groups"])})


def save_schedule(folder: Path, accelerator: Accelerator, scheduler: LRScheduler) -> None:
    """Writes the state of the schedule and, in fp16, of the scaler of gradients; one process of a run does."""
    scaler = None if accelerator.scaler is None else accelerator.scaler.state_dict()
    write_json(folder / _SCHEDULE, {"scheduler": scheduler.state_dict(), "scaler": scaler})


def save_random_state(folder: Path, rank: int) -> None:
    """Writes the state of this process's random generators."""
    version, words, gauss = random.getstate()
    name, keys, *rest = np.random.get_state(legacy=True)
    tensors = {"python": torch.tensor(words), "numpy": torch.from_numpy(np.asarray(keys, np.int64)),
               "torch": torch.get_rng_state()}  # fmt: skip
    if torch.cuda.is_available():
        tensors |= {f"cuda.{row}": state for row, state in enumerate(torch.cuda.get_rng_state_all())}
    meta = json.dumps({"python": [version, gauss], "numpy": [name, *rest]})
    save_file(tensors, folder / _random_name(rank), metadata={_META: meta})


def load_all(
    folder: Path, accelerator: Accelerator, objective: nn.Module, optimizer: Optimizer, scheduler: LRScheduler
) -> None:
    """Loads what the functions above wrote; to be called within [`reading`]."""
    load_model(accelerator.unwrap_model(objective).model, folder / _WEIGHTS)
    optimizer.load_state_dict(_optimizer_state(folder / _OPTIMIZER))
    for parameter, values in optimizer.state.items():  # in memory as the weights, for a fused step
        for name, value in values.items():
            if value.shape == parameter.shape and value.stride() != parameter.stride():
                values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
    schedule = json.loads((folder / _SCHEDULE).read_text(encoding="utf-8"))
    scheduler.load_state_dict(schedule["scheduler"])
    if accelerator.scaler is not None:
        accelerator.scaler.load_state_dict(schedule["scaler"])
    _load_random_state(folder / _random_name(accelerator.process_index))


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Turns what a checkpoint's files raise inside of a `with` block into a `DIMError`.

    Args:
        folder: Folder of the checkpoint.
    """
    try:
        yield
    except (OSError, SafetensorError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise DIMError(
            f"{folder} cannot be resumed; it is damaged, or another version of dim wrote it: "
            f"{' '.join(str(error).split())[:200]}"
        ) from error


def _optimizer_state(path: Path) -> dict[str, Any]:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in load_file(path).items():
        row, _, name = key.partition(".")
        state.setdefault(int(row), {})[name] = value
    groups = json.loads(_metadata(path))
    return {"state": state, "param_groups": [group | {"betas": tuple(group["betas"])} for group in groups]}


def _load_random_state(path: Path) -> None:
    tensors, meta = load_file(path), json.loads(_metadata(path))
    version, gauss = meta["python"]
    random.setstate((version, tuple(tensors["python"].tolist()), gauss))
    name, *rest = meta["numpy"]
    np.random.set_state((name, tensors["numpy"].numpy().astype(np.uint32), *rest))
    torch.set_rng_state(tensors["torch"])
    cuda = [tensors[key] for key in (f"cuda.{row}" for row in range(len(tensors))) if key in tensors]
    if cuda and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(cuda)


def _metadata(path: Path) -> str:
    with safe_open(path, "pt") as stream:
        return (stream.metadata() or {})[_META]


def _random_name(rank: int) -> str:
    return f"random_states_{rank}.safetensors"
