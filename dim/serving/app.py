"""The ASGI application of the service: routes, middleware and OpenAPI document."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI

from dim.kb.table import StorageError
from dim.linking.linker import DIMLinker
from dim.serving.entity_routes import add_entity_routes
from dim.serving.errors import add_handlers, documented
from dim.serving.guard import Guard
from dim.serving.link_route import add_link_route
from dim.serving.metrics import Metrics
from dim.serving.refusals import ServiceError, without_folder
from dim.serving.schemas import Health, LinkRequest
from dim.serving.service import Service
from dim.serving.settings import Settings


def create_app(linker: DIMLinker, settings: Settings, model: str) -> FastAPI:
    """Creates the application, which any ASGI server can run as one process.

    Args:
        linker: The linker; do not use it elsewhere.
        settings: Limits.
        model: Name of the model in `/health`.

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
    metrics = Metrics(lambda: service.queue.size)
    service = Service(linker, settings, model, metrics.batches.observe)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        """Starts the queue, and at the end finishes the accepted work."""
        service.start()
        yield
        await service.close()

    app = FastAPI(title="DIM", summary="Multimodal entity linking", version=version("dim-mel"), lifespan=lifespan,
                  redoc_url=None)  # fmt: skip
    add_handlers(app)

    @app.get("/health", response_model=Health, tags=["service"], summary="State, model and knowledge base",
             responses=documented())  # fmt: skip
    async def health() -> dict[str, Any]:
        """Returns the model and the knowledge base in use."""
        if not service.queue.running:
            raise ServiceError(500, "The linker has stopped; start the service again.")
        failure = service.queue.failure
        if failure is not None:
            known = isinstance(failure, StorageError)
            raise ServiceError(503, without_folder(str(failure)) if known else "The last request failed; see the log.")
        return {"status": "ok", "model": service.model, "kb": service.kb_uri,
                "kb_version": service.entities.version, "entities": service.entities.count}  # fmt: skip

    add_link_route(app, service)
    add_entity_routes(app, service)
    app.add_middleware(Guard, settings=settings)
    metrics.add_to(app)
    _document(app)
    return app


def _document(app: FastAPI) -> None:
    """Adds the schema of `POST /link`, which FastAPI cannot derive for a body of two content types."""
    document = app.openapi()
    schema = LinkRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    document["components"]["schemas"] |= schema.pop("$defs") | {"LinkRequest": schema}
