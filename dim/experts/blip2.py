"""BLIP-2 as DIM's visual expert: it answers a question about a mention's picture; the answer is one more text."""

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
DEFAULT_PROMPT = EXPERT_PROMPTS["default"]  # a mention need not name a person


class Blip2Expert(GenerativeExpert):
    """Answers questions about pictures with a decoder-only BLIP-2 (Li et al. 2023, arXiv 2301.12597), greedily.

    Args:
        model (`Blip2ForConditionalGeneration`): with a decoder-only language model (OPT); put into evaluation mode.
        processor (`Blip2Processor`): that knows the model's number of query tokens.
        identity (`str`): checkpoint, revision and dtype, as `from_pretrained` sets it.

    Raises:
        DIMError: for an encoder-decoder language model (Flan-T5), or a processor and a model whose numbers of query
            tokens differ.

    `Blip2Expert.from_pretrained(dtype=torch.float16)` loads the paper's. Any other BLIP-2 will do, such as this one of
    one layer, whose untrained weights say random words:

    Example:
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
                f"{model.config.num_query_tokens}: use the processor of this checkpoint's newest revision"
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
            DIMError: as the class itself.
        """
        return super().from_pretrained(name, **loading)

    def answer(
        self,
        images: Sequence[Image.Image],
        prompts: str | Sequence[str] = DEFAULT_PROMPT,
        batch_size: int = 8,
        max_new_tokens: int = 20,
    ) -> list[str]:
        """Answer one question about each picture, as `GenerativeExpert.answer` does, by default a type-neutral one."""
        return super().answer(images, prompts, batch_size, max_new_tokens)

    def _inputs(self, images: list[Image.Image], texts: list[str]) -> Any:
        return self.processor(images=images, text=texts, padding=True, padding_side="left", return_tensors="pt")

    @property
    def _pixel_dtype(self) -> torch.dtype:
        # Not `model.dtype`: a float16 BLIP-2 keeps its Q-Former, where that is read, in float32.
        return self.model.vision_model.dtype
