"""`dim train-reranker` on the command line."""

import argparse
from pathlib import Path

from dim.errors import DIMError


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command, with the function that runs it as `run`.

    Args:
        commands: Where the parser keeps its commands.
    """
    parser = commands.add_parser(
        "train-reranker",
        help="train a cross-encoder that reads a linker's best candidates once more",
        description="Trains a cross-encoder on the mentions that the linker is unsure of, and writes it into the "
        "folder `reranker` of the model, where --rerank finds it. Started again, it goes on from its last checkpoint.",
    )
    parser.add_argument("--model", required=True, help="folder of a DIM")
    parser.add_argument("--kb", required=True, help="a knowledge base that it encoded (`dim kb create`)")
    parser.add_argument("--dataset", required=True, help="folder or Hub name of the dataset that it was trained on")
    parser.add_argument("--tower", help="folder or Hub name of an encoder to start from; the model's text tower if not")
    parser.add_argument("--examples", type=int, default=6000, metavar="N", help="mentions, at most (%(default)s)")
    parser.add_argument("--candidates", type=int, default=6, metavar="N", help="entities of each (%(default)s)")
    parser.add_argument("--max-length", type=int, default=96, metavar="N", help="tokens of a pair (%(default)s)")
    parser.add_argument("--epochs", type=int, default=1, metavar="N", help="(%(default)s)")
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="mentions at a time (%(default)s)")
    parser.add_argument("--learning-rate", type=float, default=6e-5, metavar="X", help="(%(default)s)")
    parser.add_argument("--save-steps", type=int, default=100, metavar="N", help="between checkpoints (%(default)s)")
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16")
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    parser.set_defaults(run=_train)


def _train(arguments: argparse.Namespace) -> int:
    for name in ("examples", "epochs", "batch_size", "max_length", "save_steps"):
        if getattr(arguments, name) < 1:
            raise DIMError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(arguments, name)}.")
    if arguments.candidates < 2:
        raise DIMError(f"--candidates must be at least 2, the gold and another, got {arguments.candidates}.")
    if not Path(arguments.model).is_dir():
        raise DIMError(f"{arguments.model} is no folder; the reranker is written beside the model's weights.")

    import torch
    from transformers import TrainingArguments

    from dim.corpora.loading import load_mentions
    from dim.linking.linker import DIMLinker
    from dim.linking.reranker import FOLDER
    from dim.training.reranker_trainer import train_reranker

    folder = Path(arguments.model) / FOLDER
    settings = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=arguments.epochs,
        per_device_train_batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        warmup_steps=0.06,
        weight_decay=0.01,
        save_steps=arguments.save_steps,
        save_total_limit=1,
        logging_steps=20,
        bf16=arguments.bf16,
        use_cpu=not torch.accelerator.is_available(),  # else bf16 is refused there
        seed=arguments.seed,
        report_to=[],
        remove_unused_columns=False,
    )
    train_reranker(
        DIMLinker.from_pretrained(arguments.model, arguments.kb),
        load_mentions(arguments.dataset, "train"),
        settings,
        arguments.tower,
        arguments.examples,
        arguments.candidates,
        arguments.max_length,
    )
    print(f"{folder}: use it with --rerank 16")
    return 0
