"""The temporary folder of a push is gone at its end, and at the latest when the next push begins."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dim.publishing.scratch import scratch_folder

_PUSH = """
import sys
from dim.publishing.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "weights").write_text("private")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def home(monkeypatch, tmp_path):
    """The place of these folders in a cache of its own."""
    home = tmp_path / "dim" / "publishing" / "scratch"
    home.mkdir(parents=True)
    monkeypatch.setattr("dim.publishing.scratch.cached_assets_path", lambda *_: home)
    return home


@pytest.fixture
def other(home, tmp_path):
    """Another push that is in progress: its process and its folder."""
    process = subprocess.Popen([sys.executable, "-c", _PUSH], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                               env=os.environ | {"HF_ASSETS_CACHE": str(tmp_path)})  # fmt: skip
    assert process.stdout is not None
    yield process, home / Path(process.stdout.readline().strip()).name
    process.kill()
    process.communicate()


def test_a_push_keeps_the_folder_of_one_that_runs_and_removes_that_of_one_that_was_killed(other, home):
    process, left = other
    with scratch_folder() as mine:
        assert (left / "weights").is_file()
        assert mine.stat().st_mode & 0o777 == 0o700
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert (left / "weights").is_file()
    with scratch_folder() as mine:
        assert not left.exists()
        assert [path.name for path in home.iterdir() if path.is_dir()] == [mine.name]
    assert list(home.iterdir()) == []


def test_an_error_leaves_nothing(home):
    def failing_push():
        with scratch_folder() as folder:
            (folder / "x").write_text("")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing_push()
    assert list(home.iterdir()) == []
