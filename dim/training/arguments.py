"""The arguments of `train.py`: one set of dataclasses, read from YAML and from flags; flags win."""

import difflib
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import yaml
from transformers import HfArgumentParser

from dim.errors import DIMError

_TRACKERS = ("tensorboard", "trackio", "wandb")


@dataclass
class ModelArguments:
    """Where the model comes from: a DIM to go on with, or towers to build a new one on.

    Example:

        >>> ModelArguments(text_tower="openai/clip-vit-base-patch32", lexical_prior=True).tune
        'full'
    """

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Folder or Hub name of a DIM, trained or not, with its processor."}
    )
    text_tower: str | None = field(
        default=None,
        metadata={"help": "Folder or Hub name of a text encoder, or of a checkpoint with both towers such as CLIP."},
    )
    vision_tower: str | None = field(
        default=None, metadata={"help": "Folder or Hub name of a vision encoder, where text_tower has none."}
    )
    max_length: int | None = field(
        default=None, metadata={"help": "Token limit of a text. Default: the tokenizer's own."}
    )
    dropout: float | None = field(
        default=None, metadata={"help": "Dropout of the fusion, for a new DIM. Default: the paper's 0.4."}
    )
    logit_scale_init_value: float | None = field(
        default=None, metadata={"help": "Logarithm of the scale that a new DIM's cosines start with. Default: 2.6592."}
    )
    lexical_prior: bool = field(
        default=False,
        metadata={"help": "Give a new DIM a lexical prior: a small layer that weighs how alike names are."},
    )
    tune: str = field(
        default="full",
        metadata={
            "help": "`full`: everything. `lora`: adapters on the towers, and the fusion. `head`: the fusion alone; the "
            "towers run once, and their vectors are kept in output_dir/cache.",
            "choices": ["full", "lora", "head"],
        },
    )
    lora_rank: int = field(default=16, metadata={"help": "Rank of the adapters of `--tune lora`."})
    freeze_text: bool = field(
        default=False,
        metadata={"help": "Keep the text tower and its projection as they are; every text is then encoded only once."},
    )
    freeze_vision: bool = field(
        default=False,
        metadata={
            "help": "Keep the vision tower and its projection as they are; every picture is then encoded only once."
        },
    )


@dataclass
class DataArguments:
    """What is trained on, and how a batch is drawn.

    Example:

        >>> DataArguments(dataset="datasets/namesakes", negatives="mined").num_candidates
        4
    """

    dataset: str | None = field(
        default=None,
        metadata={"help": "Folder or Hub name of a dataset with the configs `mentions` and `entities`."},
    )
    negatives: str = field(
        default="in_batch",
        metadata={
            "help": "`in_batch`: the golds of the batch's other mentions. `candidates`: also each mention's own "
            "candidates, from the dataset's config `candidates`. `mined`: also entities that the model or the name "
            "takes for the answer.",
            "choices": ["in_batch", "candidates", "mined"],
        },
    )
    num_candidates: int = field(
        default=4, metadata={"help": "Candidates or mined entities that a mention adds to the pool at most."}
    )
    rank_candidates: bool = field(
        default=False,
        metadata={
            "help": "Rank the validation split among each mention's own candidates, too (config `candidates`); a gold "
            "that is not among them is a miss."
        },
    )
    mine_every: int = field(default=1, metadata={"help": "Epochs between two minings."})
    picture_dropout: float = field(
        default=0.0, metadata={"help": "Part of the training mentions that go without their picture, anew each epoch."}
    )
    mention_masking: float = field(
        default=0.0,
        metadata={"help": "Part of the training mentions with a picture whose name is hidden, anew each epoch."},
    )
    mask_text: str = field(default="it", metadata={"help": "What stands in place of a hidden name."})
    augment: bool = field(
        default=False, metadata={"help": "Shift, scale, turn and recolour the training pictures, anew each epoch."}
    )


