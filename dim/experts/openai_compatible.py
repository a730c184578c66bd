"""A model behind an OpenAI-compatible server as a visual expert."""

import asyncio
import base64
import io
from collections.abc import Sequence

from PIL import Image

from dim.enhancement.answers import Answer, Request
from dim.enhancement.clients.openai_client import OpenAIClient
from dim.experts.expert import one_prompt_each

MAX_SIDE = 1024  # pixels; servers scale larger pictures down themselves or refuse them


class OpenAIExpert:
    """Answers questions about pictures by chat completions: OpenAI, `transformers serve`, vLLM, llama.cpp.

    Pictures are sent as PNG, with a longer side of at most `MAX_SIDE` pixels.

    Args:
        model: Name of the model at the server.
        base_url: Address up to `/v1`; OpenAI's own by default.
        timeout: Seconds to wait for an answer.

    Raises:
        DIMError: If `openai` is not installed, or there is no key for OpenAI's server.

    Example:

        >>> expert = OpenAIExpert("qwen", base_url="http://127.0.0.1:8000/v1")
        >>> expert.identity  # part of the key of a cached caption
        'qwen at http://127.0.0.1:8000/v1'
        >>> expert.answer([], "What is this?")  # one answer per picture; without pictures nothing is sent
        []
    """

    def __init__(self, model: str, base_url: str | None = None, *, timeout: float = 120.0) -> None:
        self.client = OpenAIClient(base_url, timeout=timeout)
        self.model = model
        self.identity = f"{model} at {base_url or 'OpenAI'}"

    def answer(
        self, images: Sequence[Image.Image], prompts: str | Sequence[str], batch_size: int = 8, max_new_tokens: int = 20
    ) -> list[str]:
        """Answers one question about each picture.

        Args:
            images: RGB pictures, as `dim.common.pictures.load_picture` returns them.
            prompts: One for all pictures, or one for each.
            batch_size: Requests on the way at once.
            max_new_tokens: Maximum length of an answer, in tokens.

        Returns:
            The answers, in the order of the pictures; empty if the model declines.

        Raises:
            DIMError: If the numbers of prompts and pictures differ, a number is below 1, or the server does not answer
                (`EndpointError` at once, `GaveUpError` after several tries).
        """
        texts = one_prompt_each(images, prompts, batch_size, max_new_tokens)
        return asyncio.run(self._answer(images, texts, batch_size, max_new_tokens))

    async def _answer(
        self, images: Sequence[Image.Image], texts: Sequence[str], concurrency: int, max_new_tokens: int
    ) -> list[str]:
        turn = asyncio.Semaphore(concurrency)

        async def ask(image: Image.Image, text: str) -> Answer:
            async with turn:
                return await self.client.ask(self._request(image, text, max_new_tokens))

        try:
            answers = await asyncio.gather(*map(ask, images, texts))
        finally:
            await self.client.close()
        return [answer.text for answer in answers]

    def _request(self, image: Image.Image, text: str, max_new_tokens: int) -> Request:
        small = image.copy()
        small.thumbnail((MAX_SIDE, MAX_SIDE))
        buffer = io.BytesIO()
        small.save(buffer, "PNG")
        url = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
        content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
        body = {
            "model": self.model,
            "stream": False,
            "messages": [{"role": "user", "content": content}],
            "max_completion_tokens": max_new_tokens,
        }
        return Request("", "chat", body, 0, 0)
