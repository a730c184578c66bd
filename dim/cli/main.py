"""The command `dim`: finds the command that is asked for, and imports only its module."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from contextlib import nullcontext

import dim
from dim.cli.command import Command
from dim.cli.deprecated import new_spelling
from dim.cli.process import log_to_stderr, run_reporting_errors
from dim.common.checksums import unverified
from dim.common.parser import did_you_mean

# Command: its class, none for a group of commands, and one line of help.
COMMANDS = {
    "build": ("build:Build", "make a dataset from a raw release"),
    "inspect": ("inspect:Inspect", "show what a dataset holds"),
    "fetch-images": ("fetch_images:FetchImages", "download the pictures that a raw release names by URL"),
    "enhance": ("enhance:Enhance", "ask a language model for new descriptions of entities"),
    "caption": ("caption:Caption", "ask a vision-language model about a dataset's pictures"),
    "train": ("train:Train", "train a model"),
    "train-reranker": (
        "train_reranker:TrainReranker",
        "train a cross-encoder that reads the best candidates once more",
    ),
    "kb": ("", "make, change and look at a knowledge base"),
    "kb create": ("kb:Create", "make a knowledge base, and with --model encode it"),
    "kb add": ("kb:Add", "add entities, and replace those whose id exists"),
    "kb remove": ("kb:Remove", "remove entities"),
    "kb encode": ("kb:Encode", "encode new and changed entities, or everything by another model"),
    "kb refresh": ("kb:Refresh", "renew descriptions by a language model"),
    "kb info": ("kb:Info", "show what a knowledge base holds"),
    "kb versions": ("kb:Versions", "list the versions"),
    "kb compact": ("kb_compact:Compact", "join small files and remove old versions"),
    "kb restore": ("kb:Restore", "make an older version the newest"),
    "kb export": ("kb:Export", "write every entity with its vector as Parquet"),
    "kb import": ("kb:Import", "make a knowledge base from an export, vectors included"),
    "link": ("link:Link", "link mentions to the entities of a knowledge base"),
    "calibrate": ("calibrate:Calibrate", "make a linker's confidences probabilities, and let it tell NIL"),
    "eval": ("eval:Eval", "rank a split, with baselines, and write a report"),
    "audit": ("audit:Audit", "find what a dataset leaks or lacks"),
    "ablate": ("ablate:Ablate", "train and rank variants of a model, in one table"),
    "push": ("", "publish a model, dataset, metric, Space or linker on the Hub"),
    "push model": ("push:Model", "publish a model with its processor, its code and its card"),
    "push dataset": ("push:Dataset", "publish a dataset"),
    "push metric": ("push:Metric", "publish a metric for evaluate.load"),
    "push space": ("push:Space", "publish a demo as a Space"),
    "push linker": ("push:Linker", "publish a model together with a knowledge base that it encoded"),
    "serve": ("serve:Serve", "link over HTTP"),
    "mcp": ("mcp:MCP", "link as tools of language models, over MCP"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: Arguments, `sys.argv[1:]` by default.

    Returns:
        Exit code: 0; 2 for bad input, which is reported in one line; see [`run_reporting_errors`] for others.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    debug, verify = "--debug" in argv, "--no-verify" not in argv
    name, rest = split([word for word in argv if word not in ("--debug", "--no-verify")])
    with log_to_stderr(), nullcontext() if verify else unverified():
        return run_reporting_errors(f"dim {name}", lambda: command(name, rest).run(), debug)


def split(argv: Sequence[str], group: str = "") -> tuple[str, list[str]]:
    """Splits arguments into the command and what is for it; help, `--version` and unknown commands end the process.

    Args:
        argv: The arguments.
        group: The group of commands that was read already.

    Returns:
        Name of the command in `COMMANDS`, and its arguments.

    Example:

        >>> split(["kb", "info", "demo/kb"])
        ('kb info', ['demo/kb'])
    """
    listed = {name.removeprefix(group).lstrip(): text for name, (_, text) in COMMANDS.items()
              if name.rpartition(" ")[0] == group}  # fmt: skip
    title = COMMANDS[group][1] if group else "multimodal entity linking with pictures and knowledge bases"
    parser = argparse.ArgumentParser(prog=f"dim {group}".rstrip(), description=f"{title[0].upper()}{title[1:]}.")
    if not group:
        parser.add_argument("--version", action="version", version=f"dim {dim.__version__}")
        parser.add_argument("--debug", action="store_true", help="show the traceback of an error; for every command")
        parser.add_argument("--no-verify", action="store_true", help="do not compare files with their checksums; for "
                                                                     "every command")  # fmt: skip
    choices = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, text in listed.items():
        choices.add_parser(name, help=text, add_help=False)
    if argv and argv[0] not in listed and not argv[0].startswith("-"):
        near = did_you_mean(argv[0], listed) or "; --help lists the commands."
        parser.exit(2, f"{parser.prog}: Unknown command {argv[0]}{near}\n")
    parser.parse_args(argv[:1])
    name = f"{group} {argv[0]}".lstrip()
    return (name, list(argv[1:])) if COMMANDS[name][0] else split(argv[1:], name)


def command(name: str, argv: Sequence[str]) -> Command:
    """Makes a command from its arguments.

    Args:
        name: Name of the command in `COMMANDS`.
        argv: Its arguments.

    Returns:
        The command.

    Raises:
        DIMError: For an unknown option, or a value out of range.
    """
    module, _, kind = COMMANDS[name][0].partition(":")
    kind_of_command: type[Command] = getattr(importlib.import_module(f"dim.cli.{module}"), kind)
    return kind_of_command.parse(f"dim {name}", new_spelling(name, argv))


if __name__ == "__main__":
    sys.exit(main())
