"""What the module of a `SentenceTransformer` refuses; `tests/publishing/test_sentence_transformers.py` has the rest."""

import pytest
import torch
from PIL import Image

from dim import DIMError, DIMModel, DIMProcessor, PictureError
from dim.sentence_transformers_dim import DIMSentenceEncoder

PICTURE = Image.new("RGB", (20, 20))


@pytest.fixture(scope="module")
def encoder(tiny_dim_dir):
    return DIMSentenceEncoder.load(tiny_dim_dir)


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ("[[Ada]] sat.", {}, "call encode_query for mentions, encode_document for entities"),
        ("[[Ada]] sat.", {"task": "query", "prompt": "find: "}, "without prompts; leave out the prompt 'find: '"),
        ("Ada sat.", {"task": "query"}, "Mark the mention by double brackets"),
        ("[[Ada]] met [[Bo]].", {"task": "query"}, "2 mentions are marked in '.*'; mark one"),
        ("", {"task": "query"}, "needs a text with a mention, or an image"),
        ({}, {"task": "query"}, "got dict"),
        ({"text": "[[Ada]]", "audio": b""}, {"task": "query"}, "'text' and 'image'; got dict with 'text', 'audio'"),
        ({"text": ["[[Ada]]"]}, {"task": "query"}, "text of a query is one string; got list"),
        ({"text": "[[Ada]]", "image": [PICTURE] * 2}, {"task": "query"}, "one picture, got 2; DIMLinker averages"),
        ({"role": "user", "content": "Ada"}, {"task": "document"}, "got dict with 'role', 'content'"),
        (PICTURE, {"task": "document"}, "an image alone has none"),
        (3, {"task": "document"}, "got int"),
    ],
)
def test_what_is_refused(encoder, given, options, message):
    with pytest.raises(DIMError, match=message):
        encoder.preprocess([given], **options)


def test_a_picture_that_cannot_be_read(encoder, tmp_path):
    for picture, message in (
        ("https://example.org/a.png", "is a URL: download it first"),
        ({"bytes": None, "path": str(tmp_path / "a.png")}, "cannot be read: No such file"),
        (str(tmp_path), "cannot be read: Is a directory"),
    ):
        with pytest.raises(PictureError, match=message):
            encoder.preprocess([{"text": "[[Ada]]", "image": picture}], task="query")


def test_pictures_that_the_model_does_not_read(tiny_dim_dir):
    processor = DIMProcessor.from_pretrained(tiny_dim_dir)
    mentions = {"entity_pictures": False}
    encoder = DIMSentenceEncoder(DIMModel.from_pretrained(tiny_dim_dir, **mentions), processor)
    encoder.preprocess([{"text": "[[Ada]]", "image": PICTURE}], task="query")
    with pytest.raises(DIMError, match="reads no picture of a document"):
        encoder.preprocess([{"text": "Ada", "image": PICTURE}], task="document")
    entities = {"mention_modalities": ["sentence"], "fusion": "attention"}
    encoder = DIMSentenceEncoder(DIMModel.from_pretrained(tiny_dim_dir, **entities), processor)
    with pytest.raises(DIMError, match="reads no picture of a query"):
        encoder.preprocess([{"text": "[[Ada]]", "image": PICTURE}], task="query")
    text_alone = {**entities, "entity_pictures": False, "vision_config": None}
    encoder = DIMSentenceEncoder(DIMModel.from_pretrained(tiny_dim_dir, **text_alone), processor)
    assert encoder.modalities == ["text"]


def test_other_forms_of_a_model_are_refused(encoder, tiny_dim_dir, tmp_path):
    with pytest.raises(DIMError, match="backend 'torch', not 'onnx'"):
        DIMSentenceEncoder.load(tiny_dim_dir, backend="onnx")
    with pytest.raises(DIMError, match="as safetensors only"):
        encoder.save(tmp_path, safe_serialization=False)


def test_a_lexical_prior_is_told(tiny_dim_dir, monkeypatch):
    told = []
    monkeypatch.setattr("dim.sentence_transformers_dim.logger.warning_once", told.append)
    processor = DIMProcessor.from_pretrained(tiny_dim_dir)
    DIMSentenceEncoder(DIMModel.from_pretrained(tiny_dim_dir), processor)
    assert told == []
    torch.manual_seed(0)
    DIMSentenceEncoder(DIMModel.from_pretrained(tiny_dim_dir, num_lexical_features=17), processor)
    assert "compares its vectors alone" in told[0]
