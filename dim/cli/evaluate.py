"""`dim eval`, `dim audit` and `dim ablate` on the command line."""

import argparse
import shlex
import sys
from pathlib import Path

from dim.errors import DIMError


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the commands, each with the function that runs it as `run`.

    Args:
        commands: Where the parser keeps its commands.
    """
    evaluation = commands.add_parser(
        "eval",
        help="rank a split, with baselines, and write a report",
        description="Ranks a split under one protocol or several and writes report.json, report.md and report.html. "
        "Slices, calibration and the page's mentions are of the first protocol.",
    )
    evaluation.add_argument("--model", help="folder or Hub name of a DIM; without, baselines alone")
    evaluation.add_argument("--dataset", required=True, help="folder or Hub name")
    evaluation.add_argument("--split", default="validation", help="train, validation or test (%(default)s)")
    evaluation.add_argument(
        "--protocol",
        nargs="+",
        default=["full_kb"],
        metavar="NAME",
        help="full_kb, candidates, candidates_normalised, candidates_dim (full_kb)",
    )
    evaluation.add_argument(
        "--baselines",
        nargs="+",
        default=["all"],
        metavar="NAME",
        help="fuzzy, bm25, ngrams, popularity, text, picture; all or none (all)",
    )
    evaluation.add_argument(
        "--slices",
        nargs="+",
        default=["all"],
        metavar="NAME",
        help="name, entity, picture, form, type, description, enhancement; all or none (all)",
    )
    evaluation.add_argument("--text-tower", metavar="NAME", help="text encoder of the baseline text")
    evaluation.add_argument("--towers", metavar="NAME", help="checkpoint with both towers of the baseline picture")
    evaluation.add_argument("--samples", type=int, default=1000, metavar="N", help="bootstrap samples (%(default)s)")
    evaluation.add_argument("--examples", type=int, default=500, metavar="N", help="mentions on the page (%(default)s)")
    evaluation.add_argument("--batch-size", type=int, default=64, metavar="N", help="rows at a time (%(default)s)")
    evaluation.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the report")
    evaluation.set_defaults(run=_eval)

    audit = commands.add_parser(
        "audit",
        help="find what a dataset leaks or lacks",
        description="Finds what splits share, what ids give away, and what is missing. With --raw, DATASET is a name "
        "as for `dim build`, and the raw release is looked through instead.",
    )
    audit.add_argument("dataset", metavar="DATASET", help="folder or Hub name")
    audit.add_argument("--raw", type=Path, action="append", default=[], metavar="DIR", help="files of a raw release")
    audit.add_argument("--layout", default="auto", help="how they are laid out (%(default)s)")
    audit.add_argument("--out", type=Path, metavar="DIR", help="folder for audit.json and audit.md; printed without")
    audit.add_argument("--write-clean", type=Path, metavar="DIR", help="also write the dataset without what leaks")
    audit.set_defaults(run=_audit)

    ablate = commands.add_parser(
        "ablate",
        help="train and rank variants of a model, in one table",
        description="Trains a model for each row of a YAML file, such as configs/ablation.yaml, and ranks it. "
        "What is done is kept; run it again after a stop.",
    )
    ablate.add_argument("file", type=Path, metavar="FILE", help="the YAML file")
    ablate.set_defaults(run=_ablate)


def _eval(arguments: argparse.Namespace) -> int:
    from dim.evaluation.report import write_report
    from dim.evaluation.run import BASELINES, SLICES, Settings, evaluate, folder_for

    settings = Settings(
        dataset=arguments.dataset,
        model=arguments.model,
        split=arguments.split,
        protocols=tuple(dict.fromkeys(arguments.protocol)),
        baselines=_names(arguments.baselines, BASELINES),
        slices=_names(arguments.slices, SLICES),
        text_tower=arguments.text_tower,
        towers=arguments.towers,
        samples=arguments.samples,
        examples=arguments.examples,
        batch_size=arguments.batch_size,
        progress=True,
    )
    folder = folder_for(arguments.out)
    report = evaluate(settings)
    for path in write_report(report, folder, _command()):
        print(path)
    for system in report.numbers["systems"]:
        metrics = system["metrics"][settings.protocols[0]]
        print(f"{system['name']:<28} H@1 {metrics['H@1']['value']:5.1f}  MRR {metrics['MRR']['value']:5.1f}")
    return 0


def _names(given: list[str], known: tuple[str, ...]) -> tuple[str, ...]:
    if given == ["all"]:
        return known
    return () if given == ["none"] else tuple(dict.fromkeys(given))


def _command() -> str:
    return shlex.join(["dim", *sys.argv[1:]])


def _audit(arguments: argparse.Namespace) -> int:
    from dim.common.files import write_json, write_text
    from dim.evaluation.audit.clean import write_clean
    from dim.evaluation.audit.findings import audit
    from dim.evaluation.audit.release import audit_release
    from dim.evaluation.audit.report import audit_markdown
    from dim.evaluation.run import folder_for

    if arguments.raw and arguments.write_clean:
        raise DIMError("--write-clean needs a dataset: build it first (`dim build --clean` drops leaks, too).")
    if arguments.write_clean and arguments.write_clean.exists():
        raise DIMError(f"{arguments.write_clean} exists: give a new folder for the clean dataset.")
    folder = folder_for(arguments.out) if arguments.out else None
    if arguments.raw:
        found = audit_release(arguments.dataset, arguments.raw, arguments.layout)
    else:
        found = audit(arguments.dataset, progress=True)
    text = audit_markdown(found)
    if folder is None:
        print(text, end="")
    else:
        write_text(folder / "audit.md", text)
        write_json(folder / "audit.json", found)
        print(folder / "audit.md")
    if arguments.write_clean:
        for split, counts in write_clean(arguments.dataset, arguments.write_clean, progress=True).items():
            print(f"{split}: {counts['kept']:,} kept, {counts['dropped']:,} dropped")
    return 0


def _ablate(arguments: argparse.Namespace) -> int:
    from dim.common.files import write_text
    from dim.evaluation.ablate import ablate, ablation_markdown, read_ablation
    from dim.training.main import main as train

    ablation = read_ablation(arguments.file)
    text = ablation_markdown(ablate(ablation, train, progress=True))
    write_text(ablation.output_dir / "ablation.md", text)
    print(text, end="")
    return 0


__all__ = ["add_commands"]
