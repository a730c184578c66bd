"""Errors that become the answer to a request, over HTTP or MCP: one line, never a stack trace."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel
from starlette.responses import JSONResponse

from dim.errors import DIMError
from dim.kb.table import StorageError

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
    """Error that becomes the answer to a request.

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
        return error_response(self.status, self.message, self.headers)


class BusyError(ServiceError):
    """Refusal of a request while the service is at a limit.

    Args:
        what: The limit, as a sentence without its full stop.
    """

    def __init__(self, what: str):
        super().__init__(429, f"{what}: try again in a second.", {"Retry-After": "1"})


@contextmanager
def invalid_is_refused() -> Iterator[None]:
    """Turns a `DIMError` about what a request contains into a `ServiceError`."""
    try:
        yield
    except StorageError:
        raise
    except DIMError as error:
        raise ServiceError(422, str(error)) from error


def without_folder(message: str) -> str:
    """Shortens each absolute path in a message to its last part: clients need not know the folders of the server.

    Example:

        >>> without_folder("The knowledge base /srv/kb is damaged (Not found: srv/kb/entities.lance/1.lance).")
        'The knowledge base kb is damaged (Not found: 1.lance).'
    """
    return re.sub(r"(?<![^\s'(])/?(?:[^\s/'()]+/)+", "", message)


def field_errors(errors: Sequence[Any]) -> str:
    """Names field and message of the first few errors of pydantic, in one line.

    Args:
        errors: `errors()` of a `pydantic.ValidationError`.

    Returns:
        The line.
    """
    lines = [".".join(str(part) for part in error["loc"]) + ": " + error["msg"] for error in errors[:_SHOWN]]
    more = len(errors) - _SHOWN
    return " ".join("; ".join(lines).split()) + (f"; and {more} more" if more > 0 else "")


def error_response(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Makes the response of an error.

    Args:
        status: HTTP status.
        message: One line.
        headers: Additional headers.

    Returns:
        The response, with an `ErrorBody`.
    """
    detail = ErrorDetail(code=_CODES.get(status, "error"), message=message)
    return JSONResponse(ErrorBody(error=detail).model_dump(), status, headers)
