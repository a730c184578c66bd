"""Lexical features combine those of names and context, for a dataset or a table."""

import pyarrow as pa
import pytest
import torch
from datasets import Dataset

from dim.context_features_dim import ContextFeatures
from dim.encoding.mention import Mention
from dim.encoding.prior_features import lexical_features
from dim.lexical_dim import LEXICAL_FEATURES, LexicalFeatures
from dim.name_features_dim import NameFeatures

COLUMNS = {
    "name": ["Taylor Swift", "Swift (bird)", "Jonathan Swift"],
    "aliases": [["T-Swift"], [], []],
    "description": ["born 1989", None, "Birth: 1667. Death: 1745."],
}
TEXTS, SENTENCES = ["Swift", "Jonathan"], ["Swift in 1700", "His book"]
MENTIONS = [Mention(*pair) for pair in zip(TEXTS, SENTENCES, strict=True)]


def test_names_and_context_side_by_side():
    features = LexicalFeatures(COLUMNS["name"], COLUMNS["aliases"], ["born 1989", "", "Birth: 1667. Death: 1745."])
    whole = features(MENTIONS)
    assert whole.shape == (2, 3, len(LEXICAL_FEATURES))
    names = NameFeatures(COLUMNS["name"], COLUMNS["aliases"])(TEXTS, SENTENCES)
    assert torch.equal(whole[..., : names.shape[-1]], names)
    context = ContextFeatures(["born 1989", "", "Birth: 1667. Death: 1745."])(SENTENCES)
    assert torch.equal(whole[..., names.shape[-1] :], context)
    rows = torch.tensor([[2, 0], [1, 1]])
    assert torch.equal(features.pairs(MENTIONS, rows), whole[torch.arange(2)[:, None], rows])


def test_a_knowledge_base_of_either_kind():
    expected = LexicalFeatures(COLUMNS["name"], COLUMNS["aliases"], ["born 1989", "", COLUMNS["description"][2]])
    for entities in (Dataset.from_dict(COLUMNS), pa.table(COLUMNS)):
        assert torch.equal(lexical_features(entities)(MENTIONS), expected(MENTIONS))
    part = Dataset.from_dict(COLUMNS).select([2, 0])
    assert torch.equal(lexical_features(part)(MENTIONS), expected(MENTIONS)[:, [2, 0]])
    names = pa.table({"name": COLUMNS["name"]})
    assert torch.equal(lexical_features(names)(MENTIONS), LexicalFeatures(COLUMNS["name"])(MENTIONS))


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="at least one entity"):
        LexicalFeatures([])
    with pytest.raises(ValueError, match="2 names, but descriptions for 1"):
        LexicalFeatures(["a", "b"], descriptions=["x"])


def test_a_picture_alone_says_nothing_about_any_name():
    """Also not about a name without words, one that is all signs, or one with a qualifier."""
    names = ["Swift (bird)", "---", "!!!", " ", "Born 1900"]
    features = LexicalFeatures(names, [["", "a"], [], [""], [], []], ["born 1989", "", "He", "she", ""])
    rows = torch.arange(5).expand(2, -1)
    for mentions in ([Mention("", "")] * 2, [Mention(" ", "")] * 2):
        assert not features(mentions).any()
        assert not features.pairs(mentions, rows).any()
    beside = [Mention("", ""), Mention("Swift", "Swift sat.")]
    assert torch.equal(features(beside)[1], features(beside[1:])[0])
    assert torch.equal(features.pairs(beside, rows), features(beside))
    assert features(beside)[1].any()
