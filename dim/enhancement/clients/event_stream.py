"""Bodies of answers that are not one JSON object: events of a stream, and comments of a proxy before the answer."""

from collections.abc import Iterator
from typing import Any

from dim.enhancement.clients.answer_body import parse_body
from dim.enhancement.clients.server_error import error_within

_CUT_OFF = "interrupted"  # finish reason of a stream that breaks off


def parse_answer(text: str) -> Any:
    r"""Parses the body of an answer without an exception.

    Some servers stream although `stream` is false, and some proxies send comments while the model works.

    Args:
        text: The body.

    Returns:
        The JSON value. Events of a stream are joined to the answer that the server would send without a stream. Text
        that is neither is returned as it is.

    Example:

        >>> events = [f'data: {{"choices": [{{"delta": {{"content": "{text}"}}}}]}}' for text in ("A ", "writer.")]
        >>> parse_answer("\n\n".join(events))["choices"][0]["message"]["content"]
        ['A ', 'writer.']
    """
    body = parse_body(text)
    if isinstance(body, list) and len(body) == 1 and isinstance(body[0], dict):
        return body[0]
    if not isinstance(body, str):
        return body
    lines = [line.rstrip("\r") for line in text.removeprefix("\ufeff").split("\n")]
    data = [line.removeprefix("data:").strip() for line in lines if line.startswith("data:")]
    if data:
        events = [event for event in map(parse_body, data) if isinstance(event, dict)]
        return _joined(events) if events else text
    comments = [line for line in lines if line.startswith(":")]
    return parse_body("\n".join(line for line in lines if not line.startswith(":"))) if comments else text


def _joined(events: list[dict[str, Any]]) -> Any:
    """One body for all events; the first error is the body, as without a stream."""
    for event in events:
        if error_within(event) is not None:
            return event
    if any(isinstance(event.get("type"), str) and event["type"].startswith("response.") for event in events):
        return _response(events)
    choices = [choice for event in events for choice in _first_choices(event)]
    whole = next((event for event in events if any("message" in choice for choice in _first_choices(event))), None)
    if whole is not None:
        return whole
    deltas = [choice["delta"] for choice in choices if isinstance(choice.get("delta"), dict)]
    message = {name: [delta[name] for delta in deltas if delta.get(name)] for name in ("content", "refusal")}
    ended = _last(choices, "finish_reason") or _last(choices, "native_finish_reason") or _CUT_OFF
    choice = {"message": message, "finish_reason": ended}
    return {"model": _last(events, "model"), "usage": _last(events, "usage"), "choices": [choice] if choices else None}


def _response(events: list[dict[str, Any]]) -> Any:
    """The response that the last event holds, or without one the text that came."""
    last: dict[str, Any] = next(
        (event["response"] for event in reversed(events) if isinstance(event.get("response"), dict)), {}
    )
    if last.get("output") or last.get("status") in ("completed", "incomplete", "failed"):
        return last
    texts = [event.get("delta") for event in events if event["type"] == "response.output_text.delta"]
    return {**last, "output": [{"type": "message", "content": texts}], "status": _CUT_OFF}


def _first_choices(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The first choice of an event, if it has one."""
    choices = event.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and choice.get("index") in (0, None):
            yield choice
            return


def _last(objects: list[dict[str, Any]], name: str) -> Any:
    return next((one[name] for one in reversed(objects) if one.get(name)), None)
