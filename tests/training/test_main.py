"""`train.py` as its users start it: it learns, it resumes exactly, it publishes a model, it refuses bad input."""

import importlib.util
import json
import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from safetensors.torch import load_file
from training_run import BASE, start
from transformers import AutoModel, AutoProcessor

from dim.cli.train import main
from dim.training.arguments import parse_arguments
from dim.training.checkpoints import MANIFEST, checkpoints

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def options(tiny_mel_dir, tiny_dim_dir, tmp_path):
    return [*BASE, "--dataset", str(tiny_mel_dir), "--model_name_or_path", str(tiny_dim_dir),
            "--output_dir", str(tmp_path / "run")]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tiny_mel_dir, tiny_dim_dir, tmp_path_factory):
    """A short whole run, and what it left."""
    folder = tmp_path_factory.mktemp("trained")
    paths = ["--dataset", str(tiny_mel_dir), "--model_name_or_path", str(tiny_dim_dir), "--output_dir", str(folder)]
    code = main([*BASE, *paths, "--num_train_epochs", "12", "--eval_epochs", "3", "--negatives", "candidates",
                 "--picture_weights", "0.01", "1", "2"])  # fmt: skip
    assert code == 0
    return folder


def test_learns_to_look_at_the_picture(trained):
    """Six gems of one name: without the picture H@1 is 17 %."""
    metrics = json.loads((trained / "metrics.json").read_text())
    assert metrics["best"]["H@1"] > 80
    assert [row["epoch"] for row in metrics["history"]] == [3, 6, 9, 12]
    assert metrics["best"]["H@1"] == max(row["H@1"] for row in metrics["history"])
    assert metrics["best"]["picture_weight"] >= 1  # with next to no weight on the pictures the gems look alike


def test_publishes_model_processor_and_card(trained):
    model, processor = AutoModel.from_pretrained(trained), AutoProcessor.from_pretrained(trained)
    assert type(model).__name__ == "DIMModel"
    assert type(processor).__name__ == "DIMProcessor"
    card = (trained / "README.md").read_text()
    assert "| `learning_rate` | 0.003 |" in card
    assert str(trained.parent) not in card
    for name in ("configuration_dim.py", "modeling_dim.py", "processing_dim.py", "losses_dim.py"):
        assert (trained / name).is_file(), name
    assert [path.name for path in checkpoints(trained)] == ["checkpoint-24"]


def test_the_block_of_the_card_runs(trained, capsys):
    card = (trained / "README.md").read_text()
    block = card.split("## How to use")[1].split("```python\n")[1].split("```")[0]
    made: dict = {}
    exec(block.replace("path/to/this/folder", str(trained)), made)  # as `dim push` puts in the repository's name
    assert made["scores"].shape == (1, 2)
    assert capsys.readouterr().out.splitlines()[-1] in ("tensor([0])", "tensor([1])")


def test_published_model_ranks_as_reported(trained, tiny_mel_dir):
    """The metrics of the run are those of the saved model, encoded anew from raw rows."""
    import torch

    from dim.corpora.loading import load_entities, load_mentions
    from dim.encoding.encode import encode_entities, encode_mentions
    from dim.metrics.ranks import gold_ranks_from_embeddings, ranking_metrics

    model, processor = AutoModel.from_pretrained(trained), AutoProcessor.from_pretrained(trained)
    mentions = load_mentions(str(tiny_mel_dir), "validation").filter(lambda row: row["entity_id"] != "")
    entities = load_entities(str(tiny_mel_dir))
    rows = {name: row for row, name in enumerate(entities["id"])}
    gold = torch.tensor([rows[name] for name in mentions["entity_id"]])
    ranks = gold_ranks_from_embeddings(
        encode_mentions(model, processor, mentions), encode_entities(model, processor, entities), gold
    )
    best = json.loads((trained / "metrics.json").read_text())["best"]
    assert ranking_metrics(ranks)["H@1"] == pytest.approx(best["H@1"])
    assert ranking_metrics(ranks)["MRR"] == pytest.approx(best["MRR"])


def weights(folder):
    return load_file(Path(folder) / "model.safetensors")


def same_weights(one, other):
    one, other = weights(one), weights(other)
    return one.keys() == other.keys() and all((one[name] == other[name]).all() for name in one)


def test_seed_decides_everything(options, tmp_path):
    for seed, name in (("1", "a"), ("1", "b"), ("2", "c")):
        assert main([*options, "--num_train_epochs", "1", "--seed", seed, "--output_dir", str(tmp_path / name)]) == 0
    assert same_weights(tmp_path / "a", tmp_path / "b")
    assert not same_weights(tmp_path / "a", tmp_path / "c")


