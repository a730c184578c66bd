"""Runs of `dim` that a test may kill: one process imports what they need, which takes seconds, and forks each."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

CODE = """
import importlib, itertools, json, os, pathlib, signal, sys
from dim.cli.main import main

def dying(call, counter, last):
    def counted(*given, **options):
        if next(counter) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*given, **options)
    return counted

for name in sys.argv[1:]:
    importlib.import_module(name)
import dim.enhancement.answer_checks
dim.enhancement.answer_checks.check_language("en")
print("ready", flush=True)
for line in sys.stdin:
    argv, last = json.loads(line)
    child = os.fork()
    if not child:
        if last is not None:
            counter = itertools.count()
            for owner, name in ((pathlib.Path, "rename"), (pathlib.Path, "replace"), (os, "rmdir")):
                setattr(owner, name, dying(getattr(owner, name), counter, last))
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os.dup2(2, 1)
        os._exit(main(argv))
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Forker:
    """The process; one run at a time."""

    def __init__(self, process: subprocess.Popen):
        self.process = process

    def start(self, argv: list[str], last: int | None = None) -> int:
        """Starts `dim` with arguments; returns its process id.

        With `last` it is killed (SIGKILL) at that rename or removal of a folder, counted from 0.
        """
        self.process.stdin.write(json.dumps([argv, last]) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def status(self) -> int:
        """Waits for the run; returns what `os.waitpid` gave."""
        return int(self.process.stdout.readline())


@contextmanager
def forking(*modules: str) -> Iterator[Forker]:
    """A process that has imported modules and waits for runs."""
    command = [sys.executable, "-c", CODE, *modules]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    yield Forker(process)
    process.stdin.close()
    process.wait(60)
