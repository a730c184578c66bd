"""`dim inspect`: what a dataset holds."""

from dataclasses import dataclass
from pathlib import Path

from dim.cli.command import Command
from dim.common.parser import option


@dataclass(kw_only=True)
class Inspect(Command):
    """Shows the splits of a dataset, its columns and some of its mentions."""

    dataset: str = option("folder or Hub name", positional=True, metavar="DATASET")
    examples: int = option("mentions of each split", 3, least=0, metavar="N")
    sheet: Path | None = option("also draw mentions with their pictures as a PNG", None, metavar="FILE")
    split: str = option("the split to draw", "train", needs="sheet")
    count: int = option("mentions to draw", 12, least=1, most=1000, needs="sheet", metavar="N")
    seed: int = option("which ones to draw", 0, least=0, needs="sheet")

    def run(self) -> None:
        """Prints the report, and draws the sheet if one is asked for."""
        from dim.common.outputs import check_file
        from dim.corpora.inspect.sheet import contact_sheet, describe, report

        if self.sheet is not None:
            check_file(self.sheet)
        print(report(describe(self.dataset, self.examples)))
        if self.sheet is not None:
            drawn = contact_sheet(self.dataset, self.split, self.count, self.seed, self.sheet)
            print(f"\n{drawn} mentions drawn in {self.sheet}")