HARD = ["--augment", "true", "--picture_dropout", "0.3", "--mention_masking", "0.3", "--negatives", "mined",
        "--dataloader_num_workers", "1", "--save_steps", "3", "--save_total_limit", "50", "--num_train_epochs", "6",
        "--per_device_train_batch_size", "4", "--eval_epochs", "3"]  # fmt: skip


def kill_all(process):
    """kill -9 to a launcher and every process that it started, which have sessions of their own."""
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for member in family:
        member.kill()
    psutil.wait_procs(family)


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_run_goes_on_to_the_same_weights(options, tmp_path, processes):
    """kill -9 in the middle of an epoch, with all that draws at random; the end is that of a run never stopped."""
    whole = start([*options, *HARD, "--output_dir", str(tmp_path / "whole")], processes)
    printed = whole.communicate(timeout=300)[0]
    assert whole.returncode == 0, printed[-2000:]
    cut = start([*options, *HARD, "--output_dir", str(tmp_path / "cut")], processes)
    while not checkpoints(tmp_path / "cut"):
        assert cut.stdout.readline(), "the run ended before its first checkpoint"
    kill_all(cut)
    stopped = checkpoints(tmp_path / "cut")[-1].name
    assert stopped != f"checkpoint-{36 // processes}"
    resume = ["--output_dir", str(tmp_path / "cut"), "--resume_from_checkpoint", "auto"]
    again = start([*options, *HARD, *resume], processes)
    printed = again.communicate(timeout=300)[0]
    assert again.returncode == 0, printed[-2000:]
    assert f"resumed from step {stopped.rpartition('-')[2]}\n" in printed
    last = [checkpoints(tmp_path / name)[-1] for name in ("whole", "cut")]
    assert last[0].name == last[1].name == f"checkpoint-{36 // processes}"
    assert same_weights(*last)
    assert (tmp_path / "whole" / "metrics.json").read_text() == (tmp_path / "cut" / "metrics.json").read_text()


def test_sigterm_saves_before_it_ends(options, tmp_path):
    process = start([*options, *HARD, "--num_train_epochs", "2000", "--save_steps", "100000"], 1)
    for line in process.stdout:
        if line.startswith("epoch "):  # the first ranking has been told
            break
    process.send_signal(signal.SIGTERM)
    printed = process.communicate(timeout=120)[0]
    assert process.returncode == 143, printed[-2000:]
    told = next(line for line in printed.splitlines() if "stopped by SIGTERM" in line)
    step = checkpoints(tmp_path / "run")[-1].name.rpartition("-")[2]
    assert f"stopped by SIGTERM after step {step}; --resume_from_checkpoint auto goes on." in told


def test_half_written_checkpoint_is_not_picked_up(options, tmp_path):
    run = tmp_path / "run"
    assert main([*options, "--num_train_epochs", "1"]) == 0
    whole = checkpoints(run)[-1]
    broken = run / "checkpoint-999"
    broken.mkdir()
    (broken / "model.safetensors").write_bytes(b"half")
    assert checkpoints(run)[-1] == whole
    (whole / MANIFEST).unlink()
    assert main([*options, "--resume_from_checkpoint", str(whole)]) == 2


def test_frozen_towers_stay_and_equal_live_ones(options, tiny_dim_dir, tmp_path):
    frozen = [*options, "--freeze_text", "true", "--freeze_vision", "true", "--output_dir", str(tmp_path / "frozen")]
    assert main([*frozen, "--num_train_epochs", "2"]) == 0
    before, after = weights(tiny_dim_dir), weights(tmp_path / "frozen")
    towers = [name for name in before if name.startswith(("text_model.", "vision_model."))]
    assert all((before[name] == after[name]).all() for name in towers)
    assert not (before["mention_projection.weight"] == after["mention_projection.weight"]).all()


def test_head_keeps_features_by_content(options, tmp_path):
    """The towers run once; a second run of the same towers and data reads what they gave, and ends alike."""
    options = [*options, "--tune", "head", "--num_train_epochs", "2"]
    assert main(options) == 0
    first, cached = weights(tmp_path / "run"), sorted((tmp_path / "run" / "cache").glob("*.safetensors"))
    assert {path.name.partition("-")[0] for path in cached} == {"texts", "pictures"}
    stamps = [path.stat().st_mtime_ns for path in cached]
    assert main([*options, "--overwrite", "true"]) == 0
    assert [path.stat().st_mtime_ns for path in cached] == stamps
    again = weights(tmp_path / "run")
    assert all((first[name] == again[name]).all() for name in first)


def test_lora_publishes_a_merged_model(options, tiny_dim_dir, tmp_path):
    assert main([*options, "--tune", "lora", "--lora_rank", "2", "--num_train_epochs", "3"]) == 0
    before, after = weights(tiny_dim_dir), weights(tmp_path / "run")
    assert before.keys() == after.keys()
    changed = {name for name in before if not (before[name] == after[name]).all()}
    adapted = {name for name in changed if name.startswith(("text_model", "vision_model"))}
    assert adapted
    assert all(".q_proj.weight" in name or ".v_proj.weight" in name for name in adapted)
    assert "mention_projection.weight" in changed
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert metrics["best"]["step"] > 0


