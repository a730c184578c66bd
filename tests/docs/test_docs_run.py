"""Every block of the documentation runs, page by page from top to bottom, in a folder where its names are small things.

Shell blocks go through the real command line, Python blocks through one namespace. `dim ...` and `hf ...` run in this
process; so do `accelerate launch train.py ...` and `... -m dim ...`, as the command of `dim` that they start, since
tests of their own start several processes. Training stops after two steps. The Hub, the language model, the servers of
pictures and `dim serve` are on this machine. What does not run is in `NOT_RUN`, each with its reason.
"""

import contextlib
import doctest
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pytest
from accelerate.commands.launch import launch_command_parser
from doc_blocks import NOT_RUN, ROOT, SHELLS, SLOW, Block, blocks, why_not
from doc_blocks import commands as shell_commands
from openai_stub import OpenAIStub
from picture_server import Server as PictureServer
from picture_server import picture
from serving_server import serving

from dim.cli.main import main
from dim.corpora.fetch import download

pytest_plugins = ("demo_folder", "loopback_fixtures")

LANGUAGES = ("python", *SHELLS)
PAGES = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
TINY = ("--max_steps", "2", "--per_device_train_batch_size", "8", "--mixed_precision", "no", "--report_to", "none")


@dataclass(frozen=True)
class LocalLimits(download.Limits):
    """`dim fetch-images` refuses this machine, where the pictures' server is."""

    allow_private: bool = True


@pytest.fixture
def run_page(folder, few_namesakes, hub, monkeypatch) -> Iterator[Callable[..., None]]:
    """Runs a page, with every server that pages ask on this machine."""
    import datasets
    import evaluate

    for config in (datasets.config, evaluate.config):
        monkeypatch.setattr(config, "HF_ENDPOINT", hub.url)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(evaluate.config, "HF_EVALUATE_OFFLINE", False)
    monkeypatch.setattr(evaluate.config, "HUB_EVALUATE_URL", hub.url + "/spaces/{path}/resolve/{revision}/{name}")
    monkeypatch.setattr(download, "Limits", LocalLimits)
    monkeypatch.syspath_prepend(str(ROOT / "datasets" / "wikimel" / "script"))
    language_model, pictures = OpenAIStub(), PictureServer()
    for row, colour in enumerate(("red", "blue")):
        pictures.serve(f"/{row}.png", picture(colour=colour))
    release = folder / "RAW" / "WikiDiverse.json"
    release.write_text(release.read_text().replace("https://pictures.example", pictures.url("")))
    (folder / "datasets" / "namesakes").unlink()
    (folder / "datasets" / "namesakes").symlink_to(few_namesakes)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("OPENAI_BASE_URL", language_model.url)
    monkeypatch.setenv("DIM_SERVE_TOKEN", "of the page")
    with contextlib.ExitStack() as servers:
        servers.callback(language_model.stop)
        servers.callback(pictures.stop)
        page = Page(monkeypatch, servers, {"http://127.0.0.1:8000/v1": language_model.url})
        yield page.run


