"""The command line, as a process and in this one."""

import io
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from datasets import load_dataset
from PIL import Image
from raw_release import write_pictures, write_release

from dim.cli.main import main


def test_link_prints_a_table(link, tmp_path, capsys):
    Image.new("RGB", (20, 20), "red").save(tmp_path / "red.png")
    assert main([*link, "--sentence", "See the [[gem]].", "--image", str(tmp_path / "red.png"), "-k", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("gem: gem ")
    assert lines[1].split() == ["rank", "score", "sure", "name", "description"]
    assert len(lines) == 5


def test_several_mentions_of_a_sentence_and_why(link, capsys):
    assert main([*link, "--sentence", "A [[gem]] and a [[stone]].", "-k", "1", "--json", "--why"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["mention"] for one in found] == ["gem", "stone"]
    assert "score_by_vectors" in found[0]["entities"][0]["why"]


def test_link_prints_json(link, capsys):
    assert main([*link, "--sentence", "See the gem.", "--mention", "gem", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["mention"], found["is_nil"], found["nil"]) == ("gem", False, None)
    assert len(found["entities"]) == 5
    assert set(found["entities"][0]) == {"id", "name", "description", "score", "confidence", "why"}


def test_link_as_a_process(link):
    command = [sys.executable, "-m", "dim", *link, "--sentence", "See the [[gem]].", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["entities"]) == 5


def test_lines_in_and_out(link, tmp_path, capsys, monkeypatch):
    rows = [{"id": 1, "sentence": "See the gem.", "mention": "gem"}, {"sentence": "A gem", "start": 2, "end": 5}]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "in.jsonl").write_text(lines)
    assert main([*link, "--input", str(tmp_path / "in.jsonl"), "--output", str(tmp_path / "out.jsonl"), "-k", "2"]) == 0
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [{name: value for name, value in row.items() if name != "links"} for row in found] == rows
    assert [len(row["links"]["entities"]) for row in found] == [2, 2]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    capsys.readouterr()
    assert main([*link, "--input", "-", "-k", "2"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == found


def test_links_are_written_as_they_come(link, tmp_path, capsys, monkeypatch):
    from dim.cli import link as command
    from dim.linking.linker import DIMLinker

    monkeypatch.setattr(command, "_BLOCK", 2)
    whole, calls = DIMLinker.link, []

    def failing(self, mentions, *args, **options):
        calls.append(len(mentions))
        if len(calls) == 3:
            raise OSError("the power is gone")
        return whole(self, mentions, *args, **options)

    monkeypatch.setattr(DIMLinker, "link", failing)
    (tmp_path / "in.jsonl").write_text('{"mention": "gem"}\n' * 6)
    output = ["--output", str(tmp_path / "out.jsonl")]
    assert main([*link, "--input", str(tmp_path / "in.jsonl"), *output]) != 0
    assert calls == [2, 2, 2]
    assert not (tmp_path / "out.jsonl").exists()
    part = tmp_path / ".out.jsonl.part"
    assert [len(json.loads(line)["links"]["entities"]) for line in part.read_text().splitlines()] == [5] * 4
    assert str(part) in capsys.readouterr().err
    assert main([*link, "--input", str(tmp_path / "in.jsonl"), *output]) == 0
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 6
    assert not part.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"sentence": "x"', "line 1: not valid JSON"),
        ('{"sentence": "a [[b]]"}\n{"a": 1}', "line 2: no mention"),
        ('{"sentence": "no brackets"}', "line 1: Mark the mention by double brackets"),
        ('{"sentence": "abc", "start": 2, "end": 9}', "line 1: The span"),
        ("", "holds no mention"),
    ],
)
def test_bad_lines_are_told_before_anything_is_loaded(content, message, tmp_path, capsys):
    (tmp_path / "in.jsonl").write_text(content)
    assert main(["link", "--model", "./nothing", "--kb", "./nothing", "--input", str(tmp_path / "in.jsonl")]) == 2
    assert message in capsys.readouterr().err


def test_calibrate_writes_beside_the_model(kb, tiny_mel_dir, tiny_dim_dir, tmp_path, capsys):
    shutil.copytree(tiny_dim_dir, tmp_path / "model")
    model = ["--model", str(tmp_path / "model"), "--kb", str(kb)]
    dataset = ["--dataset", str(tiny_mel_dir), "--split", "train", "--nil-share", "0.4"]
    assert main(["calibrate", *model, *dataset]) == 0
    assert "five-fold, by sentence: mentions 24, NIL share" in capsys.readouterr().out
    Image.new("RGB", (40, 40), "red").save(tmp_path / "red.png")  # calibrated on mentions with pictures
    assert main(["link", *model, "--sentence", "The [[gem]].", "--image", str(tmp_path / "red.png"), "--json"]) == 0
    assert 0 < json.loads(capsys.readouterr().out)["nil"] < 1
    assert main(["calibrate", *model, "--dataset", str(tiny_mel_dir), "--nil-share", "1.5"]) == 2
    assert "--nil-share must lie between 0 and 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--sentence", "no brackets"], "Mark the mention by double brackets"),
        (["--sentence", "[[x]]", "--kb", "./nothing"], "nothing is not a knowledge base"),
        (["--sentence", "[[x]]", "--model", "./nothing"], "There is no model './nothing'"),
        (["--sentence", "[[x]]", "--image", "./nothing.png"], "nothing.png"),
        (["--sentence", "[[x]]", "-k", "99"], "-k must lie between 1 and 64, got 99"),
        (["--sentence", ""], "Mark the mention"),
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


# ----------------------------------------------------------------------------------------- build, inspect, fetch-images


@pytest.fixture(scope="module")
def wikimel(tmp_path_factory):
    """A dataset with pictures, built by the command as a process of its own."""
    folder = tmp_path_factory.mktemp("built")
    raw, images = write_release(folder / "raw"), write_pictures(folder / "images")
    command = ["dim", "build", "wikimel", "--raw", raw, "--images", images, "--out", folder / "wikimel"]
    shown = os.environ | {"TQDM_DELAY": "0"}  # bars, although this is no terminal
    done = subprocess.run(list(map(str, command)), env=shown, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("8 rows in = 8 mentions + 0 rejected (rejected.jsonl)\n")
    assert "mentions/train: 100%" in done.stderr
    return folder / "wikimel"


def test_build(wikimel):
    assert len(load_dataset(str(wikimel), "mentions", split="train")) == 5


def test_inspect(wikimel, tmp_path, capsys):
    assert main(["inspect", str(wikimel), "--sheet", str(tmp_path / "sheet.png"), "--count", "3"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^mentions +train +validation\n +rows +5 +3$", printed, re.MULTILINE)
    assert f"3 mentions drawn in {tmp_path / 'sheet.png'}" in printed
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 600


def test_build_of_own_data(tmp_path, capsys):
    raw = tmp_path / "mine"
    raw.mkdir()
    mentions = [
        {"id": "a", "sentence": "Our cat sleeps.", "mention": "cat", "split": "train", "entity_id": "k1"},
        {"id": "b", "sentence": "A dog barks.", "mention": "dog", "split": "test", "entity_id": ""},
    ]
    (raw / "mentions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in mentions))
    (raw / "entities.jsonl").write_text(json.dumps({"id": "k1", "name": "Cat", "aliases": ["Kitten"]}) + "\n")
    command = ["build", "my-pets", "--layout", "jsonl", "--raw", str(raw), "--out", str(tmp_path / "pets")]
    assert main(command) == 0
    assert "1 of them NIL" in capsys.readouterr().out
    rows = load_dataset(str(tmp_path / "pets"))
    assert {split: part["id"][:] for split, part in rows.items()} == {"train": ["a"], "test": ["b"]}
    assert load_dataset(str(tmp_path / "pets"), "entities", split="kb")[0]["aliases"] == ["Kitten"]
    assert "# my-pets" in (tmp_path / "pets" / "README.md").read_text()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["build", "wikimel", "--raw", "{raw}", "--out", "{raw}"], "lies in"),
        (["build", "wikimel", "--raw", "nowhere", "--out", "{out}"], "There is no file or folder nowhere"),
        (["build", "wikimel", "--raw", "{raw}", "--layout", "zip", "--out", "{out}"], "There is no layout 'zip'"),
        (
            ["build", "wikimel", "--raw", "{raw}", "--images", "nowhere", "--out", "{out}"],
            "There is no folder of pictures",
        ),
        (["build", "wikimell", "--raw", "{raw}", "--out", "{out}"], "There is no dataset 'wikimell'"),
        (["build", "wikimel_plus", "--raw", "{raw}", "--out", "{out}"], "needs --descriptions FILE"),
        (["build", "wikimel_plus", "--raw", "{raw}", "--out", "{out}", "--descriptions", "no.jsonl"], "no.jsonl"),
        (["build", "wikidiverse", "--raw", "{raw}", "--out", "{out}"], "No layout fits wikidiverse"),
        (["inspect", "./nowhere"], "There is no dataset folder ./nowhere"),
        (["inspect", "{out}/../wikimel", "--examples", "-1"], "--examples must be at least 0, got -1"),
        (
            ["fetch-images", "wikimel", "--raw", "{raw}", "--out", "{out}", "--contact", "me"],
            "The contact 'me' must",
        ),
        (["fetch-images", "wikimel", "--raw", "{raw}", "--out", "{out}", "--contact", "a@b.org"], "There is no URL"),
        (
            ["fetch-images", "x", "--raw", "{raw}", "--out", "{out}", "--contact", "a@b", "--concurrency", "0"],
            "--concurrency must lie between 1",
        ),
    ],
)
def test_bad_input_of_the_dataset_commands(wikimel, command, message, tmp_path, capsys):
    places = {"raw": wikimel.parent / "raw", "out": tmp_path / "out"}
    assert main([word.format(**places) for word in command]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f"dim {command[0]}: ")
    assert message in error
    assert not (tmp_path / "out").exists()


def test_fetch_images_lists_what_it_could_not_get(tmp_path, capsys):
    """A URL that points into the machine is refused, as every address that is not public."""
    raw, out = tmp_path / "raw", tmp_path / "pictures"
    raw.mkdir()
    mention = {"id": "a", "sentence": "A cat.", "mention": "cat", "split": "train", "entity_id": "k1"}
    (raw / "mentions.jsonl").write_text(json.dumps(mention | {"image": "http://127.0.0.1/cat.jpg"}) + "\n")
    (raw / "entities.jsonl").write_text(json.dumps({"id": "k1", "name": "Cat"}) + "\n")
    command = ["fetch-images", "pets", "--layout", "jsonl", "--raw", str(raw), "--out", str(out)]
    assert main([*command, "--contact", "someone@example.org"]) == 0
    printed = capsys.readouterr().out
    assert printed == f"0 pictures fetched, 0 there before, 1 failed ({out / 'failed.jsonl'})\n"
    assert "127.0.0.1" in (out / "failed.jsonl").read_text()
