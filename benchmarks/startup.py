"""How long the command line takes to start: `--help` of every command, `dim link`, and `import dim`.

    python benchmarks/startup.py [--rounds 3]

Each command runs in a process of its own; its figure is user plus system CPU time, the best of the rounds. Target of
each `--help`: 0.5 s. `dim link` runs where `make demo` has left `demo/model` and `demo/kb`.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from dim.cli.main import COMMANDS

DIM = str(Path(sys.executable).with_name("dim"))
LINK = ["link", "--model", "demo/model", "--kb", "demo/kb", "--sentence"]


def cpu_seconds(command: list[str]) -> float:
    """Runs a command and gives its user and system time."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with exit code {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measures, and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    rows = {"import dim": [sys.executable, "-c", "import dim"], "dim --help": [DIM, "--help"]}
    rows |= {f"dim {name} --help": [DIM, *name.split(), "--help"] for name in COMMANDS}
    if Path("demo/model").is_dir() and Path("demo/kb").is_dir():
        rows["dim link ..."] = [DIM, *LINK, "The wings of [[Mercury]] shone in the hall."]
    print("| | CPU seconds |\n|---|--:|")
    for name, command in rows.items():
        print(f"| `{name}` | {min(cpu_seconds(command) for _ in range(rounds)):.2f} |", flush=True)


if __name__ == "__main__":
    main()
