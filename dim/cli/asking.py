"""What `dim enhance` and `dim kb refresh` share: their options, and a run that may be stopped at any moment."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dim.cli.command import Command, CommandError
from dim.common.parser import option
from dim.errors import DIMError

if TYPE_CHECKING:
    from dim.enhancement.entity_text import EntityText
    from dim.enhancement.ledger import Ledger
    from dim.enhancement.report import Enhancement


@dataclass(kw_only=True)
class Asking(Command):
    """Options of a command that asks a language model."""

    llm: str = option("the language model, as the server calls it", metavar="NAME")
    base_url: str | None = option("an OpenAI-compatible server, up to /v1; default: OpenAI", None, metavar="URL")
    prompt: str = option("describe, paper, or a .txt file", "describe")
    api: Literal["chat", "responses"] = option("the server's API", "chat")
    batch: bool = option("use the Batch API: half the price, within 24 hours", False)
    max_answer_tokens: int = option("longest answer", 300, least=1, metavar="N")
    temperature: float | None = option("sent only if given", None, least=0, most=100)
    language: str = option("the language answers must be in", "en")
    concurrency: int = option("requests at a time", 16, least=1, most=10_000, not_with="batch", metavar="N")
    timeout: float = option("seconds for an answer", 120.0, above=0, most=86_400, metavar="S")
    price_input: float | None = option("dollars per million tokens of requests", None, least=0, most=1e6,
                                       metavar="X")  # fmt: skip
    price_output: float | None = option("dollars per million tokens of answers", None, least=0, most=1e6,
                                        metavar="X")  # fmt: skip
    max_cost: float | None = option("stop before this many dollars, in all runs together", None, above=0, most=1e9,
                                   metavar="X")  # fmt: skip
    max_tokens: int | None = option("stop before this many tokens, in all runs together", None, least=1, most=10**15,
                                   metavar="N")  # fmt: skip
    retry_unreadable: bool = option("ask again where a paid answer could not be read", False)
    dry_run: bool = option("estimate tokens and price, and ask nothing", False)


class Session:
    """Asks a language model about entities; everything is checked before anything is read or asked.

    Args:
        options: Whom to ask, and how.
        out: JSONL of the new descriptions; the answers are stored beside it.

    Raises:
        DIMError: If an option is invalid.
    """

    def __init__(self, options: Asking, out: Path) -> None:
        from dim.common.outputs import check_file
        from dim.enhancement.answers import Question
        from dim.enhancement.budget import Budget, Prices
        from dim.enhancement.clients.openai_client import OpenAIClient
        from dim.enhancement.prompts import load_prompt

        if out.suffix != ".jsonl" or not out.parent.is_dir():
            raise DIMError(f"--out is {out}: it must be a .jsonl file in a folder that exists.")
        prices = [price for price in (options.price_input, options.price_output) if price is not None]
        if len(prices) == 1:
            raise DIMError("Give both --price-input and --price-output, or neither.")
        self.options, self.out = options, out
        self.answers, self.kept = out.with_suffix(".answers.sqlite"), out.with_suffix(".kept.jsonl")
        for file in () if options.dry_run else (out, self.answers, self.kept):
            check_file(file)
        self.prices = Prices(*prices) if prices else None
        Budget(self.prices, options.max_cost, options.max_tokens)
        prompt = load_prompt(options.prompt)
        self.question = Question(options.llm, prompt, options.api, options.max_answer_tokens, options.temperature)
        self.client = None if options.dry_run else OpenAIClient(options.base_url, timeout=options.timeout)

    def ask(self, entities: "Sequence[EntityText]", ledger: "Ledger") -> "Enhancement":
        """Asks about entities, unless this is a dry run; see `dim.enhancement.enhance.enhance`."""
        from dim.enhancement.enhance import enhance

        names = ("language", "concurrency", "max_cost", "max_tokens", "batch", "retry_unreadable")
        options = {name: getattr(self.options, name) for name in names} | {"prices": self.prices, "progress": True}
        return enhance(entities, self.question, self.client, ledger, **options)  # type: ignore[arg-type]

    def estimate(self, entities: "Sequence[EntityText]", since: str = "") -> None:
        """Prints what asking about entities would take, and asks nothing.

        Args:
            entities: Whom to ask about.
            since: Answers from before that time (ISO 8601, UTC) do not count.
        """
        from dim.enhancement.report import estimate

        answered: set[str] = set()
        if self.answers.is_file():
            with self.ledger() as ledger:
                answered = ledger.keys(since)
        found = estimate(entities, self.question, answered)
        print(f"{len(entities):,} entities, {found.requests:,} requests still to send")
        print(f"tokens asked: about {found.likely_input:,}, at most {found.most_input:,}")
        print(f"tokens answered: at most {found.most_output:,}")
        if self.prices is None:
            print("price: unknown; give --price-input and --price-output")
        else:
            likely, most = (self.prices.cost(n, found.most_output) for n in (found.likely_input, found.most_input))
            print(f"price: about {likely:.4f} dollars if every answer is as long as it may be, at most {most:.4f}")

    @contextmanager
    def ledger(self) -> "Iterator[Ledger]":
        """Opens the file of answers.

        Raises:
            CommandError: If the user stops the command: exit code 130, and the message says that nothing is lost.
        """
        from dim.enhancement.ledger import Ledger

        ledger = Ledger(self.answers)
        try:
            yield ledger
        except KeyboardInterrupt as stop:
            message = f"stopped; every answer that came is in {self.answers}, and the same command goes on"
            raise CommandError(message, 130) from stop
        finally:
            ledger.close()

    def report(self, result: "Enhancement") -> int:
        """Writes the results beside the answers, and prints a summary.

        Returns:
            The exit code: 1 if all requests of this run failed, else 0.
        """
        from dim.enhancement.report import summary, write

        write(result, self.out, self.kept)
        print(summary(result, self.prices))
        print(f"{self.out}; entities that keep their description: {self.kept}")
        return 1 if result.asked == 0 and result.failed + result.refused else 0
