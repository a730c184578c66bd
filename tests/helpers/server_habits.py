"""Habits of servers that speak OpenAI's API: what they send, and what is to become of the entity or picture.

Each habit is a function for `OpenAIStub.script`. The shapes are those that the servers' documentation and bug reports
show.
"""

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Habit:
    """A habit and its outcome.

    `outcome` is `kept`, `cut off`, `refused`, `unreadable`, `passes` (the next try succeeds) or `stops` (the run ends).
    """

    server: str
    name: str
    outcome: str
    play: object

    def __str__(self):
        return f"{self.server}: {self.name}"


def _is_chat(body: dict) -> bool:
    return "messages" in body


def ended(found: dict, word: str, has_message: bool = True) -> dict:
    """An answer that ends by a server's word for the limit or the filter, without any text."""
    if "choices" in found:
        choice = {"index": 0, "finish_reason": word}
        if has_message:
            choice["message"] = {"role": "assistant", "content": None}
        return {**found, "choices": [choice]}
    reason = "content_filter" if "filter" in word.lower() or "SAFETY" in word else "max_output_tokens"
    return {**found, "status": "incomplete", "incomplete_details": {"reason": reason}, "output": []}


def text_of(found: dict) -> str:
    if "choices" in found:
        return found["choices"][0]["message"]["content"]
    return found["output"][0]["content"][0]["text"]


def saying(found: dict, content: object) -> dict:
    """The same answer with another content."""
    if "choices" in found:
        return {**found, "choices": [{"index": 0, "finish_reason": "stop", "message": {"content": content}}]}
    content = [{"type": "output_text", "text": content}] if isinstance(content, str) else content
    return {**found, "output": [{"type": "reasoning", "summary": []}, {"type": "message", "content": content}]}


def without(found: dict, *names: str) -> dict:
    return {name: value for name, value in found.items() if name not in names}


def renamed_limit(body: dict, found: dict) -> tuple:
    """Mistral knows `max_tokens` alone."""
    if "max_completion_tokens" not in body:
        return 200, found
    detail = [{"type": "extra_forbidden", "loc": ["body", "max_completion_tokens"], "msg": "Extra inputs"}]
    return 422, {"object": "error", "message": {"detail": detail}, "type": "invalid_request_error", "code": None}


def parts(body: dict, found: dict) -> tuple:
    """Mistral's thinking models."""
    kind = "text" if _is_chat(body) else "output_text"
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Who might that be?"}]}
    return 200, saying(found, [thinking, {"type": kind, "text": text_of(found)}])


def in_the_choice(body: dict, found: dict) -> tuple:
    error = {"code": 502, "message": "Upstream overloaded"}
    if not _is_chat(body):
        return 200, {**found, "status": "failed", "error": error}
    choice = {"index": 0, "finish_reason": "error", "error": error, "message": {"content": "Half a sen"}}
    return 200, {**found, "choices": [choice]}


def sends(status: int, given: object):
    return lambda body, found: (status, given)


def error(http: int, **fields: object):
    return sends(http, {"error": fields})


def with_fields(**fields: object):
    return lambda body, found: (200, {**found, **fields})


def second_choice(body: dict, found: dict) -> tuple:
    return 200, {**found, "choices": [*found.get("choices", []), {"index": 1, "message": None}]}


def not_finite(body: dict, found: dict) -> tuple:
    text = json.dumps({**found, "usage": None})
    return 200, text.replace('"usage": null', '"usage": {"prompt_tokens": 1e999, "completion_tokens": NaN}').encode()


def thoughts_alone(body: dict, found: dict) -> tuple:
    """Gemini counts what it thinks in the total alone."""
    usage = {"prompt_tokens": 50, "completion_tokens": 0, "total_tokens": 80}
    return 200, {**ended(found, "MAX_TOKENS", has_message=False), "usage": usage}


LONG = "This model's maximum context length is 512 tokens. However, you requested 900 tokens."
NO_CONTEXT = "the request exceeds the available context size"
POLICY = "The response was filtered due to the prompt triggering Azure OpenAI's content management policy."

