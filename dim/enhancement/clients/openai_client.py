"""The client of OpenAI-compatible servers (OpenAI, `transformers serve`, vLLM, llama.cpp), with retries."""

import asyncio
import logging
import os
import random
import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dim.common.http import retry_after
from dim.enhancement.answers import Answer, Api, Request
from dim.enhancement.clients.address import Mask, check_key, read_address
from dim.enhancement.clients.answer_body import cost, parse_body, read_answer
from dim.enhancement.clients.client import EndpointError, GaveUpError, PaidError, RefusedError
from dim.enhancement.clients.event_stream import parse_answer
from dim.enhancement.clients.limit_name import LimitName
from dim.enhancement.clients.server_error import ServerError, error_within
from dim.errors import DIMError

if TYPE_CHECKING:
    import openai

logger = logging.getLogger(__name__)

PATHS: dict[Api, str] = {"chat": "/v1/chat/completions", "responses": "/v1/responses"}
LONGEST_PAUSE = 600.0  # seconds; a longer Retry-After ends the run
_LONGEST_BACKOFF = 30.0
_LARGEST = 20_000_000  # bytes of an answer that are read


@dataclass(slots=True)
class _Received:
    """What has come of an answer with status 200, also if the rest never does."""

    has_begun: bool = False
    wait: float | None = None
    content: bytearray = field(default_factory=bytearray)


