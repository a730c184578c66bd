"""Route `POST /link`: links mentions, sent as JSON or as multipart with pictures."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.datastructures import UploadFile

from dim.serving.errors import documented, json_object
from dim.serving.guard import LEASE
from dim.serving.refusals import ServiceError
from dim.serving.schemas import MAX_MENTIONS, MAX_PICTURES, LinkRequest, LinkResponse
from dim.serving.service import Service

_JSON, _MULTIPART, _PART = "application/json", "multipart/form-data", "request"
_REFERENCE = {"$ref": "#/components/schemas/LinkRequest"}
_BODY = {
    "required": True,
    "content": {
        _JSON: {
            "schema": _REFERENCE,
            "examples": {"one": {"value": {"mentions": [{"sentence": "[[Turkey]] was everywhere that autumn."}]}}},
        },
        _MULTIPART: {
            "schema": {
                "type": "object",
                "required": [_PART],
                "properties": {_PART: _REFERENCE},
                "additionalProperties": {"type": "string", "format": "binary"},
                "description": "`request` is JSON; the other parts are pictures, which it refers to as `upload:PART`.",
            },
            "encoding": {_PART: {"contentType": _JSON}},
        },
    },
}


def add_link_route(app: FastAPI, service: Service) -> None:
    """Adds the route.

    Args:
        app: The application.
        service: State of the service.
    """

    @app.post(
        "/link",
        tags=["link"],
        response_model=LinkResponse,
        summary="Link mentions to entities",
        responses=documented(400, 415, 422),
        openapi_extra={"requestBody": _BODY},
    )
    async def link(request: Request) -> dict[str, Any]:
        """Links mentions to entities."""
        asked, uploads = await _read(request)
        mentions = {f"mentions.{index}": mention for index, mention in enumerate(asked.mentions)}
        rows = await service.rows(mentions, request.scope[LEASE], uploads)
        return await service.link(rows, asked.k, asked.why)


async def _read(request: Request) -> tuple[LinkRequest, dict[str, bytes]]:
    """Parses the body; returns the request and the uploaded pictures."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == _JSON:
        return _parsed(await request.body()), {}
    if kind != _MULTIPART:
        raise ServiceError(415, f"Send {_JSON} or {_MULTIPART}.")
    most = MAX_MENTIONS * MAX_PICTURES + 1
    form = await request.form(max_files=most, max_fields=most, max_part_size=len(await request.body()))
    parts: dict[str, bytes] = {}
    for name, part in form.multi_items():
        if name in parts:
            raise ServiceError(422, f"The part {name[:80]!r} is sent twice.")
        if not isinstance(part, UploadFile) and name != _PART:
            raise ServiceError(422, f"The part {name[:80]!r} is not a file; a picture needs a file name.")
        parts[name] = await part.read() if isinstance(part, UploadFile) else part.encode()
    if _PART not in parts:
        raise ServiceError(422, f"A multipart body needs the part {_PART!r} with the JSON.")
    return _parsed(parts.pop(_PART)), parts


def _parsed(body: bytes) -> LinkRequest:
    try:
        return LinkRequest.model_validate(json_object(body))
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False, include_input=False)) from error
