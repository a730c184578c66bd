"""The interface of a visual expert: what to write to add a vision-language model."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image
from transformers.utils import cached_file
from transformers.utils.hub import extract_commit_hash

from dim.enhancement.clients.client import EndpointError
from dim.errors import DIMError


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Why an expert has no answer about a picture.

    Args:
        kind: The reason in a word or two: `cut off`, `refused`, `unreadable` or `failed`.
        reason: The reason in a line.
        is_paid: Whether something came, so that the picture is not asked about again.

    Example:

        >>> why = NoAnswer("cut off", "the answer reached the limit of tokens: raise --max-new-tokens", is_paid=True)
        >>> why.kind
        'cut off'
    """

    kind: str
    reason: str
    is_paid: bool = False


class UnansweredError(EndpointError):
    """Some of the pictures got no answer.

    Args:
        answers: The answers, in the order of the pictures, and why there is none.
        ends_run: Whether no other picture can be answered either; its words are the error's.

    Example:

        >>> raise UnansweredError(["A red wall.", NoAnswer("refused", "the server says 400: too small")])
        Traceback (most recent call last):
            ...
        dim.experts.expert.UnansweredError: 1 of 2 pictures got no answer: the server says 400: too small
    """

    def __init__(self, answers: Sequence[str | NoAnswer], ends_run: str = ""):
        reasons = [one.reason for one in answers if isinstance(one, NoAnswer)]
        said = ends_run or f"{len(reasons)} of {len(answers)} pictures got no answer: {reasons[0]}"
        super().__init__(said)
        self.answers, self.ends_run = list(answers), bool(ends_run)


class Expert(Protocol):
    """Answers questions about pictures. To add an expert, write a class with this attribute and this method.

    `identity`, such as `"name@revision float16"`, distinguishes experts that may answer differently; it is part of the
    key of a cached caption. `dim.cli.caption` lists the experts of the command line.

    Example:
        >>> class Sizes:
        ...     identity = "sizes@1"
        ...
        ...     def answer(self, images, prompts, batch_size=8, max_new_tokens=20):
        ...         return [f"{image.width} x {image.height}" for image in images]
        >>> expert: Expert = Sizes()
        >>> expert.answer([Image.new("RGB", (40, 30), "red")], "How large is it?")
        ['40 x 30']
    """

    identity: str

    def answer(
        self, images: Sequence[Image.Image], prompts: str | Sequence[str], batch_size: int = 8, max_new_tokens: int = 20
    ) -> list[str]:
        """Answers one question about each picture.

        Args:
            images: RGB pictures, as `dim.common.pictures.load_picture` returns them.
            prompts: One for all pictures, or one for each.
            batch_size: Pictures asked about at once; the answers do not depend on it.
            max_new_tokens: Maximum length of an answer, in tokens.

        Returns:
            The answers without their prompts, in the order of the pictures.

        Raises:
            UnansweredError: If some of the pictures got no answer; it holds the others' answers.
        """
        ...


def one_prompt_each(
    images: Sequence[Image.Image], prompts: str | Sequence[str], batch_size: int, max_new_tokens: int
) -> list[str]:
    """Checks the arguments of an expert.

    Args:
        images: The pictures.
        prompts: One for all pictures, or one for each.
        batch_size: At least 1.
        max_new_tokens: At least 1.

    Returns:
        A prompt for each picture.

    Raises:
        DIMError: If the numbers of prompts and pictures differ, or a number is below 1.

    Example:
        >>> red, blue = Image.new("RGB", (4, 3), "red"), Image.new("RGB", (4, 3), "blue")
        >>> one_prompt_each([red, blue], "What is this?", batch_size=8, max_new_tokens=20)
        ['What is this?', 'What is this?']
    """
    if batch_size < 1 or max_new_tokens < 1:
        raise DIMError(f"batch_size={batch_size} and max_new_tokens={max_new_tokens} must be at least 1")
    texts = [prompts] * len(images) if isinstance(prompts, str) else list(prompts)
    if len(texts) != len(images):
        raise DIMError(f"{len(images)} images but {len(texts)} prompts: give one prompt, or one per image")
    return texts


def checkpoint_revision(name: str, revision: str | None = None) -> str:
    """Identifies the weights behind a name.

    Args:
        name: Repository id or folder.
        revision: Branch, tag or commit of the repository.

    Returns:
        `name@commit` of a repository of the Hub; for a folder, its last part and a hash of its files.

    Raises:
        OSError: If there is no such checkpoint.

    Example:
        >>> checkpoint_revision("demo/model")
        'model@...'
        >>> checkpoint_revision("demo/model") == checkpoint_revision("demo/model/")
        True
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return f"{name}@{extract_commit_hash(cached_file(name, 'config.json', revision=revision), None)}"
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        digest.update(path.name.encode())
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return f"{folder.resolve().name}@{digest.hexdigest()[:16]}"
