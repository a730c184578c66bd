"""The linker on a changing knowledge base: the model's scores, incomplete queries, and explanations."""

import io

import pytest
import torch
from datasets import Dataset
from PIL import Image

from dim import DIMModel
from dim.common.pictures import load_picture
from dim.encoding.mention import Mention
from dim.kb.store import KnowledgeBase
from dim.lexical_dim import LEXICAL_FEATURES, LexicalFeatures
from dim.linking.calibration import Calibration
from dim.linking.linker import CANDIDATES, DIMLinker
from dim.linking.links import LinkedEntity, Links


def png(colour):
    out = io.BytesIO()
    Image.new("RGB", (20, 20), colour).save(out, "PNG")
    return {"bytes": out.getvalue(), "path": None}


RED, BLUE = png("red"), png("blue")
ENTITIES = [
    {"id": "a", "name": "Turkey", "description": "a country", "images": [RED]},
    {"id": "b", "name": "turkey", "description": "a large bird kept on farms and eaten at feasts"},
    {"id": "c", "name": "Ankara", "aliases": ["Angora"], "description": ""},
]


@pytest.fixture(scope="module")
def kb(dim, tmp_path_factory):
    made = KnowledgeBase.create(tmp_path_factory.mktemp("kb") / "kb", ENTITIES)
    made.encode(*dim)
    return made


def naive_scores(dim, sentence, mention, picture, entities=ENTITIES):
    """Scores by one call of the model, without candidates."""
    model, processor = dim
    names, descriptions = [e["name"] for e in entities], [e["description"] for e in entities]
    pictures = [[load_picture(one) for one in e.get("images", [])] for e in entities]
    inputs = processor([picture and load_picture(picture)], [sentence], [mention], names, descriptions, pictures)
    if model.config.num_lexical_features:
        features = LexicalFeatures(names, [e.get("aliases", []) for e in entities], descriptions)
        inputs["lexical_features"] = features([Mention.find(mention, sentence)])
    with torch.no_grad():
        return dict(zip([e["id"] for e in entities], model(**inputs).logits[0].tolist(), strict=True))


@pytest.mark.parametrize("picture", [None, RED])
def test_scores_are_the_models(dim, linker, picture):
    found = linker("Turkey is big.", "Turkey", picture, k=3)
    expected = naive_scores(dim, "Turkey is big.", "Turkey", picture)
    assert {entity.id: pytest.approx(entity.score, abs=1e-4) for entity in found} == expected
    assert [e.score for e in found] == sorted((e.score for e in found), reverse=True)
    assert sum(entity.confidence for entity in found) == pytest.approx(1)
    assert (found.nil, found.is_nil) == (None, False)


def test_ways_to_give_a_mention(linker):
    by_text = linker("Turkey is big.", "Turkey", k=2)
    assert linker("[[Turkey]] is big.", k=2) == by_text
    assert linker("Turkey is big.", span=(0, 6), k=2) == by_text
    one, two = linker.link_sentence("[[Turkey]] and [[Ankara]]", k=1)
    for found, name in ((one, "Turkey"), (two, "Ankara")):
        [alone] = linker("Turkey and Ankara", name, k=1)
        assert (found[0].id, found[0].score) == (alone.id, pytest.approx(alone.score))


def test_a_mention_without_a_sentence_or_outside_of_it(linker):
    assert linker("", "Turkey", k=3) == linker("[[Turkey]]", k=3)
    assert len(linker("It is big.", "Turkey", k=3)) == 3


def test_several_pictures_count_by_their_mean(dim, linker):
    row = {"sentence": "Turkey", "mention": "Turkey", "start": 0, "end": 6}
    red, blue = (linker.encode([{**row, "image": one}]) for one in (RED, BLUE))
    blocks = torch.nn.functional.normalize((red + blue).view(2, -1), dim=-1)  # text, and picture
    expected = blocks.view(1, -1)
    torch.testing.assert_close(linker.encode([{**row, "image": [RED, BLUE]}]), expected)
    assert linker("[[Turkey]]", image=[RED, RED], k=1)[0].score == pytest.approx(
        linker("[[Turkey]]", image=RED, k=1)[0].score
    )


def test_more_than_there_are(linker):
    assert len(linker("[[Turkey]]", k=CANDIDATES)) == 3
    for k in (0, CANDIDATES + 1):
        with pytest.raises(ValueError, match=f"k must lie between 1 and {CANDIDATES}, got {k}"):
            linker("[[Turkey]]", k=k)


def test_an_empty_knowledge_base(dim, tmp_path):
    linker = DIMLinker(*dim, KnowledgeBase.create(tmp_path / "kb", []))
    found = linker("[[Turkey]]", why=True)
    assert found == []
    assert found.is_nil


