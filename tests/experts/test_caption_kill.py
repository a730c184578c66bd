"""`dim caption` that is killed while it writes loses neither the old captions nor the new ones."""

import json
import os
import shutil
import signal
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from forker import forking

from dim.common.files import sha256_of

PICTURES = 6


@pytest.fixture
def caption(stub, tiny_mel_dir):
    """A run of `dim caption` in a folder; returns its exit code, or the signal as a negative number."""
    with forking("dim.cli.caption", "dim.experts.captioned_dataset", "dim.training.distributed", "openai") as forker:

        def run(here: Path, prompt: str, last: int | None = None) -> int:
            argv = ["caption", str(tiny_mel_dir), "--out", str(here / "out"), "--cache", str(here / "cache.sqlite")]
            forker.start([*argv, "--expert", "openai", "--vlm", "m", "--base-url", stub.url, "--prompt", prompt], last)
            return os.waitstatus_to_exitcode(forker.status())

        yield run


def captions(folder: Path) -> set[str]:
    """The prompts of a captioned dataset, all of whose files are as its manifest lists them."""
    listed = json.loads((folder / "manifest.json").read_text())["files"]
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {*listed, "manifest.json"}
    assert all(sha256_of(folder / name) == checksum for name, checksum in listed.items())
    tables = [pq.read_table(path, columns=["expert_prompt"]) for path in folder.glob("mentions/*.parquet")]
    assert sum(map(len, tables)) == 36
    return {prompt for table in tables for prompt in table["expert_prompt"].to_pylist()}


def test_killed_at_any_rename_it_loses_no_captions_and_asks_for_none_twice(stub, caption, tmp_path):
    before = tmp_path / "before"
    before.mkdir()
    assert caption(before, "old") == 0
    for last in range(99):
        here = tmp_path / str(last)
        shutil.copytree(before, here)
        stub.requests.clear()
        code = caption(here, "new", last)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        if (here / "out").exists():
            assert captions(here / "out") in ({"old"}, {"new"})
        else:  # between the two renames
            assert captions(here / ".out.replaced") == {"old"}
            assert captions(here / ".out.captioning") == {"new"}
        assert caption(here, "new") == 0
        assert captions(here / "out") == {"new"}
        assert sorted(path.name for path in here.iterdir()) == ["cache.sqlite", "out"]
        assert len(stub.requests) == PICTURES
    assert last >= 12  # 9 renames, and at least 3 folders of the old captions that are removed
