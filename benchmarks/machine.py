"""The machine that a benchmark ran on, in one line."""

import os
import platform
from datetime import date
from pathlib import Path

import torch

_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "bf16")


def machine() -> str:
    """Names the CPU, what it computes in hardware, the GPU if there is one, and the date."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    values = {name.strip(): value.strip() for name, value in fields.items()}
    known = values.get("flags", values.get("Features", "")).split()
    flags = ", ".join(flag for flag in _FLAGS if flag in known) or "no flags known"
    gpu = f"; {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    name = values.get("model name", platform.processor() or platform.machine())
    return f"{name}, {len(os.sched_getaffinity(0))} cores ({flags}){gpu}; torch {torch.__version__}, {date.today()}"
