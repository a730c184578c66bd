"""The base class of commands, and settings that several commands share."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dim.common.parser import Parser, option
from dim.errors import DIMError

if TYPE_CHECKING:
    from dim.linking.linker import DIMLinker

DIM = "folder or Hub name of a DIM"


class Command:
    """A command. Subclasses are dataclasses: their fields are its options, their docstring describes it in its help.

    A module of a command imports at its top only what its help needs; `run` imports the rest.
    """

    @classmethod
    def parse(cls, prog: str, argv: Sequence[str]) -> "Command":
        """Makes the command from its arguments.

        Args:
            prog: How the command is called, such as `dim kb create`.
            argv: Its arguments.

        Returns:
            The command.

        Raises:
            DIMError: For an unknown option, or a value out of range.
        """
        return Parser(cls, prog=prog, description=inspect.getdoc(cls)).parse(argv)[0]

    def run(self) -> int | None:
        """Runs the command.

        Returns:
            The exit code, or nothing for 0.
        """
        raise NotImplementedError


class CommandError(Exception):
    """The end of a command with a message and an exit code of its own.

    Args:
        message: One line.
        exit_code: The exit code.
    """

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(kw_only=True)
class Compute:
    """Where a model runs, and in which type."""

    device: str | None = option("cpu, cuda ...; default: the GPU if there is one", None, needs="model")
    dtype: Literal["float32", "bfloat16", "float16"] = option("type of the model's arithmetic", "float32",
                                                               needs="model")  # fmt: skip

    @property
    def torch_dtype(self) -> Any:
        """The `torch.dtype`."""
        import torch

        return getattr(torch, self.dtype)

    def check_device(self) -> None:
        """Raises a `DIMError` if this machine does not have the device."""
        import torch

        try:
            torch.zeros(1, device=self.device).cpu()
        except (RuntimeError, AssertionError, ImportError) as error:  # as the device's part of torch reports it
            reason = str(error).splitlines()[0].partition(". ")[0]
            raise DIMError(f"--device {self.device} is not available: {reason}.") from error


@dataclass(kw_only=True)
class _Model:
    model: str = option(DIM)
    kb: str | None = option("a knowledge base (`dim kb create`); default: the one in the model's repository", None)
    rerank: int = option("best candidates that the model's reranker reads once more", 0, least=0, most=64, metavar="N")


@dataclass(kw_only=True)
class Linking(Compute, _Model):
    """A model and its knowledge base."""

    def linker(self) -> "DIMLinker":
        """Loads the linker."""
        from dim.linking.linker import DIMLinker

        self.check_device()
        return DIMLinker.from_pretrained(self.model, self.kb, self.device, self.torch_dtype, self.rerank)


@dataclass(kw_only=True)
class RawRelease:
    """The files of a raw release."""

    name: str = option("the dataset", positional=True, metavar="NAME")
    raw: list[Path] = option("files or folders of the release", metavar="DIR")
    layout: str = option("how they are laid out; jsonl for your own data", "auto")
