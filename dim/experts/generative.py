"""Experts that run in this process: generative models of transformers, in batches, with greedy decoding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

import torch
from PIL import Image

from dim.errors import DIMError
from dim.experts.expert import checkpoint_revision, one_prompt_each
from dim.pictures_dim import prepare_picture

Self = TypeVar("Self", bound="GenerativeExpert")


class GenerativeExpert(ABC):
    """Base of the experts of transformers; a subclass names its classes and prepares a batch.

    Args:
        model (`PreTrainedModel`): put into evaluation mode.
        processor (`ProcessorMixin`): of the same checkpoint.
        identity (`str`): checkpoint, revision and dtype, as `from_pretrained` sets it. Captions are only cached if it
            is not empty.
    """

    model_class: ClassVar[Any]
    processor_class: ClassVar[Any]

    def __init__(self, model: Any, processor: Any, identity: str = "") -> None:
        self.model = model.eval()
        self.processor = processor
        self.identity = identity

    @classmethod
    def from_pretrained(
        cls: type[Self],
        name: str,
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        revision: str | None = None,
    ) -> Self:
        """Load model and processor from the Hub or a folder.

        Args:
            name (`str`): repository id or path.
            device (`str` or `torch.device`, *optional*): where to run; by default CUDA if available, else the CPU.
            dtype (`torch.dtype`, *optional*): of the weights; by default that of the checkpoint.
            revision (`str`, *optional*): branch, tag or commit of the repository.

        Returns:
            The expert, ready to answer.

        Raises:
            OSError: where there is no such checkpoint.
            DIMError: for the same reasons as the constructor.
        """
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        # Code in the repository never runs, and nobody is asked whether it may.
        model = cls.model_class.from_pretrained(name, dtype=dtype or "auto", revision=revision, trust_remote_code=False)
        # Without `backend`, an installed torchvision is used, which gives slightly different pixels.
        processor = cls.processor_class.from_pretrained(name, backend="pil", revision=revision, trust_remote_code=False)
        identity = f"{checkpoint_revision(name, revision)} {str(model.dtype).removeprefix('torch.')}"
        return cls(model.to(device), processor, identity)

    @abstractmethod
    def _inputs(self, images: list[Image.Image], texts: list[str]) -> Any:
        """Prepares a batch, padded on the left so that every prompt ends where its answer begins."""

    @property
    def _pixel_dtype(self) -> torch.dtype:
        return self.model.dtype

    def answer(
        self,
        images: Sequence[Image.Image],
        prompts: str | Sequence[str],
        batch_size: int = 8,
        max_new_tokens: int = 20,
    ) -> list[str]:
        """Answer one question about each picture.

        Args:
            images (`Sequence[Image.Image]`): pictures of any mode; see `dim.pictures_dim.rgb_picture` for how they
                become RGB.
            prompts (`str` or `Sequence[str]`): one for all pictures, or one for each.
            batch_size (`int`): pictures answered at once; the answers do not depend on it.
            max_new_tokens (`int`): maximum length of an answer, in tokens of the language model.

        Returns:
            `list[str]`: the answers without their prompts, in the order of the pictures.

        Raises:
            DIMError: if the numbers of prompts and pictures differ, a prompt contains the image token, or `batch_size`
                or `max_new_tokens` is below 1.
        """
        texts = one_prompt_each(images, prompts, batch_size, max_new_tokens)
        image_token = str(self.processor.image_token)
        for index, text in enumerate(texts):
            if image_token in text:
                raise DIMError(f"prompts[{index}] holds {image_token}, the mark of the picture: remove it")
        answers: list[str] = []
        for start in range(0, len(texts), batch_size):
            batch = slice(start, start + batch_size)
            pictures = [prepare_picture(image, self.processor.image_processor) for image in images[batch]]
            inputs = self._inputs(pictures, texts[batch]).to(self.model.device, self._pixel_dtype)
            tokens = self.model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False, num_beams=1)
            new_tokens = tokens[:, inputs["input_ids"].shape[1] :]  # (batch, <= max_new_tokens)
            answers += [text.strip() for text in self.processor.batch_decode(new_tokens, skip_special_tokens=True)]
        return answers
