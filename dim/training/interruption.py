"""Stopping a run by SIGTERM, which cluster schedulers send before they kill a job, or by Ctrl-C."""

import signal
import sys
import threading
from types import TracebackType

import torch
from accelerate import Accelerator

# Name and exit code of each signal, as shells report them.
_SIGNALS = {signal.SIGTERM: ("SIGTERM", 143), signal.SIGINT: ("Ctrl-C", 130)}


class StoppedError(RuntimeError):
    """Raised when a run stops after SIGTERM or Ctrl-C; its checkpoint is written.

    Args:
        step: The step after which it stopped.
        code: Exit code of the command.
    """

    def __init__(self, step: int, code: int):
        name = next(name for name, known in _SIGNALS.values() if known == code)
        super().__init__(f"stopped by {name} after step {step}; --resume_from_checkpoint auto goes on.")
        self.exit_code = code


class StopSignal:
    """Records SIGTERM and Ctrl-C inside of a `with` block; a second Ctrl-C ends the process at once.

    All processes stop after the same step, whichever of them received the signal.
    """

    def __init__(self, accelerator: Accelerator):
        self.accelerator, self.received = accelerator, 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopSignal":
        if threading.current_thread() is threading.main_thread():  # Python allows handlers there alone
            self._before = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _receive(self, number: int, _: object) -> None:
        if number == signal.SIGINT and self.received:
            raise KeyboardInterrupt
        self.received = _SIGNALS[signal.Signals(number)][1]
        if self.accelerator.is_main_process:
            print("\nstopping after this step, with a checkpoint", file=sys.stderr, flush=True)

    def asked(self) -> int:
        """Returns the exit code if any process has received a signal, otherwise 0; all must call it together."""
        codes = torch.tensor([float(self.received)], device=self.accelerator.device)
        return int(self.accelerator.gather(codes).max())
