"""The fenced blocks of the documentation, and the commands that its shell blocks give."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
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


def commands(block: Block) -> list[list[str]]:
    """The words of each command of a shell block, without comments, variables, redirections and `&`."""
    found = []
    for line in re.sub(r"\\\n", " ", block.text).splitlines():
        if "<this repository>" in line or not line.strip():
            continue
        for part in re.split(r"\s(?:&&|\|)\s", line):
            words = shlex.split(re.sub(r"\"\$\(.*\)\"", "FOLDER", part), comments=True)
            while words and re.fullmatch(r"(export|[A-Z_]+=.*)", words[0]):
                words = words[1:]
            if words:
                found.append([word for word in words if word != "&"])
    return found
