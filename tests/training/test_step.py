"""One step of training: the same gradients at once, by gradient caching, and over several processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from training_step import as_double, data_for, gradients, model_for

from dim.layers_dim import DIMLogitScale
from dim.training.batches import BatchDataset
from dim.training.step import Objective, backward, check_caching

SCRIPT = Path(__file__).resolve().parents[1] / "helpers" / "step_process.py"


@pytest.fixture(scope="module")
def data(tiny_mel_dir, tiny_dim_dir, tmp_path_factory):
    return data_for(tiny_mel_dir, tiny_dim_dir, tmp_path_factory.mktemp("step"))


def run(data, size, dropout=0.0):
    model = model_for(data.processor, dropout)
    torch.manual_seed(3)
    loss = backward(
        Objective(model), as_double(BatchDataset(data, 13, seed=1).batch(0, 0)), Accelerator(cpu=True), size
    )
    return model, loss


@pytest.mark.parametrize("size", [1, 4, 100])
def test_gradient_caching_equals_the_whole_batch(data, size):
    whole, loss = run(data, None)
    cached, same = run(data, size)
    torch.testing.assert_close(loss, same, rtol=1e-6, atol=1e-6)
    expected, found = gradients(whole), gradients(cached)
    assert expected.keys() == found.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-6, msg=name)


def test_second_pass_drops_what_the_first_dropped(data):
    """With dropout, the loss's own gradient along a direction is the one that the cache gives."""
    size = 4
    model, _ = run(data, size, dropout=0.5)
    step = 1e-5
    direction = {name: torch.randn_like(gradient) for name, gradient in gradients(model).items()}
    slope = sum((gradient * direction[name]).sum() for name, gradient in gradients(model).items())
    moved = []
    for sign in (1, -1):
        other = model_for(data.processor, 0.5)
        with torch.no_grad():
            for name, parameter in other.named_parameters():
                if name in direction:
                    parameter.add_(direction[name], alpha=sign * step)
        torch.manual_seed(3)
        batch = as_double(BatchDataset(data, 13, seed=1).batch(0, 0))
        moved.append(backward(Objective(other), batch, Accelerator(cpu=True), size))
    assert ((moved[0] - moved[1]) / (2 * step)).item() == pytest.approx(slope.item(), rel=2e-2)


@pytest.mark.parametrize("size", ["none", "3"])
@pytest.mark.parametrize("pictures", ["some", "none"])
def test_two_processes_give_the_gradients_of_one(tiny_mel_dir, tiny_dim_dir, tmp_path, size, pictures):
    """13 mentions on two processes, 7 and 6; also when no mention of a process has a picture."""
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    for world in (1, 2):
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
        command = launcher if world > 1 else [sys.executable]
        arguments = [str(tiny_mel_dir), str(tiny_dim_dir), str(tmp_path / f"{world}.pt"), size, pictures]
        done = subprocess.run([*command, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=300,
                              env=environment)  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (torch.load(tmp_path / f"{world}.pt", weights_only=True) for world in (1, 2))
    assert (one.pop("loss") - two.pop("loss")).abs() < 1e-9
    assert one.keys() <= two.keys()
    for name, gradient in two.items():  # what no batch used may have a gradient of zeros
        torch.testing.assert_close(gradient, one.get(name, torch.zeros_like(gradient)), rtol=1e-9, atol=1e-10, msg=name)


def test_caching_refuses_batch_norm():
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(3))
    with pytest.raises(ValueError, match="does not fit a tower with batch norm"):
        check_caching(model, Accelerator(cpu=True))
    model.requires_grad_(False)
    check_caching(model, Accelerator(cpu=True))


def test_temperature_has_a_gradient_when_cached(data):
    model, _ = run(data, 4)
    scale = next(module for module in model.modules() if isinstance(module, DIMLogitScale))
    assert scale.log_scale.grad.abs() > 0
