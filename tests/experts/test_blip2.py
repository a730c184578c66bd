"""The BLIP-2 expert, with a tiny random checkpoint on disk."""

import inspect
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_blip2 import save_tiny_blip2

from dim.experts.blip2 import DEFAULT_PROMPT, PAPER_PROMPT, Blip2Expert

PROMPTS = [
    "Who?",
    PAPER_PROMPT,
    "Question: What do you see, from the left to the right, in this picture of a town by the sea? Answer:",
    "A",
    DEFAULT_PROMPT,
]


@pytest.fixture(scope="session")
def tiny_blip2_dir(tmp_path_factory) -> Path:
    """The tiny BLIP-2 on disk."""
    return save_tiny_blip2(tmp_path_factory.mktemp("tiny_blip2"))


@pytest.fixture(scope="session")
def expert(tiny_blip2_dir) -> Blip2Expert:
    """The tiny expert on the CPU, in float32."""
    return Blip2Expert.from_pretrained(str(tiny_blip2_dir), device="cpu")


@pytest.fixture(scope="session")
def pictures() -> list[Image.Image]:
    """Five pictures of different colours and sizes."""
    generator = torch.Generator().manual_seed(1)
    sizes = [(40, 30), (32, 32), (20, 64), (100, 10), (33, 47)]
    noise = [torch.randint(256, (h, w, 3), generator=generator, dtype=torch.uint8).numpy() for w, h in sizes]
    return [Image.fromarray(values) for values in noise]


def test_batched_answers_equal_single_ones_with_prompts_of_very_different_lengths(expert, pictures):
    single = [expert.answer([image], prompt)[0] for image, prompt in zip(pictures, PROMPTS, strict=True)]
    assert len(set(single)) > 1, "the tiny model should tell the inputs apart"
    for batch_size in (2, 3, 5, 8):
        assert expert.answer(pictures, PROMPTS, batch_size=batch_size) == single


def test_answers_depend_on_the_picture_and_on_the_prompt(expert, pictures):
    assert len(set(expert.answer(pictures, PAPER_PROMPT))) > 1
    assert len(set(expert.answer(pictures[:1] * 5, PROMPTS))) > 1


def test_the_prompt_is_cut_off_and_the_length_bounded(expert, pictures):
    for prompt, answer in zip(PROMPTS, expert.answer(pictures, PROMPTS, max_new_tokens=5), strict=True):
        assert prompt not in answer
        assert "<image>" not in answer
        assert len(answer) <= 5  # a token is a byte


def test_the_answer_is_the_greedy_continuation(expert, pictures):
    """Append the likeliest token step by step, without `generate` and without padding."""
    inputs = expert.processor(images=pictures[:1], text=[PAPER_PROMPT], return_tensors="pt")
    ids, new = inputs["input_ids"], []
    with torch.no_grad():
        for _ in range(6):
            new.append(expert.model(pixel_values=inputs["pixel_values"], input_ids=ids).logits[0, -1].argmax())
            if new[-1] == expert.processor.tokenizer.eos_token_id:
                break
            ids = torch.cat([ids, new[-1].view(1, 1)], dim=1)
    expected = expert.processor.tokenizer.decode(new, skip_special_tokens=True).strip()
    assert expected
    assert expert.answer(pictures[:1], PAPER_PROMPT, max_new_tokens=6) == [expected]


def test_one_prompt_serves_all_and_the_default_is_neutral(expert, pictures):
    assert expert.answer(pictures) == expert.answer(pictures, [DEFAULT_PROMPT] * 5)
    assert PAPER_PROMPT == "Question: Who are the characters in the picture? Answer:"
    assert inspect.signature(expert.answer).parameters["max_new_tokens"].default == 20


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_gets_pixels_of_its_own_dtype(tiny_blip2_dir, pictures, dtype):
    half = Blip2Expert.from_pretrained(str(tiny_blip2_dir), device="cpu", dtype=dtype)
    seen = []
    half.model.vision_model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append((args[0] if args else kwargs["pixel_values"]).dtype), with_kwargs=True
    )
    answers = half.answer(pictures, PROMPTS, batch_size=2)
    assert seen == [dtype] * 3
    assert len(answers) == 5
    assert any(answers)


def test_the_checkpoint_decides_the_dtype(tiny_blip2_dir, tmp_path):
    Blip2Expert.from_pretrained(str(tiny_blip2_dir), dtype=torch.bfloat16).model.save_pretrained(tmp_path)
    Blip2Expert.from_pretrained(str(tiny_blip2_dir)).processor.save_pretrained(tmp_path)
    assert Blip2Expert.from_pretrained(str(tmp_path)).model.vision_model.dtype == torch.bfloat16


def test_it_evaluates_without_gradients_and_leaves_the_processor_alone(expert, pictures):
    expert.answer(pictures[:1])
    assert not expert.model.training
    assert expert.processor.tokenizer.padding_side == "right"
    outputs = []
    handle = expert.model.language_projection.register_forward_hook(lambda module, args, out: outputs.append(out))
    expert.answer(pictures[:1])
    handle.remove()
    assert not outputs[0].requires_grad


def test_no_pictures_no_answers(expert):
    assert expert.answer([]) == []
    assert expert.answer([], []) == []


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"prompts": ["Who?"]}, "5 images but 1 prompts"),
        ({"prompts": []}, "5 images but 0 prompts"),
        ({"prompts": ["a", "b", "c <image>", "d", "e"]}, r"prompts\[2\] holds <image>"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
    ],
)
def test_what_it_refuses(expert, pictures, arguments, message):
    with pytest.raises(ValueError, match=message):
        expert.answer(pictures, **arguments)


def test_models_it_refuses(expert, monkeypatch):
    monkeypatch.setattr(expert.processor, "num_query_tokens", None)
    with pytest.raises(ValueError, match="num_query_tokens=None, the model 4"):
        Blip2Expert(expert.model, expert.processor)
    monkeypatch.setattr(expert.model.config, "use_decoder_only_language_model", False)
    with pytest.raises(ValueError, match="decoder-only"):
        Blip2Expert(expert.model, expert.processor)


def test_the_identity_tells_weights_and_dtypes_apart(tiny_blip2_dir, tmp_path):
    import shutil

    one = Blip2Expert.from_pretrained(str(tiny_blip2_dir)).identity
    assert one == Blip2Expert.from_pretrained(str(tiny_blip2_dir)).identity
    assert one.startswith(f"{tiny_blip2_dir.name}@")
    assert one.endswith(" float32")
    assert str(tiny_blip2_dir.parent) not in one
    assert Blip2Expert.from_pretrained(str(tiny_blip2_dir), dtype=torch.bfloat16).identity.endswith(" bfloat16")
    other = shutil.copytree(tiny_blip2_dir, tmp_path / tiny_blip2_dir.name)
    assert Blip2Expert.from_pretrained(str(other)).identity == one
    with (other / "model.safetensors").open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x01")
    assert Blip2Expert.from_pretrained(str(other)).identity != one


@pytest.mark.network
def test_the_real_blip2():
    """The real weights (15 GB): `HF_HUB_OFFLINE=0 pytest -m network tests/experts/test_blip2.py`"""
    real = Blip2Expert.from_pretrained(dtype=torch.bfloat16)
    red, blue = (Image.new("RGB", (224, 224), colour) for colour in ("red", "blue"))
    answers = real.answer([red, blue], "Question: Which colour is the picture? Answer:")
    assert "red" in answers[0].lower()
    assert "blue" in answers[1].lower()
    assert real.identity.startswith("Salesforce/blip2-opt-2.7b@")
