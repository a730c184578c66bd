"""The state of a run, saved in a checkpoint and loaded to resume it."""

import json
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dim.common.files import scratch_folder
from dim.training.checkpoints import MANIFEST, write_checkpoint
from dim.training.safe_state import load_all, reading, save_random_state, save_schedule, save_tensors
from dim.training.sharded import is_sharded

_NEGATIVES = "negatives.safetensors"


@dataclass
class RunState:
    """The progress of a run: what a checkpoint holds beside tensors."""

    step: int = 0
    best: float = -1.0
    best_step: int = 0
    mined_epoch: int = -1
    history: list[dict] = field(default_factory=list)

    def is_stale(self, patience: int | None) -> bool:
        """Whether none of the last `patience` evaluations was better than all before; never without patience."""
        return patience is not None and sum(row["step"] > self.best_step for row in self.history) >= patience


@dataclass
class Trained:
    """The objective and the optimizer, as returned by `accelerator.prepare`, and the schedule of learning rates."""

    accelerator: Accelerator
    objective: nn.Module
    optimizer: Optimizer
    scheduler: LRScheduler


def save_state(
    trained: Trained, output_dir: Path, state: RunState, negatives: Tensor, keep: int, run: dict[str, Any]
) -> None:
    """Writes a checkpoint. Every process saves its own random state and, where weights are sharded, its shard.

    Shards are in the formats of FSDP and DeepSpeed, everything else in safetensors and JSON.

    Args:
        trained: What the run trains.
        output_dir: Folder of the run.
        state: Its progress.
        negatives: The current hard negatives `(M, C)`.
        keep: How many checkpoints to keep.
        run: What the run is: its settings and digests of its content; JSON.
    """
    accelerator, shared = trained.accelerator, output_dir / f".checkpoint-{state.step}-all"
    is_main = accelerator.is_main_process
    with scratch_folder(shared, output_dir) if is_main else nullcontext():
        accelerator.wait_for_everyone()
        if is_sharded(accelerator):
            accelerator.save_state(str(shared))
        else:
            save_random_state(shared, accelerator.process_index)
        accelerator.wait_for_everyone()
        if is_main:
            if not is_sharded(accelerator):
                save_tensors(shared, accelerator, trained.objective, trained.optimizer)
                save_schedule(shared, accelerator, trained.scheduler)
            save_file({"negatives": negatives.contiguous()}, shared / _NEGATIVES)
            manifest = {**asdict(state), "run": run}
            write_checkpoint(output_dir, state.step, lambda folder: _move(shared, folder), manifest, keep)
    accelerator.wait_for_everyone()


def load_state(trained: Trained, checkpoint: Path) -> tuple[RunState, Tensor]:
    """Loads what [`save_state`] wrote into the objects of a run; returns the run's state and its negatives.

    Raises:
        DIMError: If a file is missing or cannot be read.
    """
    with reading(checkpoint):
        if is_sharded(trained.accelerator):
            trained.accelerator.load_state(str(checkpoint))
        else:
            load_all(checkpoint, trained.accelerator, trained.objective, trained.optimizer, trained.scheduler)
        state = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))
        state.pop("run", None)
        return RunState(**state), load_file(checkpoint / _NEGATIVES)["negatives"]


def _move(source: Path, target: Path) -> None:
    for path in source.iterdir():
        path.rename(target / path.name)
    source.rmdir()
