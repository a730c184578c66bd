"""Mentions that are a picture alone or a region of one, and the entity's picture that is nearest to the mention's."""

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as Picture
from transformers import BertConfig, BertForSequenceClassification

from dim import DIMError, DIMModel, DIMProcessor
from dim.common.pictures import load_picture
from dim.encoding.encode import encode_mentions
from dim.kb.store import KnowledgeBase
from dim.linking.linker import DIMLinker
from dim.linking.mention import mention_row
from dim.linking.mention_rows import read_mentions
from dim.linking.reranker import Reranker
from tests.linking.test_linker import BLUE, ENTITIES, RED, png

GREEN = png("green")
KB = [*ENTITIES, {"id": "d", "name": "--- (sign)", "description": "", "images": [GREEN, BLUE, RED]}]
ALONE = {"sentence": "", "mention": "", "start": -1, "end": -1}


@pytest.fixture(scope="module")
def kb(dim, tmp_path_factory):
    made = KnowledgeBase.create(tmp_path_factory.mktemp("kb") / "kb", KB)
    made.encode(*dim)
    return made


@pytest.fixture(scope="module")
def two_colours(tmp_path_factory):
    """A picture that is red on its left and blue on its right."""
    picture = Picture.new("RGB", (40, 20), "red")
    picture.paste("blue", (20, 0, 40, 20))
    path = tmp_path_factory.mktemp("pictures") / "two.png"
    picture.save(path)
    return path


@pytest.fixture(scope="module")
def text_only(tiny_bert_dir, tmp_path_factory):
    model, processor = DIMModel.from_towers(str(tiny_bert_dir)), DIMProcessor.from_towers(str(tiny_bert_dir))
    made = KnowledgeBase.create(tmp_path_factory.mktemp("text_kb") / "kb", KB)
    made.encode(model, processor)
    return DIMLinker(model.eval(), processor, made)


def seen(links):
    return [(entity.id, pytest.approx(entity.score, abs=1e-5)) for entity in links]


def test_a_picture_alone_is_ranked_by_the_models_score(dim, linker):
    """Names and words find nothing, vectors find all; the prior is the same for every entity."""
    model, processor = dim
    found = linker(image=RED, k=4, why=True)
    pictures = [[load_picture(one) for one in entity.get("images", [])] for entity in KB]
    inputs = processor(mentions=[""], text=[""], images=[load_picture(RED)], names=[e["name"] for e in KB],
                       descriptions=[e["description"] for e in KB], entity_images=pictures)  # fmt: skip
    if model.config.num_lexical_features:
        inputs["lexical_features"] = torch.zeros(1, len(KB), model.config.num_lexical_features)
    with torch.no_grad():
        expected = model(**inputs).logits[0].tolist()
    assert {one.id: pytest.approx(one.score, abs=1e-4) for one in found} == dict(zip("abcd", expected, strict=True))
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    for one in found:
        assert one.why["found_by"] == ["dense"]
        assert one.why["features"] == {}
        assert set(one.why["attention"]) <= {"picture"}
        assert "without_picture" not in one.why
    assert len({round(one.why["score_by_prior"], 4) for one in found}) == 1


def test_another_picture_has_another_ranking(linker):
    assert seen(linker(image=RED, k=4)) != seen(linker(image=BLUE, k=4))


@pytest.mark.parametrize(
    "row", [{}, {"sentence": "", "mention": ""}, {"sentence": " ", "mention": None, "start": -1, "end": -1}]
)
def test_the_ways_to_give_a_picture_alone(linker, tmp_path, row):
    import json

    Picture.new("RGB", (20, 20), "red").save(tmp_path / "red.png")
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps({**row, "image": str(tmp_path / "red.png")}))
    [(_, mention)] = read_mentions(path)
    assert {name: mention[name] for name in ALONE} == ALONE
    expected = seen(linker(image=RED, k=4))
    assert [seen(links) for links in linker.link([mention], k=4)] == [expected]
    assert seen(linker("", "", RED, k=4)) == seen(linker(" ", image=[RED, RED], k=4)) == expected


def test_pictures_alone_beside_other_mentions(linker):
    """A batch of both gives what each gives on its own."""
    word = mention_row("Turkey is big.", "Turkey", None, BLUE, None)
    rows = [{**ALONE, "image": RED}, word, {**word, "image": None}, {**ALONE, "image": [BLUE, RED]}]
    together = linker.link(rows, k=4)
    assert [seen(links) for links in together] == [seen(linker.link([row], k=4)[0]) for row in rows]


