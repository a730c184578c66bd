"""Bodies of answers as servers write them: what they cost is known first, then their text is read if it is there."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from dim.enhancement.answers import UNREADABLE, Answer, Request, how_it_ended
from dim.enhancement.entity_text import clean

_MOST_TOKENS = 100_000_000  # of one request; a larger count is none
_MOST_RAW, _MOST_USAGE, _MOST_WORD = 20_000, 5_000, 200  # characters that are kept
_DEPTH = 8  # of nested parts of a text that are read
_NAMES = (("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens"))
# What chat templates put after an answer, where a server does not remove it.
_TEMPLATE = re.compile(
    r"(?:<\|[\w/-]{1,40}\|>(?:assistant|user|system|model)?|<[｜|][\w▁/-]{1,40}[｜|]>|\[\|\w{1,20}\|\]|</?s>|\[/?INST\]"
    r"|<(?:start|end)_of_\w{1,20}>(?:model|user)?|<(?:eos|bos|eot|eod|pad|unk|end|turn\|)>|\[(?:EOS|PAD)\])\Z",
)
_TAIL = 64  # characters, longer than any of them
_THOUGHT = ("</think>", "</thinking>", "<|channel|>final<|message|>")  # what ends thoughts that a server leaves in


def parse_body(content: bytes | str) -> Any:
    """Parses a body without an exception.

    Args:
        content: The body; bytes are UTF-8, with or without a byte-order mark.

    Returns:
        The JSON value; numbers that are not finite are `None`. Text that is not JSON is returned as it is.

    Example:

        >>> parse_body(b'{"a": 1e999, "b": NaN, "c": 2}'), parse_body(b"<html>")
        ({'a': inf, 'b': None, 'c': 2}, '<html>')
    """
    text = content if isinstance(content, str) else content.decode("utf-8", "replace")
    text = text.removeprefix("\ufeff")
    try:
        return json.loads(text, strict=False, parse_constant=lambda _: None, parse_int=_whole)
    except (ValueError, RecursionError):
        return text


def _whole(digits: str) -> int | None:
    return int(digits) if len(digits) <= 20 else None  # thousands of digits take long, and count nothing


def cost(request: Request, body: Any) -> tuple[int, int]:
    """What an answer costs, whatever its other fields are.

    Args:
        request: What was asked; its bounds stand for a count that is missing or impossible.
        body: The parsed body.

    Returns:
        Tokens of the request and of the answer. Tokens of the total that neither count holds (of thinking, at some
        servers) belong to the answer.

    Example:

        >>> from dim.enhancement.answers import Question
        >>> from dim.enhancement.entity_text import EntityText
        >>> from dim.enhancement.prompts import Prompt
        >>> request = Question("qwen", Prompt("short", "Who is this?")).about(EntityText("Q7259", "Ada Lovelace"))
        >>> cost(request, {"usage": {"prompt_tokens": 120, "completion_tokens": 5}})
        (120, 5)
        >>> cost(request, {"usage": {"prompt_tokens": 120, "total_tokens": 125}}) == (120, request.most_answer_tokens)
        True
    """
    usage = body.get("usage") if isinstance(body, dict) else None
    usage = usage if isinstance(usage, dict) else {}
    inputs, outputs = (next((usage[n] for n in names if usage.get(n) is not None), None) for names in _NAMES)
    total = _count(usage.get("total_tokens"))
    asked = _count(inputs) or max(request.most_tokens, _written_otherwise(inputs))
    hidden = max(0, (total or 0) - asked)
    said = _count(outputs)
    if said is None or (said == 0 and not hidden and not _says_nothing(request, body)):
        said = max(request.most_answer_tokens, _written_otherwise(outputs))
    return asked, max(said, hidden)


def _count(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= _MOST_TOKENS else None


def _written_otherwise(value: object) -> int:
    """A count that is a float or a string, else 0; it counts only where it exceeds a bound, to charge too much rather
    than too little."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}(?:\.[0-9]{1,9})?", value):
        value = float(value)
    return math.ceil(value) if isinstance(value, float) and 0 <= value <= _MOST_TOKENS else 0


def _says_nothing(request: Request, body: Any) -> bool:
    read = _read(request, body)
    return read is not None and not read[0].strip() and not read[1].strip()


def _read(request: Request, body: Any) -> tuple[str, str, str] | None:
    return _chat(body) if request.api == "chat" else _responses(body)


