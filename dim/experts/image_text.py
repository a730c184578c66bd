"""Chat models with pictures (SmolVLM, Qwen-VL, LLaVA, ...) as visual experts."""

from __future__ import annotations

from typing import Any

from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from dim.errors import DIMError
from dim.experts.generative import GenerativeExpert


class ImageTextToTextExpert(GenerativeExpert):
    """Answers questions about pictures with any model of `AutoModelForImageTextToText` that has a chat template.

    The picture and the prompt are one message of the user.

    Args:
        model (`PreTrainedModel`): put into evaluation mode.
        processor (`ProcessorMixin`): of the same checkpoint, with a chat template.
        identity (`str`): checkpoint, revision and dtype, as `from_pretrained` sets it.

    Raises:
        DIMError: if the processor has no chat template.

    Example:
        `ImageTextToTextExpert.from_pretrained("HuggingFaceTB/SmolVLM-256M-Instruct")` loads a small model. Here a LLaVA
        of one layer, whose random weights say random words:

        >>> from dim import DIMProcessor
        >>> from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
        >>> parts = DIMProcessor.from_pretrained("demo/model")
        >>> template = "{% for part in messages[0].content %}{{ part.text or '<image>' }}{% endfor %}"
        >>> parts.tokenizer.model_input_names = ["input_ids", "attention_mask"]
        >>> processor = LlavaProcessor(parts.image_processor, parts.tokenizer, patch_size=16, chat_template=template,
        ...                            vision_feature_select_strategy="default", num_additional_image_tokens=1)
        >>> layer = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
        >>> vision = {"model_type": "clip_vision_model", "image_size": parts.image_processor.crop_size["height"]}
        >>> text = {"model_type": "llama", "vocab_size": len(processor.tokenizer)}
        >>> config = LlavaConfig(vision_config={**layer, **vision, "patch_size": 16}, text_config={**layer, **text},
        ...                      image_token_index=processor.image_token_id)
        >>> expert = ImageTextToTextExpert(LlavaForConditionalGeneration(config), processor, "tiny@1")
        >>> answers = expert.answer([Image.open("demo/example.png")] * 3, "What is this?", max_new_tokens=5)
        >>> len(answers), answers[0] == answers[1]
        (3, True)
    """

    model_class = AutoModelForImageTextToText
    processor_class = AutoProcessor

    def __init__(self, model: Any, processor: Any, identity: str = "") -> None:
        if not getattr(processor, "chat_template", None):
            raise DIMError(
                f"{type(processor).__name__} has no chat template: use an instruction-tuned checkpoint, or for BLIP-2 "
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
            add_special_tokens=bos is None or not prompts[0].startswith(bos),  # not twice
            return_tensors="pt",
        )
