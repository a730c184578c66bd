"""The application: routes, their documentation, and what stands before them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST

from dim.linking.linker import DIMLinker
from dim.serving.entity_routes import add_entity_routes
from dim.serving.errors import ServiceError, add_handlers, documented
from dim.serving.guard import Guard
from dim.serving.link_route import add_link_route
from dim.serving.metrics import Measured
from dim.serving.schemas import Health, LinkRequest
from dim.serving.service import Service
from dim.serving.settings import Settings


def create_app(linker: DIMLinker, settings: Settings, model: str) -> FastAPI:
    """Makes the application; any ASGI server runs it, as one process.

    Args:
        linker: The linker, which from now on belongs to the application.
        settings: Limits.
        model: What `/health` calls the model.

    Returns:
        The application.

    Example:

        >>> from fastapi.testclient import TestClient
        >>> app = create_app(DIMLinker.from_pretrained("demo/model", kb="demo/kb"), Settings(), "my model")
        >>> with TestClient(app) as client:
        ...     answer = client.post("/link", json={"mentions": [{"sentence": "We saw [[Turkey]]."}], "k": 2})
        >>> [result] = answer.json()["results"]
        >>> result["mention"], sorted(entity["id"] for entity in result["entities"])
        ('Turkey', ['e1251', 'e1415'])
    """
    service = Service(linker, settings, model)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        """Starts the queue, and finishes what was taken."""
        service.queue.start()
        yield
        await service.close()

    app = FastAPI(title="DIM", summary="Multimodal entity linking", version=version("dim-mel"), lifespan=lifespan,
                  redoc_url=None)  # fmt: skip
    add_handlers(app)

    @app.get("/health", response_model=Health, tags=["service"], summary="Whether the service works, and with what",
             responses=documented())  # fmt: skip
    async def health() -> dict[str, Any]:
        """Names what answers."""
        if not service.queue.works:
            raise ServiceError(500, "The linker has stopped; start the service again.")
        return {"status": "ok", "model": service.model, "kb": service.kb_uri,
                "kb_version": service.entities.version, "entities": service.entities.count}  # fmt: skip

    @app.get("/metrics", tags=["service"], summary="Counters, as Prometheus reads them", response_class=Response,
             responses={200: {"content": {"text/plain": {}}}, **documented()})  # fmt: skip
    async def metrics() -> Response:
        """Gives the counters."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    add_link_route(app, service)
    add_entity_routes(app, service)
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(Measured, metrics=service.metrics)
    _document(app)
    return app


def _document(app: FastAPI) -> None:
    """Adds the body of `POST /link`, which FastAPI does not see since it comes in two forms."""
    made = app.openapi()
    schema = LinkRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    made["components"]["schemas"] |= schema.pop("$defs") | {"LinkRequest": schema}


__all__ = ["create_app"]
