"""Results of a linker: entities with scores and probabilities, and the probability of NIL."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class LinkedEntity:
    """An entity with its score for a mention.

    Args:
        id: Its id in the knowledge base.
        name: Its name.
        description: Its description in the knowledge base.
        score: The model's score; comparable between entities of one mention.
        confidence: Probability that the mention means this entity. Without a calibration (`dim calibrate`), it is the
            softmax of the scores of the candidates, which ignores NIL.
        why: Explanation of the score, if requested; see `dim.linking.explain.explain`.

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
        """Returns the fields as a dict, for JSON."""
        return asdict(self)


class Links(list[LinkedEntity]):
    """The linked entities of a mention, best first.

    Args:
        entities: The entities.
        nil: Probability that the mention means no entity of the knowledge base; `None` without a calibration.
        is_nil: Whether the best entity is too uncertain to be linked.

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
        """Returns an entity, or for a slice, `Links` of its entities with the same `nil` and `is_nil`."""
        found = super().__getitem__(index)
        return Links(found, self.nil, self.is_nil) if isinstance(index, slice) else found

    def to_dict(self) -> dict:
        """Returns the links as a dict, for JSON."""
        return {"is_nil": self.is_nil, "nil": self.nil, "entities": [entity.to_dict() for entity in self]}
