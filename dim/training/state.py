"""The state of a run, saved in a checkpoint and loaded to resume it."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor

from dim.training.checkpoints import MANIFEST, write_checkpoint

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


def save_state(
    accelerator: Accelerator, output_dir: Path, state: RunState, negatives: Tensor, keep: int, run: dict[str, Any]
) -> None:
    """Writes a checkpoint. Every process saves its own random state and, where weights are sharded, its shard.

    Args:
        accelerator: The run's accelerator, which holds the model, the optimizer and the scheduler.
        output_dir: Folder of the run.
        state: Its progress.
        negatives: The current hard negatives `(M, C)`.
        keep: How many checkpoints to keep.
        run: What the run is: its settings and digests of its content; JSON.
    """
    shared = output_dir / f".checkpoint-{state.step}-all"
    accelerator.wait_for_everyone()
    accelerator.save_state(str(shared))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        save_file({"negatives": negatives.contiguous()}, shared / _NEGATIVES)
        manifest = {**asdict(state), "run": run}
        write_checkpoint(output_dir, state.step, lambda folder: _move(shared, folder), manifest, keep)
    accelerator.wait_for_everyone()


def load_state(accelerator: Accelerator, checkpoint: Path) -> tuple[RunState, Tensor]:
    """Loads what [`save_state`] wrote into the accelerator's objects; returns the run's state and its negatives."""
    accelerator.load_state(str(checkpoint))
    state = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))
    state.pop("run", None)
    return RunState(**state), load_file(checkpoint / _NEGATIVES)["negatives"]


def _move(source: Path, target: Path) -> None:
    for path in source.iterdir():
        path.rename(target / path.name)
    source.rmdir()
