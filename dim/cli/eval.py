"""`dim eval`: a ranking of a split, beside baselines, with a report."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from dim.cli.command import DIM, Command
from dim.common.parser import option
from dim.errors import DIMError


@dataclass(kw_only=True)
class Eval(Command):
    """Ranks a split under one protocol or several and writes report.json, report.md and report.html. Slices,
    calibration and the page's mentions are of the first protocol.
    """

    model: str | None = option(f"{DIM}; default: baselines alone", None)
    dataset: str = option("folder or Hub name")
    split: str = option("train, validation or test", "validation")
    protocol: list[str] = option("full_kb, candidates, candidates_normalised, candidates_dim; default: full_kb", [],
                                 metavar="NAME")  # fmt: skip
    baselines: list[str] = option("fuzzy, bm25, ngrams, popularity, text, picture; default: all; or none", [],
                                  metavar="NAME")  # fmt: skip
    slices: list[str] = option("name, entity, picture, form, type, description, enhancement; default: all; or none", [],
                               metavar="NAME")  # fmt: skip
    text_tower: str | None = option("text encoder of the baseline text", None, metavar="NAME")
    towers: str | None = option("checkpoint with both towers of the baseline picture", None, metavar="NAME")
    samples: int = option("bootstrap samples", 1000, least=1, most=1_000_000, metavar="N")
    examples: int = option("mentions on the page", 500, least=0, metavar="N")
    batch_size: int = option("rows at a time", 64, least=1, metavar="N")
    out: Path = option("folder of the report", metavar="DIR")

    def run(self) -> None:
        """Evaluates, writes the report, and prints H@1 and MRR."""
        from dim.common.locks import locked
        from dim.common.outputs import check_file
        from dim.evaluation.report import FILES, write_report
        from dim.evaluation.run import BASELINES, SLICES, Settings, evaluate

        names = ("dataset", "model", "split", "text_tower", "towers", "samples", "examples", "batch_size")
        settings = Settings(
            protocols=tuple(dict.fromkeys(self.protocol)) or ("full_kb",),
            baselines=_names(self.baselines, BASELINES),
            slices=_names(self.slices, SLICES),
            progress=True,
            **{name: getattr(self, name) for name in names},
        )
        for flag, given, baseline in (("--text-tower", self.text_tower, "text"), ("--towers", self.towers, "picture")):
            if given and baseline not in settings.baselines:
                raise DIMError(f"{flag} does nothing without the baseline {baseline}.")
        for name in FILES:
            check_file(self.out / name)
        with locked(self.out, "dim eval", inside=True):
            report = evaluate(settings)
            for path in write_report(report, self.out, shlex.join(["dim", *sys.argv[1:]])):
                print(path)
        for system in report.numbers["systems"]:
            metrics = system["metrics"][settings.protocols[0]]
            print(f"{system['name']:<28} H@1 {metrics['H@1']['value']:5.1f}  MRR {metrics['MRR']['value']:5.1f}")


def _names(given: list[str], known: tuple[str, ...]) -> tuple[str, ...]:
    if given in ([], ["all"]):
        return known
    return () if given == ["none"] else tuple(dict.fromkeys(given))
