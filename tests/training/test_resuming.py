"""A run resumes its own checkpoints only, never mixes two runs, and never replaces one unasked."""

import json
import pickle
import shutil
import signal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from training_run import BASE, start

from dim.cli.train import main
from dim.common.checksums import CHECKSUMS, write_checksums
from dim.training.arguments import ARGUMENT_GROUPS
from dim.training.checkpoints import MANIFEST, checkpoints
from dim.training.identity import MAY_CHANGE

AUTO = ["--resume_from_checkpoint", "auto"]


@pytest.fixture
def options(tiny_mel_dir, tiny_dim_dir, tmp_path):
    return [*BASE, "--dataset", str(tiny_mel_dir), "--model_name_or_path", str(tiny_dim_dir), "--max_steps", "2",
            "--output_dir", str(tmp_path / "run")]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tiny_mel_dir, tiny_dim_dir, tmp_path_factory):
    """The folder of a run of two steps with mined negatives."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    paths = ["--dataset", str(tiny_mel_dir), "--model_name_or_path", str(tiny_dim_dir), "--output_dir", str(folder)]
    assert main([*BASE, *paths, "--max_steps", "2", "--negatives", "mined"]) == 0
    return folder


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def refused(capsys, arguments, *words):
    """A command is refused in one line that holds these words."""
    capsys.readouterr()
    assert main(arguments) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dim train:")]
    assert len(lines) == 1
    for word in words:
        assert word in lines[0]


def state_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def changed_copy(dataset, folder, table, column, cells):
    """A copy of a dataset in which one column is another."""
    shutil.copytree(dataset, folder)
    path = folder / table
    rows, schema = pq.read_table(path).to_pylist(), pq.read_schema(path)
    for place, value in cells.items():
        rows[place][column] = value
    pq.write_table(pa.Table.from_pylist(rows, schema), path)
    return str(folder)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (["--seed", "7"], "--seed is 7, but was 0"),
        (["--learning_rate", "1e-3"], "--learning_rate is 0.001, but was 0.003"),
        (["--per_device_train_batch_size", "4"], "--per_device_train_batch_size is 4, but was 12"),
        (["--gradient_accumulation_steps", "2"], "--gradient_accumulation_steps is 2, but was 1"),
        (["--tune", "lora"], "--tune is lora, but was full"),
        (["--freeze_text"], "--freeze_text is true, but was false"),
        (["--negatives", "in_batch"], "--negatives is in_batch, but was mined"),
        (["--picture_weights", "1", "2"], "--picture_weights is 1.0 2.0, but was 1.0"),
        (["--warmup_steps", "1", "--weight_decay", "0.5"], "--weight_decay is 0.5, but was 0.001; --warmup_steps is 1"),
        (["--metric_for_best_model", "MRR"], "--metric_for_best_model is MRR, but was H@1"),
    ],
)
def test_another_runs_settings_are_refused_by_name(options, run, capsys, change, word):
    before = state_of(run)
    refused(capsys, [*options, "--negatives", "mined", *AUTO, *change], "checkpoint-2 belongs to another run", word)
    named = ["--resume_from_checkpoint", str(run / "checkpoint-2")]
    refused(capsys, [*options, "--negatives", "mined", *named, *change], "belongs to another run", word)
    assert state_of(run) == before


@pytest.mark.parametrize(
    ("table", "column", "cells", "word"),
    [
        ("mentions/train.parquet", "entity_id", {0: "e5"}, "the training mentions have changed"),
        (
            "mentions/train.parquet",
            "sentence",
            {3: "Here is number 9: the gem."},
            "the training mentions have changed",
        ),
        ("mentions/validation.parquet", "entity_id", {0: "e5"}, "the validation mentions have changed"),
        ("entities/kb.parquet", "description", {1: "a shell"}, "the entities have changed"),
        ("entities/kb.parquet", "aliases", {1: ["shell"]}, "the entities have changed"),
    ],
)
def test_other_data_are_refused(options, run, tiny_mel_dir, tmp_path, capsys, table, column, cells, word):
    dataset = changed_copy(tiny_mel_dir, tmp_path / "other", table, column, cells)
    refused(capsys, [*options, "--negatives", "mined", *AUTO, "--dataset", dataset], "another run", word)


def test_other_pictures_are_refused(options, run, tiny_mel_dir, tmp_path, capsys):
    picture = pq.read_table(tiny_mel_dir / "mentions" / "train.parquet")["image"][1].as_py()
    dataset = changed_copy(tiny_mel_dir, tmp_path / "other", "mentions/train.parquet", "image", {0: picture})
    refused(capsys, [*options, "--negatives", "mined", *AUTO, "--dataset", dataset], "the pictures have changed")


def test_another_start_is_refused(options, run, tiny_dim_dir, tmp_path, capsys):
    other = shutil.copytree(tiny_dim_dir, tmp_path / "start")
    weights = load_file(other / "model.safetensors")
    weights["text_projection.weight"] += 0.01
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    arguments = [*options, "--negatives", "mined", *AUTO, "--model_name_or_path", str(other)]
    refused(capsys, arguments, "the model to start from has changed")


def test_what_may_change_does_not_hinder(options, run, tiny_mel_dir, tiny_dim_dir, tmp_path):
    """Paths, logging, and how long the run goes on."""
    names = [str(shutil.copytree(folder, tmp_path / name)) for name, folder in
             (("data", tiny_mel_dir), ("start", tiny_dim_dir))]  # fmt: skip
    moved = ["--dataset", names[0], "--model_name_or_path", names[1], "--logging_steps", "1", "--max_steps", "3"]
    assert main([*options, "--negatives", "mined", *AUTO, *moved]) == 0
    assert [path.name for path in checkpoints(run)] == ["checkpoint-3"]
    known = {name for group in ARGUMENT_GROUPS for name in group.__dataclass_fields__}
    assert known >= MAY_CHANGE


def test_new_run_in_the_folder_of_an_older_one_is_refused(options, run, capsys):
    before = state_of(run)
    refused(capsys, options, "holds an earlier run", "--overwrite true")
    shutil.rmtree(run / "checkpoint-2")
    refused(capsys, [*options, "--seed", "5", *AUTO], "holds a model", "--overwrite true")
    (run / "config.json").unlink()
    (run / "model.safetensors").unlink()
    assert {name: data for name, data in before.items() if (run / name).exists()} == state_of(run)


@pytest.mark.parametrize("resume", [[], AUTO])
def test_overwriting_keeps_the_new_runs_own_checkpoints(options, run, resume):
    """The old run's later checkpoint neither survives nor pushes out the new one's."""
    (run / "checkpoint-2").rename(run / "checkpoint-99")
    assert main([*options, "--seed", "3", "--overwrite", "true", *resume]) == 0
    assert [path.name for path in checkpoints(run)] == ["checkpoint-2"]
    assert json.loads((run / "checkpoint-2" / MANIFEST).read_text())["run"]["settings"]["seed"] == 3


def test_overwrite_with_auto_goes_on_with_its_own_run(options, run, capsys):
    assert main([*options, "--negatives", "mined", *AUTO, "--overwrite", "true"]) == 0
    assert "this run is finished: it has done 2 of 2 steps" in capsys.readouterr().err


def test_run_killed_before_its_first_checkpoint_starts_again(options, run):
    shutil.rmtree(run / "checkpoint-2")
    assert main([*options, "--negatives", "mined", *AUTO]) == 0


def test_explicit_checkpoint_of_another_folder_starts_a_new_one(options, finished, tmp_path):
    where = ["--resume_from_checkpoint", str(finished / "checkpoint-2"), "--output_dir", str(tmp_path / "new")]
    assert main([*options, "--negatives", "mined", *where, "--max_steps", "3"]) == 0
    assert [path.name for path in checkpoints(tmp_path / "new")] == ["checkpoint-3"]


@pytest.mark.parametrize(
    ("name", "damage"),
    [(name, damage) for name in ("model.safetensors", "optimizer", MANIFEST) for damage in ("bit", "cut", "gone")][:-1],
)
def test_damaged_checkpoint_is_refused_in_one_line(options, run, capsys, name, damage):
    path = next(path for path in (run / "checkpoint-2").iterdir() if path.name.startswith(name))
    content = bytearray(path.read_bytes())
    if damage == "bit":
        content[len(content) // 2] ^= 1
    path.write_bytes(content[: len(content) // 2] if damage == "cut" else content)
    if damage == "gone":
        path.unlink()
    refused(capsys, [*options, "--negatives", "mined", *AUTO], path.name, "cannot be resumed. Delete")


def test_ctrl_c_writes_a_checkpoint_and_ends_with_130(options, tmp_path):
    process = start([*options, "--max_steps", "-1", "--num_train_epochs", "2000", "--save_steps", "100000",
                     "--eval_epochs", "1", "--per_device_train_batch_size", "4"], 1)  # fmt: skip
    for line in process.stdout:
        if line.startswith("epoch "):
            break
    process.send_signal(signal.SIGINT)
    printed = process.communicate(timeout=120)[0]
    assert process.returncode == 130, printed[-2000:]
    assert "Traceback" not in printed
    step = checkpoints(tmp_path / "run")[-1].name.rpartition("-")[2]
    assert f"stopped by Ctrl-C after step {step}; --resume_from_checkpoint auto goes on." in printed


def test_output_folder_that_is_a_file_is_refused_before_the_model_is_loaded(options, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    for name in ("file", "file/within"):
        refused(capsys, [*options, "--output_dir", str(tmp_path / name)], "is a file, not a folder")


def test_validation_split_without_golds_is_refused_before_training(options, tiny_mel_dir, tmp_path, capsys):
    for split, count in (("train", 24), ("validation", 12)):
        table, cells = f"mentions/{split}.parquet", dict.fromkeys(range(count), "")
        dataset = changed_copy(tiny_mel_dir, tmp_path / split, table, "entity_id", cells)
        refused(capsys, [*options, "--dataset", dataset], f"none of the mentions of the split '{split}' has an entity")
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_fewer_mentions_than_processes_are_refused_in_one_line(options, tiny_mel_dir, tmp_path):
    cells = dict.fromkeys(range(1, 24), "")
    dataset = changed_copy(tiny_mel_dir, tmp_path / "one", "mentions/train.parquet", "entity_id", cells)
    process = start([*options, "--dataset", dataset], 2)
    printed = process.communicate(timeout=300)[0]
    assert process.returncode != 0
    assert "1 training mentions with an entity are too few for 2 processes: start at most 1." in printed
    assert "IndexError" not in printed


def test_mining_shows_bars(options, capsys, run):
    shutil.rmtree(run)
    assert main([*options, "--negatives", "mined", "--max_steps", "1"]) == 0
    err = capsys.readouterr().err
    for bar in ("mining: mentions", "mining: entities", "mining: nearest"):
        assert bar in err


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--warmup_steps", "100"], "the run has 2 steps, all of them within its warm-up of 100"),
        (["--per_device_train_batch_size", "64"], "an epoch is one batch of 24 mentions"),
        (["--per_device_train_batch_size", "1"], "a batch of one mention has no negatives"),
    ],
)
def test_run_that_can_hardly_learn_says_so(options, caplog, flags, line):
    assert main([*options, *flags]) == 0
    assert line in caplog.text


def test_warm_up_is_a_share_of_the_steps(options, tmp_path, caplog):
    from dim.training.arguments import parse_arguments
    from dim.training.loop import Run

    flags = [flag for flag in options if flag not in ("--warmup_steps", "2")]  # `--max_steps 2` loses its value, too
    flags.remove("--max_steps")
    run = Run(*parse_arguments([*flags, "--num_train_epochs", "10", "--warmup_ratio", "0.25"]))
    assert (run.plan.total, run.plan.warmup) == (20, 5)
    assert Run(*parse_arguments([*flags, "--num_train_epochs", "10"])).plan.warmup == 2
    assert Run(*parse_arguments([*flags, "--num_train_epochs", "10", "--warmup_steps", "7"])).plan.warmup == 7
    assert "warm-up" not in caplog.text


def test_pictures_that_a_model_does_not_use_are_counted_in_one_line(options, tiny_bert_dir, caplog):
    place = options.index("--model_name_or_path")
    options[place : place + 2] = ["--text_tower", str(tiny_bert_dir)]
    assert main(options) == 0
    lines = [line for line in caplog.messages if "are not used" in line]
    assert lines == ["the model has no vision tower: the pictures of 36 mentions and 6 entities are not used"]


class _Planted:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.write_text, (Path(self.path), "ran"))


def test_checkpoint_holds_no_pickle_and_a_planted_one_runs_nothing(options, run, tmp_path, capsys):
    """In each file that is there, and under the names of accelerate; the checksums are those of the planted files."""
    folder, mark = run / "checkpoint-2", tmp_path / "ran"
    assert {path.suffix for path in folder.iterdir()} == {".safetensors", ".json"}
    names = [path.name for path in folder.iterdir() if path.name != CHECKSUMS]
    names += ["optimizer.bin", "scheduler.bin", "random_states_0.pkl", "custom_checkpoint_0.pkl", "pytorch_model.bin"]
    planted = pickle.dumps(_Planted(str(mark)))
    for name in names:
        before = (folder / name).read_bytes() if (folder / name).exists() else None
        (folder / name).write_bytes(planted)
        write_checksums(folder)
        capsys.readouterr()
        assert main([*options, "--negatives", "mined", *AUTO]) == (0 if before is None else 2)
        assert "Traceback" not in capsys.readouterr().err
        assert not mark.exists()
        (folder / name).unlink() if before is None else (folder / name).write_bytes(before)
    pickle.loads(planted)
    assert mark.exists()


def test_checkpoint_of_an_older_version_is_refused_in_one_line(options, run, capsys):
    (run / "checkpoint-2" / "optimizer.safetensors").unlink()
    (run / "checkpoint-2" / CHECKSUMS).unlink()
    refused(capsys, [*options, "--negatives", "mined", *AUTO], "it is damaged, or another version of dim wrote it")


def test_a_fused_optimizer_resumes_bit_for_bit(options, tmp_path, monkeypatch):
    """Its averages must lie in memory as the weights do, also where those are no contiguous blocks."""
    real = torch.optim.AdamW
    monkeypatch.setattr(torch.optim, "AdamW", lambda *groups, **given: real(*groups, **given | {"fused": True}))
    flags = [*options, "--per_device_train_batch_size", "4", "--max_steps", "8", "--save_steps", "4",
             "--save_total_limit", "9", "--picture_dropout", "0.3"]  # fmt: skip
    assert main([*flags, "--output_dir", str(tmp_path / "whole")]) == 0
    middle = next(path for path in checkpoints(tmp_path / "whole") if path.name == "checkpoint-4")
    assert main([*flags, "--output_dir", str(tmp_path / "cut"), "--resume_from_checkpoint", str(middle)]) == 0
    whole, cut = (load_file(checkpoints(tmp_path / name)[-1] / "model.safetensors") for name in ("whole", "cut"))
    assert whole.keys() == cut.keys()
    assert all(torch.equal(weight, cut[name]) for name, weight in whole.items())
