"""`dim kb compact`: a knowledge base in fewer bytes."""

from dataclasses import dataclass

from dim.cli.kb import Existing
from dim.common.ages import read_age
from dim.common.parser import option
from dim.errors import DIMError


@dataclass(kw_only=True)
class Compact(Existing):
    """Joins small files, and removes old versions."""

    keep: str | None = option("how long versions stay: 12h, 30d, 4w", None, metavar="AGE")
    keep_versions: int | None = option("how many of the newest versions stay at least", None, least=1)

    def run(self) -> None:
        """Runs the command."""
        from dim.kb.compaction import compact

        if self.keep is None and self.keep_versions is None:
            raise DIMError("Say what to keep: --keep 30d, --keep-versions 10, or both.")
        age = None if self.keep is None else read_age(self.keep.strip(), units="mhdw")
        if self.keep is not None and age is None:
            raise DIMError(f"A length of time is a number with m, h, d or w, such as 30d, got {self.keep!r}.")
        done = compact(self.open(), age, self.keep_versions)
        if done.before is not None and done.after is not None:
            print(f"{done.before:,} bytes before, {done.after:,} after")
        print(f"{done.removed} versions removed, {done.versions} left")
