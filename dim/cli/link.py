"""`dim link`: mentions to entities."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dim.cli.command import Command, Linking
from dim.common.parser import option
from dim.common.printable import printable
from dim.errors import DIMError

if TYPE_CHECKING:
    from dim.linking.links import Links

logger = logging.getLogger(__name__)

_BLOCK = 1_024  # mentions linked before they are written


@dataclass(kw_only=True)
class Link(Linking, Command):
    """Links the mentions of a sentence, a picture alone, or with --input the mentions of a table (.jsonl, .json, .csv,
    .tsv or .parquet): rows with `sentence`, `mention` or `start` and `end`, and if there are any `image` (a path),
    `region` and `expert_answer`.
    """

    sentence: str | None = option("the sentence, with its mentions in [[double brackets]]", None, not_with="input")
    input: Path | None = option("table of mentions; - for JSONL from standard input", None, metavar="FILE")
    mention: str | None = option("the mention, if the sentence has no brackets", None, not_with="input")
    span: list[int] = option("its offsets, in characters", [], nargs=2, least=0, needs="sentence",
                             metavar=("START", "END"))  # fmt: skip
    image: list[str] = option("pictures of the sentence; without a sentence, the mention is the picture", [],
                              not_with="input")  # fmt: skip
    region: list[int] = option("the part of the picture that is the mention, in pixels", [], nargs=4, least=0,
                               needs="image", metavar=("LEFT", "TOP", "RIGHT", "BOTTOM"))  # fmt: skip
    expert_answer: str | None = option("caption of the picture", None, not_with="input")
    output: Path | None = option("JSONL of the links of --input; default: standard output", None, needs="input",
                                 metavar="FILE")  # fmt: skip
    k: int = option("entities to show", 5, least=1, most=64, aliases=["-k"])
    why: bool = option("explain each score", False, not_with="input")
    json: bool = option("print JSON instead of a table", False, not_with="input")
    batch_size: int = option("mentions at a time", 64, least=1, needs="input", metavar="N")

    def run(self) -> None:
        """Links, and prints or writes the links."""
        if self.input is not None:
            self._link_file(self.input)
            return
        if self.sentence is None and self.mention is None and not self.image:
            raise DIMError("There is nothing to link: give --sentence, --mention, --image or --input.")
        found = self._link_sentence(self.sentence or "")
        if self.json:
            rows = [{"mention": name} | links.to_dict() for name, links in found]
            print(json.dumps(rows[0] if len(rows) == 1 else rows, ensure_ascii=False, indent=2))
        else:
            for name, links in found:
                _print_table(name, links)

    def _link_sentence(self, sentence: str) -> "list[tuple[str, Links]]":
        from dim.common.regions import as_region, cut_out
        from dim.encoding.mention_pictures import check_pictures_alone
        from dim.encoding.unused_pictures import warn_of_unused_pictures
        from dim.linking.mention import load_pictures, mention_row, parse_brackets

        for name, numbers, count in (("--span", self.span, 2), ("--region", self.region, 4)):
            if len(numbers) not in (0, count):
                raise DIMError(f"Give {name} once.")
        spans: list[Any] = [tuple(self.span) or None]
        if self.mention is None and not self.span and (sentence.strip() or not self.image):
            sentence, spans = parse_brackets(sentence)
        images = load_pictures((self.image if len(self.image) > 1 else self.image[0]) if self.image else None)
        region = as_region(self.region) if self.region else None
        rows = [mention_row(sentence, self.mention, span, images, None, region) for span in spans]
        if region is not None:  # before the model is loaded
            cut_out(images, region)
        linker, found = self.linker(), []
        check_pictures_alone(linker.model.config, rows)
        warn_of_unused_pictures(linker.model.config, mentions=len(spans) if self.image else 0)
        for span, row in zip(spans, rows, strict=True):
            links = linker(sentence, self.mention, images, self.k, span=span, region=region,
                           expert_answer=self.expert_answer, why=self.why)  # fmt: skip
            found.append((row["mention"], links))
        return found

    def _link_file(self, source: Path) -> None:
        from dim.common.locks import locked
        from dim.common.outputs import check_file
        from dim.linking.mention_rows import read_mentions

        rows = list(read_mentions(source))
        if not rows:
            raise DIMError(f"{source} holds no mention.")
        if self.output is not None:
            check_file(self.output)
        with nullcontext() if self.output is None else locked(self.output, "dim link"):
            self._link_rows(rows)

    def _link_rows(self, rows: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
        from tqdm.auto import tqdm

        from dim.encoding.unused_pictures import warn_of_unused_pictures

        linker = self.linker()
        pictured = sum(bool(mention.get("image")) for _, mention in rows)
        warn_of_unused_pictures(linker.model.config, mentions=pictured)
        with _lines(self.output) as write, tqdm(total=len(rows), desc="linking") as bar:
            for start in range(0, len(rows), _BLOCK):
                block = rows[start : start + _BLOCK]
                links = linker.link([mention for _, mention in block], self.k, batch_size=self.batch_size)
                for (row, _), found in zip(block, links, strict=True):
                    write(json.dumps(row | {"links": found.to_dict()}, ensure_ascii=False))
                bar.update(len(block))
        if self.output is not None:
            logger.info("%s mentions linked in %s", f"{len(rows):,}", self.output)


@contextmanager
def _lines(path: Path | None) -> Iterator[Callable[[str], object]]:
    """Yields a function that writes a line: to standard output, or to a hidden file that gets its name at the end.

    The hidden file stays if the run breaks off, with the lines that were written.
    """
    from dim.common.files import naming, sync

    if path is None:
        yield partial(print, flush=True)
        return
    part = path.with_name(f".{path.name}.part")
    written = 0

    def write(line: str) -> None:
        nonlocal written
        stream.write(f"{line}\n")
        written += 1

    with naming(path, part):
        try:
            with part.open("w", encoding="utf-8", newline="\n") as stream:
                yield write
        except BaseException:
            if written:
                logger.warning("The first %s lines are in %s", f"{written:,}", part)
            else:
                part.unlink(missing_ok=True)
            raise
        sync(part)
        part.replace(path)


def _print_table(mention: str, links: "Links") -> None:
    nil = "" if links.nil is None else f" (NIL {100 * links.nil:.1f} %)"
    names = [printable(entity.name) for entity in links]
    best = "no entity of the knowledge base" if links.is_nil else names[0]
    print(f"{printable(mention) or 'the picture'}: {best}{nil}")
    width = max(map(len, names), default=4)
    print(f"rank   score  sure  {'name':<{width}}  description")
    for rank, (name, entity) in enumerate(zip(names, links, strict=True), 1):
        sure = f"{100 * entity.confidence:>3.0f} %"
        print(f"{rank:>4}  {entity.score:>6.2f} {sure}  {name:<{width}}  {printable(entity.description)}")
        if entity.why is not None:
            for key, value in entity.why.items():
                print(f"{'':>20}{key}: {value if not isinstance(value, float) else round(value, 3)}")
