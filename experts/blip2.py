"""BLIP-2 as DIM's visual expert: it answers a question about a mention's picture; the answer is one more text."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from transformers import Blip2ForConditionalGeneration, Blip2Processor

from dim.processing_dim import EXPERT_PROMPTS

PAPER_PROMPT = EXPERT_PROMPTS["paper"]
DEFAULT_PROMPT = EXPERT_PROMPTS["default"]  # a mention need not name a person


class Blip2Expert:
    """Answers questions about pictures with a decoder-only BLIP-2 (Li et al. 2023, arXiv 2301.12597), greedily.

    It stands beside the DIM processor, not inside it: its answers are data, made once and stored with the mentions.

    Args:
        model (`Blip2ForConditionalGeneration`): with a decoder-only language model (OPT); put into evaluation mode.
        processor (`Blip2Processor`): that knows the model's number of query tokens.

    Raises:
        ValueError: for an encoder-decoder language model (Flan-T5), or a processor and a model whose numbers of query
            tokens differ.

    Example:
        >>> expert = Blip2Expert.from_pretrained("Salesforce/blip2-opt-2.7b", dtype=torch.float16)  # doctest: +SKIP
        >>> expert.answer([load_picture("cat.jpg")])  # doctest: +SKIP
        ['a cat on a sofa']
    """

    def __init__(self, model: Blip2ForConditionalGeneration, processor: Blip2Processor) -> None:
        if not model.config.use_decoder_only_language_model:
            raise ValueError(
                f"the language model is of type {model.config.text_config.model_type}, an encoder-decoder: "
                "use a checkpoint with a decoder-only one, such as Salesforce/blip2-opt-2.7b"
            )
        if processor.num_query_tokens != model.config.num_query_tokens:
            raise ValueError(
                f"the processor has num_query_tokens={processor.num_query_tokens}, the model "
                f"{model.config.num_query_tokens}: use the processor of this checkpoint's newest revision"
            )
        self.model = model.eval()
        self.processor = processor

    @classmethod
    def from_pretrained(
        cls,
        name: str = "Salesforce/blip2-opt-2.7b",
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        revision: str | None = None,
    ) -> Blip2Expert:
        """Load model and processor from the Hub or a folder.

        Args:
            name (`str`): repository id or path.
            device (`str` or `torch.device`, *optional*): where to run; without, CUDA where there is some, else the CPU.
            dtype (`torch.dtype`, *optional*): of the weights; without, as the checkpoint stores them.
            revision (`str`, *optional*): branch, tag or commit of the repository.

        Returns:
            `Blip2Expert`: ready to answer.

        Raises:
            OSError: where there is no such checkpoint.
            ValueError: as the class itself.
        """
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        model = Blip2ForConditionalGeneration.from_pretrained(name, dtype=dtype or "auto", revision=revision)
        # Named, since an installed torchvision would otherwise be used and give slightly different pixels.
        processor = Blip2Processor.from_pretrained(name, backend="pil", revision=revision)
        return cls(model.to(device), processor)

    def answer(
        self,
        images: Sequence[Image.Image],
        prompts: str | Sequence[str] = DEFAULT_PROMPT,
        batch_size: int = 8,
        max_new_tokens: int = 20,
    ) -> list[str]:
        """Answer one question about each picture.

        Args:
            images (`Sequence[Image.Image]`): RGB pictures, as `dim.corpora.pictures.load_picture` returns them.
            prompts (`str` or `Sequence[str]`): one for all, or one a picture.
            batch_size (`int`): pictures answered at once; the answers do not depend on it.
            max_new_tokens (`int`): bound of an answer's length, in tokens of the language model.

        Returns:
            `list[str]`: the answers without their prompts, in the order of the pictures.

        Raises:
            ValueError: for another number of prompts than of pictures, a prompt that holds the image token, or a
                `batch_size` or `max_new_tokens` below 1.
        """
        if batch_size < 1 or max_new_tokens < 1:
            raise ValueError(f"batch_size={batch_size} and max_new_tokens={max_new_tokens} must be at least 1")
        texts = [prompts] * len(images) if isinstance(prompts, str) else list(prompts)
        if len(texts) != len(images):
            raise ValueError(f"{len(images)} images but {len(texts)} prompts: give one prompt, or one an image")
        image_token = str(self.processor.image_token)
        for index, text in enumerate(texts):
            if image_token in text:
                raise ValueError(f"prompts[{index}] holds {image_token}, which marks the picture's place: take it out")
        answers: list[str] = []
        for start in range(0, len(texts), batch_size):
            batch = slice(start, start + batch_size)
            inputs = self.processor(
                images=list(images[batch]),
                text=texts[batch],
                padding=True,
                padding_side="left",  # so that every prompt ends where its answer begins
                return_tensors="pt",
            )
            # Not `model.dtype`: a float16 BLIP-2 keeps its Q-Former, where that is read, in float32.
            inputs = inputs.to(self.model.device, self.model.vision_model.dtype)
            tokens = self.model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False, num_beams=1)
            new_tokens = tokens[:, inputs["input_ids"].shape[1] :]  # (batch, <= max_new_tokens)
            answers += [text.strip() for text in self.processor.batch_decode(new_tokens, skip_special_tokens=True)]
        return answers
