"""`dim audit`: what a dataset leaks or lacks."""

from contextlib import ExitStack
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
        from dim.common.locks import locked
        from dim.common.outputs import check_file

        if self.raw and self.write_clean:
            raise DIMError("--write-clean needs a dataset: build it first (`dim build --clean` drops leaks, too).")
        if self.write_clean and self.write_clean.exists():
            raise DIMError(f"{self.write_clean} exists: give a new folder for the clean dataset.")
        with ExitStack() as locks:
            if self.out:
                for name in ("audit.md", "audit.json"):
                    check_file(self.out / name)
                locks.enter_context(locked(self.out, "dim audit", inside=True))
            if self.write_clean:
                locks.enter_context(locked(self.write_clean, "dim audit"))
            self._audit()

    def _audit(self) -> None:
        from dim.common.files import write_json, write_text
        from dim.evaluation.audit.clean import write_clean
        from dim.evaluation.audit.findings import audit
        from dim.evaluation.audit.release import audit_release
        from dim.evaluation.audit.report import audit_markdown

        found = audit_release(self.dataset, self.raw, self.layout) if self.raw else audit(self.dataset, progress=True)
        text = audit_markdown(found)
        if self.out is None:
            print(text, end="")
        else:
            write_text(self.out / "audit.md", text)
            write_json(self.out / "audit.json", found)
            print(self.out / "audit.md")
        if self.write_clean:
            for split, counts in write_clean(self.dataset, self.write_clean, progress=True).items():
                print(f"{split}: {counts['kept']:,} kept, {counts['dropped']:,} dropped")
