"""Random augmentation of training pictures."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Draw = Callable[..., Tensor]  # draws uniform numbers `(P, channels, 1, 1)` between two bounds
GREY, BLURRED, COVERED = 0.25, 0.3, 0.6  # fractions of the pictures


def augment_pictures(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Shifts, scales, rotates and recolours each picture at random; some are also blurred, made grey or partly covered.

    Pictures are never mirrored, since that changes the meaning of flags, logos and writing.

    Args:
        pictures (`torch.Tensor` of shape `(P, 3, h, w)`): Values in `[0, 1]`.
        generator: Source of randomness; the same generator state gives the same pictures.

    Returns:
        Augmented pictures of the same shape, values in `[0, 1]`. The border is repeated where a picture was moved away,
        and a covered part has one random colour.

    Example:

        >>> white = torch.ones(1, 3, 8, 8)
        >>> augment_pictures(white, torch.Generator().manual_seed(0)).shape
        torch.Size([1, 3, 8, 8])
    """

    def draw(low: float, high: float, channels: int = 1) -> Tensor:
        values = torch.empty(len(pictures), channels, 1, 1).uniform_(low, high, generator=generator)
        return values.to(pictures)

    return _cover(_blur(_recolour(_move(pictures, draw), draw), draw), draw).clamp(0, 1)


def _move(pictures: Tensor, draw: Draw) -> Tensor:
    angle, zoom, stretch = draw(-0.25, 0.25), draw(0.8, 1.35), draw(0.85, 1.15)  # radians, factors
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    affine = [cos * stretch, -sin, draw(-0.15, 0.15), sin, cos / stretch, draw(-0.15, 0.15)]
    grid = F.affine_grid(torch.cat(affine, 1).view(-1, 2, 3), list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _recolour(pictures: Tensor, draw: Draw) -> Tensor:
    # Rotation of hue around the grey axis (Rodrigues' formula around (1, 1, 1)).
    hue = draw(-0.35, 0.35)
    a = torch.cos(hue) + (1 - torch.cos(hue)) / 3
    b = (1 - torch.cos(hue)) / 3 - torch.sin(hue) / math.sqrt(3)
    c = (1 - torch.cos(hue)) / 3 + torch.sin(hue) / math.sqrt(3)
    rotation = torch.cat([a, b, c, c, a, b, b, c, a], 1).view(-1, 3, 3)
    pictures = torch.einsum("pij,pjhw->pihw", rotation, pictures)
    grey = pictures.mean(1, keepdim=True)
    saturation = torch.where(draw(0, 1) < GREY, 0.0, draw(0.5, 1.5))
    pictures = grey + (pictures - grey) * saturation
    return (pictures - 0.5) * draw(0.7, 1.3) + 0.5 + draw(-0.15, 0.15)  # contrast, brightness


def _blur(pictures: Tensor, draw: Draw) -> Tensor:
    coarse = F.interpolate(pictures, scale_factor=0.375, mode="bilinear", antialias=True)
    blurred = F.interpolate(coarse, size=pictures.shape[-2:], mode="bilinear")
    return torch.where(draw(0, 1) < BLURRED, blurred, pictures)


def _cover(pictures: Tensor, draw: Draw) -> Tensor:
    def within(size: int) -> Tensor:  # (P, size), True in a random interval of a fifth to half of `size`
        length = draw(0.2, 0.5)[:, :, 0, 0]
        first = draw(0, 1)[:, :, 0, 0] * (1 - length)
        position = ((torch.arange(size) + 0.5) / size).to(pictures)
        return (position >= first) & (position < first + length)

    height, width = pictures.shape[-2:]
    cover = within(height)[:, None, :, None] & within(width)[:, None, None, :]  # (P, 1, h, w)
    colour = draw(0, 1, channels=3)
    return torch.where(cover & (draw(0, 1) < COVERED), colour, pictures)
