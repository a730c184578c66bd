"""Complete runs of `dim enhance` against `transformers serve` with a tiny random Llama."""

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("lancedb", reason="the knowledge base needs LanceDB")
pytest.importorskip("fastapi", reason="`transformers serve` needs fastapi and uvicorn")
pytest.importorskip("uvicorn", reason="`transformers serve` needs fastapi and uvicorn")

from dim.cli.main import main
from dim.kb import KnowledgeBase

COUNT = 100


@pytest.fixture(scope="module")
def llama_dir(tmp_path_factory) -> Path:
    """A Llama of 64 dimensions whose tokens are bytes, with a chat template."""
    import torch
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import GPT2Tokenizer, LlamaConfig, LlamaForCausalLM

    pieces = ["<pad>", "</s>", *sorted(ByteLevel.alphabet())]
    tokenizer = GPT2Tokenizer(
        vocab={piece: index for index, piece in enumerate(pieces)},
        merges=[],
        bos_token="</s>",
        eos_token="</s>",
        unk_token="</s>",
        pad_token="<pad>",
    )
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
    config = LlamaConfig(
        vocab_size=len(pieces),
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=2048,
        bos_token_id=1,
        eos_token_id=1,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("llama")
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def server(llama_dir, tmp_path_factory):
    """Address of the server, up to `/v1`."""
    home = tmp_path_factory.mktemp("hf_home")
    (home / "hub").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = ["transformers", "serve", str(llama_dir), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    log = (home / "log").open("w")
    environment = {**os.environ, "HF_HOME": str(home), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        for _ in range(600):
            time.sleep(0.1)
            if process.poll() is not None:
                pytest.fail((home / "log").read_text()[-2000:])
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).read()
                break
            except (urllib.error.URLError, OSError):
                continue
        else:
            pytest.fail("the server does not start: " + (home / "log").read_text()[-2000:])
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(20)
        log.close()


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_knowledge_base_of_100_entities(server, llama_dir, tmp_path, capsys, api):
    count = COUNT if api == "chat" else 10
    rows = [{"id": f"Q{n}", "name": f"Name {n}", "description": f"text {n}"} for n in range(count)]
    KnowledgeBase.create(tmp_path / "kb", rows)
    out = tmp_path / "new.jsonl"
    command = ["enhance", str(tmp_path / "kb"), "--llm", str(llama_dir), "--base-url", server, "--api", api]
    command += ["--out", str(out), "--max-answer-tokens", "8", "--prompt", "paper", "--concurrency", "4"]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert f"{count:,} entities = " in told
    assert f"({count} answers came in this run)" in told
    new = [json.loads(line) for line in out.read_text().splitlines()]
    kept = [json.loads(line) for line in out.with_suffix(".kept.jsonl").read_text().splitlines()]
    assert len(new) + len(kept) == count
    # A random model speaks no language and does not stop, so its answers must not become descriptions.
    assert all(row["reason"].split(":")[0] in ("cut off", "wrong language", "empty", "boiler-plate") for row in kept)
    assert len(kept) >= count // 2
    assert main(command) == 0
    assert "(0 answers came in this run)" in capsys.readouterr().out


def test_another_model_is_refused_in_the_servers_words(server, tmp_path, capsys):
    (tmp_path / "kb.jsonl").write_text('{"id": "Q1", "name": "A", "description": "b"}\n')
    command = ["enhance", str(tmp_path / "kb.jsonl"), "--llm", "nobody/nothing", "--base-url", server]
    assert main([*command, "--out", str(tmp_path / "new.jsonl")]) == 2
    assert "the server says 4" in capsys.readouterr().err
