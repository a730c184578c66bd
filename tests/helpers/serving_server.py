"""`dim serve` in its own process with a tiny model and knowledge base, and a linker that blocks until released."""

import base64
import contextlib
import io
import os
import signal
import subprocess
import sys
import threading
import urllib.parse
from pathlib import Path

import torch
from PIL import Image

from dim import DIMLinker, DIMModel, DIMProcessor, KnowledgeBase, LinkedEntity, Links
from dim.lexical_dim import LEXICAL_FEATURES

TOKEN = "let me in"
WORDS = ("Amber", "Basalt", "Coral", "Diamond", "Emerald", "Flint", "Garnet", "Halite", "Iolite", "Jade")
ENTITIES = [
    {"id": f"e{row}", "name": f"{word} number {row}", "description": f"a stone of {word.lower()}, the {row}th"}
    for row, word in enumerate(WORDS * 10)
]


def png(colour="red", width=20, height=20):
    """Content of a plain picture."""
    out = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(out, "PNG")
    return out.getvalue()


def data_url(content: bytes) -> str:
    """A picture as a data URL."""
    return "data:image/png;base64," + base64.b64encode(content).decode()


def error_of(answer) -> tuple[int, str, str]:
    """Status, code and message of an error response, after checking its form."""
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert answer.json() == {"error": {"code": error["code"], "message": error["message"]}}
    assert "\n" not in error["message"]
    assert "Traceback" not in error["message"]
    return answer.status_code, error["code"], error["message"]


def make(folder: Path, tiny_dim_dir: Path) -> tuple[Path, Path]:
    """Writes a model with a lexical prior and a knowledge base that it encoded.

    Args:
        folder: Folder to write into.
        tiny_dim_dir: A model without a lexical prior.

    Returns:
        The folders of the model and of the knowledge base.
    """
    torch.manual_seed(0)
    model = DIMModel.from_pretrained(tiny_dim_dir, num_lexical_features=len(LEXICAL_FEATURES)).eval()
    torch.nn.init.normal_(model.lexical_prior.output_weight)
    torch.nn.init.normal_(model.lexical_prior.hidden.weight)
    processor = DIMProcessor.from_pretrained(tiny_dim_dir)
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    KnowledgeBase.create(folder / "kb", ENTITIES).encode(model, processor)
    return folder / "model", folder / "kb"


class Gate(DIMLinker):
    """A linker that waits for `open` and records its batches."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.open, self.asked = threading.Event(), []
        self.failure = None

    def link(self, mentions, k=5, **encoding):
        self.asked.append([row["mention"] for row in mentions])
        if not self.open.wait(20):
            raise TimeoutError
        if self.failure is not None:
            raise self.failure
        if any(row["mention"] == "bad" for row in mentions):
            raise ValueError("'bad' does not fit")
        return [Links([LinkedEntity(f"{row['mention']}{place}", "", "", 1.0, 0.5) for place in range(k)], 0.25, False)
                for row in mentions]  # fmt: skip


class Server:
    """A running `dim serve`.

    Args:
        process: The process.
    """

    def __init__(self, process: subprocess.Popen):
        self.process = process
        self.url = process.stdout.readline().strip()
        if not self.url:
            raise RuntimeError(process.stderr.read())
        self.port = urllib.parse.urlsplit(self.url).port

    def end(self) -> int:
        """Sends SIGTERM and returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@contextlib.contextmanager
def serving(model: Path, kb: Path, *flags: str, token: str | None = None, command: str = "serve"):
    """Starts the service (or another command) on a free port, and kills it at the end if it is still running."""
    environment = {name: value for name, value in os.environ.items() if name != "DIM_SERVE_TOKEN"}
    if token is not None:
        environment["DIM_SERVE_TOKEN"] = token
    words = [sys.executable, "-m", "dim", command, "--model", str(model), "--kb", str(kb), "--port", "0", *flags]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as run:
        try:
            yield Server(run)
        finally:
            run.kill()
