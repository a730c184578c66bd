"""The tools that a language model calls over MCP (Model Context Protocol): their arguments, results and work."""

from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, Field, JsonValue

from dim.errors import DIMError
from dim.linking.linker import CANDIDATES
from dim.linking.mention import parse_brackets
from dim.serving.memory import Lease
from dim.serving.refusals import ServiceError
from dim.serving.schemas import MAX_MENTIONS, MAX_PICTURES, Given, LinkResponse, Mention, MentionLinks, Name, Text
from dim.serving.service import Service

MAX_ENTITIES = 64  # of one call


def _as_url(picture: str) -> str:
    """A picture as the service takes it: plain base64, which has no colon, becomes a data URL."""
    return picture if ":" in picture else f"data:;base64,{picture}"


_Pictures = Annotated[
    list[Annotated[str, AfterValidator(_as_url)]],
    Field(max_length=MAX_PICTURES, description="Pictures, as base64 or as data URLs (data:image/png;base64,...)."),
]
_Count = Annotated[int, Field(ge=1, le=CANDIDATES, description="Number of entities, best first.")]
_Id = Annotated[str, Field(min_length=1, max_length=1_000, description="Id of the entity, as the other tools give it.")]


class Tool(Given):
    """A tool. Subclasses are models: their fields are its arguments, their docstring is what a language model reads."""

    title: ClassVar[str]
    result: ClassVar[type[BaseModel]]
    writes: ClassVar[bool] = False

    async def call(self, service: Service, lease: Lease) -> dict[str, Any]:
        """Does the work.

        Args:
            service: The service.
            lease: Lease that counts the memory of the pictures.

        Returns:
            The fields of `result`.

        Raises:
            ServiceError: If an argument is not valid, or the service is at a limit.
        """
        raise NotImplementedError


class LinkMention(Tool):
    """Find out which entity of the knowledge base a mention (a name in a sentence) means, from the sentence and, if
    given, its pictures. Mark the mention in the sentence by double brackets, as in "[[Turkey]] was everywhere.", or
    give it in `mention`. Returns candidates, best first, with probabilities (`confidence`). If `is_nil` is true,
    the knowledge base most likely lacks the entity: link to none of them. Without a text, the pictures themselves are
    linked.
    """

    title = "Link a mention to an entity"
    result = MentionLinks
    sentence: Text = Field("", description="The sentence, with [[the mention]] in double brackets.")
    mention: Name | None = Field(None, description="The mention, if it is not in brackets; it need not be in the "
                                                   "sentence.")  # fmt: skip
    images: _Pictures = []
    k: _Count = 5
    why: bool = Field(False, description="Whether to explain each score; takes three times as long.")

    async def call(self, service: Service, lease: Lease) -> dict[str, Any]:
        """See [`Tool.call`]."""
        mention = Mention.model_validate(self.model_dump(include={"sentence", "mention", "images"}))
        rows = await service.rows({"": mention}, lease)
        return (await service.link(rows, self.k, self.why))["results"][0]


class Annotation(LinkResponse):
    """A text with its links."""

    text: str = Field(description="The text without brackets, which `start` and `end` refer to.")


class Annotate(Tool):
    """Link several mentions of one text at once. Mark each by double brackets, as in "[[Ada Lovelace]] met [[Babbage]]
    in [[London]]." Returns one result per mention, in the order of the text, as link_mention does; `start` and `end`
    are character offsets in `text`, which is the text without the brackets.
    """

    title = "Link all mentions of a text"
    result = Annotation
    text: Text = Field(description="The text, with each [[mention]] in double brackets.")
    images: _Pictures = []
    k: _Count = 5

    async def call(self, service: Service, lease: Lease) -> dict[str, Any]:
        """See [`Tool.call`]."""
        try:
            text, spans = parse_brackets(self.text)
        except DIMError as error:
            raise ServiceError(422, f"text: {error}") from error
        if len(spans) > MAX_MENTIONS:
            raise ServiceError(422, f"text: {len(spans)} mentions are marked; mark at most {MAX_MENTIONS} in one call.")
        mentions = [Mention.model_validate({"sentence": text, "start": start, "end": end}) for start, end in spans]
        rows = await service.rows({f"mentions.{index}": one for index, one in enumerate(mentions)}, lease)
        if self.images:  # they are read once
            [alone] = await service.rows({"": Mention.model_validate({"images": self.images})}, lease)
            rows = [{**row, "image": alone["image"]} for row in rows]
        return {"text": text, **await service.link(rows, self.k)}


