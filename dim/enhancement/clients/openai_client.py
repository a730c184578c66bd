"""The client of OpenAI-compatible servers (OpenAI, `transformers serve`, vLLM, llama.cpp), with retries."""

import asyncio
import json
import os
import random
import time
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dim.common.http import retry_after
from dim.enhancement.answers import Answer, Api, Request
from dim.enhancement.clients.client import EndpointError, GaveUpError
from dim.errors import DIMError

if TYPE_CHECKING:
    import openai

PATHS: dict[Api, str] = {"chat": "/v1/chat/completions", "responses": "/v1/responses"}
LONGEST_PAUSE = 600.0  # seconds; a longer Retry-After ends the run
_LONGEST_BACKOFF = 30.0
_OF_THE_ENTITY = {"content_filter", "content_policy_violation", "invalid_prompt"}  # codes of 400 that concern one text
_HOPELESS = {"insufficient_quota", "billing_hard_limit_reached"}  # codes of 429 that do not pass


class OpenAIClient:
    """A [`Client`] by the official package `openai`. The key comes from the environment variable `OPENAI_API_KEY`.

    Args:
        base_url: Address up to `/v1`; OpenAI's own by default. A server of your own needs no key.
        timeout: Seconds to wait for an answer.
        tries: How often to send a request at most.
        backoff: Seconds before the second try; doubled before each further one.

    Raises:
        DIMError: If `openai` is not installed, there is no key, or a number is out of range.

    Example:
        No server listens at this address:

        >>> from dim.enhancement.answers import Question
        >>> from dim.enhancement.entity_text import EntityText
        >>> from dim.enhancement.prompts import load_prompt
        >>> client = OpenAIClient("http://127.0.0.1:9/v1", tries=2, backoff=0)
        >>> request = Question("qwen", load_prompt()).about(EntityText("e1", "Ada"))
        >>> asyncio.run(client.ask(request))
        Traceback (most recent call last):
        dim.enhancement.clients.client.GaveUpError: the connection failed (...); given up after 2 tries
    """

    def __init__(
        self, base_url: str | None = None, *, timeout: float = 120.0, tries: int = 6, backoff: float = 1.0
    ) -> None:
        if timeout <= 0 or tries < 1 or backoff < 0:
            raise DIMError(f"timeout={timeout}, tries={tries} and backoff={backoff} must be above 0, 1 and 0 or more.")
        try:
            import openai
        except ImportError as error:
            raise DIMError("The client `openai` is not installed: pip install 'dim-mel[enhance]'.") from error
        key = os.environ.get("OPENAI_API_KEY") or ("none" if base_url else None)
        if key is None:
            raise DIMError("Set OPENAI_API_KEY, or give a server of your own by --base-url.")
        if base_url is not None and not base_url.startswith(("http://", "https://")):
            raise DIMError(f"--base-url is {base_url!r}: it must start with http:// or https://.")
        self.openai = openai
        # Retries of `openai` itself ignore a Retry-After above two minutes, other requests, and malformed JSON.
        self._options: dict[str, Any] = {"api_key": key, "base_url": base_url, "timeout": timeout, "max_retries": 0}
        self._tries, self._backoff = tries, backoff
        self._not_before = 0.0

    @cached_property
    def _connection(self) -> "openai.AsyncOpenAI":
        return self.openai.AsyncOpenAI(**self._options)  # of one event loop

    def blocking_client(self) -> "openai.OpenAI":
        """A client of the package `openai` that needs no event loop."""
        return self.openai.OpenAI(**self._options)

    async def close(self) -> None:
        """Closes the connections; the next request opens new ones."""
        await self._connection.close()
        del self._connection

    async def ask(self, request: Request) -> Answer:
        """Sends a request, and again after 408, 409, 429, 5xx, timeouts, dropped connections and malformed answers.

        After `Retry-After` (seconds or a date) no request of this client is sent until then.

        Args:
            request: What to ask.

        Returns:
            The answer; a refusal by the server's content filter is an answer, too.

        Raises:
            EndpointError: At once for any other 4xx, an exhausted quota, or too long a `Retry-After`.
            GaveUpError: After the last try.
        """
        what = ""
        for attempt in range(self._tries):
            if attempt:
                await asyncio.sleep(self.pause(attempt))
            while (wait := self._not_before - time.monotonic()) > 0:  # another request may have met a Retry-After
                await asyncio.sleep(wait)
            try:
                return read_answer(request, await self._send(request))
            except self.openai.APIError as error:
                if isinstance(error, self.openai.BadRequestError) and error.code in _OF_THE_ENTITY:
                    model = request.body["model"]
                    return Answer("", _words(error), model, "content_filter", None, input_tokens=0, output_tokens=0)
                what = self.failure(error)
            except ValueError as error:  # not JSON, or not the JSON of the API
                what = str(error)
        raise GaveUpError(f"{what}; given up after {self._tries} tries")

    def pause(self, attempt: int) -> float:
        """Seconds before a try: exponential backoff with jitter, or longer where the server asks for it."""
        backoff = min(self._backoff * 2 ** (attempt - 1), _LONGEST_BACKOFF) * random.uniform(0.75, 1.25)
        return max(backoff, self._not_before - time.monotonic())

    def failure(self, error: "openai.APIError") -> str:
        """Notes an error that another try may cure.

        Args:
            error: Raised by the package `openai`.

        Returns:
            What failed, on one line.

        Raises:
            EndpointError: If no other try can succeed.
        """
        if isinstance(error, self.openai.APITimeoutError):
            return f"no answer within {self._options['timeout']:g} s"
        if not isinstance(error, self.openai.APIStatusError):
            return f"the connection failed ({error.__cause__ or error})"
        status, words = error.status_code, _words(error)
        if (status < 500 and status not in (408, 409, 429)) or error.code in _HOPELESS:
            raise EndpointError(words) from error
        wait = retry_after(error.response.headers.get("retry-after")) or 0.0
        if wait > LONGEST_PAUSE:
            raise EndpointError(f"{words}; asks to wait {wait:.0f} s: start again later") from error
        self._not_before = max(self._not_before, time.monotonic() + wait)
        return words

    async def _send(self, request: Request) -> Any:
        # Not `chat.completions.create`: walking through its types takes as long as the request itself.
        path = PATHS[request.api].removeprefix("/v1")
        try:
            found = await self._connection.post(path, body=request.body, cast_to=object)
            return json.loads(found) if isinstance(found, str) else found  # text: JSON under another content type
        except RecursionError as error:
            raise DIMError("the server's answer is not valid JSON") from error


