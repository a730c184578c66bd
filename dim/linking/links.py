"""What a linker answers: entities with scores, and whether any of them is meant."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class LinkedEntity:
    """An entity and how well it fits.

    Args:
        id: Its id in the knowledge base.
        name: Its name.
        description: What the knowledge base says of it.
        score: The model's score; comparable between entities of one mention.
        confidence: Probability that this is the answer. Without a calibration (`dim calibrate`) it is the share of the
            score among the candidates, which knows of no NIL.
        why: What the score is made of, if that was asked for: see `dim.linking.explain.explain`.

    Example:

        >>> entity = LinkedEntity("e1251", "Turkey", "Country on both sides ...", score=8.19, confidence=0.77)
        >>> f"{entity.name} ({entity.confidence:.0%})", sorted(entity.to_dict())
        ('Turkey (77%)', ['confidence', 'description', 'id', 'name', 'score', 'why'])
    """

    id: str
    name: str
    description: str
    score: float
    confidence: float
    why: dict | None = None

    def to_dict(self) -> dict:
        """The fields as a dict, for JSON."""
        return asdict(self)


class Links(list[LinkedEntity]):
    """What a mention was linked to: entities, best first.

    Args:
        entities: The entities.
        nil: Probability that none of the knowledge base is meant; `None` without a calibration.
        is_nil: Whether the best entity is too unsure to be linked.

    Example:

        >>> from dim.linking.linker import DIMLinker
        >>> linker = DIMLinker.from_pretrained("demo/model", kb="demo/kb")
        >>> links = linker("We saw [[Turkey]].", k=2)
        >>> [entity.name.lower() for entity in links], links.is_nil, list(links.to_dict())
        (['turkey', 'turkey'], False, ['is_nil', 'nil', 'entities'])
    """

    def __init__(self, entities: Sequence[LinkedEntity] = (), nil: float | None = None, is_nil: bool = False):
        super().__init__(entities)
        self.nil, self.is_nil = nil, is_nil

    def __getitem__(self, index: Any) -> Any:
        """An entity, or for a slice the `Links` of these entities, with the same `nil` and `is_nil`."""
        found = super().__getitem__(index)
        return Links(found, self.nil, self.is_nil) if isinstance(index, slice) else found

    def to_dict(self) -> dict:
        """What was found, for JSON."""
        return {"is_nil": self.is_nil, "nil": self.nil, "entities": [entity.to_dict() for entity in self]}


__all__ = ["LinkedEntity", "Links"]