class FoundEntity(BaseModel):
    """An entity that a search found."""

    id: str
    name: str
    aliases: list[str]
    description: str
    type: str | None


class FoundEntities(BaseModel):
    """Entities that a search found."""

    entities: list[FoundEntity]


class SearchEntities(Tool):
    """Search the knowledge base by name, alias or part of one, with tolerance for typing errors, and by words of the
    descriptions. It does not read a context: to decide what a name means in a sentence, use link_mention.
    """

    title = "Search entities"
    result = FoundEntities
    query: Name = Field(min_length=1, description="A name, the beginning of one, or words of a description.")
    k: _Count = 10

    async def call(self, service: Service, lease: Lease) -> dict[str, Any]:
        """See [`Tool.call`]."""
        return {"entities": await service.search(self.query, self.k)}


class StoredEntity(FoundEntity):
    """An entity of the knowledge base."""

    extra: dict[str, JsonValue] | None = Field(description="Additional fields.")
    pictures: int = Field(description="Number of its pictures.")
    updated_at: datetime


class GetEntity(Tool):
    """Read all fields of one entity of the knowledge base by its id."""

    title = "Read an entity"
    result = StoredEntity
    id: _Id

    async def call(self, service: Service, lease: Lease) -> dict[str, Any]:
        """See [`Tool.call`]."""
        found = await service.entity(self.id)
        entity = found.pop("entity")
        return {**entity, **found, "pictures": len(entity["images"])}


class ChangedEntity(Given):
    """An entity to add or to change."""

    id: Name = Field(min_length=1, description="Its id. An existing one changes that entity.")
    name: Name = Field(min_length=1)
    aliases: list[Name] = Field([], max_length=1_000)
    description: Text = Field("", description="What tells it from others of its name.")
    type: Name | None = None
    extra: dict[str, JsonValue] | None = Field(None, description="Additional fields.")
    images: _Pictures = []


class Upserted(BaseModel):
    """Ids of the entities of a call."""

    added: list[str]
    changed: list[str] = Field(description="Those that existed.")


class UpsertEntities(Tool):
    """Add entities to the knowledge base, or change those whose id exists: fields that you leave out keep their value.
    All are written, or none if one of them is not valid. The next call sees the change.
    """

    title = "Add or change entities"
    result = Upserted
    writes = True
    entities: list[ChangedEntity] = Field(min_length=1, max_length=MAX_ENTITIES)

    async def call(self, service: Service, lease: Lease) -> dict[str, Any]:
        """See [`Tool.call`]."""
        rows = [entity.model_dump(exclude_unset=True) for entity in self.entities]
        new = await service.merge(rows, lease)
        return {"added": [name for name in new if new[name]], "changed": [name for name in new if not new[name]]}


class Deleted(BaseModel):
    """Id of a deleted entity."""

    deleted: str


class DeleteEntity(Tool):
    """Delete one entity from the knowledge base by its id."""

    title = "Delete an entity"
    result = Deleted
    writes = True
    id: _Id

    async def call(self, service: Service, lease: Lease) -> dict[str, Any]:
        """See [`Tool.call`]."""
        await service.delete(self.id)
        return {"deleted": self.id}


TOOLS: dict[str, type[Tool]] = {
    "link_mention": LinkMention,
    "annotate": Annotate,
    "search_entities": SearchEntities,
    "get_entity": GetEntity,
    "upsert_entities": UpsertEntities,
    "delete_entity": DeleteEntity,
}
"""The tools by name."""
