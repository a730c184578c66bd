"""The two encoders of a DIM as modules from tensors to vectors, for `torch.compile`, `torch.export` and ONNX.

In a graph, whose shapes must not depend on the data, the vision tower runs on every picture, and the vectors of absent
ones are masked afterwards: the result is the same.
"""

from PIL import Image
from torch import Tensor, nn

from dim.errors import DIMError
from dim.modeling_dim import DIMModel
from dim.processing_dim import DIMProcessor

_SIDES = ("mention", "entity")


class Encoder(nn.Module):
    """One side of a DIM, from the processor's tensors to vectors `(B, D)`.

    Args:
        model: A DIM; the weights are shared, and it is put into evaluation mode.
        side: `mention` or `entity`.

    Raises:
        DIMError: If `side` is another value.

    Example:

        >>> model, processor = DIMModel.from_pretrained("demo/model"), DIMProcessor.from_pretrained("demo/model")
        >>> encoder = Encoder(model, "mention")  # torch.compile(encoder) returns the same vectors, faster
        >>> encoder(example_inputs(processor, "mention")).shape == (2, model.config.vector_dim)
        True
    """

    def __init__(self, model: DIMModel, side: str):
        super().__init__()
        _check_side(side)
        self.side = side
        self.model = model
        self.eval()

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Encodes a batch.

        Args:
            inputs: Tensors as in [`example_inputs`], with any number of rows.

        Returns:
            Vectors `(B, D)`.
        """
        return (self.model.get_mention_features if self.side == "mention" else self.model.get_entity_features)(**inputs)


def example_inputs(processor: DIMProcessor, side: str, pictures: bool = True, expert: bool = True) -> dict[str, Tensor]:
    """Returns inputs of two rows for an export.

    Use a processor with a fixed text length, `DIMProcessor.from_pretrained(name, text_padding="max_length")`, here and
    with the exported graph, which allows any number of rows but no other length.

    Args:
        processor: The model's processor.
        side: `mention` or `entity`.
        pictures: Whether to include pictures; the graph then masks those of rows without one.
        expert: Whether to include captions.

    Returns:
        Tensors by name.

    Raises:
        DIMError: If `side` is another value.

    Example:

        >>> processor = DIMProcessor.from_pretrained("demo/model", text_padding="max_length")
        >>> inputs = example_inputs(processor, "entity", pictures=False)
        >>> {name: values.shape == (2, processor.max_text_length) for name, values in inputs.items()}
        {'entity_input_ids': True, 'entity_attention_mask': True}
    """
    _check_side(side)
    picture = Image.new("RGB", (8, 8)) if pictures else None
    if side == "mention":
        images, captions = [picture, picture] if pictures else None, ["a bird", "a bird"] if expert else None
        batch = processor.process_mentions(["Turkey"] * 2, ["Turkey is in the news."] * 2, images, captions)
    else:
        batch = processor.process_entities(["Turkey"] * 2, ["large bird"] * 2, [[picture]] * 2 if picture else None)
    return {name: values for name, values in batch.items() if not name.endswith("num_truncated_tokens")}


def _check_side(side: str) -> None:
    if side not in _SIDES:
        raise DIMError(f"side is {side!r}: it must be one of {', '.join(_SIDES)}.")
