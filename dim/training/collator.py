"""A collator for `transformers.Trainer`: from rows of a dataset to a batch with its pool of entities."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dim.common.fields import RowError
from dim.common.ids import index_of
from dim.common.unreadable_pictures import UnreadablePictures
from dim.encoding.encode import entity_batch, mention_batch, undecoded
from dim.encoding.mention import Mention, column, mention_of
from dim.errors import DIMError
from dim.losses_dim import IGNORED_LABEL
from dim.processing_dim import DIMProcessor
from dim.sentences_dim import is_picture_alone

_MENTION_COLUMNS = ("mention", "sentence", "start", "end", "entity_id")
_ENTITY_COLUMNS = ("id", "name", "description")


class DIMCollator:
    """Makes batches for [`DIMModel`] from rows of mentions, as `data_collator` of `transformers.Trainer`.

    The pool of a batch, against which every mention is scored, holds the entities of its mentions and their candidates,
    each once. `Trainer` needs `remove_unused_columns=False`, since the model's inputs are no columns of the dataset.

    Args:
        processor: The model's processor.
        entities: The knowledge base, a `datasets.Dataset` or a list of rows: `id`, `name` and `description`, and
            optionally `aliases` and `images`.
        candidates: Ids of entities by the id of a mention, best first, as [`load_candidates`] gives them: further
            negatives.
        num_candidates: How many candidates of a mention are in the pool, at most.
        pictures: Whether the model reads pictures.

    Raises:
        DIMError: If there is no entity, or the entities lack a column or have an id twice.

    Example:

        >>> from dim import DIMModel, load_entities, load_mentions
        >>> model, processor = DIMModel.from_pretrained("demo/model"), DIMProcessor.from_pretrained("demo/model")
        >>> collator = DIMCollator(processor, load_entities("datasets/namesakes"))
        >>> batch = collator(list(load_mentions("datasets/namesakes", "train").select(range(3))))
        >>> batch["labels"].tolist(), batch["entity_ids"].tolist()
        ([1, 0, 2], [383, 720, 765])
        >>> model(**batch).loss.isfinite()
        tensor(True)
    """

    def __init__(
        self,
        processor: DIMProcessor,
        entities: Sequence[dict],
        candidates: Mapping[str, Sequence[str]] | None = None,
        num_candidates: int = 4,
        pictures: bool = True,
    ):
        self.processor, self.entities = processor, undecoded(entities)
        self.candidates, self.num_candidates, self.pictures = candidates, num_candidates, pictures
        columns = getattr(entities, "column_names", None)  # a list of rows has none
        missing = next((name for name in _ENTITY_COLUMNS if columns is not None and name not in columns), None)
        if missing is not None:
            raise DIMError(f"The entities have no column {missing!r}; they have {columns}.")
        if len(entities) == 0:
            raise DIMError("There is no entity.")
        ids, names, descriptions = (column(self.entities, name) for name in _ENTITY_COLUMNS)
        self.index = index_of(ids)
        self.features = None
        if processor.lexical_prior:
            named = "aliases" in columns if columns is not None else all("aliases" in row for row in entities)
            aliases = [others or [] for others in column(self.entities, "aliases")] if named else None
            self.features = processor.lexical_features(names, descriptions, aliases)

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Makes a batch.

        Args:
            rows: Rows of mentions as `load_dataset` gives them, with or without decoded pictures: `mention`,
                `sentence`, `start`, `end`, `entity_id` (empty for NIL) and optionally `id`, `image`, `region` and
                `expert_answer`.

        Returns:
            The arguments of `DIMModel.forward` for `B` mentions and a pool of `E` entities, `labels` `(B,)` (-100 for
            NIL, which has no part in the loss), `entity_ids` `(E,)`, indices into the knowledge base, and
            `lexical_features` `(B, E, F)` if the processor has a lexical prior.

        Raises:
            DIMError: If a row lacks a field, its offsets do not give its mention, or its entity or a candidate is not
                in the knowledge base; the message names the row.
        """
        mentions = [self._checked(row, _name(row, place)) for place, row in enumerate(rows)]
        golds = [self.index[row["entity_id"]] if row["entity_id"] else -1 for row in rows]
        negatives = [self.index[one] for row in rows for one in self._candidates(row)]
        # A batch of NIL mentions alone has no entity, and the model needs one.
        pool = torch.tensor(sorted({gold for gold in golds if gold >= 0}.union(negatives)) or [0])
        unreadable = UnreadablePictures()
        batch = dict(mention_batch(self.processor, list(rows), self.pictures, unreadable))
        members = [self.entities[row] for row in pool.tolist()]
        batch |= entity_batch(self.processor, members, self.pictures, unreadable)
        unreadable.warn()
        places = {row: place for place, row in enumerate(pool.tolist())}
        batch["labels"] = torch.tensor([places.get(gold, IGNORED_LABEL) for gold in golds])
        batch["entity_ids"] = pool
        if self.features is not None:
            batch["lexical_features"] = self.features(mentions, pool)
        return batch

    def _candidates(self, row: dict[str, Any]) -> Sequence[str]:
        """The candidates of a mention that are in the pool."""
        return () if self.candidates is None else self.candidates.get(row["id"], ())[: self.num_candidates]

    def _checked(self, row: dict[str, Any], name: str) -> Mention:
        """The mention of a row, whose fields, entity and candidates are checked."""
        needed = _MENTION_COLUMNS if self.candidates is None else (*_MENTION_COLUMNS, "id")
        missing = next((field for field in needed if field not in row), None)
        if missing is not None:
            raise DIMError(
                f"{name} has no {missing!r}; it has {sorted(row)}. Trainer drops columns unless "
                "TrainingArguments has remove_unused_columns=False."
            )
        try:
            mention = mention_of(row)
        except RowError as error:
            raise DIMError(f"{name}: {error}.") from error
        if not self.pictures and is_picture_alone(mention.text, mention.sentence):
            raise DIMError(f"{name} is a picture alone, and the collator has pictures=False.")
        wanted = [*([row["entity_id"]] if row["entity_id"] else []), *self._candidates(row)]
        unknown = next((entity for entity in wanted if entity not in self.index), None)
        if unknown is not None:
            raise DIMError(f"{name}: the entity {unknown!r} is not among the {len(self.index):,} entities.")
        return mention


def _name(row: dict[str, Any], place: int) -> str:
    return f"Mention {row['id']!r}" if isinstance(row.get("id"), str) else f"Row {place} of the batch"
