"""Lines of a batch's results: what each says about which request, whatever servers write into them."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dim.enhancement.answers import Answer, Request
from dim.enhancement.clients.answer_body import cost, parse_body, read_answer
from dim.enhancement.clients.server_error import ServerError, error_within

_KEY = re.compile(r"[0-9a-f]{32}")
_FOUND_IN = 2000  # characters of a damaged line in which its key is looked for


@dataclass(frozen=True, slots=True)
class Result:
    """What a line says.

    Args:
        line: The line itself.
        key: Key of the request, `None` if the line does not tell.
        body: Body of an answer with status 200: parsed JSON or text.
        error: The error, if there is no such answer.
    """

    line: str
    key: str | None
    body: Any = None
    error: ServerError | None = None


def results(content: bytes, keys: Collection[str]) -> Iterator[Result]:
    r"""Reads the lines of a batch's output or errors. Only a line feed ends a line; blank ones do not count.

    Args:
        content: The file.
        keys: Keys of the batch's requests.

    Yields:
        What each line says. A line that is not JSON is an answer that cannot be read.

    Example:

        >>> key = "0" * 32
        >>> good = b'{"custom_id": "%s", "response": {"status_code": 200, "body": {"choices": []}}}' % key.encode()
        >>> [one.body for one in results(good + b"\n\n" + good[:60], {key})]
        [{'choices': []}, '{"custom_id": "00000000000000000000000000000000", "response"...']
    """
    for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        if line.strip():
            yield _result(line.decode("utf-8", "replace"), keys)


def _result(line: str, keys: Collection[str]) -> Result:
    row = parse_body(line)
    named = row.get("custom_id") if isinstance(row, dict) else None
    if not isinstance(named, str) or named not in keys:
        named = next((found for found in _KEY.findall(line[:_FOUND_IN]) if found in keys), None)
    if not isinstance(row, dict):
        return Result(line, named, row)
    response, error = row.get("response"), row.get("error")
    if not isinstance(response, dict):
        if response is None:
            return Result(line, named, error=ServerError(_number(error) or 500, {"error": error or "(nothing)"}))
        return Result(line, named, response)
    status = response.get("status_code")
    status = int(status) if isinstance(status, str) and re.fullmatch(r"[0-9]{3}", status) else status
    body = response.get("body")
    if isinstance(status, int) and not isinstance(status, bool) and not 200 <= status < 300:
        return Result(line, named, error=ServerError(status, body or {"error": error}))
    return Result(line, named, parse_body(body) if isinstance(body, str) else body)


def _number(error: Any) -> int | None:
    code = error.get("code") if isinstance(error, Mapping) else None
    return code if isinstance(code, int) and not isinstance(code, bool) and 400 <= code < 600 else None


def answer_of(result: Result, request: Request) -> tuple[Answer | ServerError, tuple[int, int]]:
    """Reads a line about a request.

    Args:
        result: The line.
        request: The request.

    Returns:
        The answer, or the error instead of one, and what it costs.
    """
    error, spent = result.error, (0, 0)
    if error is None:
        error, spent = error_within(result.body), cost(request, result.body)
    if error is None:
        return read_answer(request, result.body, result.line), spent
    if error.concerns == "content":
        return Answer("", error.says, request.body["model"], "content_filter", None, *spent), spent
    return error, spent
