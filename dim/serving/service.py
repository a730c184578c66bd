"""The parts of a service, put together: the linker in its thread, the queue before it, pictures, entities, counters."""

from dim.linking.linker import DIMLinker
from dim.serving.batching import LinkQueue
from dim.serving.entities import Entities
from dim.serving.metrics import Metrics
from dim.serving.request_pictures import PictureReader
from dim.serving.settings import Settings


class Service:
    """What the routes work with.

    Args:
        linker: The linker; nobody else may use it.
        settings: Limits.
        model: What the model is called.
    """

    def __init__(self, linker: DIMLinker, settings: Settings, model: str):
        self.settings, self.model, self.kb_uri = settings, model, linker.kb.uri
        self.entities = Entities(linker)
        self.pictures = PictureReader.from_settings(settings)
        self.metrics = Metrics(lambda: self.queue.size)
        self.queue = LinkQueue(linker, settings, self._linked)

    def _linked(self, size: int) -> None:
        self.metrics.batches.observe(size)
        self.entities.look()

    async def close(self) -> None:
        """Finishes what was taken."""
        await self.queue.close()
        self.pictures.close()


__all__ = ["Service"]