@dataclass
class TrainArguments:
    """How long, how fast, and where to.

    Example:

        >>> TrainArguments(output_dir="runs/mine", num_train_epochs=3).learning_rate
        5e-05
    """

    output_dir: str | None = field(default=None, metadata={"help": "Folder of the model and the checkpoints."})
    num_train_epochs: int = field(default=10, metadata={"help": "Epochs over the training mentions."})
    max_steps: int = field(default=-1, metadata={"help": "Stop after this many steps. -1: by num_train_epochs."})
    per_device_train_batch_size: int = field(default=64, metadata={"help": "Mentions of a step, for each process."})
    gradient_accumulation_steps: int = field(
        default=1, metadata={"help": "Batches of an optimizer's step; each has negatives of its own."}
    )
    mini_batch_size: int | None = field(
        default=None,
        metadata={
            "help": "Rows that go through the towers at a time (gradient caching): memory follows this, and the "
            "gradient is that of the whole batch. Default: the batch at once."
        },
    )
    dataloader_num_workers: int = field(default=0, metadata={"help": "Processes that draw batches ahead of time."})
    per_device_eval_batch_size: int = field(default=256, metadata={"help": "Texts or pictures encoded at a time."})
    learning_rate: float = field(
        default=5e-5, metadata={"help": "Highest learning rate of the towers and their projections."}
    )
    head_learning_rate: float | None = field(
        default=None, metadata={"help": "The same for the fusion. Default: learning_rate."}
    )
    prior_learning_rate: float | None = field(
        default=None, metadata={"help": "The same for the lexical prior. Default: learning_rate."}
    )
    prior_epochs: int = field(
        default=0,
        metadata={
            "help": "Before each ranking, fit the lexical prior for so many epochs on each training mention's answer "
            "against its hard negatives, and train the rest without it. 0: the prior is trained with the rest."
        },
    )
    weight_decay: float = field(default=1e-3, metadata={"help": "AdamW's, on matrices; not on biases, norms, scales."})
    warmup_steps: int = field(default=100, metadata={"help": "Steps in which the learning rate rises."})
    lr_scheduler_type: str = field(default="linear", metadata={"help": "linear, cosine, constant_with_warmup ..."})
    max_grad_norm: float = field(default=1.0, metadata={"help": "Longer gradients are shortened to this."})
    mixed_precision: str = field(
        default="no", metadata={"help": "bf16, fp16 or no.", "choices": ["no", "bf16", "fp16"]}
    )
    seed: int = field(default=0, metadata={"help": "Seed of weights, batches and dropout."})
    eval_epochs: int = field(default=1, metadata={"help": "Rank the validation split after every so many epochs."})
    eval_steps: int | None = field(default=None, metadata={"help": "Rank it after every so many steps instead."})
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Stop after so many rankings without a better one."}
    )
    save_steps: int | None = field(
        default=None, metadata={"help": "Steps between two checkpoints, beside those at rankings. Default: an epoch."}
    )
    logging_steps: int = field(default=10, metadata={"help": "Steps between two lines of the log."})
    report_to: list[str] = field(
        default_factory=lambda: ["tensorboard"],
        metadata={"help": "Where the curves go: tensorboard, trackio, wandb; several, or `none`."},
    )
    expected_processes: int | None = field(
        default=None, metadata={"help": "Fail when the run has more or fewer processes."}
    )
    picture_weights: list[float] = field(
        default_factory=lambda: [1.0],
        metadata={
            "help": "Weights that the entities' pictures are tried with at each ranking of the validation split; the "
            "best stays in the saved model. Training pictures are better known than new ones, which misleads the "
            "weight that training finds."
        },
    )
    metric_for_best_model: str = field(default="H@1", metadata={"help": "H@1, H@3, H@5, H@10, H@20 or MRR."})
    resume_from_checkpoint: str | None = field(
        default=None, metadata={"help": "`auto` for the newest checkpoint in output_dir, or a checkpoint's folder."}
    )
    save_total_limit: int = field(default=1, metadata={"help": "How many checkpoints to keep."})


ARGUMENT_GROUPS = (ModelArguments, DataArguments, TrainArguments)


