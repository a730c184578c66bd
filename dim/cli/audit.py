"""`dim audit`: what a dataset leaks or lacks."""

from dataclasses import dataclass
from pathlib import Path

from dim.cli.command import Command
from dim.common.parser import option
from dim.errors import DIMError


@dataclass(kw_only=True)
class Audit(Command):
    """Finds what splits share, what ids give away, and what is missing. With --raw, DATASET is a name as for
    `dim build`, and the raw release is audited instead.
    """

    dataset: str = option("folder or Hub name", positional=True, metavar="DATASET")
    raw: list[Path] = option("files or folders of a raw release", [], metavar="DIR")
    layout: str = option("how they are laid out", "auto", needs="raw")
    out: Path | None = option("folder for audit.json and audit.md; default: printed", None, metavar="DIR")
    write_clean: Path | None = option("also write the dataset without what leaks", None, metavar="DIR")

    def run(self) -> None:
        """Writes or prints the findings, and writes the clean dataset if one is asked for."""
        from dim.common.files import write_json, write_text
        from dim.common.locks import locked
        from dim.evaluation.audit.clean import write_clean
        from dim.evaluation.audit.findings import audit
        from dim.evaluation.audit.release import audit_release
        from dim.evaluation.audit.report import audit_markdown
        from dim.evaluation.run import folder_for

        if self.raw and self.write_clean:
            raise DIMError("--write-clean needs a dataset: build it first (`dim build --clean` drops leaks, too).")
        if self.write_clean and self.write_clean.exists():
            raise DIMError(f"{self.write_clean} exists: give a new folder for the clean dataset.")
        folder = folder_for(self.out) if self.out else None
        found = audit_release(self.dataset, self.raw, self.layout) if self.raw else audit(self.dataset, progress=True)
        text = audit_markdown(found)
        if folder is None:
            print(text, end="")
        else:
            write_text(folder / "audit.md", text)
            write_json(folder / "audit.json", found)
            print(folder / "audit.md")
        if self.write_clean:
            with locked(self.write_clean, "dim audit"):
                made = write_clean(self.dataset, self.write_clean, progress=True)
            for split, counts in made.items():
                print(f"{split}: {counts['kept']:,} kept, {counts['dropped']:,} dropped")
