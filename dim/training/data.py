"""A dataset prepared for training: its texts tokenised, its pictures decoded, its golds looked up, once."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow.compute as pc
import torch
from datasets import Dataset
from torch import Tensor
from transformers import BatchFeature

from dim.configuration_dim import DIMConfig
from dim.corpora.loading import load_candidates, load_entities, load_mentions
from dim.encoding.mention import Mention, mentions_of
from dim.encoding.prior_features import lexical_features
from dim.errors import DIMError
from dim.processing_dim import DIMProcessor
from dim.training.arguments import DataArguments
from dim.training.banks import PictureBank, TextBank

_CHUNK = 4096  # rows tokenised at a time


@dataclass
class MentionSide:
    """The mentions of one split.

    Args:
        ids: Ids of the `M` mentions, for messages.
        names: What is mentioned and its sentence, as text, for lexical features.
        mentions: What is mentioned, on its own. With masking, rows `M` to `2M` of this, of `names` and of `sentences`
            hold the same with the name hidden.
        sentences: The marked sentences, cut to a window.
        experts: The experts' answers; `None` where the split has none.
        has_expert: Which rows have an answer, `(M,)`.
        pictures: Row of each mention's picture in the picture bank, -1 where it has none, `(M,)`.
        gold: Row of each mention's entity, -1 for NIL, `(M,)`.
        candidates: Rows of each mention's candidates, -1 behind the last, `(M, C)`.
        truncated: How many sentences were cut.
    """

    ids: list[str]
    names: list[Mention]
    mentions: TextBank
    sentences: TextBank
    experts: TextBank | None
    has_expert: Tensor
    pictures: Tensor
    gold: Tensor
    candidates: Tensor
    truncated: int


@dataclass
class EntitySide:
    """The knowledge base: `texts` (name and description) and `pictures`, rows in the picture bank `(E, N)` or -1."""

    ids: list[str]
    names: list[str]
    aliases: list[list[str]]
    texts: TextBank
    pictures: Tensor
    truncated: int


class MELData:
    """Training and validation mentions against one knowledge base.

    Args:
        arguments: Which dataset, and how batches are drawn.
        processor: Tokenises texts and resizes pictures.
        picture_file: Where the decoded pictures go; made anew.
        config: The model's configuration: without pictures or a lexical prior, none of theirs is made ready.

    Raises:
        DIMError: If the dataset lacks a column, a split or an entity; the message says which.
    """

    def __init__(self, arguments: DataArguments, processor: DIMProcessor, picture_file: Path, config: DIMConfig):
        self.arguments, self.processor = arguments, processor
        dataset = str(arguments.dataset)
        entities = load_entities(dataset)
        splits = {split: load_mentions(dataset, split) for split in ("train", "validation")}
        wanted = {"train": arguments.negatives == "candidates", "validation": arguments.rank_candidates}
        found = {split: load_candidates(dataset, split) if wanted[split] else {} for split in splits}
        rows = {name: row for row, name in enumerate(entities["id"][:])}
        golds = {split: _gold_rows(dataset, split, mentions, rows) for split, mentions in splits.items()}
        if (golds["train"] < 0).all():
            raise DIMError(f"{dataset}: none of the training mentions has an entity.")

        loaders: list[partial] = []
        pictures = {split: torch.full((len(mentions),), -1) for split, mentions in splits.items()}
        entity_pictures = torch.full((len(entities), 1), -1)
        if config.uses_pictures:
            pictures = {split: _mention_pictures(mentions, loaders) for split, mentions in splits.items()}
            entity_pictures = _entity_pictures(entities, loaders)
        bank = PictureBank.build(loaders, processor, picture_file)
        pictures = {split: bank.rows_of(places) for split, places in pictures.items()}
        entity_pictures = bank.rows_of(entity_pictures)
        self.pictures = bank if len(bank.pixels) else None  # none of them may be there, or be readable
        self.entities = self._entity_side(entities, entity_pictures)
        self.names = lexical_features(entities) if config.num_lexical_features else None
        masking = arguments.mention_masking > 0
        lists = {split: _candidate_rows(dataset, splits[split], found[split], rows) for split in splits}
        self.train, self.validation = (
            self._mention_side(splits[split], pictures[split], golds[split], lists[split], masking and split == "train")
            for split in ("train", "validation")
        )

    @property
    def truncated(self) -> str:
        """How many texts of each kind were cut to fit the processor's limit, in words; empty where none was."""
        cut = {"training sentences": self.train.truncated, "validation sentences": self.validation.truncated,
               "entities": self.entities.truncated}  # fmt: skip
        return ", ".join(f"{count} {what}" for what, count in cut.items() if count)

    def text_banks(self) -> Iterator[TextBank]:
        """Every bank of texts, for encoding them with a frozen tower."""
        yield self.entities.texts
        for side in (self.train, self.validation):
            yield from (bank for bank in (side.mentions, side.sentences, side.experts) if bank is not None)

    def _bank(self, batches: list[BatchFeature], key: str) -> TextBank:
        tokens = [
            ids[mask.bool()].tolist()
            for batch in batches
            for ids, mask in zip(batch[f"{key}_input_ids"], batch[f"{key}_attention_mask"], strict=True)
        ]
        pad_to = self.processor.max_length if self.processor.padding == "max_length" else None
        return TextBank(tokens, self.processor.tokenizer.pad_token_id, pad_to)

    def _entity_side(self, entities: Dataset, pictures: Tensor) -> EntitySide:
        columns = entities.select_columns(["id", "name", "description"])
        batches = [
            self.processor.process_entities(part["name"], [text or "" for text in part["description"]])
            for part in columns.iter(_CHUNK)
        ]
        truncated = sum(int((batch["entity_num_truncated_tokens"] > 0).sum()) for batch in batches)
        aliases = entities["aliases"][:] if "aliases" in entities.column_names else [[]] * len(entities)
        bank = self._bank(batches, "entity")
        return EntitySide(columns["id"][:], columns["name"][:], aliases, bank, pictures, truncated)

    def _mention_side(
        self, rows: Dataset, pictures: Tensor, gold: Tensor, candidates: Tensor, masking: bool
    ) -> MentionSide:
        columns = rows.select_columns([name for name in rows.column_names if name != "image"])
        batches, hidden = [], []
        names: list[Mention] = []
        for part in columns.iter(_CHUNK):
            answers = part.get("expert_answer", [""] * len(part["id"]))
            spans = list(zip(part["start"], part["end"], strict=True))
            batches.append(self.processor.process_mentions(part["mention"], part["sentence"], None, answers, spans))
            if masking:
                texts, places = self._hide(part["sentence"], spans)
                name = self.arguments.mask_text
                hidden.append(self.processor.process_mentions([name] * len(texts), texts, spans=places))
                names += [Mention(name, text, *place) for text, place in zip(texts, places, strict=True)]
        has_expert = torch.cat([batch["expert_mask"] for batch in batches])
        return MentionSide(
            ids=columns["id"][:],
            names=mentions_of(columns) + names,
            mentions=self._bank(batches + hidden, "mention"),
            sentences=self._bank(batches + hidden, "sentence"),
            experts=self._bank(batches, "expert") if has_expert.any() else None,
            has_expert=has_expert,
            pictures=pictures,
            gold=gold,
            candidates=candidates,
            truncated=sum(int((batch["num_truncated_tokens"] > 0).sum()) for batch in batches),
        )

    def _hide(self, sentences: list[str], spans: list[tuple[int, int]]) -> tuple[list[str], list[tuple[int, int]]]:
        """Sentences with `mask_text` in the place of their mention; a mention that is not there cannot be seen."""
        name = self.arguments.mask_text
        texts, places = [], []
        for sentence, (start, end) in zip(sentences, spans, strict=True):
            texts.append(sentence if start < 0 else sentence[:start] + name + sentence[end:])
            places.append((start, end) if start < 0 else (start, start + len(name)))
        return texts, places


