"""An OpenAI-compatible server: asked politely, again where that helps, and given up at once where it does not."""

import asyncio
import json
import os
import random
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dim.common.http import retry_after
from dim.enhancement.answers import PATHS, Answer, Request, read_answer, refused
from dim.errors import DIMError

if TYPE_CHECKING:
    import openai

LONGEST_PAUSE = 600.0  # seconds; a server that asks for more is left alone
_LONGEST_BACKOFF = 30.0
_OF_THE_ENTITY = {"content_filter", "content_policy_violation", "invalid_prompt"}  # codes of 400 that concern one text
_HOPELESS = {"insufficient_quota", "billing_hard_limit_reached"}  # codes of 429 that no waiting cures


class EndpointError(DIMError):
    """The server does not work for us, so the run ends; the message has the server's words.

    Example:
        Nobody answers at this address:

        >>> from pathlib import Path
        >>> from dim.enhancement.answers import Question
        >>> from dim.enhancement.enhance import enhance
        >>> from dim.enhancement.entity_text import EntityText
        >>> from dim.enhancement.ledger import Ledger
        >>> from dim.enhancement.prompts import load_prompt
        >>> people, question = [EntityText(f"e{n}", "Ada") for n in range(10)], Question("qwen", load_prompt())
        >>> ledger = Ledger(Path("answers.sqlite"))
        >>> enhance(people, question, Endpoint("http://127.0.0.1:9/v1", tries=1), ledger)
        Traceback (most recent call last):
        dim.enhancement.endpoint.EndpointError: 10 requests in a row failed; the last one: the connection failed ...
    """


class GaveUpError(Exception):
    """One request failed as often as it may.

    Example:
        Nobody answers at this address:

        >>> from dim.enhancement.answers import Question
        >>> from dim.enhancement.entity_text import EntityText
        >>> from dim.enhancement.prompts import load_prompt
        >>> request = Question("qwen", load_prompt()).about(EntityText("e1", "Ada"))
        >>> asyncio.run(Endpoint("http://127.0.0.1:9/v1", tries=2, backoff=0).ask(request))
        Traceback (most recent call last):
        dim.enhancement.endpoint.GaveUpError: the connection failed (...); given up after 2 tries
    """


class Endpoint:
    """A server, by the official client. The key comes from the environment variable `OPENAI_API_KEY`.

    Args:
        base_url: Address up to `/v1`; OpenAI's own by default. A server of your own needs no key.
        timeout: Seconds to wait for an answer.
        tries: How often to send a request at most.
        backoff: Seconds before the second try; doubled before each further one.

    Raises:
        DIMError: If `openai` is not installed, there is no key, or a number is out of range.

    Example:

        >>> server = Endpoint("http://127.0.0.1:8000/v1", timeout=30.0, backoff=1.0)
        >>> 0.75 <= server.pause(1) <= 1.25, 3.0 <= server.pause(3) <= 5.0  # seconds before the second and fourth try
        (True, True)
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
        # The client's own retries stop at two minutes of Retry-After, know nothing of one another and of bad JSON.
        self._options: dict[str, Any] = {"api_key": key, "base_url": base_url, "timeout": timeout, "max_retries": 0}
        self._tries, self._backoff = tries, backoff
        self._not_before = 0.0

    @cached_property
    def client(self) -> "openai.AsyncOpenAI":
        """The client of one event loop."""
        return self.openai.AsyncOpenAI(**self._options)

    def blocking_client(self) -> "openai.OpenAI":
        """A client without an event loop, for the calls around batches."""
        return self.openai.OpenAI(**self._options)

    async def close(self) -> None:
        """Closes the connections; the next request opens others."""
        await self.client.close()
        del self.client

    async def ask(self, request: Request) -> Answer:
        """Asks, and asks again after 408, 409, 429, 5xx, timeouts, dropped connections and malformed answers.

        After `Retry-After` (seconds or a date) no request of this endpoint is sent until then.

        Args:
            request: What to ask.

        Returns:
            The answer; one that the server declined by its content filter is an answer, too.

        Raises:
            EndpointError: At once for any other 4xx, an exhausted quota, or too long a `Retry-After`.
            GaveUpError: After the last try.
        """
        what = ""
        for attempt in range(self._tries):
            if attempt:
                await asyncio.sleep(self.pause(attempt))
            while (wait := self._not_before - time.monotonic()) > 0:  # another request may have been told meanwhile
                await asyncio.sleep(wait)
            try:
                return read_answer(request, await self._send(request))
            except self.openai.APIStatusError as error:
                if error.status_code == 400 and error.code in _OF_THE_ENTITY:
                    return refused(request, server_words(error))
                self.check(error)
                what = server_words(error)
            except self.openai.APITimeoutError:
                what = f"no answer within {self._options['timeout']:g} s"
            except self.openai.APIConnectionError as error:
                what = f"the connection failed ({error.__cause__ or error})"
            except ValueError as error:  # no JSON, or not the JSON that the API promises
                what = str(error)
        raise GaveUpError(f"{what}; given up after {self._tries} tries")

    def pause(self, attempt: int) -> float:
        """Seconds before a try: as the server asks, or longer each time; jitter keeps a crowd from coming as one."""
        backoff = min(self._backoff * 2 ** (attempt - 1), _LONGEST_BACKOFF) * random.uniform(0.75, 1.25)
        return max(backoff, self._not_before - time.monotonic())

    def check(self, error: "openai.APIStatusError") -> None:
        """Looks at an error that may pass.

        Args:
            error: What the client raised.

        Raises:
            EndpointError: If it will not.
        """
        status = error.status_code
        if (status < 500 and status not in (408, 409, 429)) or error.code in _HOPELESS:
            raise EndpointError(server_words(error)) from error
        wait = retry_after(error.response.headers.get("retry-after")) or 0.0
        if wait > LONGEST_PAUSE:
            raise EndpointError(f"{server_words(error)}; asks to wait {wait:.0f} s: start again later") from error
        self._not_before = max(self._not_before, time.monotonic() + wait)

    async def _send(self, request: Request) -> Any:
        # Not `chat.completions.create`: walking through its types takes as long as the request itself.
        path = PATHS[request.api].removeprefix("/v1")
        try:
            found = await self.client.post(path, body=request.body, cast_to=object)
            return json.loads(found) if isinstance(found, str) else found  # text: JSON under another content type
        except RecursionError as error:
            raise DIMError("the server's answer is no JSON") from error


def server_words(error: "openai.APIStatusError") -> str:
    """An error in the server's words, on one line."""
    body = error.body
    words = body.get("message") if isinstance(body, dict) else body
    text = words if isinstance(words, str) and words.strip() else error.response.text
    return f"the server says {error.status_code}: {' '.join(text.split())[:500] or '(nothing)'}"


__all__ = ["LONGEST_PAUSE", "Endpoint", "EndpointError", "GaveUpError", "server_words"]
