"""Encoding, the exact index and the linker, against naive oracles and a whole command line."""

import pytest
import torch
from PIL import Image

from dim.corpora.hub import load_entities, load_mentions
from dim.linking.encoding import encode_entities, encode_mentions
from dim.linking.index import EntityIndex, fingerprint
from dim.linking.linker import DIMLinker, LinkedEntity, load_dim, parse_brackets

ENTITIES = [
    {"id": "a", "name": "Turkey", "description": "a country", "images": [Image.new("RGB", (20, 20), "red")]},
    {"id": "b", "name": "turkey", "description": "a large bird kept on farms and eaten at feasts", "images": []},
    {"id": "c", "name": "Ankara", "description": "", "images": None},
]


@pytest.fixture(scope="module")
def dim(tiny_dim_dir):
    return load_dim(tiny_dim_dir)


@pytest.fixture(scope="module")
def index(dim):
    return EntityIndex.build(*dim, ENTITIES)


@pytest.fixture
def linker(dim, index):
    return DIMLinker(*dim, index)


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


def test_linker_scores_are_the_models(dim, linker):
    model, processor = dim
    picture = Image.new("RGB", (20, 20), "red")
    found = linker("Turkey is big.", "Turkey", picture, k=3)
    inputs = processor(["Turkey"], ["Turkey is big."], [e["name"] for e in ENTITIES],
                       [e["description"] for e in ENTITIES], [picture], [e["images"] for e in ENTITIES])  # fmt: skip
    with torch.no_grad():
        scores = model(**inputs).logits[0]
    by_id = {entity.id: entity.score for entity in found}
    for row, entity in enumerate(ENTITIES):
        assert by_id[entity["id"]] == pytest.approx(scores[row].item(), abs=1e-4)
    assert [entity.score for entity in found] == sorted(by_id.values(), reverse=True)
    assert isinstance(found[0], LinkedEntity)


def test_picture_changes_the_scores(linker):
    without = linker("Turkey is big.", "Turkey", k=3)
    with_picture = linker("Turkey is big.", "Turkey", Image.new("RGB", (20, 20), "red"), k=3)
    assert {e.id: e.score for e in without} != {e.id: e.score for e in with_picture}


def test_brackets_are_the_same_as_a_mention(linker):
    assert linker("[[Turkey]] is big.", k=2) == linker("Turkey is big.", "Turkey", k=2)


def test_save_and_load(index, dim, tmp_path):
    index.save(tmp_path / "kb")
    index.save(tmp_path / "kb")  # an index may be replaced
    loaded = EntityIndex.load(tmp_path / "kb")
    assert loaded.entities.equals(index.entities)
    assert torch.equal(loaded.vectors, index.vectors)
    assert loaded.encoder == index.encoder
    assert sorted(path.name for path in (tmp_path).iterdir()) == ["kb"]


def test_other_folders_are_never_replaced(index, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="exists and is no index"):
        index.save(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_another_model_is_refused(dim, index, tiny_clip_dir):
    from dim import DIMModel

    other = DIMModel.from_towers(str(tiny_clip_dir), num_attention_heads=4)
    with torch.no_grad():
        other.mention_projection.bias.add_(1e-3)
    assert fingerprint(other, dim[1]) != fingerprint(*dim)
    with pytest.raises(ValueError, match="encoded by another model"):
        DIMLinker(other, dim[1], index)


@pytest.mark.parametrize(
    ("entities", "message"),
    [
        ([], "knowledge base is empty"),
        ([{"id": "a", "name": "x"}], "Entity 0 has no 'description'"),
        ([ENTITIES[0], ENTITIES[0]], "id occurs twice"),
        ([{"id": "a", "name": " ", "description": "x"}], "name of entity 0 is empty"),
    ],
)
def test_bad_entities_are_refused(dim, entities, message):
    with pytest.raises(ValueError, match=message):
        EntityIndex.build(*dim, entities)


@pytest.mark.parametrize("k", [0, 4])
def test_k_must_fit(linker, k):
    with pytest.raises(ValueError, match=f"k must lie between 1 and the 3 entities of the knowledge base, got {k}"):
        linker("[[Turkey]]", k=k)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("We saw it.",), "Mark one mention by double brackets"),
        (("[[a]] and [[b]]",), "found 2"),
        (("We saw it.", "Turkey"), "The mention 'Turkey' is not in the sentence"),
        (("[[Turkey]]", None, "no-such.png"), "no-such.png"),
    ],
)
def test_bad_questions_are_refused(linker, arguments, message):
    with pytest.raises(ValueError, match=message):
        linker(*arguments, k=3)


def test_folders_that_are_not_there(tmp_path, tiny_dim_dir):
    with pytest.raises(ValueError, match=r"is no knowledge base: it has no index.json. `dim kb create` makes one"):
        DIMLinker.from_pretrained(tiny_dim_dir, tmp_path)
    with pytest.raises(ValueError, match="There is no model"):
        load_dim(tmp_path / "nothing")


def test_parse_brackets_keeps_offsets():
    text, (start, end) = parse_brackets("a [[b c]] d")
    assert (text, text[start:end]) == ("a b c d", "b c")


def test_entities_of_a_dataset(dim, tiny_mel_dir):
    index = EntityIndex.build(*dim, load_entities(str(tiny_mel_dir)))
    assert len(index) == 6
    assert index.row_of["e3"] == 3
