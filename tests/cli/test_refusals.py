"""The operating system refuses an output: one line says what and where, and nothing half-written stays."""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dim.cli.main import main
from dim.common import outputs


@pytest.fixture(scope="module")
def sources(tmp_path_factory, tiny_mel_dir):
    """A raw release of one picture, and entities."""
    folder = tmp_path_factory.mktemp("sources")
    shutil.copy(next((Path(__file__).parents[2] / "docs" / "images").glob("*.png")), folder / "wall.png")
    mention = {"id": "m1", "sentence": "A wall.", "mention": "wall", "split": "test", "entity_id": "k1"}
    (folder / "mentions.jsonl").write_text(json.dumps({**mention, "image": "wall.png"}))
    (folder / "entities.jsonl").write_text(json.dumps({"id": "k1", "name": "wall"}))
    return {"raw": str(folder), "mel": str(tiny_mel_dir), "entities": str(folder / "entities.jsonl")}


def words(command, out, sources, model, clip, folder):
    """A command that writes to `out`."""
    if command == "ablate":
        base = {"text_tower": str(clip), "dataset": sources["mel"], "max_steps": 1, "report_to": ["none"]}
        (folder / "a.yaml").write_text(json.dumps({"output_dir": str(out), "base": base, "rows": [{"name": "a"}]}))
    options = {
        "build": ["walls", "--layout", "jsonl", "--raw", sources["raw"], "--images", sources["raw"], "--out", out],
        "train": ["--model_name_or_path", model, "--dataset", sources["mel"], "--max_steps", "1", "--report_to", "none",
                  "--output_dir", out],
        "eval": ["--dataset", sources["mel"], "--baselines", "fuzzy", "--samples", "100", "--out", out],
        "audit": [sources["mel"], "--out", out],
        "audit clean": [sources["mel"], "--write-clean", out],
        "ablate": [folder / "a.yaml"],
        "enhance": [sources["entities"], "--llm", "m", "--base-url", "http://127.0.0.1:9/v1", "--out", out],
        "caption": [sources["mel"], "--expert", "openai", "--vlm", "m", "--base-url", "http://127.0.0.1:9/v1",
                    "--cache", folder / "cache.sqlite", "--out", out],
        "fetch-images": ["walls", "--layout", "jsonl", "--raw", sources["raw"], "--contact", "a@b.org", "--out", out],
        "inspect": [sources["mel"], "--sheet", out],
        "train-reranker": ["--kb", "none", "--dataset", sources["mel"], "--model", out.parent],
        "calibrate": ["--kb", "none", "--dataset", sources["mel"], "--model", out.parent],
        "link": ["--model", model, "--kb", "none", "--input", Path(sources["raw"]) / "mentions.jsonl", "--output", out],
        "kb export": ["none", out],
    }  # fmt: skip
    return [*command.split()[: 2 if command.startswith("kb") else 1], *map(str, options[command])]


FOLDERS = ("build", "train", "eval", "audit", "audit clean", "ablate", "caption", "fetch-images", "train-reranker")
FILES = {"enhance": "o.jsonl", "inspect": "o.png", "link": "o.jsonl", "kb export": "o.parquet",
         "calibrate": "calibration.json"}  # fmt: skip


@pytest.fixture
def run(sources, tiny_dim_dir, tiny_clip_dir, tmp_path, capsys, monkeypatch):
    """Runs a command, and returns its exit code and its line of error."""
    monkeypatch.setenv("OPENAI_API_KEY", "key")

    def made(command, out):
        capsys.readouterr()
        code = main(words(command, out, sources, tiny_dim_dir, tiny_clip_dir, tmp_path))
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dim ")]
        return code, lines

    return made


def out_of(command, folder):
    """Where a command would write, in a folder of its own."""
    return folder / ("reranker" if command == "train-reranker" else FILES.get(command, "o"))


@pytest.mark.parametrize("command", [*FOLDERS, *FILES])
def test_something_in_the_way_is_found_before_the_work(command, run, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    out = out_of(command, place)
    if command in FILES:
        out.mkdir()
    else:
        out.write_text("mine")
    before = sorted(place.rglob("*"))
    code, lines = run(command, out)
    assert (code, len(lines)) == (2, 1)
    assert str(out) in lines[0]
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize("command", [*FOLDERS, *FILES])
def test_a_folder_that_is_not_permitted_is_found_before_the_work(command, run, tmp_path, monkeypatch):
    """As `os.access` would say it; root may write everywhere."""
    place = tmp_path / "place"
    place.mkdir()
    real = os.access
    monkeypatch.setattr(outputs.os, "access", lambda path, mode: Path(path) != place and real(path, mode))
    out = out_of(command, place)
    code, lines = run(command, out)
    assert (code, len(lines)) == (2, 1)
    assert f": {out}" in lines[0]
    assert f" cannot be written: Permission denied: {place}." in lines[0]
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("command", ["eval", "audit", "train", "build", "caption"])
def test_a_refused_command_leaves_no_folder(command, run, sources, tmp_path, monkeypatch):
    monkeypatch.setitem(sources, "mel", str(tmp_path / "nothing"))
    monkeypatch.setitem(sources, "raw", str(tmp_path / "nothing"))
    code, lines = run(command, tmp_path / "new" / "o")
    assert (code, len(lines)) == (2, 1)
    assert not (tmp_path / "new").exists()


# ------------------------------------------------------------------------------------------------------ no space


LIMITED = """
import resource, sys
from dim.cli.main import main
import dim.training.loop, dim.evaluation.run, dim.corpora.build.dataset
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture
def small(tmp_path):
    """A function that makes a disk of some size, or skips where this user may not."""
    mounted = []

    def made(size):
        folder = tmp_path / f"disk-{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("needs to mount a small disk")
        mounted.append(folder)
        return folder

    yield made
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("command", ["build", "train", "eval", "inspect"])
@pytest.mark.parametrize("size", ["8k", "60k"])
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(command, size, run, small, tmp_path):
    disk = small(size)
    out = out_of(command, disk)
    code, lines = run(command, out)
    assert (code, len(lines)) == (1, 1)
    assert "No space left on device" in lines[0]
    assert str(disk) in lines[0]
    assert not [path for path in disk.rglob("*") if path.name.endswith((".part", ".lock"))]
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    assert run(command, out) == (0, [])
    assert not list(disk.rglob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize("command", ["build", "train"])
def test_a_file_that_may_not_grow_is_one_line(command, sources, tiny_dim_dir, tiny_clip_dir, tmp_path):
    """The same without the right to mount."""
    arguments = words(command, tmp_path / "o", sources, tiny_dim_dir, tiny_clip_dir, tmp_path)
    result = subprocess.run([sys.executable, "-c", LIMITED, "20000", *arguments], capture_output=True, text=True)
    lines = [line for line in result.stderr.splitlines() if line.startswith("dim ")]
    assert result.returncode == 1, result.stderr
    assert len(lines) == 1, result.stderr
    assert f"File too large: {tmp_path / 'o'}" in lines[0].replace("/.o.building", "/o")
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY  # of this process
