"""A run that is told to stop: by SIGTERM, as schedulers of clusters do before they kill."""

import signal

import torch
from accelerate import Accelerator


class StoppedError(RuntimeError):
    """The run was told to stop (SIGTERM) and has written a checkpoint."""


class StopSignal:
    """Whether some process was told to stop; all of them learn it after the same step."""

    def __init__(self, accelerator: Accelerator):
        self.accelerator, self.received = accelerator, False
        signal.signal(signal.SIGTERM, self._receive)

    def _receive(self, *_: object) -> None:
        self.received = True

    def asked(self) -> bool:
        """Asks all processes; cheap beside a step."""
        flag = torch.tensor(float(self.received), device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, "sum") > 0)


__all__ = ["StopSignal", "StoppedError"]
