"""Metrics of the service in the Prometheus format."""

from collections.abc import Callable

from fastapi import FastAPI, Response
from prometheus_client import CollectorRegistry, Gauge, Histogram, ProcessCollector
from prometheus_fastapi_instrumentator import Instrumentator
from prometheus_fastapi_instrumentator.metrics import Info, latency, requests

from dim.serving.errors import documented

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_MENTIONS = (1, 2, 4, 8, 16, 32, 64, 128)
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")


class Metrics:
    """Metrics of one service, with those of its process (memory, CPU, open files).

    Args:
        queue_size: Returns the number of waiting mentions.
    """

    def __init__(self, queue_size: Callable[[], float]):
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        queue = Gauge("dim_queue_mentions", "Waiting mentions and changes", registry=self.registry)
        queue.set_function(queue_size)
        self.batches = Histogram("dim_batch_mentions", "Mentions per batch", buckets=_MENTIONS, registry=self.registry)

    def add_to(self, app: FastAPI) -> None:
        """Counts and times the requests of an application, and adds the route `/metrics`.

        Args:
            app: The application, with its other middleware.
        """
        seconds = latency("dim_http_request_seconds", buckets=_SECONDS, should_include_method=False,
                          should_include_status=False, registry=self.registry)  # fmt: skip
        instrumentator = Instrumentator(should_group_status_codes=False, registry=self.registry)
        instrumentator.add(_limit_methods, requests("dim_http_requests_total", registry=self.registry), seconds)
        instrumentator.instrument(app).expose(
            app, tags=["service"], summary="Metrics in the Prometheus format", response_class=Response,
            responses={200: {"content": {"text/plain": {}}}, **documented()},
        )  # fmt: skip


def _limit_methods(info: Info) -> None:
    """Maps unknown methods to one label: a client can make up any number of them."""
    info.method = info.method if info.method in _METHODS else "other"
