"""What a service counts, in the format of Prometheus."""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_MENTIONS = (1, 2, 4, 8, 16, 32, 64, 128)
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")


class Metrics:
    """Counters of one service, beside those of the process (memory, CPU, open files).

    Args:
        queue_size: Tells how many mentions wait.
    """

    def __init__(self, queue_size: Callable[[], float]):
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        queue = Gauge("dim_queue_mentions", "Mentions and changes that wait", registry=self.registry)
        queue.set_function(queue_size)
        self.batches = Histogram("dim_batch_mentions", "Mentions linked together", buckets=_MENTIONS,
                                 registry=self.registry)  # fmt: skip
        self.requests = Counter("dim_http_requests", "Requests", ["route", "method", "code"], registry=self.registry)
        self.seconds = Histogram("dim_http_request_seconds", "Seconds from the first byte of a request to the last of "
                                 "its answer", ["route"], buckets=_SECONDS, registry=self.registry)  # fmt: skip

    def text(self) -> bytes:
        """All of them, as Prometheus reads them."""
        return generate_latest(self.registry)


class Measured:
    """Counts the requests of an application.

    Args:
        app: The application.
        metrics: Where to.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics):
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, code = time.perf_counter(), "none"  # of a client that went away

        async def watched(message: Message) -> None:
            """Notes the status."""
            nonlocal code
            if message["type"] == "http.response.start":
                code = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            code = "500"
            raise
        finally:
            route = getattr(scope.get("route"), "path_format", "other")  # an id would make a label of its own
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.requests.labels(route, method, code).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - began)


__all__ = ["Measured", "Metrics"]
