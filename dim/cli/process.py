"""What every command does around its work: it logs to standard error, and reports errors in one line."""

import errno
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from dim.cli.command import CommandError
from dim.common.files import refusal
from dim.common.printable import printable
from dim.errors import DIMError

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENFILE)
_SHOWN = 300  # characters of another library's error


class _Format(logging.Formatter):
    """The message, after the name of the level from warnings on."""

    def format(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        return "".join(sign if sign.isprintable() or sign == "\n" else " " for sign in level + super().format(record))


_BAR_SECONDS = "30"  # in a file or a pipe a progress bar appears after that time, and is shown that often


@contextmanager
def log_to_stderr() -> Iterator[None]:
    """Shows what the package logs on standard error, from the level `TRANSFORMERS_VERBOSITY` (info) on.

    Where standard error is no terminal, progress bars are shown every 30 seconds only. tqdm reads that from the
    environment when it is imported; variables that are set already are kept.
    """
    calm = (
        [] if sys.stderr.isatty() else [name for name in ("TQDM_DELAY", "TQDM_MININTERVAL") if name not in os.environ]
    )
    os.environ |= dict.fromkeys(calm, _BAR_SECONDS)
    logger, handler = logging.getLogger("dim"), logging.StreamHandler()
    before = logger.level
    handler.setFormatter(_Format())
    logger.addHandler(handler)
    level = logging.getLevelName(os.environ.get("TRANSFORMERS_VERBOSITY", "info").upper())
    logger.setLevel(level if isinstance(level, int) else logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
        for name in calm:
            os.environ.pop(name, None)


def run_reporting_errors(name: str, run: Callable[[], int | None], debug: bool = False) -> int:
    """Runs a command, and turns errors that are not bugs into one line on standard error and an exit code.

    Args:
        name: The command, such as `dim link`; the line begins with it.
        run: The command.
        debug: Whether to show the traceback, too.

    Returns:
        The command's exit code; 2 for bad input and what the operating system refuses, 1 for a full disk or one that
        fails, 130 after Ctrl-C, 141 when nobody reads the output any more.

    Example:

        >>> run_reporting_errors("dim link", lambda: None)
        0
    """
    try:
        try:
            return run() or 0
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        with suppress(OSError):  # what is left in the buffer would fail once more at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (Exception, KeyboardInterrupt) as error:
        line = _line(error)
        if line is None:
            raise
        if debug:
            traceback.print_exc()
        print(f"{getattr(error, 'usage', '')}{name}: {printable(line[0])}", file=sys.stderr)
        return line[1]


def _line(error: BaseException) -> tuple[str, int] | None:
    """The message and the exit code of an error that is not a bug."""
    if isinstance(error, KeyboardInterrupt):
        return "stopped", 130
    if isinstance(error, DIMError | CommandError):
        return str(error), getattr(error, "exit_code", 2)
    if isinstance(error, OSError):
        places = " -> ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
        what = os.strerror(error.errno) if error.errno is not None and places else error.strerror
        message = f"{what}{': ' if places else ''}{places}" if what else str(error)
        return message, 1 if error.errno in _NO_SPACE else (refusal(error) or ("", 2))[1]
    if isinstance(error.__cause__, DIMError):  # a config's checks are wrapped
        return _line(error.__cause__)
    if type(error).__name__ == "UnpicklingError":  # of torch, which reads weights and states, and nothing that runs
        return "A file of weights or states is damaged, or holds more than that; nothing in it was run.", 2
    refused = refusal(error)  # of SQLite, safetensors, Arrow ...
    return None if refused is None else (f"{refused[0]} ({str(error)[:_SHOWN]})", refused[1])