def parse_arguments(argv: Sequence[str] | None = None) -> tuple[ModelArguments, DataArguments, TrainArguments]:
    """Reads an optional YAML file (first argument) and flags; a flag beats the file.

    Args:
        argv: Arguments as on the command line, `sys.argv[1:]` by default.

    Returns:
        The three groups of arguments, checked against each other.

    Raises:
        DIMError: For a file that is not there, an unknown key (its nearest known key is named) or values that
            contradict each other.

    Example:

        >>> _, data, train = parse_arguments("--text_tower x --dataset y --output_dir z --seed 7".split())
        >>> train.seed, data.negatives
        (7, 'in_batch')
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = HfArgumentParser(
        ARGUMENT_GROUPS, prog="train.py", description="Train DIM.", usage="%(prog)s [CONFIG.yaml] [--OPTION VALUE ...]"
    )
    known = {name.name for group in ARGUMENT_GROUPS for name in fields(group)}
    defaults = {}
    if argv and not argv[0].startswith("-"):
        defaults = _read_yaml(Path(argv.pop(0)))
    for key in defaults:
        if key not in known:
            raise DIMError(_unknown("key", key, known))
    parser.set_defaults(**defaults)
    *groups, rest = parser.parse_args_into_dataclasses(argv, return_remaining_strings=True, look_for_args_file=False)
    if rest:
        raise DIMError(_unknown("option", rest[0], known))
    model, data, train = groups
    _check(model, data, train)
    return model, data, train


def _read_yaml(path: Path) -> dict:
    if not path.is_file():
        raise DIMError(f"There is no config file {path}.")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise DIMError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise DIMError(f"{path} must hold `key: value` lines, got a {type(values).__name__}.")
    floats = {name.name for group in ARGUMENT_GROUPS for name in fields(group) if name.type in (float, float | None)}
    for key in floats & values.keys():  # YAML 1.1 reads 1e-4 as a text
        if isinstance(values[key], str | int):
            try:
                values[key] = float(values[key])
            except ValueError as error:
                raise DIMError(f"{path}: {key} must be a number, got {values[key]!r}.") from error
    return values


def _unknown(what: str, key: str, known: set[str]) -> str:
    near = difflib.get_close_matches(key.lstrip("-"), known, n=1)
    return f"Unknown {what} {key!r}" + (f"; did you mean {near[0]!r}?" if near else "; `--help` lists what there is.")


def _check(model: ModelArguments, data: DataArguments, train: TrainArguments) -> None:
    for name, value in (("dataset", data.dataset), ("output_dir", train.output_dir)):
        if not value:
            raise DIMError(f"--{name} is missing.")
    if (model.model_name_or_path is None) == (model.text_tower is None):
        raise DIMError("Give either --model_name_or_path (a DIM to go on with) or --text_tower (to build a new one).")
    for name in ("vision_tower", "max_length", "dropout", "logit_scale_init_value", "lexical_prior"):
        if model.model_name_or_path and getattr(model, name):
            raise DIMError(f"--{name} belongs to --text_tower; a saved DIM has its own.")
    for name in ("picture_dropout", "mention_masking"):
        if not 0 <= getattr(data, name) <= 1:
            raise DIMError(f"--{name} must lie between 0 and 1, got {getattr(data, name)}.")
    for name in ("num_train_epochs", "per_device_train_batch_size", "per_device_eval_batch_size", "eval_epochs",
                 "save_total_limit", "gradient_accumulation_steps", "logging_steps", "mini_batch_size", "eval_steps",
                 "early_stopping_patience", "save_steps"):  # fmt: skip
        if getattr(train, name) is not None and getattr(train, name) < 1:
            raise DIMError(f"--{name} must be at least 1, got {getattr(train, name)}.")
    if train.prior_epochs < 0:
        raise DIMError(f"--prior_epochs must not be negative, got {train.prior_epochs}.")
    if train.max_steps == 0 or train.max_steps < -1:
        raise DIMError(f"--max_steps must be positive, or -1 for no limit, got {train.max_steps}.")
    if not train.picture_weights or min(train.picture_weights) <= 0:
        raise DIMError(f"--picture_weights must be positive, got {train.picture_weights}.")
    for name in ("num_candidates", "mine_every"):
        if getattr(data, name) < 1:
            raise DIMError(f"--{name} must be at least 1, got {getattr(data, name)}.")
    if train.report_to == ["none"]:
        train.report_to = []
    unknown = [name for name in train.report_to if name not in _TRACKERS]
    if unknown:
        raise DIMError(f"--report_to knows {', '.join(_TRACKERS)} and none, got {unknown[0]!r}.")
    for name in (*train.report_to, "matplotlib", *(["peft"] if model.tune == "lora" else [])):
        if importlib.util.find_spec(name) is None:
            raise DIMError(f"Training needs the package {name} here: pip install 'dim-mel[train]' {name}")


__all__ = ["DataArguments", "ModelArguments", "TrainArguments", "parse_arguments"]
