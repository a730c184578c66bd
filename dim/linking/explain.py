"""Explanation of a score: shares of vectors, prior, reranker, picture and caption, attention, and nearest picture."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from dim.encoding.encode import mention_batch
from dim.encoding.mention import mentions_of
from dim.lexical_dim import LEXICAL_FEATURES
from dim.linking.channels import CHANNELS
from dim.linking.links import Links
from dim.linking.mention import one_picture_each
from dim.linking.nearest_picture import nearest_pictures
from dim.linking.ranking import Ranking
from dim.sentences_dim import is_picture_alone

if TYPE_CHECKING:
    from dim.linking.linker import DIMLinker


def explain(linker: "DIMLinker", mention: dict, links: Links) -> Links:
    """Explains the score of each linked entity.

    `why` holds `score_by_vectors`; `score_by_prior`, the change by the lexical prior; `score_by_reranker`, the change
    by the reranker, if there is one; `features`, the prior's features that are not 0; `found_by`, the retrieval
    channels that found the entity; `attention`, the weight of each modality in the mention's vector, averaged over
    heads and pictures; and, if the mention has them, `without_picture` and `without_expert`, the entity's score without
    the picture or the caption (not for a picture alone). If both have pictures, `nearest_picture` is the `index` of the
    entity's picture that is nearest to the mention's, from 0, with its `similarity`, a cosine.

    Args:
        linker: The linker that linked the mention.
        mention: The mention, as a row for `encode_mentions`.
        links: The entities that it was linked to.

    Returns:
        The same links, each with its `why`.

    Example:

        >>> from dim.linking.linker import DIMLinker
        >>> linker = DIMLinker.from_pretrained("demo/model", kb="demo/kb")
        >>> [entity] = linker("We saw [[Turkey]].", image="demo/example.png", k=1, why=True)  # calls `explain`
        >>> list(entity.why)[:5]  # then what depends on mention and entity: `without_picture`, `nearest_picture` ...
        ['score_by_vectors', 'score_by_prior', 'features', 'found_by', 'attention']
        >>> entity.why["features"]["equal"], sorted(entity.why["attention"])
        (1.0, ['picture', 'sentence'])
    """
    rows = np.array([[linker.kb.row_of[entity.id] for entity in links]], np.int64).reshape(1, -1)
    mentions = mentions_of([mention])
    found = linker.search.search(mentions, linker.encode([mention]))
    masks = dict(zip(found.rows[0].tolist(), found.channels[0].tolist(), strict=True))
    nothing = np.zeros_like(rows)

    def scored(question: dict) -> Ranking:
        return linker.score(linker.encode([question]), mentions, rows, nothing)

    whole = scored(mention)
    less = {}
    if mention.get("image") and not is_picture_alone(mention["mention"], mention["sentence"]):
        less["without_picture"] = scored({**mention, "image": None, "region": None})
    if mention.get("expert_answer"):
        less["without_expert"] = scored({**mention, "expert_answer": None})
    attention = _attention(linker, mention)
    nearest = nearest_pictures(linker, mention, [entity.id for entity in links])
    explained = []
    for entity, row in zip(links, rows[0].tolist(), strict=True):
        index = _index(whole, row)
        vectors, score = whole.vector_scores[0, index].item(), whole.scores[0, index].item()
        reread = 0.0 if linker.reranker is None else entity.score - score
        features = zip(LEXICAL_FEATURES, whole.features[0, index].tolist(), strict=False)
        why = {
            "score_by_vectors": vectors,
            "score_by_prior": score - vectors,
            **({} if linker.reranker is None else {"score_by_reranker": reread}),
            "features": {name: round(value, 4) for name, value in features if value},
            "found_by": [name for bit, name in enumerate(CHANNELS) if masks[row] >> bit & 1],
            "attention": attention,
        }
        why |= {name: ranking.scores[0, _index(ranking, row)].item() + reread for name, ranking in less.items()}
        why |= {"nearest_picture": nearest[entity.id]} if entity.id in nearest else {}
        explained.append(replace(entity, why=why))
    return Links(explained, links.nil, links.is_nil)


def _index(ranking: Ranking, row: int) -> int:
    return int((ranking.rows[0] == row).nonzero()[0])


@torch.inference_mode()
def _attention(linker: "DIMLinker", mention: dict) -> dict[str, float]:
    """Returns the weight of each modality that the mention has; empty for a model without attention."""
    model = linker.model
    rows, _ = one_picture_each([mention])
    inputs = mention_batch(linker.processor, list(rows), "picture" in model.config.mention_modalities)
    weights = model(**inputs.to(model.device)).modality_attentions
    if weights is None:
        return {}
    mean = weights.float().mean((0, 1)).tolist()  # (pictures, heads, K) -> (K,)
    named = zip(model.config.mention_modalities, mean, strict=True)
    return {name: round(weight, 4) for name, weight in named if weight}
