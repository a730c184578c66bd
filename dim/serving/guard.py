"""What a request meets before the application: its host, the size and speed of its body, the time for its answer."""

import asyncio
import re
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dim.serving.errors import ServiceError
from dim.serving.memory import Budget, Lease
from dim.serving.settings import Settings

LEASE = "dim.lease"  # where a request's scope keeps its share of the memory
_LINGER = 1.0  # seconds for which the rest of a refused body is read, so that the client sees the answer
_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::[0-9]*)?")
_HEADERS = [(b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")]


class _GoneError(Exception):
    """The client is gone."""


class Guard:
    """Reads a request's body, within limits, before anything is done with it, and cancels work nobody waits for.

    Args:
        app: What answers.
        settings: Limits.
    """

    def __init__(self, app: ASGIApp, settings: Settings):
        self._app, self._settings, self._budget = app, settings, Budget(settings.max_memory)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        with self._budget.lease() as lease:
            try:
                self._check(scope)
                body = await self._body(receive, lease)
            except ServiceError as error:
                await self._refuse(error, scope, receive, answer)
                return
            except _GoneError:
                return
            scope[LEASE] = lease
            await self._answer(scope, body, receive, answer)

    def _check(self, scope: Scope) -> None:
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1").lower()
        found = _HOST.fullmatch(host)
        if self._settings.allowed_hosts and (found is None or found[1] not in self._settings.allowed_hosts):
            raise ServiceError(421, "The service is not known by this host name; see --allowed-host of dim serve.")
        if int(headers.get(b"content-length", b"0")) > self._settings.max_body:
            raise self._too_large()

    def _too_large(self) -> ServiceError:
        return ServiceError(413, f"The body has more than {self._settings.max_body} bytes.", {"Connection": "close"})

    async def _body(self, receive: Receive, lease: Lease) -> bytes:
        try:
            return await asyncio.wait_for(self._read(receive, lease), self._settings.timeout)
        except asyncio.TimeoutError as error:
            what = f"The body did not arrive within {self._settings.timeout:g} s."
            raise ServiceError(408, what, {"Connection": "close"}) from error

    async def _read(self, receive: Receive, lease: Lease) -> bytes:
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _GoneError
            chunk, more = message.get("body", b""), message.get("more_body", False)
            if len(body) + len(chunk) > self._settings.max_body:
                raise self._too_large()
            lease.take(len(chunk))
            body += chunk
        return bytes(body)

    async def _refuse(self, error: ServiceError, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        """Answers before the body was read; closing at once would cost a client that still writes the answer."""
        last: list[Message] = []

        async def keep_last(message: Message) -> None:
            """Leaves the answer open."""
            if message["type"] == "http.response.body":
                last.append({"type": "http.response.body", "body": b""})
                message = {**message, "more_body": True}
            await answer(message)

        await error.response()(scope, receive, keep_last)
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(_drain(receive), _LINGER)
        await answer(last[0])

    async def _answer(self, scope: Scope, body: bytes, receive: Receive, answer: "_Answer") -> None:
        """Lets the application answer, in time, and while the client is there."""
        gone = asyncio.ensure_future(receive())  # once the body is read, this ends when the client is gone
        request: Message = {"type": "http.request", "body": body, "more_body": False}
        waiting = [request]

        async def replay() -> Message:
            """Gives the body once more."""
            return waiting.pop() if waiting else await asyncio.shield(gone)

        work = asyncio.ensure_future(self._app(scope, replay, answer))
        try:
            await asyncio.wait({work, gone}, timeout=self._settings.timeout, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await work
            elif not gone.done() and not answer.begun:
                await _cancelled(work)
                what = f"The answer took more than {self._settings.timeout:g} s; what had begun may still be done."
                await ServiceError(504, what).response()(scope, replay, answer)
        finally:
            await _cancelled(work)
            gone.cancel()


class _Answer:
    """Sends an answer, with the headers that all have, and knows whether it has begun."""

    def __init__(self, send: Send):
        self._send, self.begun = send, False

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            message = {**message, "headers": [*message.get("headers", []), *_HEADERS]}
        await self._send(message)


async def _drain(receive: Receive) -> None:
    while (await receive()).get("more_body", False):
        pass


async def _cancelled(work: "asyncio.Future[None]") -> None:
    """Cancels work and waits for its end."""
    if not work.done():
        work.cancel()
        await asyncio.wait([work])


__all__ = ["LEASE", "Guard"]
