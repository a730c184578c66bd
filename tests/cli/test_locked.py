"""Two runs that write to one place: the second ends in one line, with a real process as the first."""

import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack

import pytest

from dim.cli.main import main
from dim.common.locks import locked
from dim.errors import DIMError

_HOLD = """
import sys
from contextlib import ExitStack
from pathlib import Path
from dim.common.locks import locked
with ExitStack() as stack:
    for path in sys.argv[1:]:
        name, _, inside = path.partition("|")
        stack.enter_context(locked(Path(name), "dim first", inside=bool(inside)))
    print("held", flush=True)
    sys.stdin.read()
"""
COMMANDS = {  # command line, with {} for the place that is locked; whether the lock is in that folder
    "build": ("build things --layout jsonl --raw raw --out {}", False),
    "caption": ("caption dataset --expert openai --vlm x --cache free.sqlite --out {}", False),
    "caption, same cache": ("caption dataset --expert openai --vlm x --out elsewhere --cache {}", False),
    "fetch-images": ("fetch-images things --layout jsonl --raw raw --contact a@b.org --out {}", True),
    "train": ("train --text_tower none --dataset none --output_dir {}", True),
    "eval": ("eval --dataset none --out {}", True),
    "audit": ("audit dataset --out report --write-clean {}", False),
    "kb create": ("kb create {} --from raw/entities.jsonl", True),
    "kb import": ("kb import {} none.parquet", True),
    "kb export": ("kb export none {}/kb.parquet", False),
    "ablate": ("ablate {}.yaml", True),
    "train-reranker": ("train-reranker --model {}/model --kb none --dataset none", True),
    "calibrate": ("calibrate --model {}/model --dataset none --kb none", False),
    "link": ("link --model none --kb none --input raw/mentions.jsonl --output {}/links.jsonl", False),
}
PLACES = {"kb export": "{}/kb.parquet", "train-reranker": "{}/model/reranker", "link": "{}/links.jsonl",
          "calibrate": "{}/model/calibration.json"}  # fmt: skip


def place(name: str) -> str:
    return name.replace(" ", "-").replace(",", "")


def hold(folder, *places: str) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", _HOLD, *places], cwd=folder, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    """A folder with inputs, and a process that holds the locks of every command in it."""
    from dim.corpora.build.dataset import build

    folder = tmp_path_factory.mktemp("held")
    raw = folder / "raw"
    raw.mkdir()
    mention = {"id": "m1", "sentence": "Ada wrote it.", "mention": "Ada", "split": "test", "entity_id": "k1"}
    (raw / "mentions.jsonl").write_text(json.dumps(mention))
    (raw / "entities.jsonl").write_text(json.dumps({"id": "k1", "name": "Ada Lovelace"}))
    build("notes", [raw], folder / "dataset", layout="jsonl")
    for name, (_, inside) in COMMANDS.items():
        if not inside:
            (folder / place(name) / "model").mkdir(parents=True) if name in PLACES else None
    (folder / "train-reranker" / "model").mkdir(parents=True)
    (folder / "ablate.yaml").write_text(
        "output_dir: ablate\nbase: {dataset: none, text_tower: none}\nrows: [{name: all}]\n"
    )
    places = [
        PLACES.get(name, "{}").format(place(name)) + ("|inside" if inside else "")
        for name, (_, inside) in COMMANDS.items()
    ]
    with ExitStack() as stack:
        process = stack.enter_context(hold(folder, *places))
        yield folder, process.pid
        process.kill()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_second_run_names_the_first_and_writes_nothing(name, held, monkeypatch, capsys):
    folder, process = held
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    assert main(COMMANDS[name][0].format(place(name)).split()) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"is being written by process {process} (dim first) since 20" in line
    assert name.split(",")[0] in line
    assert [path for path in sorted(folder.rglob("*")) if path not in before and path.suffix == ".jsonl"] == []


def test_the_lock_of_a_killed_run_is_taken_over(tmp_path):
    process = hold(tmp_path, "out", "folder|inside")
    with pytest.raises(DIMError, match=f"process {process.pid} "), locked(tmp_path / "out", "dim second"):
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    with locked(tmp_path / "out", "dim second"), locked(tmp_path / "folder", "dim second", inside=True):
        assert json.loads((tmp_path / ".out.lock").read_text())["process"] == os.getpid()
    assert list(tmp_path.rglob("*")) == [tmp_path / "folder"]


def test_empty_folders_that_were_made_for_a_lock_go_with_it(tmp_path):
    with locked(tmp_path / "new" / "deep", "dim train", inside=True):
        assert (tmp_path / "new" / "deep" / ".lock").is_file()
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path / "new" / "file", "dim link"):
        (tmp_path / "new" / "file").write_text("kept")
    assert [path.name for path in tmp_path.rglob("*")] == ["new", "file"]


def test_processes_of_one_distributed_run_share_the_lock(tmp_path, monkeypatch):
    with locked(tmp_path / "out", "dim train", inside=True):
        monkeypatch.setenv("RANK", "1")
        with locked(tmp_path / "out", "dim train", inside=True):
            pass
        assert (tmp_path / "out" / ".lock").is_file()
        monkeypatch.setenv("RANK", "0")
        with pytest.raises(DIMError, match="is being written"), locked(tmp_path / "out", "dim train", inside=True):
            pass
