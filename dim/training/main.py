"""Trains DIM.

    accelerate launch train.py configs/sample.yaml --output_dir runs/sample
    dim train configs/sample.yaml --output_dir runs/sample --learning_rate 1e-3

A YAML file (optional) gives the arguments, flags overrule it; `--help` lists them. Training goes on after a stop with
`--resume_from_checkpoint auto`.
"""

import sys
from collections.abc import Sequence

from dim.training.arguments import parse_arguments
from dim.training.interruption import StoppedError
from dim.training.loop import train


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a training as the command line says.

    Args:
        argv: Arguments, `sys.argv[1:]` by default.

    Returns:
        Exit code: 0; 2 for bad input, which is told in one line; 1 for a loss that is not finite; 143 after SIGTERM,
            when a checkpoint is written.
    """
    try:
        train(*parse_arguments(argv))
    except (ValueError, FloatingPointError, StoppedError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 143 if isinstance(error, StoppedError) else 1 if isinstance(error, FloatingPointError) else 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
