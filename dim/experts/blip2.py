"""BLIP-2, the visual expert of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from transformers import Blip2ForConditionalGeneration, Blip2Processor

from dim.errors import DIMError
from dim.experts.generative import GenerativeExpert
from dim.processing_dim import EXPERT_PROMPTS

MODEL = "Salesforce/blip2-opt-2.7b"
PAPER_PROMPT = EXPERT_PROMPTS["paper"]
DEFAULT_PROMPT = EXPERT_PROMPTS["default"]  # for mentions of any type


class Blip2Expert(GenerativeExpert):
    """Answers questions about pictures with a decoder-only BLIP-2 (Li et al. 2023, arXiv 2301.12597).

    Args:
        model (`Blip2ForConditionalGeneration`): with a decoder-only language model (OPT); put into evaluation mode.
        processor (`Blip2Processor`): with the model's number of query tokens.
        identity (`str`): checkpoint, revision and dtype, as `from_pretrained` sets it.

    Raises:
        DIMError: if the language model is an encoder-decoder (Flan-T5), or if the processor has another number of query
            tokens than the model.

    Example:
        `Blip2Expert.from_pretrained(dtype=torch.float16)` loads the model of the paper. Here a BLIP-2 of one layer,
        whose random weights say random words:

        >>> from dim import DIMProcessor
        >>> from transformers import Blip2Config
        >>> parts = DIMProcessor.from_pretrained("demo/model")
        >>> processor = Blip2Processor(parts.image_processor, parts.tokenizer, num_query_tokens=2)
        >>> layer = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
        >>> text = {"model_type": "opt", "word_embed_proj_dim": 32, "vocab_size": len(processor.tokenizer)}
        >>> side, image = parts.image_processor.crop_size["height"], processor.tokenizer.vocab["<image>"]
        >>> config = Blip2Config(vision_config={**layer, "image_size": side, "patch_size": 16}, qformer_config=layer,
        ...                      text_config={**layer, **text}, num_query_tokens=2, image_token_index=image)
        >>> expert = Blip2Expert(Blip2ForConditionalGeneration(config), processor, "tiny@1")
        >>> answers = expert.answer([Image.open("demo/example.png")] * 3, max_new_tokens=5)
        >>> len(answers), answers[0] == answers[1]
        (3, True)
    """

    model_class = Blip2ForConditionalGeneration
    processor_class = Blip2Processor

    def __init__(self, model: Blip2ForConditionalGeneration, processor: Blip2Processor, identity: str = "") -> None:
        if not model.config.use_decoder_only_language_model:
            raise DIMError(
                f"the language model is of type {model.config.text_config.model_type}, an encoder-decoder: "
                f"use a checkpoint with a decoder-only one, such as {MODEL}"
            )
        if processor.num_query_tokens != model.config.num_query_tokens:
            raise DIMError(
                f"the processor has num_query_tokens={processor.num_query_tokens}, the model "
                f"{model.config.num_query_tokens}: use the processor of the newest revision of this checkpoint"
            )
        super().__init__(model, processor, identity)

    @classmethod
    def from_pretrained(cls, name: str = MODEL, **loading: Any) -> Blip2Expert:
        """Load model and processor from the Hub or a folder.

        Args:
            name (`str`): repository id or path.
            **loading: `device`, `dtype` and `revision`, as `GenerativeExpert.from_pretrained` has them.

        Returns:
            `Blip2Expert`: ready to answer.

        Raises:
            OSError: where there is no such checkpoint.
            DIMError: for the same reasons as the constructor.
        """
        return super().from_pretrained(name, **loading)

    def answer(
        self,
        images: Sequence[Image.Image],
        prompts: str | Sequence[str] = DEFAULT_PROMPT,
        batch_size: int = 8,
        max_new_tokens: int = 20,
    ) -> list[str]:
        """Answer one question about each picture, see `GenerativeExpert.answer`; the default suits all mentions."""
        return super().answer(images, prompts, batch_size, max_new_tokens)

    def _inputs(self, images: list[Image.Image], texts: list[str]) -> Any:
        return self.processor(images=images, text=texts, padding=True, padding_side="left", return_tensors="pt")

    @property
    def _pixel_dtype(self) -> torch.dtype:
        # Not `model.dtype`, which is that of the Q-Former: float32 in a float16 BLIP-2, too.
        return self.model.vision_model.dtype
