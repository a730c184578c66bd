"""Errors as a client sees them: `{"error": {"code": ..., "message": ...}}`, and never a stack trace."""

from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import Match

_SHOWN = 3  # faults of a request that its error tells
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
    500: "internal",
    504: "timeout",
}


class ErrorDetail(BaseModel):
    """What went wrong: a code for programs, and a sentence for people."""

    code: str
    message: str


class ErrorBody(BaseModel):
    """The body of every error."""

    error: ErrorDetail


class ServiceError(Exception):
    """An error that the client is told.

    Args:
        status: HTTP status, one of those that have a code.
        message: What, where, and what to do, in one line.
        headers: Further headers.
    """

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers

    def response(self) -> JSONResponse:
        """The error as the client gets it."""
        return _response(self.status, self.message, self.headers)


class BusyError(ServiceError):
    """More work than the service takes at a time.

    Args:
        what: What there is too much of.
    """

    def __init__(self, what: str):
        super().__init__(429, f"{what}: try again in a second.", {"Retry-After": "1"})


def documented(*statuses: int) -> dict[int | str, dict]:
    """The errors of a route, for its OpenAPI description.

    Args:
        *statuses: HTTP statuses beside those that every route has.

    Returns:
        What FastAPI's `responses` takes.
    """
    return {status: {"model": ErrorBody, "description": HTTPStatus(status).phrase}
            for status in (*statuses, 408, 413, 421, 429, 500, 504)}  # fmt: skip


def add_handlers(app: FastAPI) -> None:
    """Makes every error of an application one of ours.

    Args:
        app: The application.
    """

    @app.exception_handler(ServiceError)
    async def ours(_request: Request, error: ServiceError) -> JSONResponse:
        """Tells one of ours."""
        return error.response()

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> JSONResponse:
        """Tells one of Starlette."""
        if error.status_code == 404:
            return _response(404, "There is nothing at this path; /docs lists what there is.")
        if error.status_code == 405:
            allowed = ", ".join(_methods(app, request))
            return _response(405, f"This path takes {allowed}.", {"Allow": allowed})
        return _response(error.status_code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def of_validation(_request: Request, error: RequestValidationError) -> JSONResponse:
        """Tells what pydantic found."""
        return _response(422, told(list(error.errors())))

    @app.exception_handler(Exception)
    async def unforeseen(_request: Request, _error: Exception) -> JSONResponse:
        """Tells nothing of the inside."""
        return _response(500, "Something went wrong in the service; its log says what.")


def told(faults: list[dict]) -> str:
    """What pydantic found, in one line.

    Args:
        faults: Its `errors()`.

    Returns:
        Place and fault of the first few.
    """
    lines = [".".join(str(part) for part in fault["loc"]) + ": " + fault["msg"] for fault in faults[:_SHOWN]]
    more = len(faults) - _SHOWN
    return " ".join("; ".join(lines).split()) + (f"; and {more} more" if more > 0 else "")


def _methods(app: FastAPI, request: Request) -> list[str]:
    """The methods that a path takes; several routes may share it."""
    routes = [route for route in app.routes if route.matches(request.scope)[0] is Match.PARTIAL]
    return sorted({method for route in routes for method in getattr(route, "methods", None) or ()})


def _response(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    detail = ErrorDetail(code=_CODES.get(status, "error"), message=message)
    return JSONResponse(ErrorBody(error=detail).model_dump(), status, headers)


__all__ = ["BusyError", "ErrorBody", "ErrorDetail", "ServiceError", "add_handlers", "documented", "told"]
