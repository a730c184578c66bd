"""Fixtures that start the demo page in its own process, with a tiny untrained model."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPACE = ROOT / "space"
HOSTILE = "</script><script>window.broken = 1</script><img src=x onerror='window.broken = 1'> & \"x\""
ENTITIES = [
    {"id": "a", "name": "Turkey", "description": "a country"},
    {"id": "b", "name": "turkey", "description": "a large bird", "aliases": ["gobbler"], "type": "bird"},
    {"id": "c", "name": "Turkey Trot", "description": HOSTILE, "extra": {"miles": 3}},
]
SENTENCE = "[[Turkey]] was everywhere that autumn."


@pytest.fixture(scope="module")
def kb_folder(tiny_dim_dir, tmp_path_factory):
    pytest.importorskip("lancedb")
    from dim import KnowledgeBase, load_dim

    kb = KnowledgeBase.create(tmp_path_factory.mktemp("space") / "kb", ENTITIES)
    kb.encode(*load_dim(tiny_dim_dir))
    return Path(kb.uri)


@pytest.fixture(scope="module")
def url(tiny_dim_dir, kb_folder, tmp_path_factory):
    """The app in a process of its own."""
    pytest.importorskip("gradio", reason="needs gradio")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("log") / "app.log"
    variables = {"DIM_MODEL": str(tiny_dim_dir), "OMP_NUM_THREADS": "1"}
    where = ["--kb", str(kb_folder), "--host", "127.0.0.1", "--port", str(port)]
    command = [sys.executable, str(SPACE / "app.py"), *where]
    with log.open("w") as output:
        process = subprocess.Popen(command, env=os.environ | variables, stdout=output, stderr=subprocess.STDOUT)
        try:
            for _ in range(600):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/config", timeout=5)
                    break
                except OSError:
                    assert process.poll() is None, log.read_text()
                    time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
            errors = log.read_text().split("Traceback")[1:]
            gradios = ("InvalidPathError", "validation error for ImageData")  # its own for what no page sends
            assert all(any(one in error for one in gradios) for error in errors), errors
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture
def client(url):
    """A client of the app, whose knowledge base is as it was at the start."""
    from gradio_client import Client

    made = Client(url, verbose=False)
    made.predict("", "", None, api_name="/reset")
    yield made
    made.close()
