"""Batches of rows of similar length, and their way to a device."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dim.towers_dim import to_device


def longest_first(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Divides rows into batches of similar length, to reduce padding. The longest come first, so that a lack of memory
    shows in the first batch.

    Args:
        lengths: Length of each row, in tokens or any other measure.
        batch_size: Maximum number of rows in a batch.

    Returns:
        The row indices of each batch; rows of equal length stay in order. `results[batch] = part` restores the order
        of the rows.

    Example:

        >>> longest_first([3, 9, 4, 9, 1], batch_size=2)
        [[1, 3], [2, 0], [4]]
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def inputs_to(inputs: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Moves a model's inputs to its device, a GPU's from pinned memory, so that the host does not wait.

    Masks of pictures stay on the CPU: the model reads them there, and would have to wait for a GPU.

    Args:
        inputs: The inputs, on the CPU or the device.
        device: The device.

    Returns:
        The inputs.
    """
    return {name: value if name.endswith("pixel_mask") else to_device(value, device) for name, value in inputs.items()}