class Page:
    """Runs the blocks of a page one after the other.

    Args:
        monkeypatch: Sets variables for one page.
        servers: Ends what the page starts.
        addresses: Addresses that pages name, and what stands for them here.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, servers: contextlib.ExitStack, addresses: dict[str, str]):
        self.monkeypatch, self.servers, self.addresses = monkeypatch, servers, addresses
        self.names: dict[str, object] = {"__name__": "__main__"}

    def run(self, page: str, slow: bool = False) -> None:
        for block in blocks(page, *LANGUAGES):
            if SLOW in block.text and not slow:
                continue
            print(f"the block {block.id}")
            if block.language == "python":
                self.python(block)
            else:
                self.shell(block)

    def translated(self, text: str) -> str:
        for address, here in self.addresses.items():
            text = text.replace(address, here)
        return text

    def python(self, block: Block) -> None:
        if why_not(block.text):
            return
        if not re.search(r"^>>> ", block.text, re.MULTILINE):
            exec(compile(self.translated(block.text), block.id, "exec"), self.names)
            return
        example = doctest.DocTestParser().get_doctest(block.text, self.names, block.id, block.page, block.line)
        report: list[str] = []
        failed = doctest.DocTestRunner(optionflags=FLAGS).run(example, out=report.append, clear_globs=False).failed
        self.names = example.globs
        assert failed == 0, "".join(report)

    def shell(self, block: Block) -> None:
        for command in shell_commands(block):
            if why_not(command.line):
                continue
            for name, value in command.variables.items():
                self.monkeypatch.setenv(name, value)
            if command.words:
                self.command([os.path.expandvars(self.translated(word)) for word in command.words])

    def command(self, words: list[str]) -> None:
        program = words[0].removeprefix(".venv/bin/")
        if program == "accelerate":
            launched = launch_command_parser().parse_args(words[2:])
            assert words[1] == "launch"
            assert launched.training_script == ("dim" if launched.module else "train.py")
            program, words = "dim", ["dim", *([] if launched.module else ["train"]), *launched.training_script_args]
        if program == "dim" and words[1] == "serve":
            options = dict(zip(words[2::2], words[3::2], strict=True))
            places = [Path(options.pop(name)) for name in ("--model", "--kb")]
            server = serving(*places, *chain(*options.items()), token=os.environ["DIM_SERVE_TOKEN"])
            self.addresses["localhost:8000"] = self.servers.enter_context(server).url
        elif program == "dim":
            assert main(prepared(words[1:])) == 0
        elif program == "curl":
            subprocess.run(["curl", "--silent", "--show-error", "--fail-with-body", *words[1:]], check=True)
        else:
            assert program == "hf", f"{program} neither runs here nor is listed in NOT_RUN"
            run_hf(words[1:])


def prepared(words: list[str]) -> list[str]:
    """A command of `dim` as it runs here: a short training, room for a new knowledge base, 1 for the prices X and Y."""
    if words[0] == "train":
        return [*(shell_output(word[2:-1]) if word.startswith("$(") else word for word in words), *TINY]
    if words[:2] == ["kb", "create"]:
        shutil.rmtree(words[2], ignore_errors=True)
    return ["1" if word in ("X", "Y") else word for word in words]


def shell_output(command: str) -> str:
    """What a command within a command prints."""
    return subprocess.run(command, shell=True, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def run_hf(words: list[str]) -> None:
    """Runs a command of the Hub's own program."""
    from huggingface_hub.cli.hf import app

    app(words, standalone_mode=False)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, *LANGUAGES)])
def test_page_runs(page, run_page):
    shells = [command for block in blocks(page, *SHELLS) for command in shell_commands(block)]
    if shutil.which("curl") is None and any(command.words[:1] == ["curl"] for command in shells):
        pytest.skip("needs curl")
    if page == "README.md":  # its reader has pushed these
        assert main(["push", "model", "your-name/dim", "--from", "demo/model", "--license", "apache-2.0"]) == 0
        assert main(["push", "dataset", "your-name/wikimel_plus", "--from", "data/wikimel_plus", "--private"]) == 0
    run_page(page)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if any(SLOW in one.text for one in blocks(page, "python"))])
def test_page_runs_with_its_slow_block(page, run_page):
    pytest.importorskip("onnxscript", reason="needs onnx and onnxscript")
    run_page(page, slow=True)


def test_what_does_not_run_is_on_some_page():
    """A reason whose command is gone goes, too."""
    found = [block for page in PAGES for block in blocks(page, *LANGUAGES)]
    texts = [text for block in found for text in lines_of(block)]
    assert {pattern for text in texts if (pattern := why_not(text))} == set(NOT_RUN)


def lines_of(block: Block) -> list[str]:
    """The commands of a shell block, or a Python block as a whole."""
    return [block.text] if block.language == "python" else [command.line for command in shell_commands(block)]
