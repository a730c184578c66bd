"""Augmentation of training pictures."""

import torch

from dim.training.augment import augment_pictures


def test_generator_decides():
    pictures = torch.rand(4, 3, 16, 16)
    changed = [augment_pictures(pictures, torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert torch.equal(changed[0], changed[1])
    assert not torch.equal(changed[0], changed[2])
    assert changed[0].min() >= 0
    assert changed[0].max() <= 1


def test_pictures_are_changed_each_by_its_own_amount():
    picture = torch.rand(1, 3, 16, 16)
    one, other = augment_pictures(picture.repeat(2, 1, 1, 1), torch.Generator().manual_seed(0))
    assert not torch.equal(one, other)


def test_never_mirrored():
    """A picture dark on its left stays darker on its left."""
    picture = torch.ones(32, 3, 16, 16)
    picture[:, :, :, :8] = 0
    changed = augment_pictures(picture, torch.Generator().manual_seed(0))
    assert (changed[..., 4:12, :3].mean((1, 2, 3)) < changed[..., 4:12, -3:].mean((1, 2, 3))).all()
