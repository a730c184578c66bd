"""Checkpoints and the published model, complete or absent."""

import pytest

from dim.training.checkpoints import checkpoints, find_checkpoint, publish, write_checkpoint


def test_interrupted_write_leaves_the_old_ones(tmp_path):
    def save(folder):
        (folder / "w").write_text("x")

    def fail(folder):
        (folder / "w").write_text("half")
        raise KeyboardInterrupt

    write_checkpoint(tmp_path, 1, save, {"a": 1}, keep=2)
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(tmp_path, 2, fail, {}, keep=2)
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-1"]
    assert find_checkpoint(tmp_path, "auto").name == "checkpoint-1"


def test_keeps_the_newest_by_number(tmp_path):
    for step in (9, 10, 100):
        write_checkpoint(tmp_path, step, lambda folder: None, {}, keep=2)
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-10", "checkpoint-100"]


def test_publish_replaces_files_and_leaves_others(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for text in ("old", "new"):
        publish(tmp_path, lambda folder, text=text: (folder / "config.json").write_text(text))
    assert (tmp_path / "config.json").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checksums.json", "config.json", "notes.txt"]


def test_nothing_to_resume(tmp_path):
    assert find_checkpoint(tmp_path, "auto") is None
    with pytest.raises(ValueError, match="is not a complete checkpoint"):
        find_checkpoint(tmp_path, str(tmp_path))
