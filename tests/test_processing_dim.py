"""DIMProcessor: windows around mentions, templates, pictures, round trips, and invalid input."""

import io
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoProcessor, BertTokenizer, CLIPImageProcessorPil

from dim import DIMConfig, DIMProcessor, load_picture
from dim.lexical_dim import LexicalFeatures
from dim.processing_dim import EXPERT_PROMPTS, find_mention

RED = Image.new("RGB", (40, 30), "red")


@pytest.fixture(scope="module")
def clip(tiny_clip_dir):
    return DIMProcessor.from_towers(str(tiny_clip_dir))


@pytest.fixture(scope="module")
def bert(tiny_bert_dir):
    return DIMProcessor.from_towers(str(tiny_bert_dir), max_text_length=16)


@pytest.fixture(scope="module")
def words():
    """A processor with one token per word, so that windows are easy to count."""
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[", "]", ":", *(f"w{i}" for i in range(60)), "m"]
    tokenizer = BertTokenizer(vocab={word: i for i, word in enumerate(vocabulary)}, do_lower_case=True)
    return DIMProcessor(CLIPImageProcessorPil(), tokenizer, max_text_length=11)


def decode(processor, ids):
    return processor.tokenizer.decode(ids, skip_special_tokens=True)


def test_keys_and_shapes(clip):
    batch = clip.process_mentions(
        ["Turkey", "bird"], ["Turkey is big.", "A bird."], [RED, None], ["a red field", ""], [(0, 6), (2, 6)]
    )
    assert batch["pixel_values"].shape == (2, 3, 32, 32)
    assert batch["pixel_mask"].tolist() == [True, False]
    assert batch["pixel_values"][1].abs().sum() == 0
    assert batch["expert_mask"].tolist() == [True, False]
    assert batch["num_truncated_tokens"].tolist() == [0, 0]
    for side in ("mention", "sentence", "expert"):
        assert batch[f"{side}_input_ids"].shape == batch[f"{side}_attention_mask"].shape
    batch = clip.process_entities(["Turkey", "turkey"], ["country", ""], [[RED, RED], None])
    assert batch["entity_pixel_values"].shape == (2, 2, 3, 32, 32)
    assert batch["entity_pixel_mask"].tolist() == [[True, True], [False, False]]


def test_what_is_not_given_is_not_returned(clip):
    batch = clip.process_mentions(["a"], ["a b"])
    assert not {"pixel_values", "pixel_mask", "expert_input_ids", "expert_mask"} & set(batch)
    assert not {"pixel_values", "pixel_mask"} & set(clip.process_mentions(["a"], ["a b"], images=[None]))
    assert "entity_pixel_values" not in clip.process_entities(["a"], ["b"], [[]])


def test_call_joins_both_sides(clip):
    both = clip([RED], ["a b"], ["a"], ["n"], ["d"], entity_images=[[RED]], expert_answers=["x"])
    mentions = clip.process_mentions(["a"], ["a b"], [RED], ["x"])
    entities = clip.process_entities(["n"], ["d"], [[RED]])
    assert set(both) == set(mentions) | set(entities)
    assert torch.equal(both["entity_input_ids"], entities["entity_input_ids"])


def test_call_gives_lexical_features_for_a_model_with_a_prior(tiny_clip_dir):
    processor = DIMProcessor.from_towers(str(tiny_clip_dir), lexical_prior=True)
    mentions, sentences = ["Swift", "Ada"], ["Swift in 1700", "Ada wrote it."]
    names, descriptions, aliases = ["Swift (bird)", "J. Swift"], ["", "Death: 1745."], [["Ada"], []]
    batch = processor(None, sentences, mentions, names, descriptions, aliases=aliases)
    expected = LexicalFeatures(names, aliases, descriptions)(list(zip(mentions, sentences, strict=True)))
    assert torch.equal(batch["lexical_features"], expected)
    separately = processor.lexical_features(names, ["", "Death: 1745."], aliases)
    assert torch.equal(separately(list(zip(mentions, sentences, strict=True))), expected)
    assert not torch.equal(processor(None, sentences, mentions, names, descriptions)["lexical_features"], expected)
    assert "lexical_features" not in processor(None, sentences, mentions)
    assert "lexical_features" not in processor(names=names, descriptions=descriptions, images=[RED])


