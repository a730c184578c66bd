"""`dim link` and `dim calibrate` on the command line."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dim.errors import DIMError

if TYPE_CHECKING:
    from dim.linking.linker import DIMLinker
    from dim.linking.links import Links

_KEYS = {"sentence", "mention", "start", "end", "image", "expert_answer"}


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the commands, each with the function that runs it as `run`.

    Args:
        commands: Where the parser keeps its commands.
    """
    link = commands.add_parser(
        "link",
        help="link mentions to the entities of a knowledge base",
        description="Links the mentions of a sentence, or with --input those of a JSONL file: rows with `sentence`, "
        "`mention` or `start` and `end`, and where there are any `image` (a path) and `expert_answer`.",
    )
    _add_model(link)
    what = link.add_mutually_exclusive_group(required=True)
    what.add_argument("--sentence", help="the sentence, with its mentions in [[double brackets]]")
    what.add_argument("--input", type=Path, metavar="FILE", help="JSONL of mentions; - for standard input")
    link.add_argument("--mention", help="the mention, where the sentence has no brackets")
    link.add_argument("--span", type=int, nargs=2, metavar=("START", "END"), help="its place, in characters")
    link.add_argument("--image", action="append", help="a picture that belongs to the sentence; may repeat")
    link.add_argument("--expert-answer", help="what an expert said about the picture")
    link.add_argument("--output", type=Path, metavar="FILE", help="where the JSONL goes (standard output)")
    link.add_argument("-k", type=int, default=5, help="how many entities to show (%(default)s)")
    link.add_argument("--why", action="store_true", help="say what each score is made of (with --sentence)")
    link.add_argument("--json", action="store_true", help="print JSON instead of a table (with --sentence)")
    _add_batch_size(link)
    link.set_defaults(run=_link)

    calibrate = commands.add_parser(
        "calibrate",
        help="make a linker's confidences probabilities, and let it tell NIL",
        description="Fits a calibration on a split that the model was not trained on, some golds of which are taken "
        "out of the knowledge base, and writes calibration.json into the model's folder. Reported figures are those "
        "of five-fold cross-fitting by sentence.",
    )
    _add_model(calibrate)
    calibrate.add_argument("--dataset", required=True, help="folder or Hub name of a dataset")
    calibrate.add_argument("--split", default="validation", help="(%(default)s)")
    calibrate.add_argument("--nil-share", type=float, default=0.2, metavar="X", help="golds taken out (%(default)s)")
    calibrate.add_argument("--precision", type=float, metavar="P",
                           help="share of the links that must be right; by default NIL gets its best F1")  # fmt: skip
    calibrate.add_argument("--seed", type=int, default=0, help="which golds are taken out (%(default)s)")
    _add_batch_size(calibrate)
    calibrate.set_defaults(run=_calibrate)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, help="folder or Hub name of a DIM")
    parser.add_argument("--kb", help="a knowledge base (`dim kb create`); by default the one in the model's repository")
    parser.add_argument("--rerank", type=int, default=0, metavar="N",
                        help="best candidates that the model's reranker reads once more (%(default)s)")  # fmt: skip
    parser.add_argument("--device", help="cpu, cuda ...; the GPU by default if there is one")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32",
                        help="of the model's arithmetic (%(default)s)")  # fmt: skip


