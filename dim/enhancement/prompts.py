"""Prompts for the language model: text files, each with a version that is its hash."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from dim.errors import DIMError

FOLDER = Path(__file__).resolve().parent / "prompts"
DEFAULT = "describe"


@dataclass(frozen=True, slots=True)
class Prompt:
    """Instructions about one entity, which follows in a message of its own.

    Args:
        name: Name of the file, without its suffix.
        text: The instructions.

    Example:

        >>> Prompt("paper", "Who is this one?").version
        'paper@1bb5590b50e4184a'
    """

    name: str
    text: str

    @property
    def version(self) -> str:
        """Name and hash of the text, for the column `description_prompt`."""
        return f"{self.name}@{hashlib.sha256(self.text.encode()).hexdigest()[:16]}"


def prompt_names() -> list[str]:
    """Names of the prompts in the package; `paper` is the question of the paper.

    Example:

        >>> prompt_names()
        ['describe', 'paper']
    """
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


def load_prompt(name: str = DEFAULT) -> Prompt:
    """Reads a prompt.

    Args:
        name: One of [`prompt_names`], or the path of a `.txt` file in UTF-8.

    Returns:
        The prompt, without white space around it and without a byte-order mark.

    Raises:
        DIMError: If there is no such prompt or file, or it is empty or not UTF-8.

    Example:

        >>> load_prompt("paper").text
        'Who is this one?'
    """
    if name in prompt_names():
        path = FOLDER / f"{name}.txt"
    elif name.endswith(".txt"):
        path = Path(name)
    else:
        raise DIMError(f"There is no prompt {name!r}: use one of {', '.join(prompt_names())}, or a .txt file.")
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DIMError(f"The prompt {name} cannot be read as UTF-8 text: {error}") from error
    if not text:
        raise DIMError(f"The prompt {name} is empty.")
    return Prompt(path.stem, text)
