"""Experts other than BLIP-2: chat models with tiny random weights, and a model behind a server."""

import base64
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_blip2 import save_tiny_blip2

from dim.enhancement.clients.client import EndpointError
from dim.experts.image_text import ImageTextToTextExpert
from dim.experts.openai_compatible import MAX_SIDE, OpenAIExpert

PROMPTS = [
    "Who?",
    "What do you see, from the left to the right, in this picture of a town by the sea?",
    "A",
    "Where is it?",
]
TEMPLATE = (
    "</s>{% for m in messages %}{{ m.role }}: {% for c in m.content %}"
    "{% if c.type == 'image' %}<image>{% else %}{{ c.text }}{% endif %}{% endfor %}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def byte_tokenizer(*special: str):
    """A tokenizer whose tokens are bytes; it puts `</s>` before a text."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import GPT2Tokenizer

    pieces = ["<pad>", "</s>", *special, *sorted(ByteLevel.alphabet())]
    return GPT2Tokenizer(
        vocab={piece: index for index, piece in enumerate(pieces)},
        merges=[],
        bos_token="</s>",
        eos_token="</s>",
        unk_token="</s>",
        pad_token="<pad>",
        add_bos_token=True,
        extra_special_tokens=list(special),
    )


TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "bos_token_id": 1,
    "eos_token_id": 1,
    "pad_token_id": 0,
    "initializer_range": 0.5,  # wide: with the default, a random model gives every picture the same answer
}
VISION = {
    **{key: TEXT[key] for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")}
}


def save_llava(folder: Path) -> None:
    """A LLaVA: the same number of patches for every picture."""
    from transformers import CLIPImageProcessorPil, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    tokenizer = byte_tokenizer("<image>")
    square = {"height": 32, "width": 32}
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=square),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )
    config = LlavaConfig(
        vision_config={
            "model_type": "clip_vision_model",
            **VISION,
            "image_size": 32,
            "patch_size": 8,
            "projection_dim": 32,
        },
        text_config={"model_type": "llama", "vocab_size": len(tokenizer), "max_position_embeddings": 512, **TEXT},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    torch.manual_seed(0)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)


def save_smolvlm(folder: Path) -> None:
    """An Idefics3, like SmolVLM: large pictures become several tiles, so prompts differ in length."""
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessorPil,
        Idefics3Processor,
    )

    tokenizer = byte_tokenizer("<image>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>")
    processor = Idefics3Processor(
        Idefics3ImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32}),
        tokenizer,
        image_seq_len=4,
        chat_template=TEMPLATE,
    )
    config = Idefics3Config(
        vision_config={**VISION, "image_size": 32, "patch_size": 8},
        text_config={"model_type": "llama", "vocab_size": len(tokenizer), "max_position_embeddings": 2048, **TEXT},
        scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=0,
    )
    torch.manual_seed(0)
    Idefics3ForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)


@pytest.fixture(scope="module", params=[save_llava, save_smolvlm], ids=["llava", "smolvlm"])
def expert(request, tmp_path_factory) -> ImageTextToTextExpert:
    folder = tmp_path_factory.mktemp("vlm")
    request.param(folder)
    return ImageTextToTextExpert.from_pretrained(str(folder), device="cpu")


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    generator = torch.Generator().manual_seed(1)
    sizes = [(40, 30), (32, 32), (20, 64), (100, 50)]
    noise = [torch.randint(256, (h, w, 3), generator=generator, dtype=torch.uint8).numpy() for w, h in sizes]
    return [Image.fromarray(values) for values in noise]


class TestImageTextToText:
    def test_batched_answers_equal_single_ones(self, expert, pictures):
        single = [expert.answer([image], prompt)[0] for image, prompt in zip(pictures, PROMPTS, strict=True)]
        assert len(set(single)) > 1
        for batch_size in (2, 3, 8):
            assert expert.answer(pictures, PROMPTS, batch_size) == single

    def test_answers_depend_on_the_picture_and_on_the_prompt(self, expert, pictures):
        assert len(set(expert.answer(pictures, "Who?"))) > 1
        assert len(set(expert.answer(pictures[:1] * 4, PROMPTS))) > 1

    def test_the_prompt_is_cut_off_and_the_length_bounded(self, expert, pictures):
        for prompt, answer in zip(PROMPTS, expert.answer(pictures, PROMPTS, max_new_tokens=5), strict=True):
            assert len(answer) <= 5
            assert prompt not in answer

    def test_the_template_brings_its_own_beginning(self, expert, pictures):
        inputs = expert._inputs(pictures[:1], ["Who?"])
        assert inputs["input_ids"][0].tolist().count(1) == 1  # one </s> as a beginning, not two

    def test_what_it_refuses(self, expert, pictures):
        with pytest.raises(ValueError, match="4 images but 1 prompts"):
            expert.answer(pictures, ["Who?"])
        with pytest.raises(ValueError, match=r"prompts\[0\] holds <image>"):
            expert.answer(pictures, "<image>")
        with pytest.raises(ValueError, match="batch_size=0"):
            expert.answer(pictures, "Who?", 0)
        assert expert.answer([], "Who?") == []

    def test_a_checkpoint_without_a_chat_template(self, tmp_path):
        save_tiny_blip2(tmp_path)
        with pytest.raises(ValueError, match="has no chat template"):
            ImageTextToTextExpert.from_pretrained(str(tmp_path))


class TestOpenAI:
    @pytest.fixture
    def server(self):
        """Answers with a picture's size and colour; `seen` holds the bodies, `fail` the statuses to answer first."""
        seen: list[dict] = []
        fail: list[int] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                seen.append(body)
                status = fail.pop() if fail else 200
                image, text = body["messages"][0]["content"]
                picture = Image.open(io.BytesIO(base64.b64decode(image["image_url"]["url"].split(",")[1])))
                said = f" {picture.size} {picture.getpixel((0, 0))} {text['text']} "
                choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}
                answer = {"id": "x", "object": "c", "created": 0, "model": "m", "choices": [choice]}
                content = json.dumps(answer if status == 200 else {"error": {"message": "scripted"}}).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1", seen, fail
        server.shutdown()
        server.server_close()

    def test_each_picture_gets_its_own_answer(self, server):
        url, seen, _ = server
        expert = OpenAIExpert("m", url)
        pictures = [Image.new("RGB", (n + 1, 2), (n, 0, 0)) for n in range(9)]
        answers = expert.answer(pictures, [f"Q{n}" for n in range(9)], 4, 33)
        assert answers == [f"({n + 1}, 2) ({n}, 0, 0) Q{n}" for n in range(9)]
        assert expert.answer(pictures[:1], "again") == ["(1, 2) (0, 0, 0) again"]
        assert seen[0]["max_completion_tokens"] == 33
        assert seen[0]["stream"] is False
        assert expert.identity == f"m at {url}"

    def test_large_pictures_are_made_smaller_and_stay_as_they_are(self, server):
        picture = Image.new("RGB", (3000, 1500))
        (answer,) = OpenAIExpert("m", server[0]).answer([picture], "Q")
        assert answer.startswith(f"({MAX_SIDE}, {MAX_SIDE // 2})")
        assert picture.size == (3000, 1500)

    def test_it_tries_again_and_gives_up(self, server, monkeypatch):
        url, seen, fail = server
        expert = OpenAIExpert("m", url)
        monkeypatch.setattr(expert.client, "_backoff", 0)
        fail += [503]
        assert expert.answer([Image.new("RGB", (1, 1))], "Q") == ["(1, 1) (0, 0, 0) Q"]
        fail += [401]
        with pytest.raises(EndpointError, match="the server says 401: scripted"):
            expert.answer([Image.new("RGB", (1, 1))], "Q")
        fail += [500] * 6
        with pytest.raises(ValueError, match="given up after 6 tries"):
            expert.answer([Image.new("RGB", (1, 1))], "Q")
        assert len(seen) == 2 + 1 + 6