def _add_batch_size(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch-size", type=int, default=64, metavar="N", help="mentions at a time (%(default)s)")


def _link(arguments: argparse.Namespace) -> int:
    if arguments.input is not None:
        return _link_file(arguments)
    from dim.linking.mention import mention_row, parse_brackets

    span = None if arguments.span is None else (arguments.span[0], arguments.span[1])
    if arguments.mention is None and span is None:
        text, spans = parse_brackets(arguments.sentence)
        questions: list[tuple[str, str | None, tuple[int, int] | None]] = [(text, None, one) for one in spans]
    else:
        questions = [(arguments.sentence, arguments.mention, span)]
    images = arguments.image if arguments.image is None or len(arguments.image) > 1 else arguments.image[0]
    for text, mention, one in questions:  # before the model is loaded
        mention_row(text, mention, one, images, None)
    linker = _linker(arguments)
    found = []
    for text, mention, one in questions:
        links = linker(text, mention, images, arguments.k, span=one, expert_answer=arguments.expert_answer,
                       why=arguments.why)  # fmt: skip
        found.append((mention if one is None else text[slice(*one)], links))
    if arguments.json:
        told = [{"mention": name} | links.to_dict() for name, links in found]
        print(json.dumps(told[0] if len(told) == 1 else told, ensure_ascii=False, indent=2))
        return 0
    for name, links in found:
        _print_table(name, links)
    return 0


def _print_table(mention: str | None, links: "Links") -> None:
    nil = "" if links.nil is None else f" (NIL {100 * links.nil:.1f} %)"
    print(f"{mention}: {'no entity of the knowledge base' if links.is_nil else links[0].name}{nil}")
    width = max((len(entity.name) for entity in links), default=4)
    print(f"rank   score  sure  {'name':<{width}}  description")
    for rank, entity in enumerate(links, 1):
        sure = f"{100 * entity.confidence:>3.0f} %"
        print(f"{rank:>4}  {entity.score:>6.2f} {sure}  {entity.name:<{width}}  {entity.description}")
        if entity.why is not None:
            for name, value in entity.why.items():
                print(f"{'':>20}{name}: {value if not isinstance(value, float) else round(value, 3)}")


def _link_file(arguments: argparse.Namespace) -> int:
    from dim.common.files import write_text
    from dim.linking.mention import mention_row

    single = ("mention", "span", "image", "expert_answer", "json", "why")
    given = [name for name in single if getattr(arguments, name)]
    if given:
        raise DIMError(f"--{given[0].replace('_', '-')} belongs to --sentence; a row of --input has its own.")
    rows, questions = [], []
    for place, row in _lines(arguments.input):
        try:
            span = (row["start"], row["end"]) if row.get("start", -1) >= 0 and "end" in row else None
            text = row.get("sentence") or ""
            mention = None if span else row.get("mention")
            questions.append(mention_row(text, mention, span, row.get("image"), row.get("expert_answer")))
        except (TypeError, ValueError) as error:
            raise DIMError(f"{place}: {error}") from error
        rows.append(row)
    if not rows:
        raise DIMError(f"{arguments.input} holds no mention.")
    linker = _linker(arguments)
    links = linker.link(questions, arguments.k, batch_size=arguments.batch_size, progress=True)
    lines = (json.dumps(row | {"links": found.to_dict()}, ensure_ascii=False) + "\n"
             for row, found in zip(rows, links, strict=True))  # fmt: skip
    if arguments.output is None:
        sys.stdout.writelines(lines)
        return 0
    write_text(arguments.output, "".join(lines))
    print(f"{len(rows):,} mentions linked in {arguments.output}", file=sys.stderr)
    return 0


def _lines(path: Path) -> Iterator[tuple[str, dict]]:
    """The rows of a JSONL file and where each is."""
    if str(path) != "-" and not path.is_file():
        raise DIMError(f"There is no file {path}.")
    name = "standard input" if str(path) == "-" else str(path)
    text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DIMError(f"{name}, line {number}: no JSON ({error}).") from error
        if not isinstance(row, dict) or not row.keys() & _KEYS:
            raise DIMError(f"{name}, line {number}: no mention; it may have {', '.join(sorted(_KEYS))}.")
        yield f"{name}, line {number}", row


def _linker(arguments: argparse.Namespace) -> "DIMLinker":
    import torch

    from dim.linking.linker import CANDIDATES, DIMLinker

    if not 1 <= getattr(arguments, "k", 1) <= CANDIDATES:
        raise DIMError(f"-k must lie between 1 and {CANDIDATES}, got {arguments.k}.")
    if arguments.batch_size < 1:
        raise DIMError(f"--batch-size must be at least 1, got {arguments.batch_size}.")
    if not 0 <= arguments.rerank <= CANDIDATES:
        raise DIMError(f"--rerank must lie between 0 and {CANDIDATES}, got {arguments.rerank}.")
    dtype = getattr(torch, arguments.dtype)
    return DIMLinker.from_pretrained(arguments.model, arguments.kb, arguments.device, dtype, arguments.rerank)


def _calibrate(arguments: argparse.Namespace) -> int:
    from dim.corpora.loading import load_mentions
    from dim.linking.calibration import FILE, calibrate
    from dim.linking.reranker import FOLDER

    if not 0 < arguments.nil_share < 1:
        raise DIMError(f"--nil-share must lie between 0 and 1, got {arguments.nil_share}.")
    if arguments.precision is not None and not 0 < arguments.precision <= 1:
        raise DIMError(f"--precision must lie between 0 and 1, got {arguments.precision}.")
    if not Path(arguments.model).is_dir():
        raise DIMError(f"{arguments.model} is no folder; the calibration is written beside the model's weights.")
    mentions = load_mentions(arguments.dataset, arguments.split)
    linker = _linker(arguments)
    fitted = calibrate(linker, mentions, arguments.nil_share, arguments.seed, arguments.precision, arguments.batch_size)
    folder = Path(arguments.model) / FOLDER if arguments.rerank else Path(arguments.model)
    fitted.save(folder)
    told = ", ".join(f"{name} {value:.1f}" if isinstance(value, float) else f"{name} {value:,}"
                     for name, value in fitted.measured.items())  # fmt: skip
    print(f"{folder / FILE}: temperature {fitted.temperature:.3f}, threshold {fitted.threshold:.3f}")
    print(f"five-fold, by sentence: {told}")
    return 0
