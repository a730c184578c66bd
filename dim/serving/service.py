"""The parts of the service: queue, entities, pictures and metrics around one linker."""

from pathlib import Path

from dim.linking.linker import DIMLinker
from dim.serving.batching import LinkQueue
from dim.serving.entities import Entities
from dim.serving.metrics import Metrics
from dim.serving.request_pictures import PictureReader
from dim.serving.settings import Settings


class Service:
    """State that the routes share.

    Args:
        linker: The linker; do not use it elsewhere.
        settings: Limits.
        model: Name of the model in `/health`.
    """

    def __init__(self, linker: DIMLinker, settings: Settings, model: str):
        self.settings, self.model, self.kb_uri = settings, _shown(model), _shown(linker.kb.uri)
        self.entities = Entities(linker)
        self.pictures = PictureReader.from_settings(settings)
        self.metrics = Metrics(lambda: self.queue.size)
        self.queue = LinkQueue(linker, settings, self._linked)

    def _linked(self, size: int) -> None:
        self.metrics.batches.observe(size)
        self.entities.observe()

    async def close(self) -> None:
        """Finishes the accepted work."""
        await self.queue.close()
        self.pictures.close()


def _shown(name: str) -> str:
    """A name without the folders above it: clients need not know them."""
    return Path(name).name if Path(name).is_absolute() else name
