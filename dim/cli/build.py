"""`dim build`: a dataset from a raw release."""

from dataclasses import dataclass
from pathlib import Path

from dim.cli.command import Command, RawRelease
from dim.common.parser import option


@dataclass(kw_only=True)
class Build(RawRelease, Command):
    """Makes a dataset that `datasets.load_dataset` reads. NAME is wikimel, richpediamel or wikidiverse, one of these
    with _plus behind it, melart, or with --layout jsonl any other, for data of your own.
    """

    images: list[Path] = option("folders of pictures", [], metavar="DIR")
    descriptions: Path | None = option("JSONL of descriptions, for the plus versions", None, metavar="FILE")
    clean: bool = option("drop mentions that leak between the splits", False)
    out: Path = option("the dataset's folder", metavar="DIR")

    def run(self) -> None:
        """Builds the dataset and prints its summary."""
        from dim.common.locks import locked
        from dim.corpora.build.dataset import build, summary

        with locked(self.out, "dim build"):
            built = build(self.name, self.raw, self.out, layout=self.layout, images=self.images,
                          descriptions=self.descriptions, clean=self.clean, progress=True)  # fmt: skip
        print(summary(built))
