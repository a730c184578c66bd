"""The command line: `dim --help` lists the commands; each room of the package brings its own."""

import argparse
import sys
from collections.abc import Sequence

from dim.cli.caption import add_commands as add_expert_commands
from dim.cli.corpora import add_commands
from dim.cli.enhance import add_commands as add_enhancement_commands
from dim.cli.evaluate import add_commands as add_evaluation_commands
from dim.cli.kb import add_commands as add_kb_commands
from dim.cli.link import add_commands as add_linking_commands
from dim.cli.push import add_commands as add_publishing_commands
from dim.cli.serve import add_commands as add_serving_commands
from dim.cli.train_reranker import add_commands as add_training_commands


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: Arguments, `sys.argv[1:]` by default.

    Returns:
        Exit code: 0, or 2 for bad input, which is told in one line.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["train"]:  # the trainer has a parser of its own, for YAML and flags
        from dim.training.main import main as train

        return train(argv[1:])
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except ValueError as error:
        print(f"dim {arguments.command}: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dim", description="Multimodal entity linking: a mention in a sentence, with a picture, to its entity."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_commands(commands)
    add_enhancement_commands(commands)
    add_expert_commands(commands)
    add_evaluation_commands(commands)
    add_kb_commands(commands)
    add_linking_commands(commands)
    add_publishing_commands(commands)
    add_serving_commands(commands)
    add_training_commands(commands)
    commands.add_parser("train", help="train a model (`dim train --help` lists its options)", add_help=False)

    return parser


if __name__ == "__main__":
    sys.exit(main())
