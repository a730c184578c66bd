"""Routes of `/entities/{id}`: read, add, replace and delete an entity."""

import secrets
from enum import Enum
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from dim.errors import DIMError
from dim.kb.table import StorageError
from dim.serving.errors import ServiceError, documented, json_object
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
    writers = [Depends(_bearer(service.settings.token))] if service.settings.token is not None else []
    refusals = (401,) if writers else ()

    @app.get("/entities/{entity_id:path}", tags=_TAGS, response_model=Entity, summary="Read an entity",
                responses=documented(404, 422))  # fmt: skip
    async def get(entity_id: _Id) -> dict[str, Any]:
        """Reads an entity."""
        return _found(await service.queue.call(partial(service.entities.get, entity_id)), entity_id)

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
        pictures = await service.pictures.read(entity.images, "images", {}, request.scope[LEASE])
        fields = {**entity.model_dump(), "images": [{"bytes": content} for content, _ in pictures]}

        def change() -> tuple[bool, dict[str, Any] | None]:
            """Runs in the linker's thread."""
            return service.entities.put(entity_id, fields), service.entities.get(entity_id)

        try:
            new, found = await service.queue.call(change)
        except StorageError:
            raise
        except DIMError as error:
            raise ServiceError(422, str(error)) from error
        response.status_code = 201 if new else 200
        return _found(found, entity_id)

    @app.delete("/entities/{entity_id:path}", tags=_TAGS, status_code=204, summary="Delete an entity",
                   responses=documented(404, 422, *refusals), dependencies=writers)  # fmt: skip
    async def delete(entity_id: _Id) -> None:
        """Deletes an entity."""
        if not await service.queue.call(partial(service.entities.delete, entity_id)):
            _found(None, entity_id)


def _found(entity: dict[str, Any] | None, name: str) -> dict[str, Any]:
    if entity is None:
        raise ServiceError(404, f"There is no entity {name!r}.")
    return entity


def _bearer(token: str) -> Any:
    """Returns a dependency that checks the bearer token."""
    scheme = HTTPBearer(auto_error=False, description="Token of the service.")

    def check(given: Annotated[HTTPAuthorizationCredentials | None, Depends(scheme)]) -> None:
        """Compares the tokens in constant time."""
        sent = "" if given is None else given.credentials
        if not secrets.compare_digest(sent.encode(), token.encode()):
            raise ServiceError(401, "This needs the bearer token of the service.", {"WWW-Authenticate": "Bearer"})

    return check
