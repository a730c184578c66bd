"""Encoding: batches by length, workers and modes change nothing."""

import pytest
import torch
from PIL import Image

from dim.corpora.hub import load_mentions
from dim.linking.encoding import encode_entities, encode_mentions
from dim.linking.loading import fingerprint, load_dim

ENTITIES = [
    {"id": "a", "name": "Turkey", "description": "a country", "images": [Image.new("RGB", (20, 20), "red")]},
    {"id": "b", "name": "turkey", "description": "a large bird kept on farms and eaten at feasts", "images": []},
    {"id": "c", "name": "Ankara", "description": "", "images": None},
]


@pytest.fixture(scope="module")
def dim(tiny_dim_dir):
    return load_dim(tiny_dim_dir)


def mention(sentence, word, **more):
    start = sentence.index(word)
    return {"sentence": sentence, "mention": word, "start": start, "end": start + len(word), **more}


def test_batches_give_what_single_rows_give(dim):
    model, processor = dim
    rows = [mention("Turkey " + "x " * n, "Turkey", image=Image.new("RGB", (9 + n, 9)) if n % 2 else None)
            for n in range(7)]  # fmt: skip
    together = encode_mentions(model, processor, rows, batch_size=3)
    alone = torch.cat([encode_mentions(model, processor, [row]) for row in rows])
    torch.testing.assert_close(together, alone)
    together = encode_entities(model, processor, ENTITIES, batch_size=2)
    alone = torch.cat([encode_entities(model, processor, [row]) for row in ENTITIES])
    torch.testing.assert_close(together, alone)


def test_workers_give_the_same(dim, tiny_mel_dir):
    rows = load_mentions(str(tiny_mel_dir), "validation")
    torch.testing.assert_close(encode_mentions(*dim, rows, num_workers=2), encode_mentions(*dim, rows))


def test_encoding_keeps_the_mode(dim):
    model, processor = dim
    model.train()
    encode_entities(model, processor, ENTITIES)
    assert model.training
    model.eval()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "nothing to encode"),
        ([{"sentence": "a"}], "KeyError|'mention'|start"),
    ],
)
def test_bad_mentions_are_refused(dim, rows, message):
    with pytest.raises((ValueError, KeyError), match=message):
        encode_mentions(*dim, rows)


def test_a_fingerprint_tells_encoders_apart(dim, tiny_dim_dir):
    model, processor = dim
    other, same = load_dim(tiny_dim_dir)
    assert fingerprint(other, same) == fingerprint(model, processor)
    with torch.no_grad():
        other.mention_projection.bias.add_(1e-3)
    assert fingerprint(other, same) != fingerprint(model, processor)
    same.max_length -= 1
    assert fingerprint(model, same) != fingerprint(model, processor)


def test_a_model_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="There is no model"):
        load_dim(tmp_path / "nothing")
