"""`dim push`: models, datasets, metrics, Spaces and linkers on the Hub."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dim.cli.command import Command
from dim.common.parser import option

if TYPE_CHECKING:
    from dim.publishing.files import Publication

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class _Push(Command):
    target: str = option("the repository, owner/name; made if it does not exist", positional=True, metavar="TARGET")
    private: bool = option("make it a private one, which may hold data that others must not have", False)
    revision: str | None = option("push to a branch; made if it does not exist", None, metavar="BRANCH")
    create_pr: bool = option("open a pull request instead", False)
    dry_run: bool = option("list every file with its size, and upload nothing", False)

    def publication(self, scratch: Path) -> "Publication":
        """Prepares what is pushed; `scratch` is a folder for temporary files."""
        raise NotImplementedError

    def run(self) -> None:
        """Lists the files, and pushes them."""
        from dim.publishing.scratch import scratch_folder
        from dim.publishing.upload import check_target, push

        check_target(self.target, self.revision, self.create_pr)
        with scratch_folder() as scratch:
            publication = self.publication(scratch)
            print(publication.listing())
            for note in publication.notes:
                logger.info("note: %s", note)
            if not self.dry_run:
                print(push(publication, private=self.private, revision=self.revision, create_pr=self.create_pr))


@dataclass(kw_only=True)
class _PushFolder(_Push):
    source: Path = option("its folder", aliases=["--from"], metavar="DIR")


@dataclass(kw_only=True)
class _Results:
    results: list[Path] = option("report.json of dim eval, for .eval_results/ and the card", [], metavar="FILE")
    dataset: str | None = option("Hub name of their dataset, if dim eval read it from a folder", None,
                                 metavar="OWNER/NAME")  # fmt: skip


@dataclass(kw_only=True)
class _Licensed:
    license: str | None = option("licence of the weights, such as cc-by-4.0, if the card has none", None, metavar="ID")


@dataclass(kw_only=True)
class Model(_Licensed, _Results, _PushFolder):
    """Publishes a model with its processor, its code and its card."""

    def publication(self, scratch: Path) -> "Publication":
        """The model's files."""
        from dim.publishing.model import model_publication

        return model_publication(self.source, self.target, self.results, self.license, self.dataset)


@dataclass(kw_only=True)
class Dataset(_PushFolder):
    """Publishes a dataset that `dim build` made."""

    def publication(self, scratch: Path) -> "Publication":
        """The dataset's files."""
        from dim.corpora.loading import verify_dataset
        from dim.publishing.dataset import dataset_publication

        verify_dataset(self.source)
        return dataset_publication(self.source, self.target, self.private)


@dataclass(kw_only=True)
class Metric(_PushFolder):
    """Publishes a metric for evaluate.load, such as metrics/mel_ranking."""

    def publication(self, scratch: Path) -> "Publication":
        """The metric's files."""
        from dim.publishing.space import metric_publication

        return metric_publication(self.source, self.target)


@dataclass(kw_only=True)
class Space(_PushFolder):
    """Publishes a demo as a Space."""

    def publication(self, scratch: Path) -> "Publication":
        """The Space's files."""
        from dim.publishing.space import space_publication

        return space_publication(self.source, self.target)


@dataclass(kw_only=True)
class Linker(_Licensed, _Results, _Push):
    """Publishes a model together with a knowledge base that it encoded."""

    model: Path = option("folder of the model that `dim train` made", metavar="DIR")
    kb: str = option("a knowledge base (`dim kb create`)")
    kb_licence: str = option("licence of its entities, such as cc-by-4.0", metavar="ID")

    def publication(self, scratch: Path) -> "Publication":
        """The files of both."""
        from dim.publishing.linker import linker_publication

        return linker_publication(self.model, self.kb, self.kb_licence, self.target, scratch, self.results,
                                  self.license, self.private, self.dataset)  # fmt: skip
