"""A call of the processor as transformers' own processors are called: options, one or many, either side, map."""

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor

from dim import DIMProcessor

RED, WIDE = Image.new("RGB", (40, 30), "red"), Image.new("RGB", (90, 30), "navy")
TEXTS = ["we saw [[turkey]] .", "[[a]] b"]


@pytest.fixture(scope="module")
def clip(tiny_clip_dir):
    return DIMProcessor.from_towers(str(tiny_clip_dir))


def same(left, right):
    assert set(left) == set(right)
    for name, value in left.items():
        assert torch.equal(value, right[name]), name


def test_brackets_mark_the_mention_of_a_text(clip):
    expected = clip.process_mentions(["turkey", "a"], ["we saw turkey .", "a b"], [RED, None])
    same(clip(text=TEXTS, images=[RED, None]), expected)


def test_a_text_without_brackets_is_a_mention_on_its_own(clip):
    same(clip(text="turkey"), clip.process_mentions(["turkey"], ["turkey"]))


def test_brackets_are_text_where_mentions_are_given(clip):
    same(clip(text=["a [[b]]"], mentions=["a"]), clip.process_mentions(["a"], ["a [[b]]"]))


def test_one_stands_for_a_batch_of_one(clip):
    one = clip(RED, "we saw [[turkey]] .", names="turkey", descriptions="a bird", entity_images=WIDE,
               expert_answers="red")  # fmt: skip
    many = clip([RED], ["we saw turkey ."], ["turkey"], ["turkey"], ["a bird"], [[WIDE]], ["red"])
    same(one, many)


def test_a_picture_of_a_mention_may_be_in_a_list_of_its_own(clip):
    same(clip(images=[[RED], [], [WIDE]]), clip(images=[RED, None, WIDE]))
    with pytest.raises(ValueError, match="Mention 1 has 2 pictures"):
        clip(images=[[RED], [RED, WIDE]])


@pytest.mark.parametrize("nested", [True, False])
def test_options_of_texts(clip, nested):
    options = {"padding": "max_length", "max_length": 12, "truncation": True}
    batch = clip(text=TEXTS, names="n", descriptions="d " * 30, **({"text_kwargs": options} if nested else options))
    assert {batch[name].shape[1] for name in batch if name.endswith("input_ids")} == {12}
    assert batch["entity_num_truncated_tokens"].item() > 0
    assert clip(text=TEXTS)["sentence_input_ids"].shape[1] != 12  # the processor's own padding


def test_a_lower_limit_keeps_the_mention(clip):
    batch = clip(text="b " * 20 + "[[turkey]]" + " b" * 20, max_length=9)
    expected = clip.process_mentions(["turkey"], ["b " * 20 + "turkey" + " b" * 20], max_length=9)
    assert "turkey" in clip.tokenizer.decode(batch["sentence_input_ids"][0], skip_special_tokens=True)
    same(batch, expected)


@pytest.mark.parametrize("nested", [True, False])
def test_options_of_pictures(clip, nested):
    options = {"do_normalize": False}
    batch = clip(images=RED, entity_images=RED, **({"images_kwargs": options} if nested else options))
    expected = clip.image_processor(RED, return_tensors="pt", do_normalize=False)["pixel_values"]
    assert torch.equal(batch["pixel_values"], expected)
    assert torch.equal(batch["entity_pixel_values"][0], expected)


def test_arrays(clip):
    arrays, tensors = clip(RED, TEXTS[:1], return_tensors="np"), clip(RED, TEXTS[:1], return_tensors="pt")
    for name, value in tensors.items():
        assert isinstance(arrays[name], np.ndarray)
        assert np.array_equal(arrays[name], value.numpy()), name


@pytest.mark.parametrize(("options", "message"), [
    ({"padding": False}, "padding must be 'longest'"),
    ({"padding": "do_not_pad"}, "padding must be 'longest'"),
    ({"max_length": 10_000}, "max_length must be between 1 and the processor's 77"),
    ({"truncation": False}, "truncation must be True"),
    ({"return_tensors": "tf"}, "return_tensors"),
    ({"stride": 3}, "does not know the option 'stride'"),
    ({"colour": 3}, "does not know the argument 'colour'"),
    ({"padding": True, "text_kwargs": {"padding": True}}, "passed two times"),
])  # fmt: skip
def test_bad_options_are_refused(clip, options, message):
    with pytest.raises(ValueError, match=message):
        clip(text="a", **options)


def test_several_brackets_in_a_text_are_refused(clip):
    with pytest.raises(ValueError, match="Text 1 marks 2 mentions"):
        clip(text=["a", "[[a]] [[b]]"])


def test_input_names_are_those_of_a_call(clip, tiny_bert_dir):
    prior = DIMProcessor.from_towers(str(tiny_bert_dir), lexical_prior=True)
    batch = prior(
        [RED, RED], ["a b", ""], ["a", ""], ["n"], ["d"], [[RED]], expert_answers=["x", None], spans=[(0, 1), (-1, -1)]
    )
    assert set(batch) == set(prior.model_input_names)


def test_a_dataset_is_mapped(clip):
    rows = datasets.Dataset.from_dict({"image": [RED, WIDE], "sentence": TEXTS}).cast_column("image", datasets.Image())
    mapped = rows.map(clip, batched=True, input_columns=["image", "sentence"], remove_columns=["image", "sentence"])
    expected = clip([RED, WIDE], TEXTS)
    mapped.set_format("torch")
    assert set(mapped.column_names) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(mapped[name][:], value, msg=name)


def test_files_of_version_0_1_name_the_limit_otherwise(clip, tmp_path):
    clip.save_pretrained(tmp_path)
    file = tmp_path / "processor_config.json"
    text = file.read_text().replace("max_text_length", "max_length").replace("text_padding", "padding")
    file.write_text(text.replace('"max_length": 77', '"max_length": 20').replace('"longest"', '"max_length"'))
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert (loaded.max_text_length, loaded.text_padding) == (20, "max_length")
    with pytest.raises(ValueError, match="max_length is called max_text_length here"):
        DIMProcessor.from_pretrained(tmp_path, max_length=12)
