"""Scores of all entities equal the model's, for any size of block."""

import pytest
import torch

from dim import DIMModel, DIMProcessor
from dim.encoding import scoring
from dim.encoding.mention import Mention
from dim.encoding.scoring import score_blocks
from dim.lexical_dim import LEXICAL_FEATURES, LexicalFeatures

NAMES = ["Turkey", "Turkey (bird)", "Swift", "Kiwi"]
MENTIONS = [
    Mention.find(*pair)
    for pair in (
        ("Turkey", "Turkey is big."),
        ("kiwi", "A kiwi."),
        ("Swift", "Swift sang."),
        ("bird", "A bird, Turkey."),
    )
]


@pytest.fixture(scope="module")
def dim(tiny_dim_dir):
    torch.manual_seed(0)
    model = DIMModel.from_pretrained(tiny_dim_dir, num_lexical_features=len(LEXICAL_FEATURES)).eval()
    torch.nn.init.normal_(model.lexical_prior.output_weight)
    torch.nn.init.normal_(model.lexical_prior.hidden.weight)
    return model, DIMProcessor.from_pretrained(tiny_dim_dir)


@pytest.fixture(scope="module")
def vectors(dim):
    width = dim[0].config.projection_dim
    return torch.nn.functional.normalize(torch.randn(4, width), dim=1), torch.nn.functional.normalize(
        torch.randn(4, width), dim=1
    )


@pytest.mark.parametrize("pairs", [1, 9, 2**21])
@pytest.mark.parametrize("prior", [True, False])
def test_blocks_are_the_models_scores(dim, vectors, monkeypatch, pairs, prior):
    monkeypatch.setattr(scoring, "_PAIRS", pairs)
    names = LexicalFeatures(NAMES) if prior else None
    blocks = list(score_blocks(dim[0], *vectors, names, MENTIONS))
    assert len(blocks) == {1: 4, 9: 2, 2**21: 1}[pairs]
    assert [row for part, _ in blocks for row in range(4)[part]] == [0, 1, 2, 3]
    features = LexicalFeatures(NAMES)(MENTIONS) if prior else None
    with torch.no_grad():
        expected = dim[0].score(*vectors, features)
    torch.testing.assert_close(torch.cat([scores for _, scores in blocks]), expected)


def test_equal_entities_tie(dim, vectors):
    entities = vectors[1][[0, 1, 0]].repeat(7, 1)
    names = LexicalFeatures(["a", "b", "a"] * 7)
    for _, scores in score_blocks(dim[0], vectors[0], entities, names, MENTIONS):
        assert torch.equal(scores[:, 0], scores[:, 2])
        assert torch.equal(scores[:, 0], scores[:, 20])


def test_another_number_of_features_is_refused(dim, vectors, tiny_dim_dir):
    model = DIMModel.from_pretrained(tiny_dim_dir, num_lexical_features=3)
    with pytest.raises(ValueError, match=f"weighs 3 lexical features, but there are {len(LEXICAL_FEATURES)}"):
        next(score_blocks(model, *vectors, LexicalFeatures(NAMES), MENTIONS))
    with pytest.raises(ValueError, match="4 mention vectors, but 1 mentions"):
        next(score_blocks(dim[0], *vectors, LexicalFeatures(NAMES), MENTIONS[:1]))
