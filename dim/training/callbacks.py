"""Callbacks of transformers in a run: when they are called, and what they may ask for."""

from collections.abc import Sequence
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState

from dim.training.arguments import TrainArguments


class Callbacks:
    """Calls callbacks at the events of a run, as transformers' `Trainer` does, in every process.

    They get the run's [`TrainArguments`], a `TrainerState`, a `TrainerControl`, and by name `model`,
    `processing_class`, `optimizer`, `lr_scheduler`, and `logs` or `metrics`. Of a control's wishes,
    `should_training_stop`, `should_evaluate` and `should_save` count, until the next step.

    Args:
        callbacks: The callbacks, or their classes.
        arguments: Arguments of the run.
        main: Whether this is the main process.
        **given: What every callback gets by name.
    """

    def __init__(
        self, callbacks: Sequence[TrainerCallback | type[TrainerCallback]], arguments: TrainArguments, main: bool,
        **given: Any,
    ):  # fmt: skip
        self.callbacks = [callback() if isinstance(callback, type) else callback for callback in callbacks]
        self.arguments, self.given = arguments, given
        self.control = TrainerControl()
        self.state = TrainerState(is_local_process_zero=main, is_world_process_zero=main)

    def call(self, event: str, step: int, epoch: float, **values: Any) -> None:
        """Calls `event` of every callback.

        Args:
            event: Name of a method of `TrainerCallback`, such as `on_step_end`.
            step: Steps done.
            epoch: Epochs done.
            **values: What the event gives beside the usual, such as `logs`.
        """
        self.state.global_step, self.state.epoch = step, epoch
        if event == "on_step_begin":
            self.control.should_evaluate = self.control.should_save = False
        if event == "on_log":
            self.state.log_history.append(values["logs"] | {"step": step, "epoch": epoch})
        for callback in self.callbacks:
            changed = getattr(callback, event)(self.arguments, self.state, self.control, **self.given, **values)
            self.control = self.control if changed is None else changed
