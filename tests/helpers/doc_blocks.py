"""The fenced blocks of the documentation, and the commands that its shell blocks give."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

SHELLS = ("bash", "sh", "shell", "console")
ROOT = Path(__file__).resolve().parents[2]
NOT_RUN = {  # what a block or a command has in it: why it does not run here
    r"^import ray$": "Ray is not among the tested packages",
    r"^make ": "builds an environment anew; test_demo.py runs what `make demo` does",
    r"^pip install ": "downloads",
    r"^transformers serve ": "test_enhance_serve.py starts it; the stub answers here",
    r"own_tower|EfficientNetLite": "test_own_tower.py runs it, where its packages are installed",
    r"mteb_tasks": "needs mteb, which is not among the tested packages; test_mteb_tasks.py runs it where it is",
    r"^dim build melart ": "test_melart.py builds it",
    r"^dim mcp ": "test_mcp.py starts it",
    r"^python space/app.py ": "test_space.py starts it",
    r" -m pytest -m network ": "asks the real Hub",
    r" --num_machines ": "needs several machines",
    r"s3://": "needs an object storage",
    r" --port 80 ": "may need rights to listen there; the command above it runs",
}
SLOW = "torch.onnx.export("  # compiles for 20 seconds: the block that has it runs in a slow test
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, its first line, its language and its text."""

    page: str
    line: int
    language: str
    text: str

    @property
    def id(self) -> str:
        """Where it is, for the name of a test."""
        return f"{self.page}:{self.line}"


def blocks(page: str, *languages: str) -> list[Block]:
    """The blocks of a page in some languages."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = [Block(page, text[: one.start()].count("\n") + 2, one[1], one[2]) for one in _FENCE.finditer(text)]
    return [block for block in found if block.language in languages]


@dataclass(frozen=True)
class Command:
    """A command of a shell block: its line, its words, and the variables that are set before it."""

    line: str
    words: list[str]
    variables: dict[str, str]


def commands(block: Block) -> list[Command]:
    """The commands of a shell block, without comments, redirections and `&`.

    What `"$(...)"` holds is one word as it stands. `export NAME=VALUE` is a command without words.
    """
    found = []
    for line in re.sub(r"\\\n", " ", block.text).splitlines():
        if "<this repository>" in line:
            continue
        for part in re.split(r"\s(?:&&|\|)\s", line):
            quoted = re.sub(r"\"(\$\(.*\))\"", lambda inner: shlex.quote(inner[1]), part)
            words = [word for word in shlex.split(quoted, comments=True) if word != "&"]
            variables = {}
            while words and (given := re.fullmatch(r"([A-Z_]+)=(.*)|export", words[0])):
                variables |= {given[1]: given[2]} if given[1] else {}
                words = words[1:]
            if words or variables:
                before = [f"{name}={value}" for name, value in variables.items()]
                found.append(Command(" ".join([*before, *words]), words, variables))
    return found


def why_not(text: str) -> str | None:
    """The pattern of `NOT_RUN` that a command's line or a Python block matches."""
    return next((pattern for pattern in NOT_RUN if re.search(pattern, text, re.MULTILINE)), None)
