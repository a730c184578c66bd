"""Checks of a request before it reaches the application: host, size and speed of the body, time for the response."""

import asyncio
import re
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dim.serving.memory import Lease, MemoryBudget
from dim.serving.refusals import ServiceError
from dim.serving.settings import Settings

LEASE = "dim.lease"  # key of the request's `Lease` in its ASGI scope
_LINGER = 1.0  # seconds of reading the rest of a refused body, so that the client sees the response
_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::[0-9]*)?")
_HEADERS = [(b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")]


class Guard:
    """ASGI middleware that reads the body within limits, and cancels the work for late or closed requests.

    Args:
        app: The application.
        settings: Limits.
        response: Makes the response of an error.
    """

    def __init__(
        self, app: ASGIApp, settings: Settings, response: Callable[[ServiceError], Response] = ServiceError.response
    ):
        self._app, self._settings, self._budget = app, settings, MemoryBudget(settings.max_memory)
        self._error_response = response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        response = _Response(send)
        with self._budget.lease() as lease:
            try:
                self._check(scope)
                body = await self._body(receive, lease)
            except ServiceError as error:
                await self._refuse(error, scope, receive, response)
                return
            scope[LEASE] = lease
            await self._respond(scope, body, receive, response)

    def _check(self, scope: Scope) -> None:
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1").lower()
        found = _HOST.fullmatch(host)
        if self._settings.allowed_hosts and (found is None or found[1] not in self._settings.allowed_hosts):
            raise ServiceError(421, "The service does not have this host name; see --allowed-host of dim serve.")
        if int(headers.get(b"content-length", b"0")) > self._settings.max_body:
            raise self._too_large()

    def _too_large(self) -> ServiceError:
        return ServiceError(413, f"The body has more than {self._settings.max_body} bytes.", {"Connection": "close"})

    async def _body(self, receive: Receive, lease: Lease) -> bytes:
        try:
            return await asyncio.wait_for(self._read(receive, lease), self._settings.timeout)
        except asyncio.TimeoutError as error:
            message = f"The body did not arrive within {self._settings.timeout:g} s."
            raise ServiceError(408, message, {"Connection": "close"}) from error

    async def _read(self, receive: Receive, lease: Lease) -> bytes:
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _closed()
            chunk, more = message.get("body", b""), message.get("more_body", False)
            if len(body) + len(chunk) > self._settings.max_body:
                raise self._too_large()
            lease.take(len(chunk))
            body += chunk
        return bytes(body)

    async def _refuse(self, error: ServiceError, scope: Scope, receive: Receive, response: "_Response") -> None:
        """Sends an error before the body is read, and keeps the connection open so that a writing client sees it."""
        last: list[Message] = []

        async def keep_last(message: Message) -> None:
            """Leaves the response open."""
            if message["type"] == "http.response.body":
                last.append({"type": "http.response.body", "body": b""})
                message = {**message, "more_body": True}
            await response(message)

        await self._error_response(error)(scope, receive, keep_last)
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(_drain(receive), _LINGER)
        await response(last[0])

    async def _respond(self, scope: Scope, body: bytes, receive: Receive, response: "_Response") -> None:
        """Runs the application until it responds, the time is over, or the client closes the connection."""
        closed = asyncio.ensure_future(receive())  # after the body, the next message is the disconnect
        request: Message = {"type": "http.request", "body": body, "more_body": False}
        waiting = [request]

        async def replay() -> Message:
            """Returns the body, and then the disconnect."""
            return waiting.pop() if waiting else await asyncio.shield(closed)

        work = asyncio.ensure_future(self._app(scope, replay, response))
        try:
            await asyncio.wait({work, closed}, timeout=self._settings.timeout, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await work
            elif not response.started:
                await _cancel(work)
                late = f"The response took more than {self._settings.timeout:g} s; started work may still be done."
                error = _closed() if closed.done() else ServiceError(504, late)
                await self._error_response(error)(scope, replay, response)
        finally:
            await _cancel(work)
            closed.cancel()


class _Response:
    """Sends a response with the headers of all responses, and records whether it has started."""

    def __init__(self, send: Send):
        self._send, self.started = send, False

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            message = {**message, "headers": [*message.get("headers", []), *_HEADERS]}
        await self._send(message)


def _closed() -> ServiceError:
    """The error for a closed connection; only the metrics see it."""
    return ServiceError(499, "The client closed the connection.")


async def _drain(receive: Receive) -> None:
    while (await receive()).get("more_body", False):
        pass


async def _cancel(work: "asyncio.Future[None]") -> None:
    """Cancels work and waits for its end."""
    if not work.done():
        work.cancel()
        await asyncio.wait([work])
