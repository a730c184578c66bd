"""The content of a raw release, whatever its layout: mentions, entities and rejected rows."""

from collections import Counter
from dataclasses import dataclass, field

from dim.common.regions import Region


@dataclass(slots=True)
class Mention:
    """One mention of a release.

    Args:
        id: Unique and opaque id, which does not reveal the answer.
        sentence: The sentence as published.
        mention: The mention as published.
        split: `train`, `validation` or `test`.
        entity_id: Id of the answer, empty for NIL.
        start: Character offset of the mention in the sentence, -1 where it is not there.
        end: Offset behind its last character, -1 where it is not there.
        image: The release's name of the picture: a path, a file name or a URL; empty for none.
        image_id: Opaque key of the picture; mentions of the same picture share it; empty for none.
        entity_type: Type of the answer, where the release has it.
        topic: Topic of the sentence, where the release has it.
        image_keys: Other names that the picture's file may have, in case `image` is not found.
        image_license: Licence of the picture, where the release has it.
        region: The part of the picture that the mention is about, see [`dim.common.regions`]; `None` for all of it.
    """

    id: str
    sentence: str
    mention: str
    split: str
    entity_id: str = ""
    start: int = -1
    end: int = -1
    image: str = ""
    image_id: str = ""
    entity_type: str = ""
    topic: str = ""
    image_keys: tuple[str, ...] = ()
    image_license: str = ""
    region: Region | None = None


@dataclass(slots=True)
class Entity:
    """One entity of a release's knowledge base.

    `images` holds the release's names of its pictures, `image_licenses` their licences, or nothing where none is known.
    """

    id: str
    name: str
    description: str = ""
    aliases: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    type: str = ""
    image_licenses: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A raw row that was left out, by its file and its key in the file, with the reason.

    `kind` is `mention`, `entity`, or `file` for a whole file that no reader knows.
    """

    file: str
    key: str
    reason: str
    kind: str = "mention"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A raw file that was read, for the card: name without folders, what it is, sha256, repository and licence."""

    name: str
    kind: str
    sha256: str
    source: str = ""
    licence: str = ""


@dataclass
class Release:
    """A release.

    Args:
        layout: Name of its layout.
        mentions: The mentions, in the order of the files, or of their new ids where the old ones revealed answers.
        entities: The knowledge base, in the order of the files.
        rejected: Raw rows that were left out. `rows_in` = `mentions` + those of `rejected` whose kind is `mention`.
        rows_in: Number of mentions in the raw files.
        sources: The files that were read.
        offsets: Number of mentions by the rule that found them in their sentence, or by the reason why none did.
        notes: Sentences for the card: how splits were made, what was moved, what is NIL.
        made_nil: Those of the notes on mentions that are NIL because their entity is missing.
    """

    layout: str
    mentions: list[Mention]
    entities: list[Entity]
    rejected: list[Rejected] = field(default_factory=list)
    rows_in: int = 0
    sources: list[SourceFile] = field(default_factory=list)
    offsets: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    made_nil: list[str] = field(default_factory=list)
