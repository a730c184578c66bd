"""The base of the dataset scripts: a raw release as a `datasets.GeneratorBasedBuilder`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import datasets

from dim.corpora.build.corpus import Corpus, read_corpus
from dim.corpora.build.embed import MissingPicture, with_pictures
from dim.corpora.loading import state_of
from dim.corpora.schema import CONFIGS, FEATURES
from dim.errors import DIMError


@dataclass
class MELConfig(datasets.BuilderConfig):
    """What to read. Its name is one of `mentions`, `entities` and `candidates`.

    Args:
        raw: Folders that hold the release's files, together; `data_dir` where there is only one.
        layout: One of `dim.corpora.read.LAYOUTS`, or `auto`.
        images: Folders that hold its pictures.
        descriptions: JSONL of descriptions, for a plus version.
        clean: Whether to drop mentions that leak between splits.
    """

    raw: Sequence[str] = ()
    layout: str = "auto"
    images: Sequence[str] = ()
    descriptions: str | None = None
    clean: bool = False

    @property
    def folders(self) -> list[Path]:
        """The folders that hold the release's files."""
        return [Path(folder) for folder in (*self.raw, *filter(None, [self.data_dir]))]

    def create_config_id(self, config_kwargs: dict, custom_features: datasets.Features | None = None) -> str:
        """Name of the cache: what `datasets` makes of the options, and the state of the files, which it ignores.

        Args:
            config_kwargs: The options.
            custom_features: Features that replace those of the schema.

        Returns:
            The name, another one as soon as a file has changed.
        """
        name = super().create_config_id(config_kwargs, custom_features)
        given = [*self.folders, *map(Path, self.images), *map(Path, filter(None, [self.descriptions]))]
        return f"{name}-{state_of(given)}" if given else name


class MELBuilder(datasets.GeneratorBasedBuilder):
    """Base of the dataset scripts. A subclass says which `release` it reads, and whether it is the `plus` version.

    `dim build` takes its rows from here. It also runs as a class with any version of `datasets`, and as a loading
    script with version 3, the last that has these.
    """

    BUILDER_CONFIG_CLASS = MELConfig
    BUILDER_CONFIGS: ClassVar[list[MELConfig]] = [MELConfig(name=name) for name in CONFIGS]
    DEFAULT_CONFIG_NAME = "mentions"

    release: ClassVar[str]
    plus: ClassVar[bool] = False

    @classmethod
    def read(cls, raw: Sequence[Path], *, descriptions: Path | None = None, **options: Any) -> Corpus:
        """Reads this dataset.

        Args:
            raw: Folders that hold the release's files, together.
            descriptions: JSONL of descriptions; a plus version must have it, another one must not.
            options: The others of [`read_corpus`].

        Returns:
            The corpus.

        Raises:
            DIMError: As `read_corpus` does, and for descriptions that are missing or not wanted.
        """
        if cls.plus and descriptions is None:
            raise DIMError(
                f"{cls.release}_plus needs --descriptions FILE, a JSONL with the descriptions that a language model "
                f"wrote; without them, build {cls.release}."
            )
        if descriptions is not None and not cls.plus:
            raise DIMError(f"{cls.release} keeps its own descriptions: leave out --descriptions, or build a plus set.")
        return read_corpus(cls.release, raw, descriptions=descriptions, **options)

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(features=FEATURES[self.config.name])

    def _split_generators(self, dl_manager: object) -> list[datasets.SplitGenerator]:
        config = self.config
        if not config.folders:
            raise DIMError("Give the folder of the raw release as data_dir, or several as raw=[...].")
        self._corpus = self.read(
            config.folders,
            layout=config.layout,
            images=[Path(folder) for folder in config.images],
            descriptions=Path(config.descriptions) if config.descriptions else None,
            clean=config.clean,
        )
        splits = self._corpus.splits(config.name)
        return [datasets.SplitGenerator(name=split, gen_kwargs={"split": split}) for split in splits]

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        missing: list[MissingPicture] = []
        yield from enumerate(with_pictures(self._corpus.rows(self.config.name, split), missing))


__all__ = ["MELBuilder", "MELConfig"]