def test_no_features_are_made_for_a_model_without_a_prior(clip, monkeypatch):
    monkeypatch.setattr("dim.processing_dim.LexicalFeatures", None)
    assert "lexical_features" not in clip(None, ["a b"], ["a"], ["n"], ["d"], aliases=[["m"]])


@pytest.mark.parametrize("saved, width, expected", [
    (False, 17, True), (True, 0, False), (True, None, True), (False, None, False),
])  # fmt: skip
def test_the_config_beside_it_says_whether_there_is_a_prior(clip, tmp_path, saved, width, expected):
    """As in a folder where a model was given a prior, or that an earlier version saved."""
    DIMProcessor(clip.image_processor, clip.tokenizer, lexical_prior=saved).save_pretrained(tmp_path)
    if width is not None:
        DIMConfig(num_lexical_features=width).save_pretrained(tmp_path)
    for loaded in (AutoProcessor.from_pretrained(tmp_path), DIMProcessor.from_pretrained(str(tmp_path))):
        assert loaded.lexical_prior is expected
    loaded.save_pretrained(tmp_path / "again")
    assert DIMProcessor.from_pretrained(tmp_path / "again").lexical_prior is expected
    assert DIMProcessor.from_pretrained(tmp_path, lexical_prior=not expected).lexical_prior is not expected


def test_a_prior_of_an_earlier_version(clip, tmp_path):
    clip.save_pretrained(tmp_path)
    DIMConfig(num_lexical_features=17).save_pretrained(tmp_path)
    file = tmp_path / "processor_config.json"
    fields = json.loads(file.read_text())
    del fields["lexical_prior"]
    file.write_text(json.dumps(fields))
    assert AutoProcessor.from_pretrained(tmp_path).lexical_prior is True


@pytest.mark.parametrize("names, descriptions, aliases, message", [
    ([], None, None, "names is empty"),
    ("Ada", None, None, "names must be a list of texts, got one text"),
    (["a", "b"], ["x"], None, "Lists differ in length: names 2, descriptions 1"),
    (["a", "b"], None, [["x"]], "Lists differ in length: names 2, aliases 1"),
    (["a", "b"], None, [[], "Ada"], "The aliases of entity 1 must be in a list, got 'Ada'"),
])  # fmt: skip
def test_bad_names_for_features_are_refused(clip, names, descriptions, aliases, message):
    with pytest.raises(ValueError, match=message):
        clip.lexical_features(names, descriptions, aliases)


def test_mention_is_marked(words):
    batch = words.process_mentions(["m"], ["w1 m w2"])
    assert decode(words, batch["sentence_input_ids"][0]) == "w1 [ m ] w2"


def test_window_keeps_a_late_mention(words):
    sentence = " ".join(f"w{i}" for i in range(50)) + " m w50"
    batch = words.process_mentions(["m"], [sentence])
    # 11 tokens: 2 special, 3 for the marked mention, 1 after it, so 5 before it
    assert decode(words, batch["sentence_input_ids"][0]) == "w45 w46 w47 w48 w49 [ m ] w50"
    assert batch["num_truncated_tokens"].tolist() == [45]


def test_window_is_balanced_in_the_middle(words):
    sentence = " ".join([*(f"w{i}" for i in range(20)), "m", *(f"w{i}" for i in range(20, 40))])
    batch = words.process_mentions(["m"], [sentence])
    assert decode(words, batch["sentence_input_ids"][0]) == "w17 w18 w19 [ m ] w20 w21 w22"


def test_span_chooses_the_occurrence(words):
    sentence = "m " + " ".join(f"w{i}" for i in range(30)) + " m"
    start = sentence.rindex("m")
    batch = words.process_mentions(["m"], [sentence], spans=[(start, start + 1)])
    assert decode(words, batch["sentence_input_ids"][0]).endswith("w29 [ m ]")


