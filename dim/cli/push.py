"""`dim push` on the command line."""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dim.publishing.files import Publication


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command `push` with its kinds, each with the function that runs it as `run`.

    Args:
        commands: Where the parser keeps its commands.
    """
    push = commands.add_parser("push", help="publish a model, dataset, metric, Space or linker on the Hub")
    kinds = push.add_subparsers(dest="kind", required=True, metavar="KIND")

    def kind(name: str, text: str) -> argparse.ArgumentParser:
        parser = kinds.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        parser.add_argument("target", metavar="TARGET", help="the repository, owner/name; made if it is not there")
        parser.add_argument("--private", action="store_true", help="make it a private one")
        parser.add_argument("--revision", metavar="BRANCH", help="push to a branch; made if it is not there")
        parser.add_argument("--create-pr", action="store_true", help="open a pull request instead")
        parser.add_argument("--dry-run", action="store_true", help="list every file with its size, and upload nothing")
        parser.set_defaults(run=globals()[f"_{name}"])
        return parser

    model = kind("model", "publish a model with its processor, its code and its card")
    model.add_argument("--from", dest="source", type=Path, required=True, metavar="DIR", help="what dim train made")
    _add_results(model)
    for name, text, source in (
        ("dataset", "publish a dataset", "what dim build made"),
        ("metric", "publish a metric for evaluate.load", "its folder, such as metrics/mel_ranking"),
        ("space", "publish a demo as a Space", "its folder"),
    ):
        kind(name, text).add_argument("--from", dest="source", type=Path, required=True, metavar="DIR", help=source)
    linker = kind("linker", "publish a model together with a knowledge base that it encoded")
    linker.add_argument("--model", type=Path, required=True, metavar="DIR", help="what dim train made")
    linker.add_argument("--kb", required=True, help="a knowledge base (`dim kb create`)")
    linker.add_argument("--kb-licence", required=True, metavar="ID", help="of its entities, such as cc-by-4.0")
    _add_results(linker)


def _add_results(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results", type=Path, action="append", default=[], metavar="FILE",
                        help="report.json of dim eval, for the card; may repeat")  # fmt: skip


def _model(arguments: argparse.Namespace) -> int:
    from dim.publishing.model import model_publication

    _check(arguments)
    return _push(arguments, model_publication(arguments.source, arguments.target, arguments.results))


def _dataset(arguments: argparse.Namespace) -> int:
    from dim.publishing.dataset import dataset_publication

    _check(arguments)
    return _push(arguments, dataset_publication(arguments.source, arguments.target))


def _metric(arguments: argparse.Namespace) -> int:
    from dim.publishing.space import metric_publication

    _check(arguments)
    return _push(arguments, metric_publication(arguments.source, arguments.target))


def _space(arguments: argparse.Namespace) -> int:
    from dim.publishing.space import space_publication

    _check(arguments)
    return _push(arguments, space_publication(arguments.source, arguments.target))


def _linker(arguments: argparse.Namespace) -> int:
    from dim.publishing.linker import linker_publication

    _check(arguments)
    with tempfile.TemporaryDirectory(prefix="dim-push-") as scratch:
        made = linker_publication(arguments.model, arguments.kb, arguments.kb_licence, arguments.target, Path(scratch),
                                  arguments.results)  # fmt: skip
        return _push(arguments, made)


def _check(arguments: argparse.Namespace) -> None:
    from dim.publishing.upload import check_target

    check_target(arguments.target, arguments.revision, arguments.create_pr)


def _push(arguments: argparse.Namespace, publication: "Publication") -> int:
    from dim.publishing.upload import push

    print(publication.listing())
    for note in publication.notes:
        print(f"note: {note}", file=sys.stderr)
    if arguments.dry_run:
        return 0
    options = {"private": arguments.private, "revision": arguments.revision, "create_pr": arguments.create_pr}
    print(push(publication, **options))
    return 0


__all__ = ["add_commands"]
