"""DIMTrainer: models and datasets in memory, callbacks of transformers, and what is refused."""

import json

import pytest
from safetensors.torch import load_file
from transformers import TrainerCallback

from dim import (
    DataArguments,
    DIMModel,
    DIMTrainer,
    ModelArguments,
    TrainArguments,
    load_dim,
    load_entities,
    load_mentions,
)


def arguments(folder, **fields):
    given = {"num_train_epochs": 2, "per_device_train_batch_size": 12, "learning_rate": 3e-3, "logging_steps": 1}
    return TrainArguments(output_dir=str(folder), report_to=[], **(given | fields))


@pytest.fixture
def tables(tiny_mel_dir):
    source = str(tiny_mel_dir)
    return {"train_dataset": load_mentions(source, "train"), "eval_dataset": load_mentions(source, "validation"),
            "entities": load_entities(source)}  # fmt: skip


@pytest.fixture
def start(tiny_dim_dir):
    model, processor = load_dim(str(tiny_dim_dir))
    return {"model": model, "processing_class": processor}


class Recorder(TrainerCallback):
    """Writes down what it is called with."""

    def __init__(self, wish=None, at=0):
        self.events, self.logs, self.metrics, self.wish, self.at = [], [], [], wish, at

    def note(self, event, state):
        self.events.append((event, state.global_step))

    def on_train_begin(self, args, state, control, model, **kwargs):
        assert isinstance(model, DIMModel)
        assert args.num_train_epochs == 2
        self.note("begin", state)

    def on_step_end(self, args, state, control, optimizer, lr_scheduler, **kwargs):
        self.note("step", state)
        if self.wish and state.global_step == self.at:
            setattr(control, self.wish, True)
        return control

    def on_log(self, args, state, control, logs, **kwargs):
        self.logs.append(logs)
        assert state.log_history[-1]["loss"] == logs["loss"]

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        self.metrics.append(metrics)
        self.note("evaluate", state)

    def on_save(self, args, state, control, **kwargs):
        self.note("save", state)

    def on_train_end(self, args, state, control, **kwargs):
        self.note("end", state)


def test_datasets_in_memory_train_as_those_by_name(start, tables, tiny_dim_dir, tiny_mel_dir, tmp_path):
    found = DIMTrainer(**start, args=arguments(tmp_path / "memory"), **tables).train()
    by_name = DIMTrainer(
        ModelArguments(model_name_or_path=str(tiny_dim_dir)),
        arguments(tmp_path / "name"),
        data_args=DataArguments(dataset=str(tiny_mel_dir)),
    ).train()
    assert found == by_name == json.loads((tmp_path / "memory" / "metrics.json").read_text())
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("memory", "name"))
    assert all(one[name].equal(other[name]) for name in one)


def test_callbacks_are_called_at_their_events(start, tables, tmp_path):
    recorder = Recorder()
    metrics = DIMTrainer(**start, args=arguments(tmp_path), **tables, callbacks=[recorder]).train()
    steps = metrics["history"][-1]["step"]
    half = steps // 2
    assert recorder.events == [
        ("begin", 0),
        *(("step", step) for step in range(1, half + 1)), ("evaluate", half), ("save", half),
        *(("step", step) for step in range(half + 1, steps + 1)), ("evaluate", steps), ("save", steps),
        ("end", steps),
    ]  # fmt: skip
    assert [row["H@1"] for row in recorder.metrics] == [row["H@1"] for row in metrics["history"]]
    assert len(recorder.logs) == steps


@pytest.mark.parametrize(("wish", "expected"), [
    ("should_training_stop", [("step", 1), ("evaluate", 1), ("save", 1), ("end", 1)]),
    ("should_evaluate", [("step", 1), ("evaluate", 1), ("save", 1), ("step", 2)]),
    ("should_save", [("step", 1), ("save", 1), ("step", 2)]),
])  # fmt: skip
def test_a_callback_may_stop_evaluate_and_save(start, tables, tmp_path, wish, expected):
    recorder = Recorder(wish, at=1)
    DIMTrainer(**start, args=arguments(tmp_path), **tables, callbacks=[recorder]).train()
    assert recorder.events[1 : 1 + len(expected)] == expected


def test_frozen_parameters_stay(start, tables, tmp_path):
    start["model"].text_model.requires_grad_(False)
    before = {name: value.clone() for name, value in start["model"].state_dict().items()}
    DIMTrainer(**start, args=arguments(tmp_path), **tables).train()
    moved = {name for name, value in start["model"].state_dict().items() if not value.equal(before[name])}
    assert moved
    assert not any(name.startswith("text_model.") for name in moved)


def test_a_run_from_memory_resumes(start, tables, tiny_dim_dir, tmp_path):
    whole = DIMTrainer(**start, args=arguments(tmp_path / "whole"), **tables).train()
    for _ in range(2):  # the second one goes on
        model, processor = load_dim(str(tiny_dim_dir))
        args = arguments(tmp_path / "parts", resume_from_checkpoint="auto")
        stop = [Recorder("should_training_stop", at=1)] if not (tmp_path / "parts").exists() else []
        parts = DIMTrainer(model, args, **tables, processing_class=processor, callbacks=stop).train()
    assert parts["history"][-1] == whole["history"][-1]


def without(tables, name):
    return {key: value for key, value in tables.items() if key != name}


@pytest.mark.parametrize("lacking", ["train_dataset", "eval_dataset", "entities"])
def test_half_of_the_datasets_is_refused(start, tables, tmp_path, lacking):
    with pytest.raises(ValueError, match="Give train_dataset, eval_dataset and entities"):
        DIMTrainer(**start, args=arguments(tmp_path), **without(tables, lacking))


@pytest.mark.parametrize(("change", "message"), [
    ({"args": TrainArguments()}, "args needs an output_dir"),
    ({"processing_class": None}, "given with its processing_class"),
    ({"data_args": DataArguments(negatives="candidates")}, "no candidates of the split 'train'"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(start, tables, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        DIMTrainer(**({"args": arguments(tmp_path)} | start | tables | change))


@pytest.mark.parametrize(("name", "column"), [("train_dataset", "mention"), ("entities", "images")])
def test_a_missing_column_is_named(start, tables, tmp_path, name, column):
    tables[name] = tables[name].remove_columns(column)
    with pytest.raises(ValueError, match=f"{name}.*lacks the column '{column}'"):
        DIMTrainer(**start, args=arguments(tmp_path), **tables)


def test_an_empty_table_is_refused(start, tables, tmp_path):
    tables["eval_dataset"] = tables["eval_dataset"].select([])
    with pytest.raises(ValueError, match="eval_dataset has no rows"):
        DIMTrainer(**start, args=arguments(tmp_path), **tables)
