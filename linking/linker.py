"""The linker: a sentence, a mention and a picture in, ranked entities out."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from dim.evaluation.ranking import top_k
from dim.linking.encoding import column, encode_mentions
from dim.linking.index import EntityIndex, fingerprint
from dim.linking.scoring import score_blocks
from dim.modeling_dim import DIMModel
from dim.processing_dim import DIMProcessor, find_mention


@dataclass(frozen=True)
class LinkedEntity:
    """An entity that a mention may name.

    Args:
        id: Its id in the knowledge base.
        name: Its name.
        description: Its description.
        score: The model's score; comparable within one mention, higher is better.
    """

    id: str
    name: str
    description: str
    score: float

    def to_dict(self) -> dict:
        """The fields as a dict, for JSON."""
        return asdict(self)


def parse_brackets(sentence: str) -> tuple[str, tuple[int, int]]:
    """Takes the mention from a sentence that marks it by double brackets.

    Args:
        sentence: A text with one `[[mention]]`.

    Returns:
        The text without the brackets, and the mention's character offsets in it.

    Raises:
        ValueError: If the text does not mark exactly one mention.

    Example:

        >>> parse_brackets("We saw [[Turkey]].")
        ('We saw Turkey.', (7, 13))
    """
    found = list(re.finditer(r"\[\[(.+?)\]\]", sentence))
    if len(found) != 1:
        raise ValueError(f"Mark one mention by double brackets, as in 'We saw [[Turkey]].'; found {len(found)}.")
    start, end = found[0].span()
    return sentence[:start] + found[0][1] + sentence[end:], (start, end - 4)


class DIMLinker:
    """Links mentions to the entities of a knowledge base.

    Args:
        model: A DIM.
        processor: Its processor.
        index: Entities encoded by that very model.

    Raises:
        ValueError: If the index was made by another model.

    Example:

        >>> linker = DIMLinker.from_pretrained("demo/model", kb="demo/kb")  # doctest: +SKIP
        >>> linker("[[Turkey]] was everywhere that autumn.", image="flag.png", k=1)  # doctest: +SKIP
        [LinkedEntity(id='e0421', name='Turkey', description='country between Europe and Asia ...', score=21.7)]
    """

    def __init__(self, model: DIMModel, processor: DIMProcessor, index: EntityIndex):
        if index.encoder != fingerprint(model, processor):
            raise ValueError(
                "The knowledge base was encoded by another model; encode it again: "
                "dim kb create KB --from DATASET --model MODEL."
            )
        self.model, self.processor, self.index = model.eval(), processor, index

    @classmethod
    def from_pretrained(cls, model: str | Path, kb: str | Path, device: str | None = None) -> "DIMLinker":
        """Loads a linker.

        Args:
            model: Folder or Hub name of a DIM.
            kb: Folder of a knowledge base that `dim kb create` or `EntityIndex.save` wrote.
            device: `cpu`, `cuda` ...; the GPU by default if there is one.

        Returns:
            The linker.

        Raises:
            ValueError: If there is no such model or knowledge base, or they do not belong together.
        """
        index = EntityIndex.load(kb)
        network, processor = load_dim(model)
        return cls(network.to(device or ("cuda" if torch.cuda.is_available() else "cpu")), processor, index)

    def __call__(
        self,
        text: str,
        mention: str | None = None,
        image: object = None,
        k: int = 5,
        expert_answer: str | None = None,
    ) -> list[LinkedEntity]:
        """Ranks the entities for one mention.

        Args:
            text: The sentence, with the mention in double brackets if `mention` is not given.
            mention: The mention, as it stands in the sentence.
            image: The picture that belongs to the sentence: a path, bytes, or a PIL image. None is no error: the
                model then goes by the text.
            k: How many entities.
            expert_answer: What an expert said about the picture.

        Returns:
            The `k` best entities, best first.

        Raises:
            ValueError: If the mention is not in the sentence, or `k` does not fit the knowledge base.
            PictureError: If the picture cannot be read.
        """
        text, (start, end) = parse_brackets(text) if mention is None else (text, find_mention(text, mention))
        row = {"sentence": text, "mention": text[start:end], "start": start, "end": end, "image": image,
               "expert_answer": expert_answer}  # fmt: skip
        return self.link([row], k)[0]

    def link(self, mentions: Sequence[dict], k: int = 5, **encoding: object) -> list[list[LinkedEntity]]:
        """Ranks the entities for many mentions.

        Args:
            mentions: Rows as `encode_mentions` takes them.
            k: How many entities each.
            **encoding: `batch_size`, `num_workers`, `progress` of `encode_mentions`.

        Returns:
            For each mention its `k` best entities.

        Raises:
            ValueError: If a row is not as it should be, or `k` does not fit the knowledge base.
        """
        if not 1 <= k <= len(self.index):
            raise ValueError(f"k must lie between 1 and the {len(self.index)} entities of the knowledge base, got {k}.")
        queries = encode_mentions(self.model, self.processor, mentions, **encoding)  # type: ignore[arg-type]
        names = self.index.names if self.model.config.num_lexical_features else None
        texts = list(zip(column(mentions, "mention"), column(mentions, "sentence"), strict=True))
        blocks = score_blocks(self.model, queries, self.index.vectors, names, texts)
        best = [top_k(block, k) for _, block in blocks]
        scores, rows = (torch.cat(parts) for parts in zip(*best, strict=True))
        entities = self.index.entities.take(rows.flatten().tolist()).to_pylist()
        found = [
            LinkedEntity(entity["id"], entity["name"], entity["description"], score)
            for entity, score in zip(entities, scores.flatten().tolist(), strict=True)
        ]
        return [found[start : start + k] for start in range(0, len(found), k)]


def load_dim(model: str | Path) -> tuple[DIMModel, DIMProcessor]:
    """Loads a DIM and its processor.

    Args:
        model: Folder or Hub name.

    Returns:
        Both.

    Raises:
        ValueError: If there is no such model.
    """
    try:
        return DIMModel.from_pretrained(model).eval(), DIMProcessor.from_pretrained(model)
    except OSError as error:
        raise ValueError(f"There is no model {str(model)!r}, neither as a folder nor on the Hub.") from error


__all__ = ["DIMLinker", "LinkedEntity", "load_dim", "parse_brackets"]
