"""The command line: `dim build`, `inspect`, `fetch-images`, `train`, `kb create` and `link`."""

import argparse
import json
import sys
from collections.abc import Sequence

from dim.corpora.commands import add_commands


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: Arguments, `sys.argv[1:]` by default.

    Returns:
        Exit code: 0, or 2 for bad input, which is told in one line.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["train"]:  # the trainer has a parser of its own, for YAML and flags
        from dim.train import main as train

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
    commands.add_parser("train", help="train a model (`dim train --help` lists its options)", add_help=False)

    kb = commands.add_parser("kb", help="make a knowledge base")
    actions = kb.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser("create", help="encode the entities of a dataset")
    create.add_argument("kb", help="folder of the knowledge base; replaced if it is one")
    create.add_argument("--from", dest="source", required=True, help="dataset with the config `entities`")
    create.add_argument("--model", required=True, help="folder or Hub name of a DIM")
    create.add_argument("--batch-size", type=int, default=64, help="entities encoded at a time (%(default)s)")
    create.add_argument("--workers", type=int, default=0, help="processes that decode pictures (%(default)s)")
    create.set_defaults(run=_kb_create)

    link = commands.add_parser("link", help="link a mention")
    link.add_argument("--model", required=True, help="folder or Hub name of a DIM")
    link.add_argument("--kb", required=True, help="folder of a knowledge base (`dim kb create`)")
    link.add_argument("--sentence", required=True, help="the sentence, with the mention in [[double brackets]]")
    link.add_argument("--mention", help="the mention, where the sentence has no brackets")
    link.add_argument("--image", help="the picture that belongs to the sentence")
    link.add_argument("-k", type=int, default=5, help="how many entities to show (%(default)s)")
    link.add_argument("--json", action="store_true", help="print JSON instead of a table")
    link.set_defaults(run=_link)
    return parser


def _kb_create(arguments: argparse.Namespace) -> int:
    from dim.corpora.hub import load_entities
    from dim.linking.index import EntityIndex
    from dim.linking.linker import load_dim

    if arguments.batch_size < 1 or arguments.workers < 0:
        raise ValueError("--batch-size must be at least 1 and --workers at least 0.")
    entities = load_entities(arguments.source)
    model, processor = load_dim(arguments.model)
    index = EntityIndex.build(
        model, processor, entities, batch_size=arguments.batch_size, num_workers=arguments.workers, progress=True
    )
    index.save(arguments.kb)
    print(f"{len(index)} entities in {arguments.kb}")
    return 0


def _link(arguments: argparse.Namespace) -> int:
    from dim.linking.linker import DIMLinker

    linker = DIMLinker.from_pretrained(arguments.model, arguments.kb)
    found = linker(arguments.sentence, arguments.mention, arguments.image, arguments.k)
    if arguments.json:
        print(json.dumps([entity.to_dict() for entity in found], ensure_ascii=False, indent=2))
        return 0
    width = max(len(entity.name) for entity in found)
    print(f"rank   score  {'name':<{width}}  description")
    for rank, entity in enumerate(found, 1):
        print(f"{rank:>4}  {entity.score:>6.2f}  {entity.name:<{width}}  {entity.description}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
