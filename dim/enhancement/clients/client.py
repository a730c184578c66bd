"""The interface of a client: what to write to add a language-model provider."""

from typing import Protocol

from dim.enhancement.answers import Answer, Request
from dim.errors import DIMError


class EndpointError(DIMError):
    """No request can succeed (a wrong key, an exhausted quota), so the run ends; the message has the server's words."""


class GaveUpError(DIMError):
    """One request failed as often as it may. The run goes on; the next run asks again."""


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
            GaveUpError: After the last try.
            EndpointError: If no other request can succeed either.
        """
        ...

    async def close(self) -> None:
        """Closes the connections, at the end of a run; a later request opens new ones."""
        ...
