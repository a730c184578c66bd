"""`dim train-reranker`: a cross-encoder that reads a linker's best candidates once more."""

from dataclasses import dataclass
from pathlib import Path

from dim.cli.command import Command
from dim.common.parser import option
from dim.errors import DIMError


@dataclass(kw_only=True)
class TrainReranker(Command):
    """Trains a cross-encoder on the mentions that the linker is unsure of, and writes it into the folder `reranker` of
    the model, where --rerank finds it. Started again, it resumes from its last checkpoint; another run's is refused.
    """

    model: str = option("folder of a DIM")
    kb: str = option("a knowledge base that it encoded (`dim kb create`)")
    dataset: str = option("folder or Hub name of the dataset that it was trained on")
    tower: str | None = option("folder or Hub name of an encoder to start from; default: the model's text tower", None)
    examples: int = option("mentions, at most", 6000, least=1, metavar="N")
    candidates: int = option("entities of each mention: the gold and others", 6, least=2, metavar="N")
    max_length: int = option("tokens of a pair", 96, least=1, most=100_000, metavar="N")
    epochs: int = option("epochs over the mentions", 1, least=1, metavar="N")
    batch_size: int = option("mentions at a time", 16, least=1, metavar="N")
    learning_rate: float = option("highest learning rate", 6e-5, least=0, most=10, metavar="X")
    save_steps: int = option("steps between checkpoints", 100, least=1, metavar="N")
    overwrite: bool = option("replace an earlier reranker and its checkpoints", False)
    bf16: bool = option("compute in bfloat16", False)
    seed: int = option("seed of weights, batches and dropout", 0, least=0)

    def run(self) -> None:
        """Trains and saves the cross-encoder."""
        if not Path(self.model).is_dir():
            raise DIMError(f"{self.model} is not a folder; the reranker is written beside the model's weights.")
        import torch
        from transformers import TrainingArguments

        from dim.common.locks import locked
        from dim.corpora.loading import load_mentions
        from dim.linking.linker import DIMLinker
        from dim.linking.reranker import FOLDER
        from dim.training.reranker_trainer import train_reranker

        folder = Path(self.model) / FOLDER
        settings = TrainingArguments(
            output_dir=str(folder),
            num_train_epochs=self.epochs,
            per_device_train_batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            warmup_steps=0.06,
            weight_decay=0.01,
            save_steps=self.save_steps,
            save_total_limit=1,
            logging_steps=20,
            bf16=self.bf16,
            use_cpu=not torch.accelerator.is_available(),  # else bf16 is refused there
            seed=self.seed,
            report_to=[],
            remove_unused_columns=False,
        )
        limits = (self.examples, self.candidates, self.max_length)
        with locked(folder, "dim train-reranker", inside=True):
            linker, mentions = DIMLinker.from_pretrained(self.model, self.kb), load_mentions(self.dataset, "train")
            train_reranker(linker, mentions, settings, self.tower, *limits, self.overwrite)
        print(f"{folder}: use it with --rerank 16")
