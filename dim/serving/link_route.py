"""Route `POST /link`: links mentions, sent as JSON or as multipart with pictures."""

import asyncio
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.datastructures import UploadFile

from dim.common.fields import FieldError
from dim.common.regions import cut_out
from dim.errors import DIMError
from dim.kb.table import StorageError
from dim.linking.mention import parse_brackets
from dim.linking.mention_rows import checked_mention
from dim.serving.errors import ServiceError, documented, json_object
from dim.serving.guard import LEASE
from dim.serving.memory import Lease
from dim.serving.schemas import MAX_MENTIONS, MAX_PICTURES, LinkRequest, LinkResponse, Mention
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
        marked = await asyncio.to_thread(_marked, asked.mentions)  # long sentences do not delay other requests
        lease = request.scope[LEASE]
        rows = [await _with_pictures(service, row, mention.images, f"mentions.{index}", uploads, lease)
                for index, (row, mention) in enumerate(zip(marked, asked.mentions, strict=True))]  # fmt: skip
        try:
            answer = await service.queue.link(rows, asked.k, asked.why)
        except StorageError:
            raise
        except DIMError as error:
            raise ServiceError(422, str(error)) from error
        results = [{name: row[name] for name in ("mention", "start", "end")} | links.to_dict()
                   for row, links in zip(rows, answer.links, strict=True)]  # fmt: skip
        return {"results": results, "kb_version": answer.version}


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


async def _with_pictures(
    service: Service, row: dict, images: list[str], where: str, uploads: dict[str, bytes], lease: Lease
) -> dict:
    """Adds the pictures of a mention to its row; of one with a region, that part alone."""
    pictures = [picture for _, picture in await service.pictures.read(images, f"{where}.images", uploads, lease)]
    try:
        pictures = [cut_out(picture, row["region"]) for picture in pictures]
    except FieldError as error:
        raise ServiceError(422, f"{where}: {error}.") from error
    return {**row, "image": pictures[0] if len(pictures) == 1 else pictures or None, "region": None}


def _marked(mentions: list[Mention]) -> list[dict]:
    """Converts mentions to rows of the linker, without pictures."""
    rows = []
    for index, mention in enumerate(mentions):
        try:
            rows.append(_row(mention))
        except DIMError as error:
            raise ServiceError(422, f"mentions.{index}: {error}") from error
    return rows


def _row(mention: Mention) -> dict:
    if (mention.start is None) != (mention.end is None):
        raise DIMError("Give both start and end, or neither.")
    alone = bool(mention.images) and not mention.sentence.strip()
    marked = mention.mention is None and mention.start is None and not alone
    if marked and len(parse_brackets(mention.sentence)[1]) > 1:
        raise DIMError("The sentence marks several mentions; send each one separately.")
    names = [f"images.{number}" for number in range(len(mention.images))]  # the pictures themselves are read later
    return checked_mention(mention.model_dump(exclude={"images"}) | {"image": names or None})
