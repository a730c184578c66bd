"""A dataset prepared for training: texts tokenised, pictures decoded, golds looked up."""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from datasets import Dataset
from torch import Tensor
from transformers import BatchFeature

from dim.common.ids import gold_indices, index_of
from dim.configuration_dim import DIMConfig
from dim.encoding.mention import Mention, mentions_of
from dim.encoding.mention_pictures import check_pictures_alone
from dim.encoding.prior_features import lexical_features
from dim.encoding.unused_pictures import warn_of_unused_pictures
from dim.errors import DIMError
from dim.metrics.protocols import CandidateLists
from dim.modeling_dim import DIMModel
from dim.processing_dim import DIMProcessor
from dim.training.arguments import DataArguments
from dim.training.banks import PictureBank, TextBank
from dim.training.model import frozen_towers
from dim.training.picture_sources import Loaders, add_composites, add_views, entity_pictures, mention_pictures, pictured
from dim.training.tables import Tables, load_tables

_CHUNK = 4096  # rows tokenised at a time


@dataclass
class MentionSide:
    """The mentions of one split.

    Args:
        ids: Ids of the `M` mentions, for messages.
        mentions: The mentions in their sentences, for lexical features. With masking, indices `M` to `2M` of this, of
            `mention_texts` and of `sentence_texts` are the same mentions with their name hidden.
        mention_texts: The mentions, tokenised.
        sentence_texts: The marked sentences, tokenised, cut to a window.
        caption_texts: The captions, tokenised; `None` where the split has none.
        has_caption: Which mentions have a caption, `(M,)`.
        has_sentence: Which mentions have a sentence; the others are a picture alone, `(M,)`.
        pictures: Index of each mention's picture in the picture bank, -1 for none, `(M,)`.
        gold: Index of each mention's entity, -1 for NIL, `(M,)`.
        candidates: Indices of each mention's candidates, padded with -1, `(M, C)`.
        truncated: How many sentences were cut.
    """

    ids: list[str]
    mentions: list[Mention]
    mention_texts: TextBank
    sentence_texts: TextBank
    caption_texts: TextBank | None
    has_caption: Tensor
    has_sentence: Tensor
    pictures: Tensor
    gold: Tensor
    candidates: Tensor
    truncated: int


@dataclass
class EntitySide:
    """The knowledge base.

    Args:
        ids: Ids of the `E` entities.
        names: Their names.
        aliases: Their other names.
        texts: Name and description of each, tokenised.
        pictures: Indices of each entity's pictures in the picture bank, padded with -1, `(E, N)`.
        truncated: How many texts were cut.
    """

    ids: list[str]
    names: list[str]
    aliases: list[list[str]]
    texts: TextBank
    pictures: Tensor
    truncated: int


