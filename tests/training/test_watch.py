"""A loss that is not finite stops a run; a fused optimizer takes no step on it until the host reads it."""

import pytest
import torch

from dim.training.batches import Batch
from dim.training.watch import LossWatch


def batch(*ids):
    return Batch({}, {}, [1], 1.0, list(ids), False)


def take(watch, weight, optimizer, values, batches, step):
    """Takes a step of a run; the weight's gradient is that of the mean loss."""
    losses = torch.tensor(values)
    weight.grad = torch.ones_like(weight) * losses.mean()
    watch.add(losses, losses.mean(), batches, 0, step)
    optimizer.step()


@pytest.mark.parametrize("fused", [False, True])
def test_the_first_bad_loss_is_named_and_changes_no_weight(fused):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([weight], lr=0.1, fused=fused)
    watch = LossWatch(optimizer)
    take(watch, weight, optimizer, [1.0, 2.0], [batch("a"), batch("b")], 0)
    before, state = weight.detach().clone(), optimizer.state[weight]["step"].item()
    assert not torch.equal(before, torch.ones(3))
    bad = [1.0, float("nan")], [batch("c"), batch("d", "e")], 1
    if fused:
        take(watch, weight, optimizer, *bad)
        assert torch.equal(weight, before)
        assert optimizer.state[weight]["step"].item() == state
    with pytest.raises(FloatingPointError, match="is nan at epoch 1, step 2; the batch's mentions are d, e"):
        watch.check() if fused else take(watch, weight, optimizer, *bad)
    assert torch.equal(weight, before)


def test_a_fused_optimizer_goes_on_after_good_losses():
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([weight], lr=0.1, fused=True)
    watch, other = LossWatch(optimizer), torch.nn.Parameter(torch.ones(3))
    plain = torch.optim.AdamW([other], lr=0.1, fused=True)
    for step in range(4):
        take(watch, weight, optimizer, [1.0 + step], [batch("a")], step)
        watch.check()
        other.grad = torch.ones(3) * (1.0 + step)
        plain.step()
    assert torch.equal(weight, other)


def test_a_bad_loss_of_another_process_stops_this_one():
    watch = LossWatch(torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))]))
    with pytest.raises(FloatingPointError, match="The loss is inf at epoch 3, step 5; the batch's mentions are a, b"):
        watch.add(torch.ones(2), torch.tensor(float("inf")), [batch("a"), batch("b")], 2, 4)
