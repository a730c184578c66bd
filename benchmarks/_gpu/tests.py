"""The tests that need a GPU."""

import re
import subprocess
import sys
from pathlib import Path

from _gpu.processes import Found

ROOT = Path(__file__).resolve().parents[2]


def measure(tiny: bool, work: Path) -> Found:
    """Runs `pytest -m gpu tests/gpu`; without a GPU they skip themselves."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-rxXfE", "-p", "no:cacheprovider", "--durations=5",
               f"--junitxml={work / 'tests.xml'}", "tests/gpu"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    print(done.stdout, done.stderr[-4000:], flush=True)
    lines = done.stdout.strip().splitlines()
    last = lines[-1].strip("= ") if lines else done.stderr[-200:]
    notes = [text for text in lines if text.startswith(("FAILED", "ERROR", "XFAIL", "XPASS"))]
    passed = re.search(r"(\d+) passed", last)
    met = None if passed is None else done.returncode == 0 and "xfailed" not in last
    summary = "; ".join([last, *(note[:160] for note in notes)])
    return Found(summary, met, {"exit code": done.returncode, "notes": notes, "output": done.stdout[-12000:]})
