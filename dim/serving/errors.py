"""Errors of the HTTP API: `{"error": {"code": ..., "message": ...}}`, never a stack trace."""

import logging
import re
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import Match

from dim.common.jsonl import parse_object
from dim.errors import DIMError
from dim.kb.table import StorageError

logger = logging.getLogger(__name__)

_SHOWN = 3  # validation errors in one message
_CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    408: "slow_request",
    413: "too_large",
    415: "unsupported_media_type",
    421: "wrong_host",
    422: "invalid",
    429: "busy",
    401: "unauthorized",
    499: "closed",
    500: "internal",
    503: "unavailable",
    504: "timeout",
}


class ErrorDetail(BaseModel):
    """Details of an error: a code for programs, and a sentence for people."""

    code: str
    message: str


class ErrorBody(BaseModel):
    """Body of every error response."""

    error: ErrorDetail


class ServiceError(Exception):
    """Error that becomes a response.

    Args:
        status: HTTP status.
        message: One line: what, where, and what to do.
        headers: Additional headers.
    """

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers

    def response(self) -> JSONResponse:
        """Returns the HTTP response."""
        return _response(self.status, self.message, self.headers)


class BusyError(ServiceError):
    """Refusal of a request while the service is at a limit.

    Args:
        what: The limit, as a sentence without its full stop.
    """

    def __init__(self, what: str):
        super().__init__(429, f"{what}: try again in a second.", {"Retry-After": "1"})


def documented(*statuses: int) -> dict[int | str, dict]:
    """Returns the error responses of a route, for the OpenAPI document.

    Args:
        *statuses: HTTP statuses in addition to those of every route.

    Returns:
        Value for `responses` of FastAPI.
    """
    return {status: {"model": ErrorBody, "description": HTTPStatus(status).phrase}
            for status in (*statuses, 408, 413, 421, 429, 500, 503, 504)}  # fmt: skip


def json_object(body: bytes) -> dict[str, Any]:
    """Parses the JSON object of a request.

    Args:
        body: The body.

    Returns:
        The object.

    Raises:
        ServiceError: If it is not a JSON object, or has a key twice, of which other parsers keep one.
    """
    try:
        return parse_object(body)
    except DIMError as error:
        raise ServiceError(422, f"The body cannot be read: {error}.") from error


def add_handlers(app: FastAPI) -> None:
    """Gives every error of an application the same body.

    Args:
        app: The application.
    """

    @app.exception_handler(ServiceError)
    async def of_service(_request: Request, error: ServiceError) -> JSONResponse:
        """Handles errors of the service."""
        return error.response()

    @app.exception_handler(StorageError)
    async def of_storage(_request: Request, error: StorageError) -> JSONResponse:
        """Handles a knowledge base that cannot be read or written."""
        logger.error("%s", error)
        return _response(503, without_folder(str(error)))

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> JSONResponse:
        """Handles errors of Starlette."""
        if error.status_code == 404:
            return _response(404, "There is nothing at this path; see /docs for the routes.")
        if error.status_code == 405:
            allowed = ", ".join(_methods(app, request))
            return _response(405, f"This path accepts {allowed}.", {"Allow": allowed})
        return _response(error.status_code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def of_validation(_request: Request, error: RequestValidationError) -> JSONResponse:
        """Handles validation errors of pydantic."""
        return _response(422, _summary(list(error.errors())))

    @app.exception_handler(Exception)
    async def of_bugs(_request: Request, _error: Exception) -> JSONResponse:
        """Handles bugs, without details of the code."""
        return _response(500, "Internal error; see the log of the service.")


def without_folder(message: str) -> str:
    """Shortens each absolute path in a message to its last part: clients need not know the folders of the server.

    Example:

        >>> without_folder("The knowledge base /srv/kb is damaged (Not found: srv/kb/entities.lance/1.lance).")
        'The knowledge base kb is damaged (Not found: 1.lance).'
    """
    return re.sub(r"(?<![^\s'(])/?(?:[^\s/'()]+/)+", "", message)


def _summary(errors: list[dict]) -> str:
    """Field and message of the first few errors of pydantic, in one line."""
    lines = [".".join(str(part) for part in error["loc"]) + ": " + error["msg"] for error in errors[:_SHOWN]]
    more = len(errors) - _SHOWN
    return " ".join("; ".join(lines).split()) + (f"; and {more} more" if more > 0 else "")


def _methods(app: FastAPI, request: Request) -> list[str]:
    """Returns the methods of a path, which several routes may share."""
    routes = [route for route in app.routes if route.matches(request.scope)[0] is Match.PARTIAL]
    return sorted({method for route in routes for method in getattr(route, "methods", None) or ()})


def _response(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    detail = ErrorDetail(code=_CODES.get(status, "error"), message=message)
    return JSONResponse(ErrorBody(error=detail).model_dump(), status, headers)
