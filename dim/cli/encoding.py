"""What the commands that encode a knowledge base share: their options, and the model."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dim.cli.command import DIM, Compute
from dim.common.parser import option
from dim.errors import DIMError

if TYPE_CHECKING:
    from dim.kb.store import KnowledgeBase


@dataclass(kw_only=True)
class Encoding(Compute):
    """Options of a command that encodes a knowledge base."""

    batch_size: int = option("rows encoded at a time", 64, least=1, needs="model", metavar="N")
    workers: int | None = option("processes that decode pictures; by default, as many as pay on a GPU, else none",
                                 None, least=0, most=1024, needs="model", metavar="N")  # fmt: skip
    model: str | None = option(f"{DIM} that encodes new and changed entities", None)

    def encoder(self) -> "Encoder | None":
        """Loads the model, before anything is written."""
        return Encoder(self) if self.model else None


class Encoder:
    """A model that encodes."""

    def __init__(self, options: Encoding):
        from dim.encoding.loading import load_dim

        options.check_device()
        self.options = options
        self.model, self.processor = load_dim(str(options.model))

    def check(self, kb: "KnowledgeBase") -> None:
        """Raises a `DIMError` if another model, or none, encoded the knowledge base: all of it would be encoded."""
        from dim.encoding.loading import fingerprint

        if not kb.width:
            raise DIMError(f"Nothing in {kb.uri} is encoded: leave --model out, or encode it first by dim kb encode.")
        others = set(kb.table(["encoder"])["encoder"].to_pylist()) - {None, fingerprint(self.model, self.processor)}
        if others:
            raise DIMError(f"{kb.uri} was encoded by another model than --model; encode it by dim kb encode first.")

    def encode(self, kb: "KnowledgeBase") -> None:
        """Encodes what is not up to date."""
        from accelerate import PartialState

        options = self.options
        state = PartialState(cpu=options.device == "cpu")
        model = self.model.to(options.device or state.device)
        count = kb.encode(model, self.processor, batch_size=options.batch_size, num_workers=options.workers,
                          dtype=options.torch_dtype, progress=True)  # fmt: skip
        if state.is_main_process:
            print(f"{count:,} entities encoded")


def encode_changed(kb: "KnowledgeBase", encoder: Encoder | None) -> None:
    """Encodes what is not up to date, or without a model prints how much that is."""
    if encoder is not None:
        encoder.encode(kb)
    elif kb.width:
        print(f"not encoded yet: {kb.encoders().get(None, 0):,} (dim kb encode {kb.uri} --model MODEL)")
