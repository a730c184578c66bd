"""`dim enhance` on the command line."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dim.enhancement.answers import Question
    from dim.enhancement.budget import Prices
    from dim.enhancement.entities import EntityText


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command, with the function that runs it as `run`.

    Args:
        commands: Where the parser keeps its commands.
    """
    enhance = commands.add_parser(
        "enhance",
        help="ask a language model for new descriptions of entities",
        description="Asks a language model about each entity and writes its answers as new descriptions, for "
        "`dim build NAME_plus --descriptions FILE`. Stop it whenever you like: the same command goes on, and no answer "
        "is asked for twice. The key of the server is taken from OPENAI_API_KEY.",
    )
    enhance.add_argument(
        "source", metavar="SOURCE", help="a dataset, a knowledge base, or a JSONL of {id, name, description}"
    )
    enhance.add_argument("--model", required=True, help="the model, as the server calls it")
    enhance.add_argument("--base-url", metavar="URL", help="an OpenAI-compatible server, up to /v1 (default: OpenAI)")
    enhance.add_argument("--out", type=Path, required=True, metavar="FILE", help="JSONL of the new descriptions")
    enhance.add_argument("--prompt", default="describe", help="describe, paper, or a .txt file (%(default)s)")
    enhance.add_argument("--api", choices=("chat", "responses"), default="chat", help="the server's API (%(default)s)")
    enhance.add_argument("--batch", action="store_true", help="use the Batch API: half the price, within 24 hours")
    enhance.add_argument(
        "--max-answer-tokens", type=int, default=300, metavar="N", help="bound of an answer's length (%(default)s)"
    )
    enhance.add_argument("--temperature", type=float, help="sent only if given")
    enhance.add_argument("--language", default="en", help="the language answers must be in (%(default)s)")
    enhance.add_argument("--concurrency", type=int, default=16, metavar="N", help="requests at a time (%(default)s)")
    enhance.add_argument(
        "--timeout", type=float, default=120.0, metavar="S", help="seconds for an answer (%(default)g)"
    )
    enhance.add_argument("--price-input", type=float, metavar="X", help="dollars per million tokens of requests")
    enhance.add_argument("--price-output", type=float, metavar="X", help="dollars per million tokens of answers")
    enhance.add_argument(
        "--max-cost", type=float, metavar="X", help="stop before this many dollars, in all runs together"
    )
    enhance.add_argument(
        "--max-tokens", type=int, metavar="N", help="stop before this many tokens, in all runs together"
    )
    enhance.add_argument("--dry-run", action="store_true", help="estimate tokens and price, and ask nothing")
    enhance.set_defaults(run=_enhance)


def _enhance(arguments: argparse.Namespace) -> int:
    from dim.enhancement.answers import Question
    from dim.enhancement.budget import Budget, Prices
    from dim.enhancement.endpoint import Endpoint
    from dim.enhancement.enhance import enhance
    from dim.enhancement.entities import read_entities
    from dim.enhancement.ledger import Ledger
    from dim.enhancement.prompts import load_prompt
    from dim.enhancement.report import summary, write

    out: Path = arguments.out
    if out.suffix != ".jsonl" or not out.parent.is_dir():
        raise ValueError(f"--out is {out}: it must be a .jsonl file in a folder that exists.")
    if out.resolve() == Path(arguments.source).resolve():
        raise ValueError(f"--out is {out}, which is the source: choose another file.")
    if (arguments.price_input is None) != (arguments.price_output is None):
        raise ValueError("Give both --price-input and --price-output, or neither.")
    prices = None if arguments.price_input is None else Prices(arguments.price_input, arguments.price_output)
    Budget(prices, arguments.max_cost, arguments.max_tokens)  # bad bounds are told before anything is read
    prompt = load_prompt(arguments.prompt)
    question = Question(arguments.model, prompt, arguments.api, arguments.max_answer_tokens, arguments.temperature)
    endpoint = None if arguments.dry_run else Endpoint(arguments.base_url, timeout=arguments.timeout)
    entities = read_entities(arguments.source)
    answers, kept = out.with_suffix(".answers.sqlite"), out.with_suffix(".kept.jsonl")
    if endpoint is None:
        return _dry_run(entities, question, answers, prices)
    ledger = Ledger(answers)
    try:
        result = enhance(
            entities,
            question,
            endpoint,
            ledger,
            language=arguments.language,
            concurrency=arguments.concurrency,
            prices=prices,
            max_cost=arguments.max_cost,
            max_tokens=arguments.max_tokens,
            batch=arguments.batch,
            progress=True,
        )
    except KeyboardInterrupt:
        print(f"\nstopped; every answer that came is in {answers}, and the same command goes on")
        return 130
    finally:
        ledger.close()
    write(result, out, kept)
    print(summary(result, prices))
    print(f"{out}, and who keeps an old description: {kept}")
    return 0


def _dry_run(entities: "list[EntityText]", question: "Question", answers: Path, prices: "Prices | None") -> int:
    from dim.enhancement.ledger import Ledger
    from dim.enhancement.report import estimate

    answered: set[str] = set()
    if answers.is_file():
        ledger = Ledger(answers)
        answered = ledger.keys()
        ledger.close()
    found = estimate(entities, question, answered)
    print(f"{len(entities):,} entities, {found.requests:,} requests still to send")
    print(f"tokens asked: about {found.likely_input:,}, at most {found.most_input:,}")
    print(f"tokens answered: at most {found.most_output:,}")
    if prices is None:
        print("price: unknown; give --price-input and --price-output")
    else:
        likely, most = (prices.cost(n, found.most_output) for n in (found.likely_input, found.most_input))
        print(f"price: about {likely:.4f} dollars if every answer is as long as it may be, at most {most:.4f}")
    return 0


__all__ = ["add_commands"]
