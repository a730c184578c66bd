"""What clients send and get, as pydantic models: FastAPI checks and documents by them."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from dim.linking.linker import CANDIDATES

MAX_MENTIONS, MAX_PICTURES = 64, 8

Name = Annotated[str, Field(max_length=1_000)]
Text = Annotated[str, Field(max_length=20_000)]
Pictures = Annotated[list[str], Field(max_length=MAX_PICTURES)]


class _Given(BaseModel):
    """What comes from outside: nothing unknown, nothing of another type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Mention(_Given):
    """A mention: in double brackets in its sentence, or by `mention`, or by `start` and `end`."""

    sentence: Text = Field("", description="The sentence; empty for a mention on its own.")
    mention: Name | None = Field(None, description="What is mentioned; it need not stand in the sentence.")
    start: int | None = Field(None, ge=0, description="Character offset of the mention in the sentence.")
    end: int | None = Field(None, ge=1, description="Character offset behind the mention.")
    images: Pictures = Field([], description="Pictures: `data:...;base64,...`, or `upload:NAME` for a part of a "
                                             "multipart body. Of several, the mean of the vectors counts.")  # fmt: skip
    expert_answer: Text | None = Field(None, description="What an expert said about the picture.")


class LinkRequest(_Given):
    """Mentions to be linked."""

    mentions: list[Mention] = Field(min_length=1, max_length=MAX_MENTIONS)
    k: int = Field(5, ge=1, le=CANDIDATES, description="How many entities each.")
    why: bool = Field(False, description="Whether to say what each score is made of; costs three times as much.")


class RankedEntity(BaseModel):
    """An entity and how well it fits."""

    id: str
    name: str
    description: str
    score: float
    confidence: float
    why: dict[str, JsonValue] | None


class MentionLinks(BaseModel):
    """What one mention was linked to; best first."""

    mention: str
    start: int = Field(description="Character offset in the sentence without brackets; -1 if it is not in there.")
    end: int
    is_nil: bool
    nil: float | None
    entities: list[RankedEntity]


class LinkResponse(BaseModel):
    """An answer for each mention, in their order."""

    results: list[MentionLinks]
    kb_version: int = Field(description="Version of the knowledge base that was asked.")


class EntityFields(BaseModel):
    """An entity without its id: the fields of `dim kb add`."""

    name: str
    aliases: list[str]
    description: str
    images: list[str] = Field(description="Pictures: `data:...;base64,...`.")
    type: str | None
    extra: dict[str, JsonValue] | None = Field(description="Fields of your own.")
    description_original: str | None
    description_source: str | None
    description_model: str | None
    description_prompt: str | None
    description_created_at: str | None
    description_usage: str | None
    description_finish_reason: str | None


class GivenEntity(EntityFields, _Given):
    """An entity as it shall be."""

    name: Name = Field(min_length=1)
    aliases: list[Name] = Field([], max_length=1_000)
    description: Text = ""
    images: Pictures = Field([], description="Pictures: `data:...;base64,...`.")
    type: Name | None = None
    extra: dict[str, JsonValue] | None = Field(None, description="Fields of your own.")
    description_original: Text | None = None
    description_source: Text | None = None
    description_model: Text | None = None
    description_prompt: Text | None = None
    description_created_at: Text | None = None
    description_usage: Text | None = None
    description_finish_reason: Text | None = None


class Entity(BaseModel):
    """An entity of the knowledge base."""

    id: str
    entity: EntityFields
    updated_at: datetime


class Health(BaseModel):
    """Whether the service works, and with what."""

    status: str
    model: str
    kb: str
    kb_version: int = Field(description="The version that the last answer came from.")
    entities: int


__all__ = [
    "MAX_MENTIONS", "MAX_PICTURES", "Entity", "EntityFields", "GivenEntity", "Health", "LinkRequest", "LinkResponse",
    "Mention", "MentionLinks", "Name", "Pictures", "RankedEntity", "Text",
]  # fmt: skip
