"""Stopping a run by SIGTERM, which cluster schedulers send before they kill a job."""

import signal

import torch
from accelerate import Accelerator


class StoppedError(RuntimeError):
    """Raised when a run stops after SIGTERM; its checkpoint is written."""


class StopSignal:
    """Records SIGTERM. All processes stop after the same step, whichever of them received it."""

    def __init__(self, accelerator: Accelerator):
        self.accelerator, self.received = accelerator, False
        signal.signal(signal.SIGTERM, self._receive)

    def _receive(self, *_: object) -> None:
        self.received = True

    def asked(self) -> bool:
        """Returns whether any process has received SIGTERM; all processes must call it together."""
        flag = torch.tensor(float(self.received), device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, "sum") > 0)
