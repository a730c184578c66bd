"""`dim train`: a DIM from a dataset; `train.py` is the same command.

    dim train sample --output_dir runs/sample --learning_rate 1e-3
    accelerate launch train.py configs/sample.yaml --output_dir runs/sample

An optional YAML file, or the name of one that ships with DIM, gives the arguments; options override it.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dim.cli.command import Command, CommandError
from dim.cli.main import main as dim
from dim.training.arguments import parse_arguments


class Train(Command):
    """Trains DIM."""

    def __init__(self, *groups: Any):
        self.groups = groups

    @classmethod
    def parse(cls, prog: str, argv: Sequence[str]) -> "Train":
        """Makes the command from an optional YAML file and options."""
        return cls(*parse_arguments(argv, prog))

    def run(self) -> None:
        """Trains; exit code 1 for a loss that is not finite, 143 after SIGTERM, 130 after Ctrl-C."""
        from dim.common.locks import locked
        from dim.training.interruption import StoppedError
        from dim.training.trainer import train

        try:
            with locked(Path(self.groups[-1].output_dir), "dim train", inside=True):
                train(*self.groups)
        except (FloatingPointError, StoppedError) as error:
            raise CommandError(str(error), getattr(error, "exit_code", 1)) from error


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `dim train`.

    Args:
        argv: Its arguments, `sys.argv[1:]` by default.

    Returns:
        Exit code: 0; 2 for bad input; 1 for a loss that is not finite; 143 after SIGTERM; 130 after Ctrl-C.
    """
    return dim(["train", *(sys.argv[1:] if argv is None else argv)])
