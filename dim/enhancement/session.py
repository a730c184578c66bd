"""What `dim enhance` and `dim kb refresh` share: their options, and a run that may be stopped at any moment."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dim.errors import DIMError

if TYPE_CHECKING:
    from dim.enhancement.entity_text import EntityText
    from dim.enhancement.ledger import Ledger
    from dim.enhancement.report import Enhancement


def add_asking(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say whom to ask, how, and what it may cost.

    Args:
        parser: Of the command.
    """
    parser.add_argument("--model", required=True, help="the model, as the server calls it")
    parser.add_argument("--base-url", metavar="URL", help="an OpenAI-compatible server, up to /v1 (default: OpenAI)")
    parser.add_argument("--prompt", default="describe", help="describe, paper, or a .txt file (%(default)s)")
    parser.add_argument("--api", choices=("chat", "responses"), default="chat", help="the server's API (%(default)s)")
    parser.add_argument("--batch", action="store_true", help="use the Batch API: half the price, within 24 hours")
    parser.add_argument(
        "--max-answer-tokens", type=int, default=300, metavar="N", help="bound of an answer's length (%(default)s)"
    )
    parser.add_argument("--temperature", type=float, help="sent only if given")
    parser.add_argument("--language", default="en", help="the language answers must be in (%(default)s)")
    parser.add_argument("--concurrency", type=int, default=16, metavar="N", help="requests at a time (%(default)s)")
    parser.add_argument("--timeout", type=float, default=120.0, metavar="S", help="seconds for an answer (%(default)g)")
    parser.add_argument("--price-input", type=float, metavar="X", help="dollars per million tokens of requests")
    parser.add_argument("--price-output", type=float, metavar="X", help="dollars per million tokens of answers")
    parser.add_argument(
        "--max-cost", type=float, metavar="X", help="stop before this many dollars, in all runs together"
    )
    parser.add_argument(
        "--max-tokens", type=int, metavar="N", help="stop before this many tokens, in all runs together"
    )
    parser.add_argument("--dry-run", action="store_true", help="estimate tokens and price, and ask nothing")


class Asking:
    """Whom to ask and how, from the options of `add_asking`: checked before anything is read or asked.

    Args:
        arguments: Parsed options, and `out`: the JSONL of the new descriptions.

    Raises:
        DIMError: For an option that cannot be.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        from dim.enhancement.answers import Question
        from dim.enhancement.budget import Budget, Prices
        from dim.enhancement.endpoint import Endpoint
        from dim.enhancement.prompts import load_prompt

        self.out: Path = arguments.out
        if self.out.suffix != ".jsonl" or not self.out.parent.is_dir():
            raise DIMError(f"--out is {self.out}: it must be a .jsonl file in a folder that exists.")
        self.answers, self.kept = self.out.with_suffix(".answers.sqlite"), self.out.with_suffix(".kept.jsonl")
        if (arguments.price_input is None) != (arguments.price_output is None):
            raise DIMError("Give both --price-input and --price-output, or neither.")
        self.prices = None if arguments.price_input is None else Prices(arguments.price_input, arguments.price_output)
        Budget(self.prices, arguments.max_cost, arguments.max_tokens)
        prompt = load_prompt(arguments.prompt)
        given = (arguments.model, prompt, arguments.api, arguments.max_answer_tokens, arguments.temperature)
        self.question = Question(*given)
        self.endpoint = None if arguments.dry_run else Endpoint(arguments.base_url, timeout=arguments.timeout)
        self._arguments = arguments

    def __call__(self, entities: "Sequence[EntityText]", ledger: "Ledger") -> "Enhancement":
        """Asks about entities, unless this is a dry run; see `dim.enhancement.enhance.enhance`."""
        from dim.enhancement.enhance import enhance

        names = ("language", "concurrency", "max_cost", "max_tokens", "batch")
        options = {name: getattr(self._arguments, name) for name in names}
        options |= {"prices": self.prices, "progress": True}
        return enhance(entities, self.question, self.endpoint, ledger, **options)  # type: ignore[arg-type]

    def estimate(self, entities: "Sequence[EntityText]", since: str = "") -> None:
        """Prints what asking about entities would take, and asks nothing.

        Args:
            entities: Whom to ask about.
            since: Answers from before that time (ISO 8601, UTC) do not count as there.
        """
        from dim.enhancement.ledger import Ledger
        from dim.enhancement.report import estimate

        answered: set[str] = set()
        if self.answers.is_file():
            ledger = Ledger(self.answers)
            answered = ledger.keys(since)
            ledger.close()
        found = estimate(entities, self.question, answered)
        print(f"{len(entities):,} entities, {found.requests:,} requests still to send")
        print(f"tokens asked: about {found.likely_input:,}, at most {found.most_input:,}")
        print(f"tokens answered: at most {found.most_output:,}")
        if self.prices is None:
            print("price: unknown; give --price-input and --price-output")
        else:
            likely, most = (self.prices.cost(n, found.most_output) for n in (found.likely_input, found.most_input))
            print(f"price: about {likely:.4f} dollars if every answer is as long as it may be, at most {most:.4f}")

    def run(self, work: "Callable[[Ledger], None]") -> int:
        """Does work whose answers are kept, and tells who stops it that nothing is lost.

        Args:
            work: Is given the open file of answers.

        Returns:
            Exit code: 0, or 130 where the user stopped it.
        """
        from dim.enhancement.ledger import Ledger

        ledger = Ledger(self.answers)
        try:
            work(ledger)
        except KeyboardInterrupt:
            print(f"\nstopped; every answer that came is in {self.answers}, and the same command goes on")
            return 130
        finally:
            ledger.close()
        return 0

    def report(self, result: "Enhancement") -> None:
        """Writes what came out beside the answers, and prints its summary."""
        from dim.enhancement.report import summary, write

        write(result, self.out, self.kept)
        print(summary(result, self.prices))
        print(f"{self.out}, and who keeps an old description: {self.kept}")


__all__ = ["Asking", "add_asking"]
