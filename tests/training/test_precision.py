"""The precision of a run: chosen by hardware and a stopwatch, once, and kept when the run goes on."""

import json

import pytest
import torch
from accelerate.state import AcceleratorState

from dim import DataArguments, DIMTrainer, ModelArguments, TrainArguments
from dim.training import precision
from dim.training.checkpoints import MANIFEST
from dim.training.precision import Precision, has_bfloat16, measured_precision

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def fresh_accelerate():
    """Accelerate keeps the first precision of a process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def tiny_trainer(dataset, dim, folder, **fields):
    arguments = TrainArguments(output_dir=str(folder), report_to=[], per_device_train_batch_size=12, **fields)
    data = DataArguments(dataset=str(dataset))
    return DIMTrainer(ModelArguments(model_name_or_path=str(dim)), arguments, data_args=data)


def speeds(monkeypatch, half, whole, units=True):
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: units)
    found = {torch.bfloat16: half, torch.float32: whole}
    monkeypatch.setattr(precision, "_products_a_second", lambda device, dtype: found[dtype])


@pytest.mark.parametrize(("half", "whole", "units", "name", "reason"), [
    (300, 100, True, "bf16", "bfloat16: products in bfloat16 are 3.0 times as fast"),
    (50, 100, True, "no", "float32: products in bfloat16 are 0.5 times as fast"),
    (300, 100, False, "no", "float32: this device has no units for bfloat16"),
])  # fmt: skip
def test_hardware_and_stopwatch_decide(monkeypatch, half, whole, units, name, reason):
    speeds(monkeypatch, half, whole, units)
    chosen = measured_precision(CPU)
    assert chosen.name == name
    assert chosen.reason.startswith(reason)


def test_this_machine_is_measured():
    chosen = measured_precision(CPU)
    assert chosen.name in ("no", "bf16")
    if not has_bfloat16(CPU):
        assert chosen.name == "no"


@pytest.mark.parametrize(("flags", "expected"), [
    ("flags : fpu avx2 avx512f avx512_bf16", True), ("flags : fpu avx2 avx512f", False),
    ("Features : fp asimd bf16", True), ("flags : fpu avx2 xbf16x", False),
])  # fmt: skip
def test_units_are_those_that_the_system_names(monkeypatch, tmp_path, flags, expected):
    (tmp_path / "cpuinfo").write_text(flags + "\n")
    monkeypatch.setattr(precision, "Path", lambda name: tmp_path / "cpuinfo")
    assert has_bfloat16(CPU) is expected


def test_a_run_that_goes_on_keeps_its_precision(tiny_mel_dir, tiny_dim_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(precision, "measured_precision", lambda device: Precision("bf16", "bfloat16: measured"))
    tiny_trainer(tiny_mel_dir, tiny_dim_dir, tmp_path, mixed_precision="auto", max_steps=2).train()
    assert "precision: bfloat16: measured" in capsys.readouterr().out
    monkeypatch.setattr(precision, "measured_precision", lambda device: Precision("no", "float32: measured"))
    later = {"mixed_precision": "auto", "max_steps": 3, "resume_from_checkpoint": "auto"}
    tiny_trainer(tiny_mel_dir, tiny_dim_dir, tmp_path, **later).train()
    assert "precision: as in checkpoint-2" in capsys.readouterr().out
    manifest = json.loads((tmp_path / "checkpoint-3" / MANIFEST).read_text())
    assert manifest["run"]["settings"]["mixed_precision"] == "bf16"


def test_emulated_bfloat16_is_told(tiny_mel_dir, tiny_dim_dir, tmp_path, monkeypatch, capsys):
    speeds(monkeypatch, 10, 80, units=False)
    tiny_trainer(tiny_mel_dir, tiny_dim_dir, tmp_path, mixed_precision="bf16", max_steps=1).train()
    assert "bfloat16 is emulated on this CPU: products in it are 8 times as slow" in capsys.readouterr().out