def test_accumulated_batches_are_one_step(options, tmp_path):
    options = [*options, "--per_device_train_batch_size", "4", "--num_train_epochs", "2"]
    assert main([*options, "--gradient_accumulation_steps", "3", "--eval_steps", "1"]) == 0
    history = json.loads((tmp_path / "run" / "metrics.json").read_text())["history"]
    assert [row["step"] for row in history] == [1, 2, 3, 4]  # 24 mentions, 4 a batch, 3 batches a step
    assert main([*options, "--gradient_accumulation_steps", "7"]) == 2


def test_stops_when_nothing_gets_better(options, tmp_path):
    options = [*options, "--learning_rate", "1e-12", "--num_train_epochs", "20", "--early_stopping_patience", "2"]
    assert main(options) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert [row["epoch"] for row in metrics["history"]] == [1, 2, 3]
    assert metrics["best"]["epoch"] == 1


def test_tensorboard_has_the_curves(options, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    assert main([*options, "--num_train_epochs", "2", "--logging_steps", "1", "--report_to", "tensorboard"]) == 0
    events = accumulator.EventAccumulator(str(tmp_path / "run" / "logs"))
    events.Reload()
    assert len(events.Scalars("train/loss")) == 4
    assert len(events.Scalars("validation/H@1")) == 2


def test_missing_packages_are_told_before_anything_runs(options, capsys, monkeypatch):
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else there(name))
    assert main(options) == 2
    assert "Training needs the package matplotlib here: pip install 'dim-mel[train]'" in capsys.readouterr().err


def test_number_of_processes_is_checked(options, capsys, monkeypatch):
    assert main([*options, "--expected_processes", "2"]) == 2
    assert "--expected_processes is 2, but 1 trains" in capsys.readouterr().err
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    assert main(options) == 2
    assert "sets MASTER_ADDR, but no WORLD_SIZE" in capsys.readouterr().err


@pytest.mark.parametrize(
    "path",
    sorted(set((ROOT / "configs").glob("*.yaml")) - {ROOT / "configs" / "ablation.yaml"}),
    ids=lambda path: path.stem,
)
def test_shipped_configs_parse(path):
    model, data, train = parse_arguments([str(path)])
    assert parse_arguments([path.stem]) == (model, data, train)  # by its name alone
    assert data.dataset
    assert train.output_dir
    assert model.text_tower or model.model_name_or_path


def test_max_steps_stops_early_and_still_publishes(options, tmp_path):
    assert main([*options, "--max_steps", "3"]) == 0
    assert (tmp_path / "run" / "model.safetensors").is_file()
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["history"][-1]["step"] == 3


def test_two_processes_share_a_run(options, tmp_path):
    """Two real processes over gloo; both end with one published model."""
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["accelerate", "launch", "--multi_gpu", "--num_processes", "2", str(ROOT / "train.py"), *options,
         "--num_train_epochs", "2"],
        capture_output=True, text=True, env=environment, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "processes: 2" in done.stdout
    assert (tmp_path / "run" / "model.safetensors").is_file()
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["checkpoint-2"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--dataset", "./no-such-folder"], "There is no dataset folder ./no-such-folder."),
        (["--model_name_or_path", "./no-such-model"], "There is no model './no-such-model'"),
        (["--metric_for_best_model", "F1"], "--metric_for_best_model must be one of"),
        (["--learning_rte", "1"], "Unknown option --learning_rte; did you mean --learning_rate?"),
        (["--picture_dropout", "1.5"], "--picture_dropout must lie between 0 and 1, got 1.5"),
        (["--text_tower", "x"], "Give either --model_name_or_path"),
        (["--max_steps", "0"], "--max_steps must be positive"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(options, change, message, capsys):
    assert main([*options, *change]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dim train:")]
    assert len(errors) == 1
    assert message in errors[0]


def test_non_finite_loss_names_the_mentions(options, tiny_dim_dir, tmp_path, capsys):
    import torch

    model, processor = AutoModel.from_pretrained(tiny_dim_dir), AutoProcessor.from_pretrained(tiny_dim_dir)
    with torch.no_grad():
        model.text_projection.weight.fill_(float("nan"))
    model.save_pretrained(tmp_path / "nan")
    processor.save_pretrained(tmp_path / "nan")
    assert main([*options, "--model_name_or_path", str(tmp_path / "nan")]) == 1
    assert "The loss is nan at epoch 1, step 1; the batch's mentions are m24-" in capsys.readouterr().err