def test_mention_that_is_not_there_is_not_marked(words):
    sentence = " ".join(f"w{i}" for i in range(30))
    batch = words.process_mentions(["m"], [sentence], spans=[(-1, -1)])
    assert decode(words, batch["sentence_input_ids"][0]) == " ".join(f"w{i}" for i in range(9))
    assert batch["num_truncated_tokens"].tolist() == [21]


def test_mention_longer_than_the_limit_is_cut_and_reported(words):
    mention = " ".join(f"w{i}" for i in range(30))
    batch = words.process_mentions([mention], [f"w1 {mention} w2"])
    assert batch["sentence_input_ids"].shape == (1, 11)
    assert decode(words, batch["sentence_input_ids"][0]).startswith("[ w0 w1")
    assert batch["num_truncated_tokens"].tolist() == [34 - 9]


def test_script_without_spaces_is_cut_between_tokens(bert):
    sentence = "".join(chr(0x4E00 + i) for i in range(40)) + "京" + "".join(chr(0x4E80 + i) for i in range(40))
    batch = bert.process_mentions(["京"], [sentence])
    assert batch["sentence_attention_mask"].sum() > 8
    assert batch["num_truncated_tokens"].item() > 0


@settings(deadline=None, max_examples=150)
@given(
    st.text(max_size=120),
    st.text(min_size=1, max_size=12).filter(lambda text: bool(text.strip())),
    st.text(max_size=120),
)
def test_any_text_stays_within_the_limit_and_around_its_mention(words, clip, bert, left, mention, right):
    sentence = left + mention + right
    for processor in (words, clip, bert):
        batch = processor.process_mentions([mention], [sentence], spans=[(len(left), len(left) + len(mention))])
        ids = batch["sentence_input_ids"][0]
        assert len(ids) <= processor.max_text_length
        marked = processor.tokenizer(f"[{mention}]", add_special_tokens=False)["input_ids"]
        if len(marked) <= processor.max_text_length - 2:
            # The opening mark is the limit's first right: it is there unless the tokenizer glues it to a neighbour.
            text = processor.tokenizer.decode(ids)
            assert "[" in text


def test_long_description_is_cut_at_its_end_and_reported(words):
    description = " ".join(f"w{i}" for i in range(40))
    batch = words.process_entities(["m", "m"], [description, "w1"])
    assert decode(words, batch["entity_input_ids"][0]) == "m : " + " ".join(f"w{i}" for i in range(7))
    assert batch["entity_num_truncated_tokens"].tolist() == [33, 0]


def test_entity_texts(clip):
    assert clip.entity_texts(["Turkey", "{name}"], ["a {name} {description}", ""]) == [
        "Turkey: a {name} {description}",
        "{name}",
    ]


def test_expert_prompts(clip):
    assert clip.ask_expert(["x"], "paper") == ["Question: Who are the characters in the picture? Answer:"]
    assert clip.ask_expert(["x"]) == [EXPERT_PROMPTS["default"]]
    asking = DIMProcessor(clip.image_processor, clip.tokenizer, expert_prompts={"default": "Is {mention} here?"})
    assert asking.ask_expert(["Ann", "{x}"]) == ["Is Ann here?", "Is {x} here?"]
    with pytest.raises(ValueError, match=r"No expert prompt is called 'poem'; the prompts are \['default', 'paper'\]"):
        clip.ask_expert(["x"], "poem")


