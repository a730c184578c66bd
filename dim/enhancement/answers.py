"""Requests to a language model and what came back, the same for chat completions, responses and batches."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Literal

from dim.enhancement.entity_text import EntityText
from dim.enhancement.prompts import Prompt
from dim.errors import DIMError

Api = Literal["chat", "responses"]
PATHS: dict[Api, str] = {"chat": "/v1/chat/completions", "responses": "/v1/responses"}
_OVERHEAD = 100  # tokens that a chat template adds, at most


@dataclass(frozen=True, slots=True)
class Question:
    """How to ask about any entity.

    Args:
        model: Name of the model at the endpoint.
        prompt: The instructions.
        api: `chat` or `responses`.
        max_answer_tokens: Bound of an answer's length; what a model thinks before it answers counts as well.
        temperature: Sent only if given: some models refuse it.

    Raises:
        DIMError: For an `api` or `max_answer_tokens` that cannot be.

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
        if self.api not in PATHS:
            raise DIMError(f"The API must be one of {', '.join(PATHS)}, got {self.api!r}.")
        if self.max_answer_tokens < 1:
            raise DIMError(f"The bound of an answer is {self.max_answer_tokens} tokens: it must be at least 1.")

    def about(self, entity: EntityText) -> "Request":
        """The request about an entity; of two entities, nothing of one is in the other's."""
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
    """One request: the entity's id, the API, the body, and how many tokens the body has (a guess, and a bound).

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
        """Hash of all that is asked: what an answer is kept under, and the request's name within a batch."""
        content = json.dumps([self.api, self.body], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:32]

    @property
    def most_answer_tokens(self) -> int:
        """Bound of the answer's length."""
        return self.body["max_completion_tokens" if self.api == "chat" else "max_output_tokens"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said.

    Args:
        text: The answer, empty where there is none.
        refusal: The server's or the model's own words where it declined, empty where it did not.
        model: The model, as the server calls it.
        finish_reason: `stop`, `length`, `content_filter`, or what else the server says.
        usage: What the server says about tokens, as it says it; `None` where it says nothing.
        input_tokens: Tokens of the request.
        output_tokens: Tokens of the answer.
        created_at: When it arrived, ISO 8601 in UTC.

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
    created_at: str


def refused(request: Request, words: str) -> Answer:
    """The answer of a server that declines by an error, not by a message; it costs nothing."""
    return Answer("", words, request.body["model"], "content_filter", None, 0, 0, _now())


def read_answer(request: Request, body: Any) -> Answer:
    """Reads the body of a server's response.

    Args:
        request: What was asked.
        body: Parsed JSON.

    Returns:
        The answer. Where the server does not count tokens, the request's bounds stand for them: a budget must hold.

    Raises:
        DIMError: If the body is not what the API promises.

    Example:

        >>> request = Question("qwen", Prompt("short", "Who is this?")).about(EntityText("Q7259", "Ada Lovelace"))
        >>> message = {"role": "assistant", "content": "A British mathematician."}
        >>> body = {"model": "qwen", "choices": [{"message": message, "finish_reason": "stop"}],
        ...         "usage": {"prompt_tokens": 120, "completion_tokens": 5}}
        >>> answer = read_answer(request, body)
        >>> answer.text, answer.finish_reason, answer.output_tokens
        ('A British mathematician.', 'stop', 5)
    """
    try:
        text, refusal, finish = _chat(body) if request.api == "chat" else _responses(body)
        if not all(isinstance(value, str) for value in (text, refusal, finish, body["model"])):
            raise TypeError("text, refusal, finish_reason and model must be text")
        usage = body.get("usage")
        names = ("prompt_tokens", "completion_tokens") if request.api == "chat" else ("input_tokens", "output_tokens")
        tokens = (request.most_tokens, request.most_answer_tokens) if usage is None else [int(usage[n]) for n in names]
        return Answer(text.strip(), refusal.strip(), body["model"], finish, usage, tokens[0], tokens[1], _now())
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise DIMError(f"the server's answer is malformed ({type(error).__name__}: {error})") from error


def _chat(body: Mapping[str, Any]) -> tuple[str, str, str]:
    (choice,) = body["choices"]
    message = choice["message"]
    return message.get("content") or "", message.get("refusal") or "", choice["finish_reason"]


def _responses(body: Mapping[str, Any]) -> tuple[str, str, str]:
    if body["status"] == "failed":
        raise DIMError(str(body.get("error")))
    parts = [part for item in body["output"] if item["type"] == "message" for part in item["content"]]
    text = "".join(part["text"] for part in parts if part["type"] == "output_text")
    refusal = "".join(part["refusal"] for part in parts if part["type"] == "refusal")
    if body["status"] == "completed":
        return text, refusal, "stop"
    reason = body["incomplete_details"]["reason"]
    return text, refusal, "length" if reason == "max_output_tokens" else reason


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


__all__ = ["PATHS", "Answer", "Api", "Question", "Request", "read_answer", "refused"]
