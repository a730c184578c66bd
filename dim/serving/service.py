"""What the service does for a request, whether it came over HTTP or MCP."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dim.linking.linker import DIMLinker
from dim.serving.batching import LinkQueue
from dim.serving.entities import Entities
from dim.serving.link_rows import link_rows
from dim.serving.memory import Lease
from dim.serving.refusals import ServiceError, invalid_is_refused
from dim.serving.request_pictures import PictureReader
from dim.serving.schemas import GivenEntity, Mention
from dim.serving.settings import Settings


class Service:
    """One linker with its queue, and what requests ask of it.

    Args:
        linker: The linker; do not use it elsewhere.
        settings: Limits.
        model: Name of the model in `/health`.
        linked: Called after each batch with its number of mentions, in the linker's thread.
    """

    def __init__(
        self, linker: DIMLinker, settings: Settings, model: str, linked: Callable[[int], None] = lambda size: None
    ):
        self.settings, self.model, self.kb_uri = settings, _shown(model), _shown(linker.kb.uri)
        self.entities = Entities(linker)
        self.pictures = PictureReader.from_settings(settings)
        self.queue = LinkQueue(linker, settings, self._linked)
        self._observe = linked

    def _linked(self, size: int) -> None:
        self._observe(size)
        self.entities.observe()

    def start(self) -> None:
        """Starts the queue in the running event loop."""
        self.queue.start()

    async def close(self) -> None:
        """Finishes the accepted work."""
        await self.queue.close()
        self.pictures.close()

    def check_token(self, token: str) -> None:
        """Raises a `ServiceError` if changes need a token and this is another one; takes the same time for each."""
        expected = self.settings.token
        if expected is not None and not secrets.compare_digest(token.encode(), expected.encode()):
            raise ServiceError(401, "This needs the bearer token of the service.", {"WWW-Authenticate": "Bearer"})

    async def rows(
        self, mentions: Mapping[str, Mention], lease: Lease, uploads: Mapping[str, bytes] | None = None
    ) -> list[dict]:
        """Makes rows for [`Service.link`]; see [`link_rows`]."""
        return await link_rows(mentions, self.pictures, uploads or {}, lease)

    async def link(self, rows: Sequence[dict], k: int, why: bool = False) -> dict[str, Any]:
        """Links mentions.

        Args:
            rows: Rows of mentions, at least one.
            k: Number of entities for each mention.
            why: Whether to explain the scores.

        Returns:
            The fields of a `LinkResponse`.

        Raises:
            ServiceError: If the linker rejects a mention, or the queue is full.
        """
        with invalid_is_refused():
            answer = await self.queue.link(rows, k, why)
        results = [{name: row[name] for name in ("mention", "start", "end")} | links.to_dict()
                   for row, links in zip(rows, answer.links, strict=True)]  # fmt: skip
        return {"results": results, "kb_version": answer.version}

    async def entity(self, name: str) -> dict[str, Any]:
        """Reads an entity.

        Args:
            name: Its id.

        Returns:
            The fields of an `Entity`.

        Raises:
            ServiceError: If there is none, or the queue is full.
        """
        return _found(await self.queue.call(partial(self.entities.get, name)), name)

    async def search(self, text: str, k: int) -> list[dict[str, Any]]:
        """Finds entities by their names and descriptions; see [`Entities.search`]."""
        return await self.queue.call(partial(self.entities.search, text, k))

    async def put(self, name: str, entity: GivenEntity, lease: Lease) -> tuple[bool, dict[str, Any]]:
        """Adds or replaces an entity.

        Args:
            name: Its id.
            entity: Its other fields.
            lease: Lease that counts the memory of the pictures.

        Returns:
            Whether it is new, and the fields of an `Entity`.

        Raises:
            ServiceError: If a field is invalid or a picture cannot be read, with the reason; or the queue is full.
        """
        row = {"id": name, **await self._with_pictures(entity.model_dump(), "images", lease)}

        def change() -> tuple[bool, dict[str, Any] | None]:
            """Runs in the linker's thread."""
            return any(self.entities.put([row]).values()), self.entities.get(name)

        with invalid_is_refused():
            new, found = await self.queue.call(change)
        return new, _found(found, name)

    async def merge(self, rows: Sequence[dict], lease: Lease) -> dict[str, bool]:
        """Adds entities, and changes the given fields of those that exist, all or none.

        Args:
            rows: Fields of entities, with their `id`; pictures are data URLs.
            lease: Lease that counts the memory of the pictures.

        Returns:
            Whether each is new, by its id.

        Raises:
            ServiceError: If a field is invalid or a picture cannot be read, with the reason; or the queue is full.
        """
        read = [await self._with_pictures(row, f"entities.{index}.images", lease) for index, row in enumerate(rows)]
        with invalid_is_refused():
            return await self.queue.call(partial(self.entities.merge, read))

    async def _with_pictures(self, row: dict, where: str, lease: Lease) -> dict:
        if "images" not in row:
            return row
        pictures = await self.pictures.read(row["images"], where, {}, lease)
        return {**row, "images": [{"bytes": content} for content, _ in pictures]}

    async def delete(self, name: str) -> None:
        """Deletes an entity.

        Args:
            name: Its id.

        Raises:
            ServiceError: If there is none, or the queue is full.
        """
        if not await self.queue.call(partial(self.entities.delete, name)):
            _found(None, name)


def _found(entity: dict[str, Any] | None, name: str) -> dict[str, Any]:
    if entity is None:
        raise ServiceError(404, f"There is no entity {name!r}.")
    return entity


def _shown(name: str) -> str:
    """A name without the folders above it: clients need not know them."""
    return Path(name).name if Path(name).is_absolute() else name
