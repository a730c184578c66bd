"""Errors of servers: what they say, whom they concern, and whether another try can help."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from dim.enhancement.entity_text import clean

Concern = Literal["passes", "this request", "content", "all requests"]
_LONGEST = 500  # characters of the server's words in a message
_READ = 20_000  # characters of an error that are looked at
_DEPTH = 6  # of nested errors that are read
_ALL = {  # codes of an account, a key or an option, whatever the status
    "insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "budget_exceeded", "account_deactivated",
    "invalid_api_key", "authentication_error", "model_not_found", "invalid_model", "unsupported_parameter",
    "unsupported_value", "unknown_parameter", "unsupported_model",
}  # fmt: skip
_CONTENT = {
    "content_filter", "content_policy_violation", "invalid_prompt", "responsibleaipolicyviolation",
    "contentpolicyviolationerror", "moderation_blocked", "flagged",
}  # fmt: skip
_LONG = {
    "context_length_exceeded", "exceed_context_size_error", "string_above_max_length", "contextwindowexceedederror",
    "string_too_long", "request_too_large", "token_limit_exceeded",
}  # fmt: skip
_LONG_WORDS = re.compile(
    r"context[ _-]?(?:length|window|size)|maximum context|prompt (?:is )?too long|too many (?:input |prompt )?tokens"
    r"|(?:input|request|prompt|message)s?\b.{0,60}\b(?:too (?:long|large)|exceeds?\b.{0,40}\b(?:tokens|length|limit))"
    r"|reduce the length",
    re.IGNORECASE,
)
_CONTENT_WORDS = re.compile(
    r"\bmoderation\b|\bflagged\b|content (?:management |usage )?(?:policy|filter)|safety (?:system|policy|filter)"
    r"|contentpolicyviolation",
    re.IGNORECASE,
)
_MODEL_WORDS = re.compile(
    r"(?:invalid|unknown|unsupported) model\b|\bmodel\b.{0,100}\b(?:not found|not exist|not supported|no access)"
    r"|\bpinned to\b.{0,200}\brequested\b",  # transformers serve
    re.IGNORECASE,
)
_OF_THE_TEXT = ("messages", "input", "instructions", "prompt", "contents", "")  # fields that differ between requests
_REQUEST_STATUSES = (400, 413, 414, 415, 422, 451)
_NAMED_STATUSES = {"rate_limit_exceeded": 429, "rate_limit_error": 429, "overloaded_error": 529, "timeout": 504}


@dataclass(frozen=True)
class ServerError:
    """An error of a server.

    Args:
        status: The HTTP status, or the one that an answer with status 200 names.
        body: The error's parsed body.
        wait: Seconds after which the server wants to be asked again, if it says so.

    Example:

        >>> error = ServerError(400, {"error": {"code": "context_length_exceeded", "message": "Too many tokens."}})
        >>> error.words, error.concerns
        ('the server says 400: Too many tokens.', 'this request')
    """

    status: int
    body: Any
    wait: float | None = None

    @property
    def words(self) -> str:
        """The status and the server's own words, on one line."""
        return f"the server says {self.status}: {self.says}"

    @property
    def says(self) -> str:
        """The server's own words, on one line."""
        text = clean(self.message[:_READ]) or (self.text if self.body else "")
        return text[:_LONGEST] or "(nothing)"

    @cached_property
    def message(self) -> str:
        """The server's own words."""
        for one in _objects(self.body):
            for key in ("message", "msg", "detail", "error", "error_message"):
                if isinstance(one.get(key), str) and one[key].strip():
                    return one[key]
        return self.body if isinstance(self.body, str) else ""

    @cached_property
    def text(self) -> str:
        """All that the body says, on one line."""
        try:
            return clean(
                self.body[:_READ] if isinstance(self.body, str) else json.dumps(self.body, ensure_ascii=False)[:_READ]
            )
        except (TypeError, ValueError, RecursionError):
            return ""

    @property
    def is_too_long(self) -> bool:
        """Whether the request is longer than the model reads."""
        return bool(self._codes & _LONG) or bool(_LONG_WORDS.search(self.text))

    @property
    def concerns(self) -> Concern:
        """Whom the error concerns: `passes` if another try may help, else the text of this request or all requests."""
        if self._codes & {"insufficient_quota", "billing_hard_limit_reached", "budget_exceeded"}:
            return "all requests"
        if self.status in (400, 403, 422, 451) and self._is_content:
            return "content"
        if self.status != 429 and self.status not in (401, 402) and self.is_too_long:
            return "this request"
        if self.status in _REQUEST_STATUSES:
            return "all requests" if self._is_of_an_option else "this request"
        if self.status in (408, 409, 425, 429) or self.status >= 500 or (self.status == 402 and self.wait is not None):
            return "passes"
        return "all requests"

    @cached_property
    def _codes(self) -> set[str]:
        names = ("code", "type", "status")
        return {one[key].lower() for one in _objects(self.body) for key in names if isinstance(one.get(key), str)}

    @property
    def _is_content(self) -> bool:
        flagged = any(isinstance(one.get("reasons"), list) or "flagged_input" in one for one in _objects(self.body))
        return flagged or bool(self._codes & _CONTENT) or bool(_CONTENT_WORDS.search(self.text))

    @property
    def _is_of_an_option(self) -> bool:
        if self._codes & _ALL or _MODEL_WORDS.search(self.message[:_READ]):
            return True
        for one in _objects(self.body):
            place = one.get("loc")
            field = place[1] if isinstance(place, list) and len(place) > 1 and place[0] == "body" else one.get("param")
            if isinstance(field, str) and re.split(r"[.\[]", field)[0] not in _OF_THE_TEXT:
                return True
        return False


