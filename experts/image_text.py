"""Any chat model that sees pictures (SmolVLM, Qwen-VL, LLaVA, ...) as a visual expert."""

from __future__ import annotations

from typing import Any

from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from dim.experts.generative import GenerativeExpert


class ImageTextToTextExpert(GenerativeExpert):
    """Answers questions about pictures with any model of `AutoModelForImageTextToText` that has a chat template.

    The picture and the prompt are one message of a user; the answer is the assistant's, greedily.

    Args:
        model (`PreTrainedModel`): put into evaluation mode.
        processor (`ProcessorMixin`): of the same checkpoint, with a chat template.
        identity (`str`): checkpoint, revision and dtype, as `from_pretrained` sets it.

    Raises:
        ValueError: for a processor without a chat template.

    Example:
        >>> expert = ImageTextToTextExpert.from_pretrained("HuggingFaceTB/SmolVLM-256M-Instruct")  # doctest: +SKIP
        >>> expert.answer([load_picture("cat.jpg")], "What is this?")  # doctest: +SKIP
        ['A cat on a sofa.']
    """

    model_class = AutoModelForImageTextToText
    processor_class = AutoProcessor

    def __init__(self, model: Any, processor: Any, identity: str = "") -> None:
        if not getattr(processor, "chat_template", None):
            raise ValueError(
                f"{type(processor).__name__} has no chat template: take an instruction-tuned checkpoint, or for BLIP-2 "
                "the expert blip2"
            )
        super().__init__(model, processor, identity)

    def _inputs(self, images: list[Image.Image], texts: list[str]) -> Any:
        conversations = [
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}] for text in texts
        ]
        prompts = self.processor.apply_chat_template(conversations, add_generation_prompt=True)
        bos = self.processor.tokenizer.bos_token
        return self.processor(
            images=[[image] for image in images],
            text=prompts,
            padding=True,
            padding_side="left",
            add_special_tokens=bos is None or not prompts[0].startswith(bos),  # once is enough
            return_tensors="pt",
        )


__all__ = ["ImageTextToTextExpert"]
