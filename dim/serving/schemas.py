"""Pydantic models of requests and responses, for validation and the OpenAPI document."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from dim.common.fields import absent, whole
from dim.linking.linker import CANDIDATES

MAX_MENTIONS, MAX_PICTURES = 64, 8

Name = Annotated[str, Field(max_length=1_000)]
Text = Annotated[str, Field(max_length=20_000)]
Pictures = Annotated[list[str], Field(max_length=MAX_PICTURES)]
Pixel = Annotated[int, BeforeValidator(lambda value: value if whole(value) is None else whole(value))]
Offset = Annotated[int | None, BeforeValidator(lambda value: value if whole(value) is None else whole(value))]


class Given(BaseModel):
    """Base of request models: unknown fields and other types are errors; null and NaN count as missing."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _without_missing(cls, row: Any) -> Any:
        return {name: value for name, value in row.items() if not absent(value)} if isinstance(row, dict) else row


class Mention(Given):
    """A mention: in double brackets in its sentence, by `mention`, by `start` and `end`, or as pictures alone."""

    sentence: Text = Field("", description="The sentence; may be empty.")
    mention: Name | None = Field(None, description="Text of the mention; it may be absent from the sentence.")
    start: Offset = Field(None, description="Character offset of the mention in the sentence; -1 for none.")
    end: Offset = Field(None, description="Character offset of the end of the mention (exclusive); -1 for none.")
    images: Pictures = Field([], description="Pictures: `data:...;base64,...`, or `upload:NAME` for a part of a "
                                             "multipart body. For several, the vectors are averaged.")  # fmt: skip
    region: list[Pixel] | None = Field(None, min_length=4, max_length=4,
                                       description="The part of its picture that is the mention: left, top, right and "
                                                   "bottom in pixels of the picture as it is shown.")  # fmt: skip
    expert_answer: Text | None = Field(None, description="Caption of the picture.")


class LinkRequest(Given):
    """Request of `POST /link`."""

    mentions: list[Mention] = Field(min_length=1, max_length=MAX_MENTIONS)
    k: int = Field(5, ge=1, le=CANDIDATES, description="Number of entities for each mention.")
    why: bool = Field(False, description="Whether to explain the scores; takes three times as long.")


class RankedEntity(BaseModel):
    """A ranked entity of a mention."""

    id: str
    name: str
    description: str
    score: float = Field(description="Comparable between entities of one mention.")
    confidence: float = Field(description="Probability that the mention means this entity.")
    why: dict[str, JsonValue] | None


class MentionLinks(BaseModel):
    """Links of one mention, best first."""

    mention: str
    start: int = Field(description="Character offset in the sentence without brackets; -1 if absent.")
    end: int
    is_nil: bool = Field(description="Whether the best entity is too uncertain to be linked.")
    nil: float | None = Field(description="Probability that the knowledge base lacks the entity; null without a "
                                          "calibrated linker.")  # fmt: skip
    entities: list[RankedEntity]


class LinkResponse(BaseModel):
    """Response of `POST /link`: one result for each mention, in order."""

    results: list[MentionLinks]
    kb_version: int = Field(description="Version of the knowledge base that was used.")


class EntityFields(BaseModel):
    """Fields of an entity except for its id, as in `dim kb add`."""

    name: str
    aliases: list[str]
    description: str
    images: list[str] = Field(description="Pictures: `data:...;base64,...`.")
    type: str | None
    extra: dict[str, JsonValue] | None = Field(description="Additional fields.")
    description_original: str | None
    description_source: str | None
    description_model: str | None
    description_prompt: str | None
    description_created_at: str | None
    description_usage: str | None
    description_finish_reason: str | None


class GivenEntity(EntityFields, Given):
    """Request of `PUT /entities/{id}`."""

    name: Name = Field(min_length=1)
    aliases: list[Name] = Field([], max_length=1_000)
    description: Text = ""
    images: Pictures = Field([], description="Pictures: `data:...;base64,...`.")
    type: Name | None = None
    extra: dict[str, JsonValue] | None = Field(None, description="Additional fields.")
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
    """Response of `/health`."""

    status: str
    model: str
    kb: str
    kb_version: int = Field(description="Version of the knowledge base that the last answer came from.")
    entities: int
