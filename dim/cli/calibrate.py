"""`dim calibrate`: confidences that are probabilities, and mentions without an entity."""

from dataclasses import dataclass
from pathlib import Path

from dim.cli.command import Command, Linking
from dim.common.parser import option
from dim.errors import DIMError


@dataclass(kw_only=True)
class Calibrate(Linking, Command):
    """Fits a calibration on a split that the model was not trained on, some golds of which are taken out of the
    knowledge base, and writes calibration.json into the model's folder. The printed figures are those of five-fold
    cross-fitting by sentence.
    """

    dataset: str = option("folder or Hub name of a dataset")
    split: str = option("the split", "validation")
    nil_share: float = option("share of the golds taken out", 0.2, above=0, below=1, metavar="X")
    precision: float | None = option("share of the links that must be right; default: NIL gets its best F1", None,
                                     above=0, most=1, metavar="P")  # fmt: skip
    seed: int = option("which golds are taken out", 0, least=0)
    batch_size: int = option("mentions at a time", 64, least=1, metavar="N")

    def run(self) -> None:
        """Fits and saves the calibration, and prints its figures."""
        from dim.common.locks import locked
        from dim.common.outputs import check_file
        from dim.corpora.loading import load_mentions
        from dim.linking.calibrate import calibrate
        from dim.linking.calibration import FILE
        from dim.linking.reranker import FOLDER

        if not Path(self.model).is_dir():
            raise DIMError(f"{self.model} is not a folder; the calibration is written beside the model's weights.")
        folder = Path(self.model) / FOLDER if self.rerank else Path(self.model)
        check_file(folder / FILE)
        with locked(folder / FILE, "dim calibrate"):
            mentions = load_mentions(self.dataset, self.split)
            fitted = calibrate(self.linker(), mentions, self.nil_share, self.seed, self.precision, self.batch_size)
            fitted.save(folder)
        measured = ", ".join(f"{name} {value:.1f}" if isinstance(value, float) else f"{name} {value:,}"
                             for name, value in fitted.measured.items())  # fmt: skip
        print(f"{folder / FILE}: temperature {fitted.temperature:.3f}, threshold {fitted.threshold:.3f}")
        print(f"five-fold, by sentence: {measured}")