def test_round_trip_is_exact(clip, tmp_path):
    processor = DIMProcessor(
        clip.image_processor, clip.tokenizer, max_text_length=20, text_padding="max_length", mention_marks=["<<", ">>"],
        entity_template="{name} is {description}", expert_prompts={"default": "What?"},
    )  # fmt: skip
    processor.save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert type(loaded) is DIMProcessor
    for name in ("max_text_length", "text_padding", "mention_marks", "entity_template", "expert_prompts"):
        assert getattr(loaded, name) == getattr(processor, name), name
    arguments = ([RED], ["b a c"], ["a"], ["n"], ["d"], [[RED]], ["x"])
    before, after = processor(*arguments), loaded(*arguments)
    assert set(before) == set(after)
    for name in before:
        assert torch.equal(before[name], after[name]), name
    assert before["sentence_input_ids"].shape == (1, 20)


def test_pil_backend(clip):
    assert "Pil" in type(clip.image_processor).__name__


@pytest.mark.parametrize(
    ("sentence", "mention", "span"),
    [
        ("The hen and he", "he", (12, 14)),
        ("Oranges, orange", "orange", (9, 15)),
        ("unstoppable", "stop", (2, 6)),
        ("C++ and C", "C++", (0, 3)),
        ("Ærø is it", "Ærø", (0, 3)),
    ],
)
def test_find_mention(sentence, mention, span):
    assert find_mention(sentence, mention) == span
    assert sentence[slice(*span)] == mention


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["x"], ["a b"]), "The mention 'x' is not in the sentence 'a b'"),
        ((["a", "b"], ["a b"]), "Lists differ in length: mentions 2, sentences 1"),
        (([], []), "Nothing to process: mentions is empty"),
        (("a", ["a b"]), "mentions must be a list of texts"),
        ((["a"], [""]), "is not in the sentence"),
        ((["a"], ["  "], None, None, [(-1, -1)]), "Sentence 0 is empty"),
        (([""], ["a"]), "The mention is empty"),
        (([" "], ["a"], None, None, [(0, 1)]), "Mention 0 is empty"),
        ((["a"], ["a"], None, None, [(0, 5)]), r"Span 0 is \(0, 5\), outside its sentence of 1 characters"),
        ((["a"], ["a"], ["picture.png"]), r"^picture 'images\[0\]': is not a PIL image, an array, a tensor or the"),
        ((["a"], ["a"], [{"bytes": None, "path": "a.png"}]), r"^picture 'images\[0\]': is not a PIL image"),
        ((["a"], ["a"], [{"bytes": b"", "path": None}]), r"^picture 'images\[0\]': is empty"),
        ((["a"], ["a"], RED), "images must be a list of pictures, got one picture; wrap it in a list"),
        ((["a"], ["a"], np.zeros((1, 4, 3), np.uint8)), "images must be a list of pictures, got one picture"),
        ((["a"], ["a"], [RED, RED]), "Lists differ in length: mentions 1, sentences 1, images 2"),
    ],
)
def test_bad_mentions_are_refused(clip, arguments, message):
    with pytest.raises(ValueError, match=message):
        clip.process_mentions(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([""], ["x"]), "The name of entity 0 is empty"),
        ((["n"], []), "Lists differ in length: names 1, descriptions 0"),
        (([], []), "names is empty"),
        ((["n"], ["d"], [["file.png"]]), r"^picture 'images\[0\]\[0\]': is not a PIL image"),
        ((["n"], ["d"], [RED]), "The pictures of entity 0 must be in a list, got one Image"),
    ],
)
def test_bad_entities_are_refused(clip, arguments, message):
    with pytest.raises(ValueError, match=message):
        clip.process_entities(*arguments)


def test_limit_without_room_is_refused(clip):
    with pytest.raises(ValueError, match=r"max_text_length \(2\) leaves no room"):
        DIMProcessor(clip.image_processor, clip.tokenizer, max_text_length=2)


# ------------------------------------------------------------------------------------------------- pictures of any kind


