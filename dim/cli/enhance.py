"""`dim enhance`: new descriptions of entities by a language model."""

from dataclasses import dataclass
from pathlib import Path

from dim.cli.asking import Asking, Session
from dim.common.parser import option
from dim.errors import DIMError


@dataclass(kw_only=True)
class Enhance(Asking):
    """Asks a language model about each entity and writes its answers as new descriptions, for
    `dim build NAME_plus --descriptions FILE`. Stop it whenever you like: the same command goes on, and no answer is
    asked for twice. The key of the server is read from OPENAI_API_KEY.
    """

    source: str = option("a dataset, a knowledge base, or a table of id, name and description", positional=True,
                         metavar="SOURCE")  # fmt: skip
    out: Path = option("JSONL of the new descriptions", metavar="FILE")

    def run(self) -> int:
        """Asks, or with --dry-run estimates.

        Returns:
            The exit code: 1 if all requests failed.
        """
        from dim.enhancement.entity_text import read_entities

        if self.out.resolve() == Path(self.source).resolve():
            raise DIMError(f"--out is {self.out}, which is the source: choose another file.")
        session = Session(self, self.out)
        entities = read_entities(self.source)
        if self.dry_run:
            session.estimate(entities)
            return 0
        with session.ledger() as ledger:
            return session.report(session.ask(entities, ledger))
