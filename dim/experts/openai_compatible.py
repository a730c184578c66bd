"""A model behind an OpenAI-compatible server as a visual expert."""

import asyncio
import base64
import io
from collections.abc import Sequence

from PIL import Image

from dim.enhancement.answers import UNREADABLE, Answer, Request, check_sendable, how_it_ended
from dim.enhancement.clients.client import EndpointError, GaveUpError, PaidError, Patience, RefusedError
from dim.enhancement.clients.openai_client import OpenAIClient
from dim.enhancement.entity_text import clean
from dim.experts.expert import NoAnswer, UnansweredError, one_prompt_each

MAX_SIDE = 1024  # pixels; servers scale larger pictures down themselves or refuse them


class OpenAIExpert:
    """Answers questions about pictures by chat completions: OpenAI, `transformers serve`, vLLM, llama.cpp.

    Pictures are sent as PNG, with a longer side of at most `MAX_SIDE` pixels.

    Args:
        model: Name of the model at the server.
        base_url: Address up to `/v1`; OpenAI's own by default.
        timeout: Seconds to wait for an answer.

    Raises:
        DIMError: If `openai` is not installed, there is no key for OpenAI's server, or the name or address is invalid.

    Example:

        >>> expert = OpenAIExpert("qwen", base_url="http://127.0.0.1:8000/v1")
        >>> expert.identity  # part of the key of a cached caption
        'qwen at http://127.0.0.1:8000/v1'
        >>> expert.answer([], "What is this?")  # one answer per picture; without pictures nothing is sent
        []
    """

    def __init__(self, model: str, base_url: str | None = None, *, timeout: float = 120.0) -> None:
        check_sendable("The name of the model", model)
        self.client = OpenAIClient(base_url, timeout=timeout)
        self.model = model
        self.identity = f"{model} at {self.client.address or 'OpenAI'}"  # without user, password and query
        self._patience = Patience()

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
            The answers, in the order of the pictures.

        Raises:
            DIMError: If the numbers of prompts and pictures differ, or a number is below 1.
            UnansweredError: If a picture got no answer: refused by the server or the model, cut off, or failed after
                several tries. It holds the others' answers.
        """
        texts = one_prompt_each(images, prompts, batch_size, max_new_tokens)
        return asyncio.run(self._answer(images, texts, batch_size, max_new_tokens))

    async def _answer(
        self, images: Sequence[Image.Image], texts: Sequence[str], concurrency: int, max_new_tokens: int
    ) -> list[str]:
        turn = asyncio.Semaphore(concurrency)
        stops: list[str] = []

        async def ask(image: Image.Image, text: str) -> str | NoAnswer:
            async with turn:
                if stops:
                    return NoAnswer("failed", f"not asked: {stops[0]}")
                try:
                    return await self._one(self._request(image, text, max_new_tokens))
                except EndpointError as error:
                    stops.append(str(error))
                    return NoAnswer("failed", str(error))

        try:
            answers = await asyncio.gather(*map(ask, images, texts))
        finally:
            await self.client.close()
        said = [answer for answer in answers if isinstance(answer, str)]
        if len(said) < len(answers):
            raise UnansweredError(answers, stops[0] if stops else "")
        return said

    async def _one(self, request: Request) -> str | NoAnswer:
        try:
            answer = await self._until_answered(request)
        except GaveUpError as error:
            self._patience.failed(error)
            kind = "refused" if isinstance(error, RefusedError) else "failed"
            return NoAnswer(kind, str(error).removeprefix("refused: "))
        self._patience.answered()
        return _caption(answer)

    async def _until_answered(self, request: Request) -> Answer:
        tries = 0
        while True:
            try:
                return await self.client.ask(request)
            except PaidError as error:
                tries += error.tries
                if tries >= error.most:
                    raise GaveUpError(f"{error}; given up after {tries} tries") from error

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


def _caption(answer: Answer) -> str | NoAnswer:
    """The text of an answer that is one."""
    text, ended = clean(answer.text), how_it_ended(answer.finish_reason)
    if answer.finish_reason == UNREADABLE and not text:
        what = f"the server's answer has no text ({clean(answer.raw)[:100] or 'nothing came'})"
        return NoAnswer("unreadable", what, is_paid=True)
    if answer.refusal or ended == "content_filter":
        return NoAnswer("refused", clean(answer.refusal)[:200] or "content filter", is_paid=True)
    if ended == "length":
        return NoAnswer("cut off", "the answer reached the limit of tokens: raise --max-new-tokens", is_paid=True)
    if ended == "aborted":
        what = f"the server ended the answer early ({clean(answer.finish_reason)})"
        return NoAnswer("cut off", what, is_paid=True)
    return text
