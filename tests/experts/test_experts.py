"""Experts other than BLIP-2: chat models with tiny random weights, and a model behind a server."""

import base64
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from PIL import Image
from tiny_blip2 import save_tiny_blip2
from tiny_chat_models import save_llava, save_smolvlm

from dim.enhancement.clients.client import EndpointError
from dim.experts.image_text import ImageTextToTextExpert
from dim.experts.openai_compatible import MAX_SIDE, OpenAIExpert

PROMPTS = [
    "Who?",
    "What do you see, from the left to the right, in this picture of a town by the sea?",
    "A",
    "Where is it?",
]


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
