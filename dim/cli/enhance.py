"""`dim enhance` on the command line."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dim.enhancement.session import Asking, add_asking
from dim.errors import DIMError

if TYPE_CHECKING:
    from dim.enhancement.ledger import Ledger


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
    enhance.add_argument("--out", type=Path, required=True, metavar="FILE", help="JSONL of the new descriptions")
    add_asking(enhance)
    enhance.set_defaults(run=_enhance)


def _enhance(arguments: argparse.Namespace) -> int:
    from dim.enhancement.entity_text import read_entities

    if arguments.out.resolve() == Path(arguments.source).resolve():
        raise DIMError(f"--out is {arguments.out}, which is the source: choose another file.")
    asking = Asking(arguments)
    entities = read_entities(arguments.source)
    if arguments.dry_run:
        asking.estimate(entities)
        return 0

    def work(ledger: "Ledger") -> None:
        asking.report(asking(entities, ledger))

    return asking.run(work)


__all__ = ["add_commands"]