def read_answer(request: Request, body: Any, raw: str = "") -> Answer:
    """Reads the body of a server's answer; nothing but its text is needed.

    Args:
        request: What was asked.
        body: The parsed body, see [`parse_body`].
        raw: What came, of which an unreadable answer keeps the beginning.

    Returns:
        The answer; `unreadable` if the body has no place for a text. Where the server does not count tokens, the
        request's bounds stand for them, so that a budget holds.

    Example:

        >>> from dim.enhancement.answers import Question
        >>> from dim.enhancement.entity_text import EntityText
        >>> from dim.enhancement.prompts import Prompt
        >>> request = Question("qwen", Prompt("short", "Who is this?")).about(EntityText("Q7259", "Ada Lovelace"))
        >>> body = {"choices": [{"message": {"content": "A British mathematician.<|im_end|>"}}],
        ...         "usage": {"prompt_tokens": 120, "completion_tokens": 5}}
        >>> answer = read_answer(request, body)
        >>> answer.text, answer.model, answer.output_tokens, read_answer(request, "<html>").finish_reason
        ('A British mathematician.', 'qwen', 5, 'unreadable')
    """
    tokens = cost(request, body)
    read = _read(request, body)
    fields: Mapping[str, Any] = body if isinstance(body, dict) else {}
    model = _word(fields.get("model")) or request.body["model"]
    usage = _reported(fields.get("usage"))
    if read is None:
        return Answer("", "", model, UNREADABLE, usage, *tokens, raw=raw[:_MOST_RAW])
    text, refusal, finish = read
    return Answer(_without_template(text), refusal.strip(), model, finish, usage, *tokens)


def _chat(body: Any) -> tuple[str, str, str] | None:
    """Text, refusal and finish reason of a chat completion."""
    choices = body.get("choices") if isinstance(body, dict) else None
    choices = [one for one in (choices if isinstance(choices, list) else [choices]) if isinstance(one, dict)]
    found = [one for one in map(_choice, choices) if one is not None]
    return next((one for one in found if one[0].strip() or one[1].strip()), found[0] if found else None)


def _choice(choice: Mapping[str, Any]) -> tuple[str, str, str] | None:
    message = choice.get("message", choice.get("delta"))
    finish = _word(choice.get("finish_reason")) or _word(choice.get("native_finish_reason"))
    if isinstance(message, dict):
        return _text(message.get("content")), _text(message.get("refusal")), finish
    text = _text(message) or _text(choice.get("text"))
    return (text, "", finish) if text or finish else None  # some are cut off before they say anything


def _responses(body: Any) -> tuple[str, str, str] | None:
    """Text, refusal and finish reason of a response."""
    if not isinstance(body, dict):
        return None
    details = body.get("incomplete_details")
    reason = _word(details.get("reason")) if isinstance(details, dict) else ""
    status = _word(body.get("status"))
    finish = reason or {"completed": "stop", "incomplete": "length"}.get(status, status)
    if isinstance(body.get("output"), str):
        return body["output"], "", finish
    output = body.get("output")
    output = output if isinstance(output, list) else []
    items = [one for one in output if isinstance(one, dict) and one.get("type", "message") == "message"]
    text = "".join(_text(one.get("content")) for one in items) or _text(body.get("output_text"))
    parts = [part for one in items if isinstance(one.get("content"), list) for part in one["content"]]
    refusal = "".join(_text(part.get("refusal")) for part in parts if isinstance(part, dict))
    is_held_back = how_it_ended(finish) in ("length", "content_filter", "aborted")
    return (text, refusal, finish) if items or text or is_held_back else None


def _text(content: Any, depth: int = _DEPTH) -> str:
    """The text of a message: a string, or parts of one. Thoughts and refusals are no text."""
    if isinstance(content, str):
        return content
    if not depth:
        return ""
    if isinstance(content, list):
        return "".join(_text(part, depth - 1) for part in content)
    if isinstance(content, dict) and content.get("type", "text") in ("text", "output_text", None):
        return _text(next((content[key] for key in ("text", "value", "content") if content.get(key)), ""), depth - 1)
    return ""


def _word(value: object) -> str:
    return clean(value)[:_MOST_WORD] if isinstance(value, str) else ""


def _reported(usage: object) -> dict[str, Any] | None:
    """The usage, if it is an object that JSON can hold."""
    try:
        is_short = isinstance(usage, dict) and len(json.dumps(usage, allow_nan=False)) <= _MOST_USAGE
    except (ValueError, RecursionError):
        return None
    return usage if is_short and isinstance(usage, dict) else None


def _without_template(text: str) -> str:
    """Removes thoughts before a text, and the tokens of a chat template and white space around it."""
    for end in _THOUGHT:
        text = text.rpartition(end)[2]
    text = text.strip()
    while found := _TEMPLATE.search(text[-_TAIL:]):
        text = text[: len(text) - len(found[0])].rstrip()
    return text
