"""Requests to a language model and its answers."""

import hashlib
import json
import math
import re
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal, get_args

from dim.enhancement.entity_text import EntityText
from dim.enhancement.prompts import Prompt
from dim.errors import DIMError

Api = Literal["chat", "responses"]
UNREADABLE = "unreadable"  # finish reason of an answer that is paid for but has no place for a text
_MOST_ANSWER = 10_000_000  # tokens
_OVERHEAD = 100  # tokens that a chat template adds, at most
_CUT_OFF = re.compile(r"length|max|limit|context_window|incomplete|truncat")
_FILTERED = re.compile(
    r"content_?filter|safety|recitation|prohibited|blocklist|spii|refusal|moderation|guardrail|sensitive|toxic"
)
_ABORTED = re.compile(r"abort|cancel|interrupt|insufficient_system_resource|network_error|time_?out")


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Question:
    """What a language model is asked about each entity.

    Args:
        model: Name of the model at the server.
        prompt: The instructions.
        api: `chat` or `responses`.
        max_answer_tokens: Bound of an answer's length, reasoning tokens included.
        temperature: Sent only if given, since some models refuse it.

    Raises:
        DIMError: If `api` or `max_answer_tokens` is invalid, or the name or the prompt cannot be sent as UTF-8.

    Example:

        >>> question = Question("qwen", Prompt("short", "Who is this?"), max_answer_tokens=50)
        >>> request = question.about(EntityText("Q7259", "Ada Lovelace"))
        >>> request.entity, request.body["messages"][0], request.body["max_completion_tokens"]
        ('Q7259', {'role': 'system', 'content': 'Who is this?'}, 50)
    """

    model: str
    prompt: Prompt
    api: Api = "chat"
    max_answer_tokens: int = 300
    temperature: float | None = None

    def __post_init__(self) -> None:
        if self.api not in get_args(Api):
            raise DIMError(f"The API must be one of {', '.join(get_args(Api))}, got {self.api!r}.")
        if not 1 <= self.max_answer_tokens <= _MOST_ANSWER:
            bounds = f"it must be at least 1 and at most {_MOST_ANSWER:,}"
            raise DIMError(f"The bound of an answer is {self.max_answer_tokens} tokens: {bounds}.")
        if self.temperature is not None and not math.isfinite(self.temperature):
            raise DIMError(f"The temperature is {self.temperature}: it must be a finite number.")
        check_sendable("The name of the model", self.model)
        check_sendable("The prompt", self.prompt.text)

    def about(self, entity: EntityText) -> "Request":
        """The request about an entity; it holds nothing of other entities."""
        body: dict[str, Any] = {"model": self.model, "stream": False}
        if self.temperature is not None:
            body["temperature"] = self.temperature
        if self.api == "chat":
            roles = {"system": self.prompt.text, "user": entity.quoted()}
            body["messages"] = [{"role": role, "content": text} for role, text in roles.items()]
            body["max_completion_tokens"] = self.max_answer_tokens
        else:
            body |= {"instructions": self.prompt.text, "input": entity.quoted()}
            body["max_output_tokens"] = self.max_answer_tokens
        text = self.prompt.text + entity.quoted()
        # No tokenizer in use makes more tokens than a text has bytes.
        return Request(entity.id, self.api, body, len(text) // 4 + 10, len(text.encode()) + _OVERHEAD)


@dataclass(frozen=True, slots=True)
class Request:
    """One request to a language model.

    Args:
        entity: Id of the entity.
        api: API of the body.
        body: JSON body, as OpenAI's API defines it.
        likely_tokens: Estimated tokens of the body.
        most_tokens: Bound of the tokens of the body.

    Example:

        >>> ada = EntityText("Q7259", "Ada Lovelace")
        >>> request = Question("qwen", Prompt("short", "Who is this?"), max_answer_tokens=50).about(ada)
        >>> request.likely_tokens < request.most_tokens, request.most_answer_tokens, len(request.key)
        (True, 50, 32)
    """

    entity: str
    api: Api
    body: dict[str, Any]
    likely_tokens: int
    most_tokens: int

    @property
    def key(self) -> str:
        """Hash of the API and the body: key of the answer in a ledger, and name of the request within a batch."""
        content = json.dumps([self.api, self.body], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:32]

    @property
    def most_answer_tokens(self) -> int:
        """Bound of the answer's length."""
        return self.body["max_completion_tokens" if self.api == "chat" else "max_output_tokens"]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request.

    Args:
        text: The text, empty if there is none.
        refusal: The server's or the model's words if it declined, else empty.
        model: The model, as the server calls it.
        finish_reason: The server's word for the end of the answer, empty if it has none (see [`how_it_ended`]);
            `unreadable` for an answer that is paid for but has no place for a text.
        usage: Usage as the server reports it; `None` if it does not.
        input_tokens: Tokens of the request.
        output_tokens: Tokens of the answer.
        created_at: Time of arrival, ISO 8601 in UTC; by default now.
        raw: The beginning of what came, where it is unreadable.

    Example:

        >>> answer = Answer("A British mathematician.", "", "qwen", "stop", None, 120, 5, "2026-11-23T06:00:00Z")
        >>> answer.text if answer.finish_reason == "stop" and not answer.refusal else None
        'A British mathematician.'
    """

    text: str
    refusal: str
    model: str
    finish_reason: str
    usage: dict[str, Any] | None
    input_tokens: int
    output_tokens: int
    created_at: str = field(default_factory=_now)
    raw: str = ""


def how_it_ended(finish_reason: str) -> str:
    """Unifies the words of servers for the end of an answer.

    Args:
        finish_reason: The server's word.

    Returns:
        `length` for an answer that was cut off by a limit, `aborted` for one that the server ended early,
        `content_filter` for one that was held back, else the word itself.

    Example:

        >>> [how_it_ended(word) for word in ("MAX_TOKENS", "model_length", "content_filter: SAFETY", "stop")]
        ['length', 'length', 'content_filter', 'stop']
    """
    word = finish_reason.lower().partition(":")[0]
    for kind, pattern in (("content_filter", _FILTERED), ("length", _CUT_OFF), ("aborted", _ABORTED)):
        if pattern.search(word):
            return kind
    return finish_reason


def check_sendable(what: str, text: str) -> None:
    """Raises a `DIMError` if a text is empty or holds half of a character, which no request can.

    Args:
        what: Name of the text, for the error.
        text: The text.
    """
    if not text.strip():
        raise DIMError(f"{what} is empty.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DIMError(f"{what} holds half of a character (a lone surrogate) at position {error.start + 1}.") from error
