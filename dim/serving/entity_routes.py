"""Routes of `/entities/{id}`: read, add, replace and delete an entity."""

from enum import Enum
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from dim.serving.errors import documented, json_object
from dim.serving.guard import LEASE
from dim.serving.schemas import Entity, GivenEntity
from dim.serving.service import Service

_Id = Annotated[str, Path(min_length=1, max_length=1_000, description="The entity's id.")]
_TAGS: list[str | Enum] = ["entities"]


def add_entity_routes(app: FastAPI, service: Service) -> None:
    """Adds the routes.

    Args:
        app: The application.
        service: State of the service.
    """
    writers = [Depends(_bearer(service))] if service.settings.token is not None else []
    refusals = (401,) if writers else ()

    @app.get("/entities/{entity_id:path}", tags=_TAGS, response_model=Entity, summary="Read an entity",
                responses=documented(404, 422))  # fmt: skip
    async def get(entity_id: _Id) -> dict[str, Any]:
        """Reads an entity."""
        return await service.entity(entity_id)

    @app.put(
        "/entities/{entity_id:path}",
        tags=_TAGS,
        response_model=Entity,
        summary="Add or replace an entity",
        responses={201: {"model": Entity, "description": "Added"}, **documented(400, 404, 422, *refusals)},
        dependencies=writers,
    )
    async def put(entity_id: _Id, entity: GivenEntity, request: Request, response: Response) -> dict[str, Any]:
        """Adds or replaces an entity and encodes it; the next request sees it."""
        json_object(await request.body())  # FastAPI keeps one of two equal keys
        new, found = await service.put(entity_id, entity, request.scope[LEASE])
        response.status_code = 201 if new else 200
        return found

    @app.delete("/entities/{entity_id:path}", tags=_TAGS, status_code=204, summary="Delete an entity",
                   responses=documented(404, 422, *refusals), dependencies=writers)  # fmt: skip
    async def delete(entity_id: _Id) -> None:
        """Deletes an entity."""
        await service.delete(entity_id)


def _bearer(service: Service) -> Any:
    """Returns a dependency that checks the bearer token."""
    scheme = HTTPBearer(auto_error=False, description="Token of the service.")

    def check(given: Annotated[HTTPAuthorizationCredentials | None, Depends(scheme)]) -> None:
        """Compares the tokens."""
        service.check_token("" if given is None else given.credentials)

    return check
