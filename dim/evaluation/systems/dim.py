"""A DIM as systems: the complete model, and the model without one of its inputs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor

from dim.encoding.encode import encode_entities, encode_mentions
from dim.encoding.loading import load_dim
from dim.encoding.mention import Mention, mentions_of
from dim.encoding.prior_features import lexical_features
from dim.encoding.scoring import check_lexical, score_blocks
from dim.evaluation.systems.base import Block
from dim.lexical_dim import LexicalFeatures
from dim.modeling_dim import DIMModel
from dim.processing_dim import DIMProcessor


class Encoder:
    """A DIM with a knowledge base that is encoded once for all its systems.

    Args:
        model: A DIM.
        processor: Its processor.
        entities: The knowledge base.
        batch_size: Number of rows in a batch.
        progress: Whether to show progress bars.

    Raises:
        DIMError: If the model's lexical prior was trained on other features.
    """

    def __init__(
        self, model: DIMModel, processor: DIMProcessor, entities: Sequence[dict], batch_size: int = 64,
        progress: bool = False,
    ):  # fmt: skip
        check_lexical(model)
        self.model, self.processor, self.entities = model, processor, entities
        self.batch_size, self.progress = batch_size, progress
        self._cached: tuple[Sequence[dict], tuple[str, ...], Tensor] | None = None

    @classmethod
    def load(
        cls, model: str | Path, entities: Sequence[dict], batch_size: int = 64, progress: bool = False
    ) -> "Encoder":
        """Loads a DIM, to the GPU if there is one.

        Args:
            model: Folder or Hub name.
            entities, batch_size, progress: As for [`Encoder`].

        Returns:
            The encoder.

        Raises:
            DIMError: If there is no such model.
        """
        network, processor = load_dim(model)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(network.to(device), processor, entities, batch_size, progress)

    @cached_property
    def vectors(self) -> Tensor:
        """Vectors of the entities `(E, D)`."""
        return encode_entities(
            self.model, self.processor, self.entities, batch_size=self.batch_size, progress=self.progress
        )

    @cached_property
    def features(self) -> LexicalFeatures | None:
        """Lexical features of the knowledge base; `None` for a model without a lexical prior."""
        return lexical_features(self.entities) if self.model.config.num_lexical_features else None

    def mention_vectors(self, mentions: Sequence[dict], without: tuple[str, ...] = ()) -> Tensor:
        """Encodes mentions `(M, D)`; the last vectors are cached, because some systems differ only in their scores.

        Args:
            mentions: `M` rows of mentions.
            without: Modalities to hide from the model.

        Returns:
            The vectors; zeros, with which all entities tie, for a picture alone that is hidden.
        """
        if self._cached is None or self._cached[0] is not mentions or self._cached[1] != without:
            with hidden(self.model, without):
                vectors = self._encoded(mentions, without)
            self._cached = mentions, without, vectors
        return self._cached[2]

    def _encoded(self, mentions: Sequence[dict], without: tuple[str, ...]) -> Tensor:
        encode = partial(
            encode_mentions, self.model, self.processor, batch_size=self.batch_size, progress=self.progress
        )
        texts = mentions_of(mentions)
        left = [row for row, mention in enumerate(texts) if mention.text.strip() or "picture" not in without]
        if len(left) == len(texts):
            return encode(mentions)
        vectors = torch.zeros(len(texts), self.model.config.vector_dim)
        if left:
            vectors[left] = encode([mentions[row] for row in left])
        return vectors

    def systems(self, modalities: Sequence[str] = ()) -> list["DIMSystem"]:
        """Returns the systems of the model: the complete one, and one without each of its inputs.

        Args:
            modalities: Those of `sentence`, `picture`, `expert` that the mentions have.

        Returns:
            The complete model first; then without its prior, and without each modality that it uses.
        """
        used = [name for name in self.model.config.mention_modalities if name in modalities]
        whole = [DIMSystem(self, "DIM")]
        prior = [DIMSystem(self, "DIM without prior", prior=False)] if self.model.config.num_lexical_features else []
        return whole + prior + [DIMSystem(self, f"DIM without {name}", without=(name,)) for name in used]

    def attentions(self, mentions: Sequence[dict]) -> list[dict[str, float]]:
        """Computes the attention weights of each mention's modalities, averaged over heads.

        Args:
            mentions: Rows of mentions.

        Returns:
            For each mention, weights by modality, without those that it lacks; empty for a model without attention.
        """
        names = self.model.config.mention_modalities
        if self.model.config.fusion == "sum" or not names:
            return [{} for _ in mentions]
        found: list[Tensor] = []
        hook = self.model.attention.register_forward_hook(lambda module, inputs, output: found.append(output[1]))
        try:  # one by one, because encoding reorders a batch
            for mention in mentions:
                encode_mentions(self.model, self.processor, [mention])
        finally:
            hook.remove()
        weights = [part.mean(1)[0].tolist() for part in found]
        return [{name: weight for name, weight in zip(names, row, strict=True) if weight > 0} for row in weights]


class DIMSystem:
    """A DIM as a system.

    Args:
        encoder: The model with its knowledge base.
        name: Name in every table.
        prior: Whether to use the lexical prior, if the model has one.
        without: Modalities of the mention to hide from the model.
    """

    probabilistic = True

    def __init__(self, encoder: Encoder, name: str, prior: bool = True, without: Sequence[str] = ()):
        self.name, self._encoder, self._prior, self._without = name, encoder, prior, tuple(without)

    def scores(self, mentions: Sequence[dict]) -> Iterator[Block]:
        """As [`dim.evaluation.systems.base.System.scores`]."""
        encoder = self._encoder
        vectors = encoder.mention_vectors(mentions, self._without)
        texts = mentions_of(mentions)  # what the prior reads
        if "sentence" in self._without:
            texts = [Mention(mention.text, "") for mention in texts]
        features = encoder.features if self._prior else None
        yield from score_blocks(encoder.model, vectors, encoder.vectors, features, texts, encoder.progress)


@contextmanager
def hidden(model: DIMModel, modalities: Sequence[str]) -> Iterator[None]:
    """Hides modalities from a model within a `with` block: it treats every mention as if it lacked them.

    Args:
        model: A DIM.
        modalities: Of `sentence`, `picture`, `expert`.
    """
    modalities_before = model.config.mention_modalities
    model.config.mention_modalities = [name for name in modalities_before if name not in modalities]
    try:
        yield
    finally:
        model.config.mention_modalities = modalities_before
