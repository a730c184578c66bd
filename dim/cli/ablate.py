"""`dim ablate`: variants of a model in one table."""

from dataclasses import dataclass
from pathlib import Path

from dim.cli.command import Command
from dim.common.parser import option


@dataclass(kw_only=True)
class Ablate(Command):
    """Trains a model for each row of a YAML file, such as configs/ablation.yaml, and ranks it. Finished rows are kept;
    run it again after a stop.
    """

    file: str = option("the YAML file, or the name of a config of the package", positional=True, metavar="FILE")

    def run(self) -> None:
        """Trains, ranks, and prints the table."""
        from dim.common.assets import config_file
        from dim.common.files import write_text
        from dim.common.locks import locked
        from dim.evaluation.ablate import ablate, ablation_markdown, read_ablation

        ablation = read_ablation(config_file(self.file))
        with locked(ablation.output_dir, "dim ablate", inside=True):
            text = ablation_markdown(ablate(ablation, _train, progress=True))
            write_text(ablation.output_dir / "ablation.md", text)
        print(text, end="")


def _train(argv: list[str]) -> None:
    from dim.common.locks import locked
    from dim.training.arguments import parse_arguments
    from dim.training.trainer import train

    groups = parse_arguments(argv)
    with locked(Path(str(groups[-1].output_dir)), "dim ablate", inside=True):
        train(*groups)
