"""Ablations: checks before training, one training for each row, one table."""

import errno
import json
import shutil
from pathlib import Path

import pytest
import yaml

from dim import DIMModel, DIMProcessor
from dim.cli.main import main
from dim.evaluation.ablate import TrainingError, ablate, ablation_markdown, read_ablation
from dim.training.arguments import parse_arguments
from dim.training.interruption import StoppedError
from dim.training.trainer import train as train_model

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def write(tmp_path, tiny_mel_dir, tiny_clip_dir):
    def made(rows, **changes):
        base = {"text_tower": str(tiny_clip_dir), "dataset": str(tiny_mel_dir), "max_steps": 1, "report_to": ["none"],
                "per_device_train_batch_size": 8, "warmup_steps": 0}  # fmt: skip
        values = {"output_dir": str(tmp_path / "runs"), "base": base, "rows": rows, "samples": 100, **changes}
        path = tmp_path / "ablation.yaml"
        path.write_text(yaml.safe_dump(values))
        return path

    return made


ROWS = [
    {"name": "mention only", "model": {"mention_modalities": [], "entity_pictures": False}},
    {"name": "summed", "model": {"fusion": "sum"}},
    {"name": "no names", "model": {"entity_template": "{description}"}},
    {"name": "other rate", "arguments": {"learning_rate": 1.0e-3}},
]


def test_each_row_trains_its_model(write, tmp_path, capsys):
    path = write(ROWS)
    assert main(["ablate", str(path)]) == 0
    runs = tmp_path / "runs"
    table = (runs / "ablation.md").read_text()
    assert [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")][1:] == [
        row["name"] for row in ROWS
    ]
    assert table in capsys.readouterr().out
    configs = {row["name"]: DIMModel.from_pretrained(runs / row["name"].replace(" ", "-")).config for row in ROWS}
    assert configs["mention only"].mention_modalities == []
    assert configs["mention only"].vision_config is None
    assert configs["summed"].fusion == "sum"
    assert configs["other rate"].fusion == "pairs"
    assert DIMProcessor.from_pretrained(runs / "no-names").entity_template == "{description}"
    result = json.loads((runs / "summed" / "ablation.json").read_text())
    assert result["metrics"]["full_kb"]["mentions"] == 11


def test_finished_rows_are_skipped_and_changed_ones_trained_again(write, tmp_path):
    asked = []

    def train(flags):
        asked.append(flags[flags.index("--output_dir") + 1])
        train_model(*parse_arguments(flags))

    rows = [{"name": "a"}, {"name": "b", "arguments": {"seed": 1}}]
    first = ablate(read_ablation(write(rows)), train)
    assert [Path(one).name for one in asked] == ["a", "b"]
    assert ablate(read_ablation(write(rows)), train) == first
    assert len(asked) == 2
    before = (tmp_path / "runs" / "b" / "model.safetensors").read_bytes()
    rows[1]["arguments"]["seed"] = 2
    ablate(read_ablation(write(rows)), train)
    assert [Path(one).name for one in asked[2:]] == ["b"]
    assert (tmp_path / "runs" / "b" / "model.safetensors").read_bytes() != before  # not the old checkpoint's
    again = ablate(read_ablation(write(rows, samples=200)), train)  # ranked anew, not trained anew
    assert (len(asked), again[0]["samples"]) == (3, 200)
    assert ablation_markdown(first).count("| a |") == 1


def test_a_training_that_stops_or_fails_is_reported_and_resumed(write, tmp_path):
    ablation, asked = read_ablation(write([{"name": "a"}])), []
    errors = {143: StoppedError(1, 143), 1: FloatingPointError("the loss is nan")}
    messages = {143: "the training of row 'a' was stopped; run it again to resume", 1: "row 'a': the loss is nan"}
    for code, error in errors.items():

        def train(flags, error=error):
            asked.append(flags)
            (tmp_path / "runs" / "a" / "checkpoint-1").mkdir(exist_ok=True)
            raise error

        with pytest.raises(TrainingError, match=messages[code]) as raised:
            ablate(ablation, train)
        assert raised.value.exit_code == code
    assert asked[0] == asked[1]
    assert "auto" in asked[0]
    assert (tmp_path / "runs" / "a" / "checkpoint-1").is_dir()  # what was there is gone on from


