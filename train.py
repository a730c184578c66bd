"""Trains DIM: the entry point for `accelerate launch`. `dim train` is the same command.

accelerate launch train.py configs/sample.yaml --output_dir runs/sample
dim train sample --output_dir runs/sample --learning_rate 1e-3
"""

import sys

from dim.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
