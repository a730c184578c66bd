"""The interface of a client: what to write to add a language-model provider."""

from typing import Protocol

from dim.enhancement.answers import Answer, Request
from dim.errors import DIMError

HOPELESS_AFTER = 10  # requests in a row that failed for good: the server is down, or refuses all of them


class RequestError(DIMError):
    """A request that brought no answer.

    Args:
        message: One line.
        spent: Tokens of the request and of what came, which are paid for although there is no answer.
    """

    def __init__(self, message: str, spent: tuple[int, int] = (0, 0)):
        super().__init__(message)
        self.spent = spent


class EndpointError(RequestError):
    """No request can succeed (a wrong key, an exhausted quota), so the run ends; the message has the server's words."""


class GaveUpError(RequestError):
    """One request failed as often as it may. The run goes on; the next run asks again."""


class RefusedError(GaveUpError):
    """The server does not take this one request (too long, for example), whatever else it takes.

    Args:
        message: One line.
        spent: Tokens to pay for.
        is_of_its_size: Whether the request is too long or too large, which says nothing of shorter ones.
    """

    def __init__(self, message: str, spent: tuple[int, int] = (0, 0), is_of_its_size: bool = False):
        super().__init__(message, spent)
        self.is_of_its_size = is_of_its_size


class PaidError(RequestError):
    """A try that is paid for, and that may be repeated if the budget allows it.

    Args:
        message: One line.
        spent: Tokens to pay for.
        tries: How many tries were made.
        most: How many may be made.
    """

    def __init__(self, message: str, spent: tuple[int, int], tries: int = 1, most: int = 1):
        super().__init__(message, spent)
        self.tries, self.most = tries, most


class Patience:
    """Counts requests in a row that failed, so that a run ends when the server is down.

    Example:

        >>> patience = Patience()
        >>> for _ in range(9):
        ...     patience.failed(GaveUpError("the server says 500"))
        >>> patience.failed(GaveUpError("the server says 500"))
        Traceback (most recent call last):
        dim.enhancement.clients.client.EndpointError: 10 requests in a row failed; the last one: the server says 500
    """

    def __init__(self) -> None:
        self._in_a_row = 0
        self._has_answers = False

    def answered(self) -> None:
        """Notes an answer."""
        self._in_a_row, self._has_answers = 0, True

    def failed(self, error: GaveUpError) -> None:
        """Notes a failure.

        Refusals do not count once the server has answered another request, nor if a request is too long or too large.

        Raises:
            EndpointError: At the tenth in a row.
        """
        if isinstance(error, RefusedError) and (self._has_answers or error.is_of_its_size):
            return
        self._in_a_row += 1
        if self._in_a_row >= HOPELESS_AFTER:
            message = f"{HOPELESS_AFTER} requests in a row failed; the last one: {error}"
            raise EndpointError(message, error.spent) from error


class Client(Protocol):
    """Answers requests. To add a provider, write a class with these two methods.

    `request.body` is the body of OpenAI's chat completions, or of its responses where `request.api` is `"responses"`:
    send it in the format of the provider. `dim.enhancement.clients.openai_client` is an example that retries;
    `dim.cli.asking` chooses the client of the command line.

    Example:
        A provider that runs in this process:

        >>> from pathlib import Path
        >>> from dim.enhancement.answers import Question
        >>> from dim.enhancement.enhance import enhance
        >>> from dim.enhancement.entity_text import EntityText
        >>> from dim.enhancement.ledger import Ledger
        >>> from dim.enhancement.prompts import load_prompt
        >>> class Canned:
        ...     async def ask(self, request):
        ...         instructions, entity = (message["content"] for message in request.body["messages"])
        ...         text = "Ada Lovelace was a British mathematician who wrote the first published program."
        ...         return Answer(text, "", request.body["model"], "stop", None, input_tokens=300, output_tokens=16)
        ...
        ...     async def close(self):
        ...         pass
        >>> ada, question = EntityText("e1", "Ada Lovelace", "Born in 1815."), Question("canned", load_prompt())
        >>> enhance([ada], question, Canned(), Ledger(Path("canned.sqlite"))).descriptions[0]["description"]
        'Ada Lovelace was a British mathematician who wrote the first published program.'
    """

    async def ask(self, request: Request) -> Answer:
        """Sends a request, and sends it again where that can help.

        Args:
            request: What to ask. Many are on the way at once.

        Returns:
            The answer. A refusal of the model or of a content filter is an answer, too.

        Raises:
            GaveUpError: After the last try, or (`RefusedError`) if the server does not take this request.
            PaidError: For a try that is paid for without an answer; the caller notes it and asks again.
            EndpointError: If no other request can succeed either.
        """
        ...

    async def close(self) -> None:
        """Closes the connections, at the end of a run; a later request opens new ones."""
        ...
