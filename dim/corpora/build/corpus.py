"""Turns a raw release into the rows of a dataset: with pictures, descriptions and candidates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from dim.common.files import sha256_of
from dim.corpora.build.descriptions import Description, read_descriptions
from dim.corpora.build.embed import PictureFile, Row
from dim.corpora.build.name_candidates import SOURCE, name_candidates
from dim.corpora.build.picture_mentions import reject_without_picture
from dim.corpora.picture_folder import PictureFolder
from dim.corpora.read import read_release
from dim.corpora.release import Entity, Mention, Release
from dim.corpora.schema import FEATURES, SPLITS
from dim.corpora.splits import clean as without_leaks


@dataclass
class Pictures:
    """The files of a release's pictures; `None` for one that was not found.

    Args:
        of_mentions: Files by `image_id`.
        of_entities: Files by the release's name of the picture.
    """

    of_mentions: dict[str, Path | None]
    of_entities: dict[str, Path | None]

    @classmethod
    def find(cls, release: Release, folders: Sequence[Path], progress: bool = False) -> "Pictures":
        """Finds the pictures of a release.

        Args:
            release: The release.
            folders: Folders of its pictures.
            progress: Whether to show a progress bar.

        Returns:
            The files.

        Raises:
            DIMError: If a folder does not exist or has no pictures, or if different files fit a name.
        """
        folder = PictureFolder(folders)

        def file_of(reference: str, keys: Sequence[str] = ()) -> Path | None:
            path = folder.find(reference, keys)
            return path if path is not None and path.is_file() else None  # a link may lead nowhere

        mentions = {mention.image_id: mention for mention in reversed(release.mentions) if mention.image_id}
        references = dict.fromkeys(image for entity in release.entities for image in entity.images)
        with tqdm(total=len(mentions) + len(references), desc="finding pictures", disable=not progress) as bar:
            found = cls({}, {})
            for name, mention in mentions.items():
                found.of_mentions[name] = file_of(mention.image, mention.image_keys)
                bar.update()
            for reference in references:
                found.of_entities[reference] = file_of(reference)
                bar.update()
        return found

    def checksums(self, progress: bool = False) -> dict[str, str]:
        """Computes the checksums of the mentions' pictures that were found.

        Args:
            progress: Whether to show a progress bar.

        Returns:
            sha256 by `image_id`.
        """
        there = [(name, path) for name, path in self.of_mentions.items() if path is not None]
        return {name: sha256_of(path) for name, path in tqdm(there, desc="comparing pictures", disable=not progress)}


@dataclass
class Corpus:
    """The rows of a dataset.

    Args:
        release: The release.
        pictures: Its pictures; `None` if no folder of pictures was given, then no row has a picture.
        descriptions: Replacements for descriptions of the knowledge base, by entity id.
        progress: Whether to show progress bars.
    """

    release: Release
    pictures: Pictures | None = None
    descriptions: Mapping[str, Description] = field(default_factory=dict)
    progress: bool = False

    @cached_property
    def candidates(self) -> dict[str, list[str]]:
        """Ids of candidate entities, best first, by surface form."""
        texts = [mention.mention for mention in self.release.mentions]
        return name_candidates(texts, self.release.entities, progress=self.progress)

    @cached_property
    def mentions(self) -> dict[str, list[Mention]]:
        """Mentions by split, sorted so that those of a picture, and then those of a sentence, are neighbours."""
        first: dict[tuple[str, str], int] = {}
        for index, mention in enumerate(self.release.mentions):
            first.setdefault(("picture", mention.image_id), index)
            first.setdefault(("sentence", mention.sentence), index)

        def order(mention: Mention) -> tuple[int, int]:
            sentence = first["sentence", mention.sentence]
            return first["picture", mention.image_id] if mention.image_id else sentence, sentence

        ordered = sorted(self.release.mentions, key=order)
        splits = {split: [mention for mention in ordered if mention.split == split] for split in SPLITS}
        return {split: mentions for split, mentions in splits.items() if mentions}

    def splits(self, config: str) -> list[str]:
        """Lists the splits of a config that have rows.

        Args:
            config: `mentions`, `entities` or `candidates`.

        Returns:
            Names of splits; none for an empty config.
        """
        if config == "mentions":
            return list(self.mentions)
        if not self.release.entities:
            return []
        return ["kb"] if config == "entities" else list(self.mentions)

    def rows(self, config: str, split: str) -> list[Row]:
        """Makes the rows of a split, without their pictures: see [`dim.corpora.build.embed.with_pictures`].

        Args:
            config: `mentions`, `entities` or `candidates`.
            split: One of [`Corpus.splits`].

        Returns:
            Rows with the columns of the schema.
        """
        if config == "mentions":
            return [self._mention(mention) for mention in self.mentions[split]]
        if config == "entities":
            return [self._entity(entity) for entity in self.release.entities]
        return [
            Row({"mention_id": mention.id, "entity_ids": self.candidates[mention.mention], "source": SOURCE})
            for mention in self.mentions[split]
        ]

    def _mention(self, mention: Mention) -> Row:
        columns = {name: getattr(mention, name, "") for name in FEATURES["mentions"]}  # those of the caption are empty
        columns["image"] = None
        if self.pictures is None or not mention.image_id:
            return Row(columns | {"region": None})
        reference = mention.image or mention.image_keys[0]
        return Row(columns, (PictureFile(mention.image_id, reference, self.pictures.of_mentions[mention.image_id]),))

    def _entity(self, entity: Entity) -> Row:
        columns: dict[str, Any] = {name: getattr(entity, name, None) for name in FEATURES["entities"]}
        columns |= {"images": [], "image_licenses": []} | self.descriptions.get(entity.id, {})
        if self.pictures is None:
            return Row(columns)
        columns["image_licenses"] = entity.image_licenses or [""] * len(entity.images)
        files = [(image, self.pictures.of_entities[image]) for image in entity.images]
        return Row(columns, tuple(PictureFile(f"{entity.id}-{n}", *file) for n, file in enumerate(files)))


def read_corpus(
    dataset: str,
    raw: Sequence[Path],
    *,
    layout: str = "auto",
    images: Sequence[Path] = (),
    descriptions: Path | None = None,
    clean: bool = False,
    progress: bool = False,
) -> Corpus:
    """Reads a release, with its pictures and generated descriptions.

    Args:
        dataset: `wikimel`, `richpediamel`, `wikidiverse`, or the name of a user's own data.
        raw: Folders of the release's files.
        layout: A name in [`dim.corpora.readers.registry.LAYOUTS`], or `auto`.
        images: Folders of its pictures; without any, no row has a picture.
        descriptions: JSON Lines of descriptions, see [`dim.corpora.build.descriptions`].
        clean: Whether to drop mentions that leak between splits.
        progress: Whether to show progress bars.

    Returns:
        The corpus.

    Raises:
        DIMError: If a folder or file is missing or not as expected, or no mention is left.
    """
    release = read_release(dataset, raw, layout)
    pictures = Pictures.find(release, images, progress) if images else None
    if clean:
        release, leaks = without_leaks(release, pictures.checksums(progress) if pictures else None)
        release.rejected = [*release.rejected, *leaks]
    release = reject_without_picture(release, pictures.of_mentions if pictures else {}, progress)
    replaced: Mapping[str, Description] = {}
    if descriptions is not None:
        replaced = read_descriptions(descriptions, {entity.id: entity.description for entity in release.entities})
    return Corpus(release, pictures, replaced, progress)