def _any_mode() -> dict[str, Image.Image]:
    """One picture in every mode that Pillow converts to, and in some with transparency or an orientation."""
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 4), dtype=np.uint8)
    rgba = Image.fromarray(noise)
    found = {
        mode: rgba.convert(mode) for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LA", "I", "F")
    }
    found |= {"RGBa": rgba.convert("RGBa"), "La": rgba.convert("LA").convert("La"), "PA": rgba.convert("PA")}
    found["I;16"] = Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    found["P with a clear colour"] = rgba.convert("P")
    found["P with a clear colour"].info["transparency"] = 3
    found["RGB with a clear colour"] = Image.new("RGB", (40, 30), "red")
    found["RGB with a clear colour"].info["transparency"] = (255, 0, 0)
    turned = Image.Exif()
    turned[0x0112] = 6
    found["turned"] = rgba.convert("RGB")
    found["turned"].info["exif"] = turned.tobytes()
    return found


ANY_MODE = _any_mode()
GREY_LEVELS = np.arange(0, 240, 2, dtype=np.uint8).reshape(10, 12)


@pytest.mark.parametrize("mode", ANY_MODE)
def test_a_picture_of_any_mode_is_converted_as_by_load_picture(clip, mode):
    picture = ANY_MODE[mode]
    found = clip.process_mentions(["a"], ["a b"], [picture])["pixel_values"]
    expected = clip.image_processor([load_picture(picture)], return_tensors="pt")["pixel_values"]
    assert torch.equal(found, expected)
    assert torch.equal(clip.process_entities(["a"], ["b"], [[picture]])["entity_pixel_values"][0], expected)
    assert torch.equal(clip(images=[picture])["pixel_values"], expected)


@pytest.mark.parametrize(
    "make",
    [
        lambda grey: grey,
        lambda grey: grey[..., None],
        lambda grey: grey[None],
        lambda grey: np.stack([grey] * 3, -1),
        lambda grey: np.stack([grey] * 3),
        lambda grey: np.stack([grey, np.full_like(grey, 255)], -1),
        lambda grey: np.stack([*[grey] * 3, np.full_like(grey, 255)]),
        lambda grey: grey.astype(np.int64),
        lambda grey: grey.astype(np.uint16) * 257,
        lambda grey: grey.astype(">u2") * 257,
        lambda grey: grey.astype(np.int32) * 257,
        lambda grey: grey / 255,
        lambda grey: grey.astype(np.float32),
        lambda grey: np.stack([grey] * 3, -1).astype(np.float16) / np.float16(255),
        lambda grey: np.asfortranarray(grey)[::1],
    ],
)
def test_arrays_and_tensors_of_one_picture_are_equal(clip, make):
    expected = clip(images=[Image.fromarray(GREY_LEVELS)])["pixel_values"]
    array = make(GREY_LEVELS)
    assert torch.equal(clip(images=[array])["pixel_values"], expected)
    tensor = torch.from_numpy(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="))))
    assert torch.equal(clip(images=[tensor])["pixel_values"], expected)
    if tensor.ndim == 3:
        assert torch.equal(clip(images=torch.stack([tensor] * 2))["pixel_values"][1], expected[0])
    assert load_picture(array).tobytes() == load_picture(tensor).tobytes() == load_picture(GREY_LEVELS).tobytes()


def test_tensors_of_any_type(clip):
    expected = clip(images=[Image.new("L", (8, 6), 255)])["pixel_values"]
    for kind in (torch.bool, torch.uint8, torch.bfloat16, torch.float16, torch.float64):
        assert torch.equal(
            clip(images=[torch.full((3, 6, 8), 255 if kind == torch.uint8 else 1).to(kind)])["pixel_values"], expected
        )
    leaf = torch.ones(3, 6, 8, requires_grad=True)
    assert torch.equal(clip(images=[leaf])["pixel_values"], expected)


def test_where_channels_could_be_first_or_last_arrays_have_them_last_and_tensors_first():
    values = np.random.default_rng(0).integers(0, 256, (3, 5, 3), dtype=np.uint8)
    assert load_picture(values).size == (5, 3)
    assert load_picture(torch.from_numpy(values)).size == (3, 5)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((5, 5, 5), np.uint8), r"has the shape \(5, 5, 5\) and type uint8: give numbers as \(H, W\), "),
        (np.zeros((1, 3, 5, 5), np.uint8), r"has the shape \(1, 3, 5, 5\)"),
        (np.zeros(5, np.uint8), r"has the shape \(5,\)"),
        (np.zeros((5, 5), complex), r"has the shape \(5, 5\) and type complex128"),
        (np.zeros((5, 5), "U1"), r"has the shape \(5, 5\) and type <U1"),
        (np.zeros((5, 0, 3), np.uint8), "has 0 x 5 pixels"),
        (np.full((5, 5), -1.0), r"has values -1\.0\.\.-1\.0: give values in 0\.\.1, 0\.\.255, 0\.\.65535"),
        (torch.full((3, 5, 5), float("nan")), r"has values nan\.\.nan: give values in"),
        (np.full((5, 5), 70_000), r"has values 70000\.\.70000: give values in 0\.\.255, 0\.\.65535"),
        (Image.new("LAB", (4, 4)), "has the colour mode LAB"),
        (3, "is not a PIL image, an array, a tensor or the bytes of a file"),
        (b"hello", "is not a picture, or its header is damaged"),
        (np.broadcast_to(np.uint8(0), (10_000, 10_000)), "has 10000 x 10000 pixels: 1 to 80000000 are accepted"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(clip, value, message):
    with pytest.raises(ValueError, match=rf"^picture 'images\[1\]': {message}") as caught:
        clip(images=[RED, value])
    assert "\n" not in str(caught.value)


def test_a_damaged_file_that_was_opened_by_pillow(clip):
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, "PNG")
    with pytest.raises(ValueError, match=r"^picture 'images\[0\]': is truncated or damaged"):
        clip(images=[Image.open(io.BytesIO(buffer.getvalue()[:2000]))])


