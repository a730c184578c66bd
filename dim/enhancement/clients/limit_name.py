"""The name of an answer's limit, which servers of chat completions disagree about."""

import logging
from typing import Any

from dim.enhancement.answers import Request
from dim.enhancement.clients.server_error import ServerError

logger = logging.getLogger(__name__)

_NEW, _OLD = "max_completion_tokens", "max_tokens"


class LimitName:
    """`max_completion_tokens`, or `max_tokens` for a server that refuses or ignores it.

    Example:

        >>> from dim.enhancement.answers import Question
        >>> from dim.enhancement.entity_text import EntityText
        >>> from dim.enhancement.prompts import load_prompt
        >>> request = Question("mistral", load_prompt(), max_answer_tokens=50).about(EntityText("e1", "Ada"))
        >>> limit = LimitName()
        >>> limit.learn(ServerError(422, {"detail": [{"loc": ["body", "max_completion_tokens"]}]}), limit.name)
        True
        >>> limit.body(request)["max_tokens"]
        50
    """

    def __init__(self) -> None:
        self.name = _NEW
        self._refused: set[str] = set()

    def body(self, request: Request) -> dict[str, Any]:
        """The body of a request, with the name that this server knows."""
        if request.api != "chat" or self.name == _NEW:
            return request.body
        return {self.name if name == _NEW else name: value for name, value in request.body.items()}

    def learn(self, error: ServerError, sent: str) -> bool:
        """Whether a server refuses the name that was sent and there is another to try, which is sent from now on.

        Args:
            error: What the server says.
            sent: The name that was sent.
        """
        if error.status not in (400, 422, 500) or sent not in error.text or error.is_too_long:
            return False
        if sent != self.name:  # another request has learned it meanwhile
            return True
        self._refused.add(sent)
        self._change(_OLD if sent == _NEW else _NEW, "know")
        return self.name != sent

    def outgrown(self) -> None:
        """Notes an answer that is longer than its limit."""
        if self.name == _NEW:
            self._change(_OLD, "keep to")

    def _change(self, other: str, verb: str) -> None:
        if other not in self._refused:
            logger.info("The server does not %s `%s`: `%s` is sent instead.", verb, self.name, other)
            self.name = other
