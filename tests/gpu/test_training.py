"""Training on the GPU: gradient caching, resuming, and how often a step waits for the card."""

import copy
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_step import as_double, data_for, gradients, model_for

pytestmark = pytest.mark.gpu
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def own_accelerator():
    """An accelerator's precision belongs to the process; each test starts without one."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def data(tiny_mel_dir, tiny_dim_dir, tmp_path_factory):
    return data_for(tiny_mel_dir, tiny_dim_dir, tmp_path_factory.mktemp("step"))


def step(data, size, dropout=0.0):
    from accelerate import Accelerator

    from dim.training.batches import BatchDataset
    from dim.training.step import Objective, backward

    accelerator = Accelerator()
    assert accelerator.device.type == "cuda"
    model = model_for(data.processor, dropout).to("cuda")
    torch.manual_seed(3)
    return model, backward(Objective(model), as_double(BatchDataset(data, 13, seed=1).batch(0, 0)), accelerator, size)


@pytest.mark.parametrize("size", [1, 4, 100])
def test_gradient_caching_equals_the_whole_batch(data, size):
    (whole, loss), (cached, same) = step(data, None), step(data, size)
    torch.testing.assert_close(loss, same, rtol=1e-6, atol=1e-6)
    expected, found = gradients(whole), gradients(cached)
    assert expected.keys() == found.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-6, msg=name)


def test_gradient_caching_repeats_the_dropout_of_its_first_pass(data):
    """The gradient of the loss along a direction is the one that caching gives, dropout included."""
    model, _ = step(data, 4, dropout=0.5)
    direction = {name: torch.randn_like(gradient) for name, gradient in gradients(model).items()}
    slope = sum((gradient * direction[name]).sum() for name, gradient in gradients(model).items())
    moved = []
    for sign in (1, -1):
        from accelerate import Accelerator

        from dim.training.batches import BatchDataset
        from dim.training.step import Objective, backward

        other = model_for(data.processor, 0.5).to("cuda")
        with torch.no_grad():
            for name, parameter in other.named_parameters():
                if name in direction:
                    parameter.add_(direction[name], alpha=sign * 1e-5)
        torch.manual_seed(3)
        moved.append(
            backward(Objective(other), as_double(BatchDataset(data, 13, seed=1).batch(0, 0)), Accelerator(), 4)
        )
    assert ((moved[0] - moved[1]) / 2e-5).item() == pytest.approx(slope.item(), rel=2e-2)


@pytest.fixture
def deterministic():
    """Kernels that always add in the same order."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_resumed_run_ends_bit_for_bit_as_one_that_never_stopped(
    tiny_mel_dir, tiny_dim_dir, tmp_path, deterministic, precision
):
    from dim.training.arguments import parse_arguments
    from dim.training.checkpoints import checkpoints
    from dim.training.trainer import train

    flags = ["--dataset", str(tiny_mel_dir), "--model_name_or_path", str(tiny_dim_dir), "--report_to", "none",
             "--per_device_train_batch_size", "4", "--max_steps", "8", "--save_steps", "4", "--save_total_limit", "9",
             "--warmup_steps", "2", "--learning_rate", "3e-3", "--negatives", "candidates", "--picture_dropout", "0.3",
             "--mixed_precision", precision]  # fmt: skip
    train(*parse_arguments([*flags, "--output_dir", str(tmp_path / "whole")]))
    first = next(path for path in checkpoints(tmp_path / "whole") if path.name == "checkpoint-4")
    resumed = ["--output_dir", str(tmp_path / "cut"), "--resume_from_checkpoint", str(first)]
    train(*parse_arguments([*flags, *resumed]))
    last = [load_file(checkpoints(tmp_path / name)[-1] / "model.safetensors") for name in ("whole", "cut")]
    assert last[0].keys() == last[1].keys()
    assert all(torch.equal(weight, last[1][name]) for name, weight in last[0].items())


def test_vectors_of_frozen_towers_are_held_on_the_card(data, tmp_path):
    model, found = model_for(data.processor, 0.0).float().to("cuda").eval(), []
    for hold in (False, True):
        bank = copy.copy(data.train.sentence_texts)
        bank.encode(model, 4, tmp_path, hold=hold)
        assert bank.pooled.is_cuda == hold
        found.append(bank.fetch(torch.tensor([3, 0, 3]), "x")["x_pooled"].cpu())
    assert torch.equal(*found)


@pytest.fixture
def made_run(monkeypatch, tmp_path):
    """A function that prepares a tiny run on pictures and texts, and the counter of waits."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    from _gpu.made import picture_run
    from _gpu.synchronisations import Synchronisations

    yield lambda: picture_run(tmp_path, tiny=True, batch_size=8), Synchronisations
    sys.modules.pop("_made_up", None)


@pytest.mark.parametrize("mini_batch_size", [None, 3])
def test_step_that_logs_nothing_never_waits_for_the_card(made_run, mini_batch_size):
    make, counter = made_run
    run = make()
    run.arguments.mini_batch_size = mini_batch_size
    batches = list(run.epoch(0, 0))
    assert all(value.is_pinned() for value in batches[0][0].inputs.values())
    run.step(batches[0])
    with counter() as found:
        run.step(batches[1])
    assert found.total == 0, dict(found.places)


def test_a_bad_loss_changes_no_weight_and_stops_the_run_at_the_next_check(made_run):
    run = made_run[0]()
    good, bad = list(run.epoch(0, 0))[:2]
    run.step(good)
    run.watch.check()
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    bad[0].inputs["pixel_values"].fill_(torch.nan)
    run.step(bad)
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())
    run.step(good)
    with pytest.raises(FloatingPointError, match=f"The loss is nan .* mentions are {bad[0].ids[0]}"):
        run.watch.check()


def test_encoding_waits_for_its_vectors_alone(made_run):
    from PIL import Image

    from dim.encoding.encode import encode_mentions

    make, counter = made_run
    run = make()
    rows = [{"mention": "number 7", "sentence": "number 7" + " and" * (row % 8), "start": 0, "end": 8,
             "image": Image.new("RGB", (48, 32), "teal") if row % 3 else None} for row in range(32)]  # fmt: skip
    encode_mentions(run.model, run.processor, rows, batch_size=4)
    with counter() as found:
        encode_mentions(run.model, run.processor, rows, batch_size=4)
    assert found.total <= 1, dict(found.places)