def test_pictures_of_the_published_sample(clip):
    sample = Path(__file__).parents[1] / "datasets" / "namesakes"
    rows = datasets.load_dataset(str(sample), "mentions", split="test").select(range(8))
    found = clip(images=rows["image"])
    assert found["pixel_values"].shape == (8, 3, 32, 32)
    undecoded = rows.cast_column("image", datasets.Image(decode=False))
    expected = [load_picture(row["image"]) for row in undecoded]
    assert torch.equal(found["pixel_values"], clip.image_processor(expected, return_tensors="pt")["pixel_values"])
    assert {row["image"].mode for row in rows} != {"RGB"}
    assert torch.equal(clip(images=undecoded["image"])["pixel_values"], found["pixel_values"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Nothing to process: give text, entities or pictures"),
        ({"mentions": ["a"]}, "give text"),
        ({"images": [RED], "expert_answers": ["a"]}, "give text"),
        ({"names": ["a"], "images": [RED]}, "Names and descriptions belong together"),
        ({"aliases": [["a"]], "images": [RED]}, "Names and descriptions belong together"),
        ({"text": []}, "Nothing to process: text is empty"),
        ({"images": []}, "Nothing to process: images is empty"),
        ({"entity_images": [RED]}, "The pictures of entity 0 must be in a list"),
    ],
)
def test_half_of_a_side_is_refused(clip, arguments, message):
    with pytest.raises(ValueError, match=message):
        clip(**arguments)


def test_pictures_of_entities_alone(clip):
    batch = clip(entity_images=[[RED], None, [RED, GREY_LEVELS]])
    assert batch["entity_pixel_mask"].tolist() == [[True, False], [False, False], [True, True]]


# --------------------------------------------------------------------------------------------- the shape of a picture