class OpenAIClient:
    """A [`Client`] by the official package `openai`. The key comes from the environment variable `OPENAI_API_KEY`.

    Args:
        base_url: Address up to `/v1`, or with the API's path and a query (`?api-version=...`); OpenAI's own by default.
            A server of your own needs no key. User and password in it go to the server alone.
        timeout: Seconds to wait for a whole answer.
        tries: How often to send a request at most.
        backoff: Seconds before the second try; doubled before each further one.

    Raises:
        DIMError: If `openai` is not installed, there is no key or one that a header cannot hold, or the address, the
            proxy of the environment or a number is not valid.

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
        if not 0 < timeout < float("inf") or tries < 1 or not 0 <= backoff < float("inf"):
            raise DIMError(f"timeout={timeout}, tries={tries} and backoff={backoff} must be above 0, 1 and 0 or more.")
        try:
            import openai
        except ImportError as error:
            raise DIMError("The client `openai` is not installed: pip install 'dim-mel[enhance]'.") from error
        given = os.environ.get("OPENAI_API_KEY")
        key = given or ("none" if base_url else None)
        if key is None:
            raise DIMError("Set OPENAI_API_KEY, or give a server of your own by --base-url.")
        check_key(key)
        address = read_address(base_url) if base_url else None
        self.openai = openai
        self.address = address.url if address else None  # without secrets
        self.mask = Mask([*([given] if given else []), *(address.secrets() if address else [])])
        # Retries of `openai` itself ignore a Retry-After above two minutes, and other requests.
        limits = openai.Timeout(timeout, connect=timeout / 2)
        self._options: dict[str, Any] = {"api_key": key, "base_url": self.address, "timeout": limits, "max_retries": 0}
        self._http: dict[str, Any] = {"auth": address.credentials if address else None, "follow_redirects": False}
        if address and address.query:
            azure = {"api-key": key} if "api-version" in address.query else {}
            self._options |= {"default_query": address.query, "default_headers": azure}
        self._timeout, self._tries, self._backoff = timeout, tries, backoff
        self._not_before = 0.0
        self.limit = LimitName()
        self._check_environment()

    def _check_environment(self) -> None:
        """Finds a proxy or certificates that no connection can use."""
        import httpx2  # of `openai`

        try:
            self.blocking_client().close()
        except (ImportError, ValueError, OSError, httpx2.InvalidURL) as error:  # their texts may hold a password
            hint = "SOCKS needs the package `socksio`" if isinstance(error, ImportError) else "correct or unset it"
            raise DIMError(
                f"A proxy or certificate of the environment (ALL_PROXY, SSL_CERT_FILE ...) cannot be used: {hint}."
            ) from error

    @cached_property
    def _connection(self) -> "openai.AsyncOpenAI":  # of one event loop
        return self.openai.AsyncOpenAI(**self._options, http_client=self.openai.DefaultAsyncHttpxClient(**self._http))

    def blocking_client(self) -> "openai.OpenAI":
        """A client of the package `openai` that needs no event loop."""
        return self.openai.OpenAI(**self._options, http_client=self.openai.DefaultHttpxClient(**self._http))

    async def close(self) -> None:
        """Closes the connections; the next request opens new ones."""
        await self._connection.close()
        del self._connection

    async def ask(self, request: Request) -> Answer:
        """Sends a request, and again after 408, 409, 429, 5xx, and connections that fail before an answer begins.

        After `Retry-After` (seconds or a date) no request of this client is sent until then. What comes with status
        200 is an answer, also if it cannot be read or breaks off: it is paid for, and not asked for again.

        Args:
            request: What to ask.

        Returns:
            The answer; a refusal by the server's content filter is an answer, too.

        Raises:
            EndpointError: At once for a wrong key, an exhausted quota, a bad option, or too long a `Retry-After`.
            RefusedError: If the server does not take this request, as one that is too long.
            PaidError: After a timeout, and for an answer that holds an error which passes.
            GaveUpError: After the last try.
        """
        what = ""
        for attempt in range(self._tries):
            if attempt:
                await asyncio.sleep(self.pause(attempt))
            while (wait := self._not_before - time.monotonic()) > 0:  # another request may have met a Retry-After
                await asyncio.sleep(wait)
            try:
                found = await self._send(request)
            except TimeoutError as error:
                what, spent = f"no answer within {self._timeout:g} s", (request.most_tokens, request.most_answer_tokens)
                raise PaidError(what, spent, attempt + 1, self._tries) from error
            except self.openai.APIConnectionError as error:
                what = f"the connection failed ({self.mask(' '.join(str(error.__cause__ or error).split())[:500])})"
                continue
            if isinstance(found, _Received):
                return await self._judge(request, found, attempt + 1)
            if found.concerns == "content":
                return self._declined(request, found)
            what = self._note(found)
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
            return f"no answer within {self._timeout:g} s"
        if not isinstance(error, self.openai.APIStatusError):
            return f"the connection failed ({self.mask(' '.join(str(error.__cause__ or error).split())[:500])})"
        found = _server_error(error)
        if found.concerns != "passes":
            raise EndpointError(self.mask(found.words)) from error
        return self._note(found)

    async def _send(self, request: Request) -> "_Received | ServerError":
        """Sends a request once, or twice if the server wants another name of the limit."""
        sent = self.limit.name
        found = await self._once(request)
        if isinstance(found, ServerError) and request.api == "chat" and self.limit.learn(found, sent):
            return await self._once(request)
        return found

    async def _once(self, request: Request) -> "_Received | ServerError":
        received = _Received()
        try:
            await asyncio.wait_for(self._receive(request.api, self.limit.body(request), received), self._timeout)
        except self.openai.APIStatusError as error:
            return _server_error(error)
        except self.openai.APITimeoutError as error:  # only of connecting: the whole has a timeout of its own
            raise self.openai.APIConnectionError(message="timeout", request=error.request) from error
        except (asyncio.TimeoutError, TimeoutError) as error:
            if not received.has_begun:
                raise TimeoutError from error
        return received

    async def _receive(self, api: Api, body: dict[str, Any], received: _Received) -> None:
        import httpx2  # of `openai`

        # Not `chat.completions.create`: walking through its types takes as long as the request itself.
        response: Any = await self._connection.post(
            PATHS[api].removeprefix("/v1"), body=body, cast_to=httpx2.Response, stream=True,
            stream_cls=self.openai.AsyncStream[object],
        )  # fmt: skip
        received.has_begun, received.wait = True, retry_after(response.headers.get("retry-after"))
        try:
            async for chunk in response.aiter_bytes():
                received.content += chunk
                if len(received.content) > _LARGEST:
                    break
        except (httpx2.HTTPError, OSError) as error:
            logger.info("An answer broke off after %d bytes (%s).", len(received.content), type(error).__name__)
        finally:
            await response.aclose()

    async def _judge(self, request: Request, received: _Received, tries: int) -> Answer:
        """The answer in what came, which is paid for."""
        text = self.mask.whole(received.content.decode("utf-8", "replace"))
        body = parse_answer(text)
        spent = cost(request, body)
        error = error_within(body)
        if error is None:
            answer = read_answer(request, body, text)
            if request.api == "chat" and answer.output_tokens > request.most_answer_tokens:
                self.limit.outgrown()
            plain, refusal, raw = self.mask.whole(answer.text), self.mask(answer.refusal), self.mask(answer.raw)
            return replace(answer, text=plain, refusal=refusal, raw=raw)
        error = replace(error, wait=received.wait)
        if error.concerns == "content":
            return self._declined(request, error, spent)
        what = self._note(error, spent)
        if tries < self._tries:
            await asyncio.sleep(self.pause(tries))
        raise PaidError(what, spent, tries, self._tries)

    def _declined(self, request: Request, error: ServerError, spent: tuple[int, int] = (0, 0)) -> Answer:
        return Answer("", self.mask(error.words), request.body["model"], "content_filter", None, *spent)

    def _note(self, error: ServerError, spent: tuple[int, int] = (0, 0)) -> str:
        """Notes an error that passes, and returns its words; raises any other."""
        words = self.mask(error.words)
        if error.concerns == "this request":
            is_of_its_size = error.is_too_long or error.status == 413
            raise RefusedError(f"refused: {words}", spent, is_of_its_size)
        if error.concerns == "all requests":
            raise EndpointError(words, spent)
        wait = error.wait or 0.0
        if wait > LONGEST_PAUSE:
            raise EndpointError(f"{words}; asks to wait {wait:.0f} s: start again later", spent)
        self._not_before = max(self._not_before, time.monotonic() + wait)
        return words


def _server_error(error: "openai.APIStatusError") -> ServerError:
    headers = error.response.headers
    return ServerError(error.status_code, parse_body(error.response.content), retry_after(headers.get("retry-after")))