class MELData:
    """Training and validation mentions, and their knowledge base.

    Args:
        arguments: The dataset, and how batches are drawn.
        processor: Tokenises texts and resizes pictures.
        picture_file: File of the decoded pictures; it is overwritten.
        config: The model's configuration; pictures and lexical features are prepared only for a model that uses them.
        tables: The rows; those of `arguments.dataset` by default.

    Raises:
        DIMError: If the dataset lacks a column, a split or an entity, or composites are wanted and there is no picture
            to make them of; the message says which.
    """

    def __init__(
        self,
        arguments: DataArguments,
        processor: DIMProcessor,
        picture_file: Path,
        config: DIMConfig,
        tables: Tables | None = None,
    ):
        self.arguments, self.processor = arguments, processor
        tables = load_tables(arguments) if tables is None else tables
        dataset, splits, entities = tables.name, tables.mentions, tables.entities
        index = index_of(entities["id"][:])
        golds = {split: _gold(rows, index, f"{dataset}, {split}") for split, rows in splits.items()}
        for split, why in (("train", "there is nothing to learn"), ("validation", "no model could be chosen by it")):
            if (golds[split] < 0).all():
                raise DIMError(f"{dataset}: none of the mentions of the split {split!r} has an entity; {why}.")
        lists = {
            split: CandidateLists.from_ids(tables.candidates.get(split, {}), rows["id"][:], index)
            for split, rows in splits.items()
        }

        for rows in splits.values():
            check_pictures_alone(config, rows)
        warn_of_unused_pictures(config, *pictured(splits.values(), entities))
        loaders: Loaders = []
        places = {split: mention_pictures(rows, loaders, config.uses_pictures) for split, rows in splits.items()}
        entity_places = entity_pictures(entities, loaders, config.uses_pictures)
        composed = entity_places[:, 0].ge(0).nonzero().flatten().repeat_interleave(arguments.composites)
        places["composites"] = add_composites(loaders, entity_places[:, 0], places["train"], arguments.composites)
        views = add_views(loaders, places["train"], arguments.picture_views)
        bank = PictureBank.build(loaders, processor, picture_file)
        self.pictures = bank if len(bank.pixels) else None  # there may be no picture, or none that can be read
        self.entities = self._entity_side(entities, bank.rows_of(entity_places))
        self.lexical_features = lexical_features(entities) if config.num_lexical_features else None
        self.train, self.validation = (
            self._mention_side(
                splits[split],
                bank.rows_of(places[split]),
                golds[split],
                lists[split].rows,
                masking=arguments.mention_masking > 0 and split == "train",
            )
            for split in ("train", "validation")
        )
        self.views = bank.rows_of(views)  # each training mention's picture and its views, (M, 1 + views)
        self.composites = self._composites(composed, bank.rows_of(places["composites"]))

    @property
    def truncated(self) -> str:
        """How many texts of each kind were cut to fit the processor's limit, in words; empty if none was."""
        cut = {"training sentences": self.train.truncated, "validation sentences": self.validation.truncated,
               "entities": self.entities.truncated}  # fmt: skip
        return ", ".join(f"{count} {what}" for what, count in cut.items() if count)

    def frozen_banks(self, model: DIMModel) -> Iterator[TextBank | PictureBank]:
        """Yields the banks whose tower is frozen: their vectors can be computed once for all epochs."""
        frozen = frozen_towers(model)
        if frozen["text"]:
            yield self.entities.texts
            for side in filter(None, (self.train, self.validation, self.composites)):
                yield from filter(None, (side.mention_texts, side.sentence_texts, side.caption_texts))
        if frozen.get("vision") and self.pictures is not None:
            yield self.pictures

    def _bank(self, batches: list[BatchFeature], key: str) -> TextBank:
        tokens = [
            ids[mask.bool()].tolist()
            for batch in batches
            for ids, mask in zip(batch[f"{key}_input_ids"], batch[f"{key}_attention_mask"], strict=True)
        ]
        pad_to = self.processor.max_text_length if self.processor.text_padding == "max_length" else None
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
        mentions = mentions_of(rows)
        hidden = [self._hide_name(mention) for mention in mentions] if masking else []
        captions = rows["expert_answer"][:] if "expert_answer" in rows.column_names else [""] * len(rows)
        batches, hidden_batches = self._tokenise(mentions, captions), self._tokenise(hidden)
        has_caption = torch.cat([batch["expert_mask"] for batch in batches])
        has_sentence = torch.tensor([bool(mention.sentence.strip()) for mention in mentions])
        if (lost := (~has_sentence & (pictures < 0)).nonzero()).numel():
            raise DIMError(f"mention {rows['id'][int(lost[0])]!r} has neither a text nor a picture that can be read.")
        return MentionSide(
            ids=rows["id"][:],
            mentions=mentions + hidden,
            mention_texts=self._bank(batches + hidden_batches, "mention"),
            sentence_texts=self._bank(batches + hidden_batches, "sentence"),
            caption_texts=self._bank(batches, "expert") if has_caption.any() else None,
            has_caption=has_caption,
            has_sentence=has_sentence,
            pictures=pictures,
            gold=gold,
            candidates=candidates,
            truncated=sum(int((batch["num_truncated_tokens"] > 0).sum()) for batch in batches),
        )

    def _composites(self, gold: Tensor, pictures: Tensor) -> MentionSide | None:
        """Synthetic photographs as mentions, but for those that cannot be read.

        Every second one has the text of a training mention whose name is one of its entity's, if there is any; the
        others are a picture alone.
        """
        gold, pictures = gold[pictures >= 0], pictures[pictures >= 0]
        if not len(gold):
            return None
        texts = defaultdict(list)
        for mention in self.train.mentions[: len(self.train.ids)]:
            texts[mention.text].append(mention)
        found = []
        for number, row in enumerate(gold.tolist()):
            names = (self.entities.names[row], *self.entities.aliases[row])
            fitting = [mention for name in names for mention in texts.get(name, [])]
            found.append(random.Random(number).choice(fitting) if fitting and number % 2 else Mention("", ""))
        columns = dict(zip(("mention", "sentence", "start", "end"), map(list, zip(*found, strict=True)), strict=True))
        columns["id"] = [f"composite {number} of {self.entities.ids[row]}" for number, row in enumerate(gold.tolist())]
        masking = self.arguments.mention_masking > 0
        return self._mention_side(Dataset.from_dict(columns), pictures, gold, gold.new_empty(len(gold), 0), masking)

    def _tokenise(self, mentions: list[Mention], captions: Sequence[str] | None = None) -> list[BatchFeature]:
        batches = []
        for start in range(0, len(mentions), _CHUNK):
            part = slice(start, start + _CHUNK)
            texts, sentences, *offsets = map(list, zip(*mentions[part], strict=True))
            own_captions = None if captions is None else captions[part]
            spans = list(zip(*offsets, strict=True))
            batches.append(self.processor.process_mentions(texts, sentences, None, own_captions, spans))
        return batches

    def _hide_name(self, mention: Mention) -> Mention:
        """Replaces a mention by `mask_text`, also in its sentence if it is there; a picture alone stays as it is."""
        name, (_, sentence, start, end) = self.arguments.mask_text, mention
        if not sentence.strip():
            return mention
        if start < 0:
            return mention._replace(text=name)
        return Mention(name, sentence[:start] + name + sentence[end:], start, start + len(name))


def _gold(mentions: Dataset, index: dict[str, int], source: str) -> Tensor:
    return torch.tensor(gold_indices(mentions["id"][:], mentions["entity_id"][:], index, source))