def _gold_rows(dataset: str, split: str, mentions: Dataset, rows: dict[str, int]) -> Tensor:
    """Row of each mention's entity in the KB, -1 for NIL (an empty entity id)."""
    golds = mentions["entity_id"][:]
    for name, gold in zip(mentions["id"][:], golds, strict=True):
        if gold and gold not in rows:
            raise DIMError(f"{dataset}: the entity {gold!r} of {split} mention {name!r} is not in the entities.")
    return torch.tensor([rows[gold] if gold else -1 for gold in golds])


def _candidate_rows(dataset: str, mentions: Dataset, candidates: dict[str, list[str]], rows: dict[str, int]) -> Tensor:
    """Rows of each mention's candidates in the KB `(M, C)`, -1 behind the last."""
    lists = []
    for name in mentions["id"][:]:
        unknown = [entity for entity in candidates.get(name, ()) if entity not in rows]
        if unknown:
            raise DIMError(f"{dataset}: the candidate {unknown[0]!r} of mention {name!r} is not in the entities.")
        lists.append([rows[entity] for entity in candidates.get(name, ())])
    width = max(1, max(map(len, lists)))
    return torch.tensor([row + [-1] * (width - len(row)) for row in lists])


def _mention_pictures(mentions: Dataset, loaders: list[partial]) -> Tensor:
    """Place of each mention's picture among `loaders`; mentions with the same `image_id` share one."""
    keys = mentions["image_id" if "image_id" in mentions.column_names else "id"][:]
    present = mentions.data.column("image").is_valid().to_pylist()
    known: dict[str, int] = {}
    places = []
    for row, (key, there) in enumerate(zip(keys, present, strict=True)):
        if there and key not in known:
            known[key] = len(loaders)
            loaders.append(partial(_mention_picture, mentions, row))
        places.append(known[key] if there else -1)
    return torch.tensor(places)


def _entity_pictures(entities: Dataset, loaders: list[partial]) -> Tensor:
    """Places of each entity's pictures among `loaders`, `(E, N)`, -1 behind the last."""
    counts = [count or 0 for count in pc.list_value_length(entities.data.column("images")).to_pylist()]
    places = torch.full((len(counts), max(1, *counts)), -1)
    for row, count in enumerate(counts):
        for place in range(count):
            places[row, place] = len(loaders)
            loaders.append(partial(_entity_picture, entities, row, place))
    return places


def _mention_picture(mentions: Dataset, row: int) -> object:
    return mentions[row]["image"]


def _entity_picture(entities: Dataset, row: int, place: int) -> object:
    return entities[row]["images"][place]


__all__ = ["EntitySide", "MELData", "MentionSide"]
