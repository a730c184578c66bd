"""DIMProcessor: windows around mentions, templates, pictures, round trips, and invalid input."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoProcessor, BertTokenizer

from dim import DIMProcessor
from dim.processing_dim import EXPERT_PROMPTS, find_mention

RED = Image.new("RGB", (40, 30), "red")


@pytest.fixture(scope="module")
def clip(tiny_clip_dir):
    return DIMProcessor.from_towers(str(tiny_clip_dir))


@pytest.fixture(scope="module")
def bert(tiny_bert_dir):
    return DIMProcessor.from_towers(str(tiny_bert_dir), max_length=16)


@pytest.fixture(scope="module")
def words():
    """A processor with one token per word, so that windows are easy to count."""
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[", "]", ":", *(f"w{i}" for i in range(60)), "m"]
    tokenizer = BertTokenizer(vocab={word: i for i, word in enumerate(vocabulary)}, do_lower_case=True)
    from transformers import CLIPImageProcessorPil

    return DIMProcessor(CLIPImageProcessorPil(), tokenizer, max_length=11)


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
    both = clip(["a"], ["a b"], ["n"], ["d"], images=[RED], entity_images=[[RED]], expert_answers=["x"])
    mentions = clip.process_mentions(["a"], ["a b"], [RED], ["x"])
    entities = clip.process_entities(["n"], ["d"], [[RED]])
    assert set(both) == set(mentions) | set(entities)
    assert torch.equal(both["entity_input_ids"], entities["entity_input_ids"])


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
        assert len(ids) <= processor.max_length
        marked = processor.tokenizer(f"[{mention}]", add_special_tokens=False)["input_ids"]
        if len(marked) <= processor.max_length - 2:
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
        clip.image_processor, clip.tokenizer, max_length=20, padding="max_length", mention_marks=["<<", ">>"],
        entity_template="{name} is {description}", expert_prompts={"default": "What?"},
    )  # fmt: skip
    processor.save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert type(loaded) is DIMProcessor
    for name in ("max_length", "padding", "mention_marks", "entity_template", "expert_prompts"):
        assert getattr(loaded, name) == getattr(processor, name), name
    arguments = (["a"], ["b a c"], ["n"], ["d"], [RED], [[RED]], ["x"])
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
        ((["a"], ["a"], ["picture.png"]), "must be PIL images in mode RGB, got str"),
        ((["a"], ["a"], [Image.new("RGBA", (4, 4))]), "got an image in mode RGBA"),
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
        ((["n"], ["d"], [["file.png"]]), "must be PIL images"),
    ],
)
def test_bad_entities_are_refused(clip, arguments, message):
    with pytest.raises(ValueError, match=message):
        clip.process_entities(*arguments)


def test_limit_without_room_is_refused(clip):
    with pytest.raises(ValueError, match=r"max_length \(2\) leaves no room"):
        DIMProcessor(clip.image_processor, clip.tokenizer, max_length=2)