@pytest.mark.parametrize(
    "row, message",
    [
        ({"arguments": {"dataset": "./none"}}, "There is no dataset folder ./none"),
        ({"arguments": {"text_tower": "./none"}}, "There is no tower './none'"),
        ({"arguments": {"text_tower": "./none"}, "model": {"fusion": "sum"}}, "There is no tower './none'"),
    ],
)
def test_a_row_that_is_refused_is_one_line_and_leaves_no_folder(write, tmp_path, capsys, row, message):
    assert main(["ablate", str(write([{"name": "a"}, {"name": "b", **row}], samples=100))]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dim ")]
    assert len(lines) == 1
    assert lines[0].startswith(f"dim ablate: row 'b': {message}")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["a"]
    assert (tmp_path / "runs" / "a" / "model.safetensors").is_file()


def test_a_refusal_of_the_system_leaves_no_folder_either(write, tmp_path):
    def train(flags):
        raise OSError(errno.ENOSPC, "No space left on device", "model")

    with pytest.raises(OSError, match="No space left"):
        ablate(read_ablation(write([{"name": "a"}])), train)
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_row_that_is_refused_later_keeps_what_it_has(write, tmp_path, tiny_mel_dir, capsys):
    data = shutil.copytree(tiny_mel_dir, tmp_path / "data")
    ablation = write([{"name": "a", "arguments": {"dataset": str(data)}}])
    assert main(["ablate", str(ablation)]) == 0
    result = tmp_path / "runs" / "a" / "ablation.json"
    known = json.loads(result.read_text())
    del known["metrics"]  # as after a kill while it was ranked
    result.write_text(json.dumps(known))
    for checkpoint in (tmp_path / "runs" / "a").glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    data.rename(tmp_path / "away")
    assert main(["ablate", str(ablation)]) == 2
    assert "There is no dataset folder" in capsys.readouterr().err
    assert (tmp_path / "runs" / "a" / "model.safetensors").is_file()


def test_a_folder_with_other_files_raises(write, tmp_path):
    (tmp_path / "runs" / "b").mkdir(parents=True)
    (tmp_path / "runs" / "b" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="b holds other files, not a row of this ablation"):
        ablate(read_ablation(write([{"name": "a"}, {"name": "b"}])), lambda flags: pytest.fail("trained"))


@pytest.mark.parametrize(
    "rows, changes, message",
    [
        ([{"name": "a", "arguments": {"lerning_rate": 1}}], {}, "row 'a': Unknown option --lerning_rate"),
        ([{"name": "a", "model": {"width": 1}}], {}, "row 'a': model knows fusion, mention_modalities"),
        ([{"name": "a"}, {"name": "A!"}], {}, "rows need different names"),
        ([], {}, "there must be at least one row"),
        ([{"nme": "a"}], {}, "row 1 must have a name"),
        ([{"name": "a"}], {"protocols": ["kb"]}, "there is no protocol 'kb'"),
        ([{"name": "a"}], {"samples": 10}, "samples is 10: give at least 100"),
        ([{"name": "a"}], {"samples": "many"}, "ablation.yaml: samples must be a whole number, got 'many'"),
        ([{"name": "a"}], {"protocols": "full_kb"}, "ablation.yaml: protocols must be a list, got 'full_kb'"),
        ([{"name": "a"}], {"protocols": []}, "there is nothing to evaluate"),
        ([{"name": "a"}], {"base": []}, "ablation.yaml: base must be a mapping, got []"),
        ([{"name": "a"}], {"output_dir": 3}, "ablation.yaml: output_dir must be a text, got 3"),
        (None, {}, "ablation.yaml: rows must be a list, got None"),
        ([{"name": 7}], {}, "ablation.yaml: row 1: name must be a text, got 7"),
        ([{"name": "a", "model": "sum"}], {}, "ablation.yaml: row 1: model must be a mapping, got 'sum'"),
        ([{"name": "a"}], {"row": []}, "must have the keys base, rows and output_dir"),
        ([{"name": "a", "model": {"fusion": "sum"}, "arguments": {"text_tower": None, "model_name_or_path": "x"}}], {},
         "`model` needs a new model: give text_tower"),
    ],
)  # fmt: skip
def test_mistakes_are_reported_before_training(write, rows, changes, message, capsys):
    assert main(["ablate", str(write(rows, **changes))]) == 2
    assert message in capsys.readouterr().err


def test_missing_and_invalid_files(tmp_path, capsys):
    assert main(["ablate", str(tmp_path / "x.yaml")]) == 2
    assert "There is no config file" in capsys.readouterr().err
    (tmp_path / "y.yaml").write_text("a: [")
    assert main(["ablate", str(tmp_path / "y.yaml")]) == 2
    assert "is not valid YAML" in capsys.readouterr().err


def test_the_shipped_ablation_is_valid():
    ablation = read_ablation(ROOT / "configs" / "ablation.yaml")
    assert [row.name for row in ablation.rows][:4] == ["mention only", "+ sentence", "+ picture", "+ expert (DIM)"]
    assert any("wikimel_plus" in str(row.arguments) for row in ablation.rows)