def test_a_dataset_of_pictures_alone(linker, two_colours):
    features = Features({"id": Value("string"), "sentence": Value("string"), "mention": Value("string"),
                         "start": Value("int32"), "end": Value("int32"), "image": Image(),
                         "region": List(Value("int32"))})  # fmt: skip
    cell = {"bytes": two_colours.read_bytes(), "path": None}
    regions = [[0, 0, 20, 20], None, [20, 0, 40, 20]]
    rows = [{"id": f"m{n}", **ALONE, "image": cell, "region": region} for n, region in enumerate(regions)]
    found = linker.link_batch(Dataset.from_list(rows, features=features), k=4, progress=False)
    expected = [linker(image=str(two_colours), region=region, k=4) for region in regions]
    assert found["candidate_ids"][:] == [[one.id for one in links] for links in expected]
    nothing = Dataset.from_list([{**rows[0], "image": None, "region": None}], features=features)
    with pytest.raises(DIMError, match="^mention 'm0' has neither a text nor a picture that can be read"):
        linker.link_batch(nothing, progress=False)


def test_a_region_is_the_part_alone(linker, two_colours):
    for region, colour in (((0, 0, 20, 20), RED), ((20, 0, 40, 20), BLUE)):
        assert seen(linker(image=two_colours, region=region, k=4)) == seen(linker(image=colour, k=4))
        sentence = {"text": "[[Turkey]] is big.", "k": 4}
        by_region = linker(**sentence, image=two_colours, region=region, why=True)
        assert seen(by_region) == seen(linker(**sentence, image=colour))
        [whole] = {one.why["nearest_picture"]["similarity"] for one in by_region if one.id == "a"}
        assert whole == pytest.approx(1, abs=1e-3) or colour is BLUE


def test_a_region_counts_in_pixels_of_the_picture_as_it_is_shown(linker, two_colours, tmp_path):
    exif = Picture.Exif()
    exif[0x0112] = 6
    turned = tmp_path / "turned.png"
    with Picture.open(two_colours) as picture:
        picture.transpose(Picture.Transpose.ROTATE_90).save(turned, exif=exif)
    for region in ((0, 0, 20, 20), (20, 0, 40, 20)):
        upright, shown = (linker(image=path, region=region, k=4) for path in (two_colours, turned))
        assert seen(upright) == seen(shown)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"region": (0, 0, 41, 20)}, r"it is \(0, 0, 41, 20\), outside of the picture, which has 40 x 20 pixels"),
        ({"region": (0, 0, 40, 21)}, r"outside of the picture, which has 40 x 20 pixels"),
        ({"region": (-1, 0, 40, 20)}, "outside of the picture"),
        ({"region": (7, 0, 7, 20)}, "which is empty"),
        ({"region": (0, 0, 5)}, "not four whole numbers"),
        ({"region": (0, 0, 5, 5), "image": None, "text": "[[a]]"}, "it needs a picture, and the mention has none"),
        ({"region": (0, 0, 5, 5), "image": [RED, BLUE]}, "it needs one picture, and the mention has 2"),
        ({"image": None}, "Mark the mention by double brackets"),
        ({"image": []}, "Mark the mention by double brackets"),
        ({"image": "no-such.png"}, r"no-such\.png.*no such file"),
        ({"text": "no brackets"}, "Mark the mention by double brackets"),
        ({"text": "a", "mention": ""}, "The mention is empty"),
        ({"span": (0, 1)}, "does not lie in the sentence"),
    ],
)
def test_what_is_no_such_mention_is_refused_in_a_line(linker, two_colours, given, message):
    with pytest.raises(DIMError, match=message) as caught:
        linker(**({"image": two_colours} | given))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_rows_of_many_are_told_by_their_id(linker, two_colours, workers):
    word = mention_row("Turkey is big.", "Turkey", None, str(two_colours), None)
    bad = [
        (
            {**word, "id": "m7", "region": [0, 0, 99, 9]},
            r"^mention 'm7': field 'region': it is \(0, 0, 99, 9\), outside",
        ),
        ({**ALONE, "id": "m8", "image": b"hello"}, "^mention 'm8' has neither a text nor a picture that can be read"),
        ({**ALONE, "id": "m9", "image": None}, "^mention 'm9' has neither a text nor a picture that can be read"),
        ({**word, "image": [RED, BLUE], "region": [0, 0, 9, 9]}, "it needs one picture, and the mention has 2"),
    ]
    for row, message in bad:
        with pytest.raises(DIMError, match=message) as caught:
            linker.link([word, row], num_workers=workers)
        assert "\n" not in str(caught.value)


