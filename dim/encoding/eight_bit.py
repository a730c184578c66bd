"""Pictures as 8-bit pixels up to the model's device: a quarter of the bytes, and the device normalises them."""

import copy
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dim.processing_dim import DIMProcessor
from dim.towers_dim import to_device

_KINDS = {"pixel_values": "pixel_mask", "entity_pixel_values": "entity_pixel_mask"}


class EightBitPictures:
    """Splits the work of a processor: it decodes, resizes and crops, and a device rescales and normalises.

    An image processor that only rescales and normalises each 8-bit value by its channel is a table of 256 values for
    each channel; a look-up gives the same bits as the processor.

    Args:
        processor: The processor.
        table: The value of each 8-bit value in each channel, `(3, 256)`, float32.

    Example:

        >>> from dim import load_dim
        >>> _, processor = load_dim("demo/model")
        >>> split, image = EightBitPictures.of(processor), Image.new("RGB", (9, 9), (0, 9, 255))
        >>> inputs = split.processor.process_mentions(["Turkey"], ["Turkey"], [image])
        >>> inputs["pixel_values"].dtype
        torch.uint8
        >>> expected = processor.process_mentions(["Turkey"], ["Turkey"], [image])["pixel_values"]
        >>> torch.equal(split.normalised(inputs)["pixel_values"], expected)
        True
    """

    def __init__(self, processor: DIMProcessor, table: Tensor):
        self.processor, self._table = processor, table

    @classmethod
    def of(cls, processor: DIMProcessor) -> "EightBitPictures | None":
        """Splits a processor; `None` if its image processor does more to a value than to look it up."""
        images = processor.image_processor
        eight_bit = copy.copy(images)
        eight_bit.do_rescale = eight_bit.do_normalize = False
        probe = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))
        whole, half = _pixels(images, probe), _pixels(eight_bit, probe)
        if half.dtype != torch.uint8 or whole.dtype != torch.float32 or whole.ndim != 4 or half.shape != whole.shape:
            return None
        ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None], (256, 1, 3))
        table = _pixels(images, Image.fromarray(ramp.copy()), do_resize=False, do_center_crop=False)
        if table.shape != (1, 3, 256, 1):
            return None
        own = copy.copy(processor)
        own.image_processor = eight_bit
        split = cls(own, table[0, :, :, 0])
        return split if torch.equal(split._looked_up(half), whole) else None

    def to(self, device: torch.device) -> "EightBitPictures":
        """Moves the table."""
        return EightBitPictures(self.processor, to_device(self._table, device))

    def normalised(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Replaces the 8-bit pixels among a model's inputs by what the whole processor gives.

        Args:
            inputs: Inputs from `processor`, on the table's device; masks may be on the CPU.

        Returns:
            The inputs; pictures that are masked are zeros.
        """
        found = dict(inputs)
        for name, mask in _KINDS.items():
            if name in inputs:
                there = to_device(inputs[mask], inputs[name].device)[..., None, None, None]
                found[name] = self._looked_up(inputs[name]).masked_fill(~there, 0.0)
        return found

    def _looked_up(self, pixels: Tensor) -> Tensor:
        """Values of 8-bit pixels `(..., 3, h, w)`."""
        first = torch.arange(0, 768, 256, device=pixels.device)[:, None, None]  # of each channel in the flat table
        return self._table.flatten()[pixels.long() + first]


def _pixels(image_processor: Any, picture: Image.Image, **options: bool) -> Tensor:
    return image_processor([picture], return_tensors="pt", **options)["pixel_values"]