def test_a_change_is_seen_by_the_next_question(dim, tmp_path):
    kb = KnowledgeBase.create(tmp_path / "kb", ENTITIES)
    kb.encode(*dim)
    linker = DIMLinker(*dim, kb)
    assert len(linker("[[Turkey]]", k=5)) == 3
    late = {"id": "d", "name": "Turkey Creek", "description": "a river", "images": [BLUE]}
    kb.upsert([late])  # not encoded: the linker does it
    kb.delete(["c"])
    found = {entity.id: entity.score for entity in linker("Turkey is big.", "Turkey", k=5)}
    expected = naive_scores(dim, "Turkey is big.", "Turkey", None, [*ENTITIES[:2], late])
    assert found == {name: pytest.approx(score, abs=1e-4) for name, score in expected.items()}


def test_why(dim, linker):
    found = linker("Turkey in 1900", "Turkey", RED, k=3, why=True)
    plain = linker("Turkey in 1900", "Turkey", k=3)
    without = {entity.id: entity.score for entity in plain}
    for entity in found:
        why = entity.why
        assert why["score_by_vectors"] + why["score_by_prior"] == pytest.approx(entity.score)
        assert why["without_picture"] == pytest.approx(without[entity.id], abs=1e-4)
        assert "without_expert" not in why
        assert set(why["found_by"]) <= {"name search", "BM25", "dense"}
        assert sum(why["attention"].values()) == pytest.approx(1, abs=1e-3)
    best = next(entity.why for entity in found if entity.id == "a")
    if dim[0].config.num_lexical_features:
        assert best["features"]["equal"] == 1
    else:
        assert best["features"] == {}
        assert best["score_by_prior"] == 0
    assert [entity.why for entity in plain] == [None] * 3
    asked = linker("Turkey", "Turkey", k=1, expert_answer="a bird", why=True)[0].why
    assert "without_expert" in asked
    assert "without_picture" not in asked


def test_a_dataset_in_and_out(linker):
    sentences, mentions = ["Turkey is big.", "In Angora"], ["Turkey", "Angora"]
    rows = {"mention": mentions, "sentence": sentences, "start": [0, 3], "end": [6, 9]}
    found = linker.link_batch(Dataset.from_dict(rows), k=2, progress=False)
    alone = [linker(sentence, mention, k=2) for sentence, mention in zip(sentences, mentions, strict=True)]
    assert found["candidate_ids"][:] == [[entity.id for entity in links] for links in alone]
    assert found["linked_id"][:] == [links[0].id for links in alone]
    assert found["linked_confidence"][:] == pytest.approx([links[0].confidence for links in alone], rel=1e-4)
    assert found["linked_nil"][:] == [None, None]
    assert found["mention"][:] == mentions


def test_a_calibration_tells_nil(dim, kb, tmp_path):
    names = ["best_score", "margin", "best_vector_score", "others"]
    names += LEXICAL_FEATURES if dim[0].config.num_lexical_features else []
    calibration = Calibration(2.0, 1000.0, dict.fromkeys(names, 0.0), 0.5, {})
    model, processor = dim
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    calibration.save(tmp_path / "model")
    found = DIMLinker.from_pretrained(tmp_path / "model", kb.uri)("[[Turkey]]", k=3)
    assert found.is_nil
    assert found.nil + sum(entity.confidence for entity in found) == pytest.approx(1)
    never = Calibration(2.0, -1000.0, dict.fromkeys(names, 0.0), 0.0, {})
    assert not DIMLinker(*dim, kb, never)("[[Turkey]]").is_nil


def test_what_does_not_belong_together(dim, kb, tmp_path, tiny_clip_dir):
    other = DIMModel.from_towers(str(tiny_clip_dir), num_attention_heads=4)
    with torch.no_grad():
        other.mention_projection.bias.add_(1e-3)
    with pytest.raises(ValueError, match="were encoded by another model"):
        DIMLinker(other, dim[1], kb)
    with pytest.raises(ValueError, match="entities of .* are not encoded yet; encode it: dim kb encode"):
        DIMLinker(*dim, KnowledgeBase.create(tmp_path / "kb", ENTITIES))
    with pytest.raises(ValueError, match="is not a knowledge base"):
        DIMLinker.from_pretrained(tmp_path, tmp_path / "nothing")


def test_a_picture_that_cannot_be_read(linker):
    with pytest.raises(ValueError, match=r"no-such\.png"):
        linker("[[Turkey]]", image="no-such.png")


def test_slices_of_links_keep_what_is_known_of_nil():
    entities = [LinkedEntity(f"e{row}", "name", "", 1.0, 0.5) for row in range(3)]
    links = Links(entities, nil=0.7, is_nil=True)
    assert (links[:2], links[:2].nil, links[:2].is_nil) == (entities[:2], 0.7, True)
    assert links[1] is entities[1]
