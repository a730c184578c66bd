"""A run of `train.py` in processes of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BASE = ["--report_to", "none", "--per_device_train_batch_size", "12", "--warmup_steps", "2", "--learning_rate", "3e-3"]


def start(options, processes):
    """Starts a run as a user would; what it prints and its errors come as one."""
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    launch = ["accelerate", "launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0"]
    command = [sys.executable] if processes == 1 else launch
    return subprocess.Popen(
        [*command, str(ROOT / "train.py"), *options],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
    )  # fmt: skip