SHAPES = [(1, 1), (1, 4), (4, 1), (7, 28), (28, 7), (500, 130), (130, 500), (99, 100), (64, 256), (33, 131)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("side", [32, 224])
def test_up_to_four_to_one_the_pixels_are_those_of_clips_own_image_processor(clip, shape, side):
    own = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    processor = DIMProcessor(own, clip.tokenizer)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8))
    assert torch.equal(processor(images=[picture])["pixel_values"], own([picture], return_tensors="pt")["pixel_values"])


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(5, 12), st.integers(0, 39), st.booleans())
def test_a_longer_picture_shows_its_middle_as_before(clip, short, ratio, more, wide):
    long = short * ratio + more
    ramp = np.linspace(0, 255, long)[:, None, None] * np.ones((1, short, 3))
    picture = Image.fromarray((ramp.transpose(1, 0, 2) if wide else ramp).astype(np.uint8))
    before = clip.image_processor([picture], return_tensors="pt", do_normalize=False)["pixel_values"]
    own = CLIPImageProcessorPil(
        size=clip.image_processor.size, crop_size=clip.image_processor.crop_size, do_normalize=False
    )
    after = DIMProcessor(own, clip.tokenizer)(images=[picture])["pixel_values"]
    assert (after - before).abs().max() < 0.05


SQUEEZING = {"size": {"height": 32, "width": 32}, "do_center_crop": False}
BOTH_EDGES = {"size": {"shortest_edge": 32, "longest_edge": 64}, "do_center_crop": False}
NOT_CROPPED = {"size": {"shortest_edge": 32}, "do_center_crop": False}
CROPPED = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
WIDE_CROP = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 320}}


@pytest.mark.parametrize("options", [CROPPED, WIDE_CROP, NOT_CROPPED, SQUEEZING, BOTH_EDGES])
@pytest.mark.parametrize("shape", [(1, 1_000_000), (1_000_000, 1), (2, 500_000), (3000, 1), (1, 3000), (100, 10_000)])
def test_no_shape_is_enlarged_beyond_bounds(clip, monkeypatch, options, shape):
    own, sizes = CLIPImageProcessorPil(**options), []
    resize = Image.Image.resize

    def watched(image, size, *arguments, **named):
        sizes.append(max(image.size[1] * size[0], size[0] * size[1]))  # Pillow scales the width first
        return resize(image, size, *arguments, **named)

    monkeypatch.setattr(Image.Image, "resize", watched)
    DIMProcessor(own, clip.tokenizer)(images=[Image.new("L", shape, 7)])
    assert max(sizes) <= 4_000_000


def test_squeezing_keeps_the_whole_of_a_long_picture(clip):
    halves = Image.new("RGB", (4000, 2), "red")
    halves.paste("blue", (2000, 0, 4000, 2))
    found = DIMProcessor(CLIPImageProcessorPil(**SQUEEZING, do_normalize=False), clip.tokenizer)(images=[halves])
    pixels = found["pixel_values"][0]
    assert pixels[:, 16, 4].tolist() == [1, 0, 0]
    assert pixels[:, 16, 28].tolist() == [0, 0, 1]


# ------------------------------------------------------------------------------------------------- threads


def test_a_processor_can_be_shared_by_threads(clip, words, bert):
    """Of 400 calls by four threads, every one gives what it gives alone."""
    sentences = ["m w1", " ".join(f"w{i}" for i in range(50)) + " m w50", "m " + "w2 " * 40, "w3 " * 300 + "m"]
    for processor in (clip, words, bert):

        def call(number, processor=processor):
            text = sentences[number % len(sentences)]
            return processor(None, [text], [f"m{' w1' * (number % 30)}"], ["m"], [text], spans=[(-1, -1)])

        expected = [call(number) for number in range(120)]
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            with ThreadPoolExecutor(4) as pool:
                found = list(pool.map(call, [number % 120 for number in range(400)]))
        finally:
            sys.setswitchinterval(interval)
        for number, batch in enumerate(found):
            alone = expected[number % 120]
            assert set(batch) == set(alone)
            assert all(torch.equal(batch[name], alone[name]) for name in batch), number


def test_a_text_is_cut_as_its_tokenizer_cuts_it(clip, words, bert):
    for processor in (clip, words, bert):
        text = " ".join(f"w{i}, [SEP] <|endoftext|> é" for i in range(60))
        expected = processor.tokenizer([text], truncation=True, max_length=processor.max_text_length)["input_ids"]
        assert processor.process_entities([text], [""])["entity_input_ids"].tolist() == expected
