"""The card, and what its units reach in plain products and copies."""

import os
import platform
import shutil
from pathlib import Path

import torch

from _gpu.processes import Found
from _gpu.timing import device, matrix_rate, median, times


def measure(tiny: bool, work: Path) -> Found:
    """Rates of matrix products and memory; free space of shared memory, which data loader workers need."""
    size = 256 if tiny else 8192
    rates = {
        "bf16 Tflop/s": matrix_rate(size, torch.bfloat16) / 1e12,
        "tf32 Tflop/s": matrix_rate(size, torch.float32, tf32=True) / 1e12,
        "float32 Tflop/s": matrix_rate(size, torch.float32) / 1e12,
        "float64 Tflop/s": matrix_rate(size // 2, torch.float64) / 1e12,
    }
    count = 2**16 if tiny else 2**30
    source = torch.randn(count // 4, device=device())
    target = torch.empty_like(source)
    rates["memory TB/s"] = 2 * count / median(times(lambda: target.copy_(source), 5)) / 1e12
    name = platform.processor() or platform.machine()
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        host = torch.empty(count // 4)
        rates["host to card GB/s, pageable"] = count / median(times(lambda: target.copy_(host), 3)) / 1e9
        pinned = host.pin_memory()
        rates["host to card GB/s, pinned"] = count / median(times(lambda: target.copy_(pinned), 3)) / 1e9
    shared = Path("/dev/shm")
    rates["shared memory GB"] = shutil.disk_usage(shared).free / 1e9 if shared.is_dir() else 0.0
    figures = {"name": name, "cores": os.cpu_count(), **rates}
    return Found(f"{name}: " + ", ".join(f"{what} {rate:.3g}" for what, rate in rates.items()), None, figures)
