"""Base class of the dataset scripts: a `datasets.GeneratorBasedBuilder` for raw releases."""

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
    """Config of a dataset script. Its name is `mentions`, `entities` or `candidates`.

    Args:
        raw: Folders of the release's files; one folder can be given as `data_dir` instead.
        layout: A name in [`dim.corpora.readers.registry.LAYOUTS`], or `auto`.
        images: Folders of its pictures.
        descriptions: JSON Lines of descriptions, for a plus version.
        clean: Whether to drop mentions that leak between splits.
    """

    raw: Sequence[str] = ()
    layout: str = "auto"
    images: Sequence[str] = ()
    descriptions: str | None = None
    clean: bool = False

    @property
    def folders(self) -> list[Path]:
        """The folders of the release's files."""
        return [Path(folder) for folder in (*self.raw, *filter(None, [self.data_dir]))]

    def create_config_id(self, config_kwargs: dict, custom_features: datasets.Features | None = None) -> str:
        """Returns the name of the cache: that of `datasets`, which ignores changed files, and the state of the files.

        Args:
            config_kwargs: The options.
            custom_features: Features that replace those of the schema.

        Returns:
            The name, which changes with the files.
        """
        name = super().create_config_id(config_kwargs, custom_features)
        given = [*self.folders, *map(Path, self.images), *map(Path, filter(None, [self.descriptions]))]
        return f"{name}-{state_of(given)}" if given else name


class MELBuilder(datasets.GeneratorBasedBuilder):
    """Base class of the dataset scripts. A subclass sets `release`, and `plus` for a plus version.

    `dim build` takes its rows from the subclass, which can also be used directly, as any builder of `datasets`.
    """

    BUILDER_CONFIG_CLASS = MELConfig
    BUILDER_CONFIGS: ClassVar[list[MELConfig]] = [MELConfig(name=name) for name in CONFIGS]
    DEFAULT_CONFIG_NAME = "mentions"

    release: ClassVar[str]
    plus: ClassVar[bool] = False

    @classmethod
    def read(cls, raw: Sequence[Path], *, descriptions: Path | None = None, **options: Any) -> Corpus:
        """Reads the dataset.

        Args:
            raw: Folders of the release's files.
            descriptions: JSON Lines of descriptions; required for a plus version, refused for others.
            options: Other options of [`read_corpus`].

        Returns:
            The corpus.

        Raises:
            DIMError: As [`read_corpus`], and if descriptions are missing or refused.
        """
        if cls.plus and descriptions is None:
            raise DIMError(
                f"{cls.release}_plus needs --descriptions FILE, the JSON Lines of generated descriptions; without "
                f"them, build {cls.release}."
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