def _words(error: "openai.APIStatusError") -> str:
    """The server's own words about an error, on one line."""
    body = error.body
    words = body.get("message") if isinstance(body, dict) else body
    text = words if isinstance(words, str) and words.strip() else error.response.text
    return f"the server says {error.status_code}: {' '.join(text.split())[:500] or '(nothing)'}"


def read_answer(request: Request, body: Any) -> Answer:
    """Reads the body of a server's response.

    Args:
        request: What was asked.
        body: Parsed JSON.

    Returns:
        The answer. Where the server does not count tokens, the request's bounds stand for them, so that a budget holds.

    Raises:
        DIMError: If the body is not what the API promises.

    Example:

        >>> from dim.enhancement.answers import Question
        >>> from dim.enhancement.entity_text import EntityText
        >>> from dim.enhancement.prompts import Prompt
        >>> request = Question("qwen", Prompt("short", "Who is this?")).about(EntityText("Q7259", "Ada Lovelace"))
        >>> message = {"role": "assistant", "content": "A British mathematician."}
        >>> body = {"model": "qwen", "choices": [{"message": message, "finish_reason": "stop"}],
        ...         "usage": {"prompt_tokens": 120, "completion_tokens": 5}}
        >>> answer = read_answer(request, body)
        >>> answer.text, answer.finish_reason, answer.output_tokens
        ('A British mathematician.', 'stop', 5)
    """
    try:
        text, refusal, finish = _chat(body) if request.api == "chat" else _responses(body)
        if not all(isinstance(value, str) for value in (text, refusal, finish, body["model"])):
            raise TypeError("text, refusal, finish_reason and model must be text")
        usage = body.get("usage")
        names = ("prompt_tokens", "completion_tokens") if request.api == "chat" else ("input_tokens", "output_tokens")
        tokens = (request.most_tokens, request.most_answer_tokens) if usage is None else [int(usage[n]) for n in names]
        return Answer(text.strip(), refusal.strip(), body["model"], finish, usage, *tokens)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise DIMError(f"the server's answer is malformed ({type(error).__name__}: {error})") from error


def _chat(body: Mapping[str, Any]) -> tuple[str, str, str]:
    (choice,) = body["choices"]
    message = choice["message"]
    return message.get("content") or "", message.get("refusal") or "", choice["finish_reason"]


def _responses(body: Mapping[str, Any]) -> tuple[str, str, str]:
    if body["status"] == "failed":
        raise DIMError(str(body.get("error")))
    parts = [part for item in body["output"] if item["type"] == "message" for part in item["content"]]
    text = "".join(part["text"] for part in parts if part["type"] == "output_text")
    refusal = "".join(part["refusal"] for part in parts if part["type"] == "refusal")
    if body["status"] == "completed":
        return text, refusal, "stop"
    reason = body["incomplete_details"]["reason"]
    return text, refusal, "length" if reason == "max_output_tokens" else reason
