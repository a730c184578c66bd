"""What a command's end looks like: one line for what is not a bug, a traceback for what is."""

import errno
import logging
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from dim.cli.command import CommandError
from dim.cli.main import main
from dim.cli.process import log_to_stderr, run_reporting_errors
from dim.errors import DIMError


def raising(error):
    def run():
        raise error

    return run


@pytest.mark.parametrize(
    "error, code, line",
    [
        (DIMError("the file is empty."), 2, "the file is empty."),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 2, "Permission denied: /x"),
        (OSError(errno.EROFS, "Read-only file system", "/x/y"), 2, "Read-only file system: /x/y"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "a", None, "b"), 2, "Not a directory: a -> b"),
        (OSError("cannot load\n  the weights"), 2, "cannot load the weights"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "No space left on device"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/x"), 1, "Disk quota exceeded: /x"),
        (CommandError("stopped by SIGTERM", 143), 143, "stopped by SIGTERM"),
        (KeyboardInterrupt(), 130, "stopped"),
    ],
)
def test_one_line_and_an_exit_code(error, code, line, capsys):
    assert run_reporting_errors("dim link", raising(error)) == code
    assert capsys.readouterr().err == f"dim link: {line}\n"


@pytest.mark.parametrize("variables, shown", [({}, False), ({"TQDM_DELAY": "0"}, True)])
def test_a_log_file_is_not_filled_with_bars(variables, shown):
    program = """
import sys
sys.argv[0] = "dim"
from dim.cli.process import log_to_stderr, run_reporting_errors
with log_to_stderr():
    from tqdm.auto import tqdm
    print(*tqdm(range(1000), desc="encoding"), file=sys.stdout)
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TQDM_")}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, env=environment | variables, capture_output=True, text=True)
    assert result.stdout.split()[-1] == "999", result.stderr
    assert ("encoding" in result.stderr) is shown


@pytest.mark.parametrize("error", [ValueError("operands could not be broadcast"), TypeError("x"), RuntimeError("y")])
def test_a_bug_shows_its_traceback(error):
    with pytest.raises(type(error)):
        run_reporting_errors("dim link", raising(error))


def test_an_error_that_a_library_wraps_is_one_line(capsys):
    def run():
        try:
            raise DIMError("dropout (3.0) must be below 1.")
        except DIMError as error:
            raise RuntimeError("Class validation error") from error

    assert run_reporting_errors("dim train", run) == 2
    assert capsys.readouterr().err == "dim train: dropout (3.0) must be below 1.\n"


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_a_device_that_is_not_there(device, capsys, tmp_path):
    assert main(["link", "--model", "./nothing", "--sentence", "[[a]]", "--device", device]) == 2
    assert capsys.readouterr().err.startswith(f"dim link: --device {device} is not available: ")


def test_the_exit_code_of_a_command_is_kept():
    assert [run_reporting_errors("dim link", lambda code=code: code) for code in (None, 0, 3)] == [0, 0, 3]


@pytest.mark.parametrize("words", [["--debug", "build"], ["build", "--debug"]])
def test_debug_shows_the_traceback(words, tmp_path, capsys):
    assert main([*words, "wikimel", "--raw", str(tmp_path / "no"), "--out", str(tmp_path / "out")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].startswith("dim build: There is no file or folder")


def test_a_file_where_a_folder_should_be(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    (tmp_path / "rows.jsonl").write_text('{"id": "Q1", "name": "Ada"}\n')
    kb, file = str(tmp_path / "kb"), tmp_path / "file" / "all.parquet"
    assert main(["kb", "create", kb, "--from", str(tmp_path / "rows.jsonl")]) == 0
    capsys.readouterr()
    assert main(["kb", "export", kb, str(file)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("dim kb export: ")
    assert error.count("\n") == 1


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    """`dim ... | head -1`: the output is longer than the pipe's buffer."""
    code = "import sys; from dim.cli.process import run_reporting_errors as run\n"
    code += "sys.exit(run('dim link', lambda: [print('x' * 100) for _ in range(10_000)] and None))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "x" * 100 + "\n"
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(60) == 141


def test_notices_go_to_stderr_and_only_while_a_command_runs(capsys, monkeypatch):
    logger = logging.getLogger("dim.somewhere")
    with log_to_stderr():
        logger.info("read %d rows", 3)
        logger.warning("a row is empty")
        logger.debug("not shown")
    logger.info("after the command")
    assert capsys.readouterr().err == "read 3 rows\nwarning: a row is empty\n"
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "error")
    with log_to_stderr():
        logger.warning("not shown")
    assert capsys.readouterr().err == ""


def test_a_disk_that_is_full(monkeypatch, tmp_path, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "x"))

    monkeypatch.setattr(Path, "read_bytes", full)
    assert main(["kb", "remove", "kb", "--ids", "ids.txt"]) == 1
    assert capsys.readouterr().err == f"dim kb remove: No space left on device: {tmp_path / 'x'}\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (sqlite3.OperationalError("database or disk is full"), 1),
        (sqlite3.OperationalError("attempt to write a readonly database"), 2),
        (RuntimeError("I/O error: No space left on device (os error 28)"), 1),
        (OSError(errno.EFBIG, "File too large"), 1),
        (PermissionError(errno.EACCES, "Permission denied", "/locked/x"), 2),
    ],
)
def test_what_the_system_refuses_is_one_line_whatever_library_raises_it(capsys, error, code):
    def fail() -> None:
        raise error

    assert run_reporting_errors("dim link", fail) == code
    assert capsys.readouterr().err.count("\n") == 1


def test_a_bug_keeps_its_traceback():
    def fail() -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        run_reporting_errors("dim link", fail)


def test_an_export_ends_in_parquet(tmp_path, capsys):
    assert main(["kb", "export", "kb", str(tmp_path / "all.csv")]) == 2
    assert "does not end in .parquet" in capsys.readouterr().err