def test_a_region_of_a_picture_that_cannot_be_read_goes_with_it(linker):
    """Beside a text, the picture is left out with a warning, as without a region."""
    word = mention_row("Turkey is big.", "Turkey", None, b"hello", None, (0, 0, 9, 9))
    assert [seen(links) for links in linker.link([word], k=4)] == [seen(linker("[[Turkey]] is big.", k=4))]


def test_a_model_without_pictures_says_so_before_it_encodes(text_only, monkeypatch):
    monkeypatch.setattr("dim.encoding.encode._encode", lambda *_: pytest.fail("encoded"))
    for ask in (
        lambda: text_only(image=RED),
        lambda: text_only.link([mention_row("[[a]]", None, None, None, None), {**ALONE, "image": RED}]),
        lambda: encode_mentions(text_only.model, text_only.processor, [{**ALONE, "image": RED}]),
        lambda: text_only.link_batch(Dataset.from_dict({name: [value] for name, value in ALONE.items()})),
    ):
        with pytest.raises(
            DIMError, match="The model reads no pictures of mentions, so it cannot link a pic"
        ) as caught:
            ask()
        assert "\n" not in str(caught.value)


def test_a_reranker_leaves_a_picture_alone_as_it_is(dim, kb):
    tokenizer = dim[1].tokenizer
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=24, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=24, num_labels=1, pad_token_id=tokenizer.pad_token_id)  # fmt: skip
    last = DIMLinker(*dim, kb, reranker=Reranker(BertForSequenceClassification(config), tokenizer, count=3))
    word = mention_row("Turkey is big.", "Turkey", None, RED, None)
    alone, beside = last.link([{**ALONE, "image": RED}, word], k=3)
    first = DIMLinker(*dim, kb)
    assert seen(alone) == seen(first(image=RED, k=3))
    assert sorted(one.score for one in beside) != sorted(one.score for one in first.link([word], k=3)[0])
    assert last(image=RED, k=1, why=True)[0].why["score_by_reranker"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(("colour", "index"), [("green", 0), ("blue", 1), ("red", 2)])
def test_why_shows_the_nearest_picture(linker, colour, index):
    found = {one.id: one.why for one in linker("[[Turkey]] is big.", image=png(colour), k=4, why=True)}
    assert found["d"]["nearest_picture"] == {"index": index, "similarity": pytest.approx(1, abs=1e-3)}
    assert found["a"]["nearest_picture"]["index"] == 0
    assert -1 <= found["a"]["nearest_picture"]["similarity"] <= 1 + 1e-6
    assert not any("nearest_picture" in found[name] for name in "bc")  # no pictures
    assert "nearest_picture" not in linker("[[Turkey]]", k=1, why=True)[0].why


def test_the_nearest_picture_is_the_nearest_by_the_models_vectors(dim, linker):
    """A naive version, with noise for pictures and two pictures of the mention."""
    model, processor = dim
    noise = np.random.default_rng(0)
    many = [Picture.fromarray(noise.integers(0, 256, (9, 9, 3), np.uint8)) for _ in range(5)]
    asked = many[3:]
    kb = linker.kb
    before = kb.version
    kb.upsert([{"id": "d", "name": "signs", "images": [{"bytes": b"hello", "path": None}, *map(cell, many[:3])]}])
    try:
        found = {one.id: one.why for one in linker("[[signs]]", image=asked, k=4, why=True)}["d"]["nearest_picture"]
    finally:
        kb.restore(before)
    with torch.no_grad():
        vectors = model.visual_projection(model.pool_pictures(processor(images=many)["pixel_values"]))
    cosines = torch.nn.functional.cosine_similarity(vectors[:3, None], vectors[None, 3:], dim=-1).amax(1)
    expected = int(cosines.argmax())
    assert found == {"index": expected + 1, "similarity": pytest.approx(cosines[expected].item(), abs=1e-3)}


def cell(picture):
    import io

    out = io.BytesIO()
    picture.save(out, "PNG")
    return {"bytes": out.getvalue(), "path": None}
