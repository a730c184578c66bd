"""Errors of the HTTP API: every one has the body `{"error": {"code": ..., "message": ...}}`."""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from dim.common.jsonl import parse_object
from dim.errors import DIMError
from dim.kb.table import StorageError
from dim.serving.refusals import ErrorBody, ServiceError, error_response, field_errors, without_folder

logger = logging.getLogger(__name__)


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
        return error_response(503, without_folder(str(error)))

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> JSONResponse:
        """Handles errors of Starlette."""
        if error.status_code == 404:
            return error_response(404, "There is nothing at this path; see /docs for the routes.")
        if error.status_code == 405:
            allowed = ", ".join(_methods(app, request))
            return error_response(405, f"This path accepts {allowed}.", {"Allow": allowed})
        return error_response(error.status_code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def of_validation(_request: Request, error: RequestValidationError) -> JSONResponse:
        """Handles validation errors of pydantic."""
        return error_response(422, field_errors(list(error.errors())))

    @app.exception_handler(Exception)
    async def of_bugs(_request: Request, _error: Exception) -> JSONResponse:
        """Handles bugs, without details of the code."""
        return error_response(500, "Internal error; see the log of the service.")


def _methods(app: FastAPI, request: Request) -> list[str]:
    """Returns the methods of a path, which several routes may share."""
    routes = [route for route in app.routes if route.matches(request.scope)[0] is Match.PARTIAL]
    return sorted({method for route in routes for method in getattr(route, "methods", None) or ()})
