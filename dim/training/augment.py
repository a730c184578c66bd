"""Random augmentation of training pictures."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

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

    count, (height, width) = len(pictures), pictures.shape[-2:]

    def draw(low: float, high: float) -> Tensor:
        return torch.empty(count).uniform_(low, high, generator=generator)

    def each(values: Tensor) -> Tensor:
        return values.to(pictures).view(-1, 1, 1, 1)

    def some(part: float) -> Tensor:
        return (draw(0, 1) < part).to(pictures.device).view(-1, 1, 1, 1)

    angle, zoom, stretch = draw(-0.25, 0.25), draw(0.8, 1.35), draw(0.85, 1.15)  # radians, factors
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    affine = torch.stack([cos * stretch, -sin, draw(-0.15, 0.15), sin, cos / stretch, draw(-0.15, 0.15)], dim=1).view(
        -1, 2, 3
    )
    grid = F.affine_grid(affine.to(pictures), list(pictures.shape), align_corners=False)
    pictures = F.grid_sample(pictures, grid, mode="bilinear", padding_mode="border", align_corners=False)

    # Rotation of hue around the grey axis (Rodrigues' formula around (1, 1, 1)).
    hue = draw(-0.35, 0.35)
    a = torch.cos(hue) + (1 - torch.cos(hue)) / 3
    b = (1 - torch.cos(hue)) / 3 - torch.sin(hue) / math.sqrt(3)
    c = (1 - torch.cos(hue)) / 3 + torch.sin(hue) / math.sqrt(3)
    turn = torch.stack([a, b, c, c, a, b, b, c, a], dim=1).view(-1, 3, 3).to(pictures)
    pictures = torch.einsum("pij,pjhw->pihw", turn, pictures)

    grey = pictures.mean(1, keepdim=True)
    saturation = torch.where(some(GREY), 0.0, each(draw(0.5, 1.5)))
    pictures = grey + (pictures - grey) * saturation
    pictures = (pictures - 0.5) * each(draw(0.7, 1.3)) + 0.5 + each(draw(-0.15, 0.15))  # contrast, brightness

    coarse = F.interpolate(pictures, scale_factor=0.375, mode="bilinear", antialias=True)
    blurred = F.interpolate(coarse, size=(height, width), mode="bilinear")
    pictures = torch.where(some(BLURRED), blurred, pictures)

    def within(size: int) -> Tensor:  # (P, size), True in a random interval of a fifth to half of `size`
        length = draw(0.2, 0.5)[:, None]
        first = draw(0, 1)[:, None] * (1 - length)
        position = (torch.arange(size) + 0.5) / size
        return ((position >= first) & (position < first + length)).to(pictures.device)

    cover = within(height)[:, None, :, None] & within(width)[:, None, None, :]  # (P, 1, h, w)
    colour = torch.rand(count, 3, 1, 1, generator=generator).to(pictures)
    return torch.where(cover & some(COVERED), colour, pictures).clamp(0, 1)


__all__ = ["augment_pictures"]
