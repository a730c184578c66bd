"""The two encoders of a DIM as plain modules, tensors in and vectors out, for `torch.compile`, `torch.export` and ONNX.

[`DIMModel`] runs its vision tower on the pictures that are there and leaves the others out, so that shapes depend on
the data; an exported graph cannot. Here every picture goes through the tower, and what is absent is masked afterwards:
the vectors are the same.
"""

import copy

from PIL import Image
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from dim.errors import DIMError
from dim.modeling_dim import DIMModel, Inputs
from dim.processing_dim import DIMProcessor

_SIDES = ("mention", "entity")


class _DenseDIM(DIMModel):
    """A DIM whose shapes do not depend on which pictures are there."""

    def _encode_pictures(
        self, inputs: Inputs, side: str
    ) -> tuple[Tensor | None, Tensor | None, BaseModelOutputWithPooling | None]:
        pixels, mask = inputs.get(f"{side}pixel_values"), inputs.get(f"{side}pixel_mask")
        if pixels is None or mask is None:
            return None, None, None
        pooled = self.pool_pictures(pixels.flatten(0, -4))  # (..., 3, h, w) -> (P, H)
        vectors = self._unit(self.visual_projection(pooled)).unflatten(0, mask.shape)  # (P, D) -> (..., D)
        return vectors * mask.unsqueeze(-1).to(vectors.dtype), mask, None


class Encoder(nn.Module):
    """One side of a DIM: the processor's tensors, by name, to vectors `(B, D)` as they are ranked.

    Args:
        model: A DIM; weights are shared, not copied, and it is put into evaluation mode.
        side: `mention` or `entity`.

    Raises:
        DIMError: If there is no such side.

    Example:

        >>> model, processor = DIMModel.from_pretrained("demo/model"), DIMProcessor.from_pretrained("demo/model")
        >>> encoder = Encoder(model, "mention")  # torch.compile(encoder) gives the same vectors, faster
        >>> encoder(example_inputs(processor, "mention")).shape == (2, model.config.projection_dim)
        True
    """

    def __init__(self, model: DIMModel, side: str):
        super().__init__()
        _check_side(side)
        self.side = side
        self.model = copy.copy(model)
        self.model.__class__ = _DenseDIM
        self.eval()

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Encodes.

        Args:
            inputs: Tensors as in [`example_inputs`], of any number of rows.

        Returns:
            Vectors of shape `(B, D)`.
        """
        return (self.model.get_mention_features if self.side == "mention" else self.model.get_entity_features)(**inputs)


def example_inputs(processor: DIMProcessor, side: str, pictures: bool = True, expert: bool = True) -> dict[str, Tensor]:
    """Inputs of two rows to export with.

    Give it a processor that pads to one length, `DIMProcessor.from_pretrained(name, padding="max_length")`, and use
    that one with the graph: the number of rows is free in it, the length of the texts is not.

    Args:
        processor: The model's processor.
        side: `mention` or `entity`.
        pictures: Whether there are pictures; a row without one has it masked.
        expert: Whether there are an expert's answers.

    Returns:
        Tensors by name.

    Raises:
        DIMError: If there is no such side.

    Example:

        >>> processor = DIMProcessor.from_pretrained("demo/model", padding="max_length")
        >>> inputs = example_inputs(processor, "entity", pictures=False)
        >>> {name: values.shape == (2, processor.max_length) for name, values in inputs.items()}
        {'entity_input_ids': True, 'entity_attention_mask': True}
    """
    _check_side(side)
    picture = Image.new("RGB", (8, 8)) if pictures else None
    if side == "mention":
        images, answers = [picture, picture] if pictures else None, ["a bird", "a bird"] if expert else None
        batch = processor.process_mentions(["Turkey"] * 2, ["Turkey is in the news."] * 2, images, answers)
    else:
        batch = processor.process_entities(["Turkey"] * 2, ["large bird"] * 2, [[picture]] * 2 if picture else None)
    return {name: values for name, values in batch.items() if not name.endswith("num_truncated_tokens")}


def _check_side(side: str) -> None:
    if side not in _SIDES:
        raise DIMError(f"side is {side!r}: it must be one of {', '.join(_SIDES)}.")


__all__ = ["Encoder", "example_inputs"]
