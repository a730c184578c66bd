"""The reranker: a cross-encoder that reads a mention's sentence and an entity's description together."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BatchEncoding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from dim.common.checksums import verify_checksums
from dim.encoding.batching import longest_first
from dim.encoding.mention import Mention
from dim.errors import DIMError
from dim.kb.view import EntityView
from dim.linking.ranking import Ranking
from dim.processing_dim import mark_mention

FOLDER = "reranker"
"""Folder of a model's reranker, next to its weights."""

_BEFORE = 200  # characters
_MARKS = ("[ ", " ]")


class Reranker:
    """Scores mention-entity pairs; sentence and description are read as one text.

    Its score is added to the model's: both are log odds, trained separately. It uses no pictures, so it adds nothing to
    the scores of a picture alone.

    Args:
        model: A sequence classification model with one label.
        tokenizer: Its tokenizer; a pair is cut to `model_max_length` tokens, at the end of the longer of its two texts.
        count: Number of each mention's best candidates that are reranked.

    Raises:
        DIMError: If `count` is less than 1.

    Example:

        >>> from transformers import BertConfig, BertForSequenceClassification  # a small one that has learned nothing
        >>> tokenizer = AutoTokenizer.from_pretrained("demo/model")
        >>> config = BertConfig(vocab_size=len(tokenizer), hidden_size=24, num_hidden_layers=1, num_labels=1)
        >>> reranker = Reranker(BertForSequenceClassification(config), tokenizer, count=16)
        >>> mention = mention_text(Mention("Henry", "Henry, c. 1531", 0, 5))
        >>> reranker.score([mention] * 2, [entity_text("Henry VIII", "king"), entity_text("Henry Adams", "")]).shape
        torch.Size([2])
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, count: int = 16):
        if count < 1:
            raise DIMError(f"A reranker must read at least one candidate, got {count}.")
        self.model, self.tokenizer, self.count = model.eval(), tokenizer, count

    @classmethod
    def from_pretrained(cls, folder: str | Path, count: int = 16, device: str | torch.device = "cpu") -> "Reranker":
        """Loads a reranker that `dim train-reranker` wrote.

        Args:
            folder: Folder of the reranker.
            count: As above.
            device: Device of the model.

        Returns:
            The reranker.

        Raises:
            DIMError: If the folder has no reranker, or `count` is less than 1.
        """
        verify_checksums(Path(folder))
        try:
            model = AutoModelForSequenceClassification.from_pretrained(
                folder, use_safetensors=True, trust_remote_code=False
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        except (OSError, ValueError, SafetensorError) as error:
            raise DIMError(f"There is no reranker in {folder}; dim train-reranker makes one.") from error
        return cls(model.to(device), tokenizer, count)

    @torch.inference_mode()
    def score(self, mentions: Sequence[str], entities: Sequence[str], batch_size: int = 128) -> Tensor:
        """Scores pairs of texts, in batches of similar length.

        Args:
            mentions: `P` texts from [`mention_text`].
            entities: `P` texts from [`entity_text`].
            batch_size: Pairs per batch.

        Returns:
            `torch.Tensor` of shape `(P,)`, float32.
        """
        lengths = [len(mention) + len(entity) for mention, entity in zip(mentions, entities, strict=True)]
        scores = torch.empty(len(mentions))
        for part in longest_first(lengths, batch_size):
            pairs = pair_inputs(self.tokenizer, [mentions[row] for row in part], [entities[row] for row in part])
            scores[part] = self.model(**pairs.to(self.model.device)).logits[:, 0].float().cpu()
        return scores

    def rerank(self, ranking: Ranking, mentions: Sequence[Mention], kb: EntityView) -> Ranking:
        """Reranks the best candidates of each mention.

        Args:
            ranking: Ranked candidates.
            mentions: The mentions.
            kb: The knowledge base of the candidates.

        Returns:
            The ranking of the `count` best, by the sum of both scores; the others are dropped.

        Raises:
            DIMError: If a score is not finite.
        """
        best = ranking.first(self.count)
        texts = [mention_text(mention) for mention in mentions]
        there = (best.rows >= 0) & torch.tensor([bool(mention.text.strip()) for mention in mentions])[:, None]
        known = kb.take(best.rows[there].numpy(), ["name", "description"]).to_pylist()
        owners = there.nonzero()[:, 0].tolist()
        found = self.score([texts[row] for row in owners],
                           [entity_text(row["name"], row["description"]) for row in known])  # fmt: skip
        if not torch.isfinite(found).all():
            mention = mentions[owners[int((~torch.isfinite(found)).nonzero()[0])]]
            raise DIMError(f"The reranker's score of a candidate of mention {mention.text!r} is not finite.")
        scores = best.scores.clone()
        scores[there] += found
        return best.rescored(scores)


def mention_text(mention: Mention) -> str:
    """Returns a sentence with its mention in brackets, the first text of a pair.

    It begins at most 200 characters before the mention, so that truncation seldom removes the mention. A mention that
    is not in its sentence comes first.

    Example:

        >>> mention_text(Mention.find("Ann", "Annette met Ann."))
        'Annette met [ Ann ].'
    """
    if mention.start < 0:
        return f"[ {mention.text} ] {mention.sentence}".rstrip()
    marked = mark_mention(mention.sentence, mention.start, mention.end, _MARKS)
    return marked[max(0, mention.start - _BEFORE) :]


def entity_text(name: str, description: str | None) -> str:
    """Returns an entity's name and description, the second text of a pair."""
    return f"{name}: {description}" if description else name


def pair_inputs(tokenizer: PreTrainedTokenizerBase, mentions: list[str], entities: list[str]) -> BatchEncoding:
    """Tokenises pairs to ids and masks of shape `(P, L)`."""
    return tokenizer(mentions, entities, truncation="longest_first", padding=True, return_tensors="pt")
