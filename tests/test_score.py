"""One score: a model with another `score` changes training, ranking, serving and evaluation."""

import asyncio

import pytest
import torch
from datasets import Dataset

from dim import DIMModel, DIMProcessor
from dim.encoding.mention import Mention
from dim.encoding.scoring import score_blocks
from dim.evaluation.systems.dim import DIMSystem, Encoder
from dim.kb.store import KnowledgeBase
from dim.lexical_dim import LEXICAL_FEATURES, LexicalFeatures
from dim.linking.linker import DIMLinker
from dim.serving.batching import LinkQueue
from dim.serving.settings import Settings

ENTITIES = [{"id": f"e{row}", "name": name, "description": ""} for row, name in enumerate(["Ada", "Adam", "Paris"])]
MENTION = {"mention": "Ada", "sentence": "Ada wrote it.", "start": 0, "end": 3}


class Reversed(DIMModel):
    """The best match has the lowest score."""

    def score(self, mention_embeds, entity_embeds, lexical_features=None):
        """The negative score."""
        return -super().score(mention_embeds, entity_embeds, lexical_features)


@pytest.fixture(scope="module")
def parts(tiny_dim_dir, tmp_path_factory):
    """A plain model, the same with the other score, their processor, and a knowledge base that they encoded."""
    torch.manual_seed(0)
    plain = DIMModel.from_pretrained(tiny_dim_dir, num_lexical_features=len(LEXICAL_FEATURES)).eval()
    torch.nn.init.normal_(plain.lexical_prior.output_weight)
    other = Reversed(plain.config).eval()
    other.load_state_dict(plain.state_dict())
    processor = DIMProcessor.from_pretrained(tiny_dim_dir)
    kb = KnowledgeBase.create(tmp_path_factory.mktemp("score") / "kb", ENTITIES)
    kb.encode(plain, processor)
    return plain, other, processor, kb


def test_training(parts):
    plain, other, processor, _ = parts
    inputs = processor(mentions=["Ada", "Paris"], text=["Ada wrote it.", "In Paris."], names=["Ada", "Paris"],
                       descriptions=["", ""])  # fmt: skip
    features = LexicalFeatures(["Ada", "Paris"])([Mention("Ada", "Ada wrote it."), Mention("Paris", "In Paris.")])
    for more in ({}, {"lexical_features": features}):
        one, two = (model(**inputs, **more, labels=torch.tensor([0, 1])) for model in (plain, other))
        torch.testing.assert_close(one.logits, -two.logits)
        assert one.loss != two.loss


def test_pairs_are_cells_of_the_table(parts):
    plain, other, _, _ = parts
    queries, entities = torch.randn(2, 32), torch.randn(3, 32)
    features = torch.randn(2, 3, len(LEXICAL_FEATURES))
    rows = torch.tensor([[2, 0], [1, 1]])
    for model in (plain, other):
        for given in (None, features):
            whole = model.score(queries, entities, given)
            own = None if given is None else given[torch.arange(2)[:, None], rows]
            pairs = model.score_pairs(queries, entities[rows], own)
            torch.testing.assert_close(pairs, whole.gather(1, rows))


def test_ranking_serving_and_evaluation(parts):
    plain, other, processor, kb = parts

    def scores(model):
        linker = DIMLinker(model, processor, kb)
        yield {entity.id: entity.score for entity in linker("[[Ada]] wrote it.", k=3)}

        async def served():
            queue = LinkQueue(linker, Settings())
            queue.start()
            try:
                return await queue.link([MENTION], 3)
            finally:
                await queue.close()

        yield {entity.id: entity.score for entity in asyncio.run(served()).links[0]}
        [(_, block)] = DIMSystem(Encoder(model, processor, Dataset.from_list(ENTITIES)), "DIM").scores([MENTION])
        yield dict(zip([entity["id"] for entity in ENTITIES], block[0].tolist(), strict=True))
        [(_, block)] = score_blocks(model, linker.encode([MENTION]), kb.vectors())
        yield dict(zip(kb.ids, block[0].tolist(), strict=True))

    for one, two in zip(scores(plain), scores(other), strict=True):
        assert {name: pytest.approx(-score) for name, score in one.items()} == two
        assert len(one) > 1