def error_within(body: Any) -> ServerError | None:
    """Finds an error that a server put into an answer with status 200, as OpenRouter does.

    Args:
        body: The parsed body.

    Returns:
        The error, `None` if the answer is one.

    Example:

        >>> error_within({"error": {"code": 402, "message": "Insufficient credits"}}).words
        'the server says 402: Insufficient credits'
    """
    if isinstance(body, list) and body and isinstance(body[0], dict) and "error" in body[0]:
        body = body[0]  # Gemini
    if not isinstance(body, dict):
        return None
    choices = body.get("choices")
    choices = choices if isinstance(choices, list) else [choices]
    first = next((one for one in choices if isinstance(one, dict)), {})
    found = next((one["error"] for one in (body, first) if _says_something(one.get("error"))), None)
    ended = str(first.get("finish_reason")).lower() == "error" or body.get("status") in ("failed", "cancelled")
    if body.get("object") == "error":
        found = found or body
    if not found and not ended:
        return None
    return ServerError(_status(found), {"error": found} if found else "the model ended with an error")


def _says_something(error: Any) -> bool:
    if not isinstance(error, dict):
        return bool(error)
    return any(error.values()) and error.get("code") not in (200, "200", "0") and error.get("code") != 0


def _status(error: Any) -> int:
    for one in _objects(error):
        for key in ("code", "status", "status_code"):
            value = one.get(key)
            if isinstance(value, str):
                known = _NAMED_STATUSES.get(value.lower())
                if known or value.lower() in _ALL | _CONTENT | _LONG:
                    return known or 400
                value = int(value) if re.fullmatch(r"[0-9]{3}", value) else None
            if isinstance(value, int) and 400 <= value < 600:
                return value
        if isinstance(one.get("type"), str) and one["type"].lower() in _NAMED_STATUSES:
            return _NAMED_STATUSES[one["type"].lower()]
    return 502


def _objects(body: Any, depth: int = _DEPTH) -> Iterator[dict[str, Any]]:
    """The objects in an error, the outer ones first."""
    if depth and isinstance(body, dict):
        yield body
    for value in body.values() if isinstance(body, dict) else body if isinstance(body, list) else ():
        if depth and isinstance(value, dict | list):
            yield from _objects(value, depth - 1)