HABITS = [
    Habit("vLLM", "null and unknown fields", "kept",
          with_fields(prompt_logprobs=None, usage={"prompt_tokens": 50, "completion_tokens": 30, "input_tokens": 50,
                                                   "output_tokens": 30, "prompt_tokens_details": None})),
    Habit("vLLM", "a second, empty choice", "kept",
          second_choice),
    Habit("vLLM", "cut off while it thinks", "cut off", lambda body, found: (200, ended(found, "length"))),
    Habit("vLLM", "too long a request", "refused", error(400, message=LONG, type="BadRequestError", code=400)),
    Habit("Ollama", "no usage", "kept", lambda body, found: (200, without(found, "usage"))),
    Habit("Ollama", "no model", "kept", lambda body, found: (200, without(found, "model"))),
    Habit("llama.cpp", "template tokens at the end", "kept",
          lambda body, found: (200, saying(found, text_of(found) + "<|im_end|>\n<|endoftext|>"))),
    Habit("llama.cpp", "too long a request", "refused",
          error(500, code=500, message=NO_CONTEXT, type="exceed_context_size_error", n_ctx=256)),
    Habit("llama.cpp", "loading the model", "passes",
          error(503, code=503, message="Loading model", type="unavailable_error")),
    Habit("LiteLLM", "usage without counts", "kept", with_fields(usage={})),
    Habit("LiteLLM", "counts that are none", "kept",
          with_fields(usage={"prompt_tokens": "50", "completion_tokens": -3, "input_tokens": 10**30,
                             "output_tokens": 2.5})),
    Habit("LiteLLM", "counts that are not finite", "kept", not_finite),
    Habit("LiteLLM", "too long a request", "refused",
          error(400, message="litellm.ContextWindowExceededError: ...", type=None, param=None, code="400")),
    Habit("LiteLLM", "the key's budget", "stops",
          error(400, message="Budget has been exceeded!", type="budget_exceeded", param=None, code="400")),
    Habit("OpenRouter", "blank lines before the answer", "kept",
          lambda body, found: (200, b"\n   \n" * 9 + json.dumps(found).encode())),
    Habit("OpenRouter", "402 within 200", "stops",
          error(200, code=402, message="Insufficient credits")),
    Habit("OpenRouter", "429 within 200", "passes",
          sends(200, {"error": {"code": 429, "message": "Rate limited"}, "user_id": "u"})),
    Habit("OpenRouter", "502 in the choice", "passes", in_the_choice),
    Habit("OpenRouter", "moderation", "refused",
          error(403, code=403, message="Input was flagged", metadata={"reasons": ["violence"]})),
    Habit("Azure", "the prompt is filtered", "refused",
          error(400, message=POLICY, code="content_filter", status=400, innererror={"content_filter_result": {}})),
    Habit("Azure", "the answer is filtered", "refused", lambda body, found: (200, ended(found, "content_filter"))),
    Habit("Azure", "413", "refused", sends(413, b"<html>Request Entity Too Large</html>")),
    Habit("Mistral", "parts", "kept", parts),
    Habit("Mistral", "another name of the limit", "kept", renamed_limit),
    Habit("Mistral", "its word for cut off", "cut off", lambda body, found: (200, ended(found, "model_length"))),
    Habit("Mistral", "no finish reason", "kept",
          lambda body, found: (200, {**found, "choices": [{"message": {"content": text_of(found)}}]})),
    Habit("Mistral", "thoughts in the text", "kept",
          lambda body, found: (200, saying(found, f"<think>Who might it be?</think>\n\n{text_of(found)}"))),
    Habit("vLLM", "stopped while it answers", "cut off", lambda body, found: (200, {**ended(found, "abort"), **(
        {} if _is_chat(body) else {"incomplete_details": None, "status": "aborted"})})),
    Habit("LiteLLM", "counts as floats and strings", "kept",
          with_fields(usage={"prompt_tokens": "50", "completion_tokens": 30.0})),
    Habit("Gemini", "cut off before a message", "cut off", thoughts_alone),
    Habit("Gemini", "its word for filtered", "refused",
          lambda body, found: (200, ended(found, "content_filter: SAFETY"))),
    Habit("Gemini", "an error in a list", "refused",
          sends(400, [{"error": {"code": 400, "message": "Unable to process input image"}}])),
    Habit("any", "choices: null", "unreadable", with_fields(choices=None, output=None)),
    Habit("any", "half of an answer", "unreadable", lambda body, found: (200, json.dumps(found)[:40].encode())),
    Habit("any", "a page", "unreadable", sends(200, b"<html>Sign in</html>")),
    Habit("any", "nothing", "unreadable", sends(200, b"")),
    Habit("any", "a wrong key that is shown", "stops", error(401, message="Incorrect API key: sk-0123456789abcdef")),
]  # fmt: skip
