"""`dim build`, `dim inspect` and `dim fetch-images` on the command line."""

import argparse
from pathlib import Path

from dim.errors import DIMError


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the commands, each with the function that runs it as `run`.

    Args:
        commands: Where the parser keeps its commands.
    """
    build = commands.add_parser(
        "build",
        help="make a dataset from a raw release",
        description="Makes a dataset that `datasets.load_dataset` reads. NAME is wikimel, richpediamel or wikidiverse, "
        "one of these with _plus behind it, or with --layout jsonl any other, for data of your own.",
    )
    build.add_argument("name", metavar="NAME", help="the dataset")
    _add_raw(build)
    build.add_argument("--images", type=Path, action="append", default=[], metavar="DIR", help="pictures; may repeat")
    build.add_argument("--descriptions", type=Path, metavar="FILE", help="JSONL of descriptions, for the plus versions")
    build.add_argument("--clean", action="store_true", help="drop mentions that leak between the splits")
    build.add_argument("--out", type=Path, required=True, metavar="DIR", help="the dataset's folder")
    build.set_defaults(run=_build)

    inspect = commands.add_parser("inspect", help="show what a dataset holds")
    inspect.add_argument("dataset", metavar="DATASET", help="folder or Hub name")
    inspect.add_argument("--examples", type=int, default=3, metavar="N", help="mentions of each split (%(default)s)")
    inspect.add_argument("--sheet", type=Path, metavar="FILE", help="also draw mentions with their pictures as a PNG")
    inspect.add_argument("--split", default="train", help="the split to draw (%(default)s)")
    inspect.add_argument("--count", type=int, default=12, metavar="N", help="mentions to draw (%(default)s)")
    inspect.add_argument("--seed", type=int, default=0, help="which ones to draw (%(default)s)")
    inspect.set_defaults(run=_inspect)

    fetch = commands.add_parser(
        "fetch-images",
        help="download the pictures that a raw release names by URL",
        description="Downloads the pictures that a raw release names by URL, for `dim build --images`. What is there "
        "from an earlier run is kept. Failures are listed in failed.jsonl, and asked for again by the next run.",
    )
    fetch.add_argument("name", metavar="NAME", help="the dataset, as for `dim build`")
    _add_raw(fetch)
    fetch.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the pictures")
    fetch.add_argument("--contact", required=True, help="your mail address or URL; the servers are told")
    fetch.add_argument("--concurrency", type=int, default=2, metavar="N", help="downloads at a time (%(default)s)")
    fetch.add_argument(
        "--requests-per-second", type=float, default=1.0, metavar="X", help="requests of each host (%(default)s)"
    )
    fetch.set_defaults(run=_fetch_images)


def _add_raw(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--raw", type=Path, action="append", required=True, metavar="DIR", help="files of the release; may repeat"
    )
    parser.add_argument("--layout", default="auto", help="how they are laid out; jsonl for your own data (%(default)s)")


def _build(arguments: argparse.Namespace) -> int:
    from dim.corpora.build.dataset import build, summary

    built = build(
        arguments.name,
        arguments.raw,
        arguments.out,
        layout=arguments.layout,
        images=arguments.images,
        descriptions=arguments.descriptions,
        clean=arguments.clean,
        progress=True,
    )
    print(summary(built))
    return 0


def _inspect(arguments: argparse.Namespace) -> int:
    from dim.corpora.inspect.sheet import contact_sheet, describe, report

    if arguments.examples < 0:
        raise DIMError(f"--examples is {arguments.examples}: it must be at least 0.")
    print(report(describe(arguments.dataset, arguments.examples)))
    if arguments.sheet is not None:
        which = (arguments.split, arguments.count, arguments.seed)
        drawn = contact_sheet(arguments.dataset, *which, arguments.sheet)
        print(f"\n{drawn} mentions drawn in {arguments.sheet}")
    return 0


def _fetch_images(arguments: argparse.Namespace) -> int:
    from dim.corpora.fetch.download import Limits
    from dim.corpora.fetch.images import FAILED, fetch_images, picture_urls
    from dim.corpora.read import read_release

    limits = Limits(concurrency=arguments.concurrency, requests_per_second=arguments.requests_per_second)
    release = read_release(arguments.name, arguments.raw, arguments.layout)
    report = fetch_images(picture_urls(release), arguments.out, contact=arguments.contact, limits=limits)
    print(f"{report.fetched:,} pictures fetched, {report.kept:,} there before, {len(report.failures):,} failed", end="")
    print(f" ({arguments.out / FAILED})" if report.failures else "")
    return 0


__all__ = ["add_commands"]
