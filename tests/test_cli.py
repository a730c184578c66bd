"""The command line, as a process and in this one."""

import json
import subprocess
import sys

import pytest
from PIL import Image

from dim.cli import main


@pytest.fixture(scope="module")
def kb(tiny_mel_dir, tiny_dim_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "kb"
    assert main(["kb", "create", str(folder), "--from", str(tiny_mel_dir), "--model", str(tiny_dim_dir)]) == 0
    return folder


@pytest.fixture
def link(kb, tiny_dim_dir):
    return ["link", "--model", str(tiny_dim_dir), "--kb", str(kb)]


def test_link_prints_a_table(link, tmp_path, capsys):
    Image.new("RGB", (20, 20), "red").save(tmp_path / "red.png")
    assert main([*link, "--sentence", "See the [[gem]].", "--image", str(tmp_path / "red.png"), "-k", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["rank", "score", "name", "description"]
    assert len(lines) == 4


def test_link_prints_json(link, capsys):
    assert main([*link, "--sentence", "See the gem.", "--mention", "gem", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found) == 5
    assert set(found[0]) == {"id", "name", "description", "score"}


def test_link_as_a_process(link):
    command = [sys.executable, "-m", "dim.cli", *link, "--sentence", "See the [[gem]].", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--sentence", "no brackets"], "Mark one mention by double brackets"),
        (["--sentence", "[[x]]", "--kb", "./nothing"], "nothing is no knowledge base"),
        (["--sentence", "[[x]]", "--model", "./nothing"], "There is no model './nothing'"),
        (["--sentence", "[[x]]", "--image", "./nothing.png"], "nothing.png"),
        (["--sentence", "[[x]]", "-k", "99"], "k must lie between 1 and the 6 entities"),
        (["--sentence", ""], "Mark one mention"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(link, change, message, capsys):
    assert main([*link, *change]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("dim link: ")
    assert message in error


def test_picture_that_is_none(link, tmp_path, capsys):
    (tmp_path / "text.png").write_text("not a picture")
    assert main([*link, "--sentence", "[[x]]", "--image", str(tmp_path / "text.png")]) == 2
    assert "text.png" in capsys.readouterr().err


def test_train_is_a_command(capsys):
    assert main(["train", "--output_dir", "x"]) == 2
    assert "--dataset is missing" in capsys.readouterr().err


def test_unknown_command_exits_with_2():
    with pytest.raises(SystemExit) as exit_info:
        main(["fly"])
    assert exit_info.value.code == 2
