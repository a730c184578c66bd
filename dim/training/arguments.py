"""Arguments of `dim train`: dataclasses, filled from a YAML file and from options; options win."""

import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import yaml

from dim.common.assets import config_file
from dim.common.parser import Parser, did_you_mean, option
from dim.errors import DIMError

_SCHEDULES = ["linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup"]
_TRACKERS = ("tensorboard", "trackio", "wandb")


@dataclass
class ModelArguments:
    """The model: a DIM to continue with, or towers of a new one.

    Example:

        >>> ModelArguments(text_tower="openai/clip-vit-base-patch32", lexical_prior=True).tune
        'full'
    """

    model_name_or_path: str | None = option("Folder or Hub name of a DIM, trained or not, with its processor.", None)
    text_tower: str | None = option("Folder or Hub name of a text encoder, or of a model with both towers.", None)
    vision_tower: str | None = option("Folder or Hub name of a vision encoder, if text_tower has none.", None)
    fusion: str | None = option("How a new DIM joins texts and pictures, see DIMConfig. Default: pairs.", None,
                                choices=["pairs", "attention", "sum"])  # fmt: skip
    projection_dim: int | None = option("Width of a new DIM's vectors. Default: that of the towers' features.", None,
                                        least=1, most=65_536)  # fmt: skip
    max_length: int | None = option("Token limit of a text. Default: the tokenizer's own.", None, least=1)
    dropout: float | None = option("Dropout of the fusion, for a new DIM. Default: the paper's 0.4.", None,
                                   least=0, below=1)  # fmt: skip
    match_dropout: float | None = option("Dropout of pictures before they are compared, for a new DIM. Default: 0.",
                                         None, least=0, below=1)  # fmt: skip
    logit_scale_init_value: float | None = option("Initial logarithm of a new DIM's scale. Default: 2.6592.", None,
                                                  least=-10, most=10)  # fmt: skip
    lexical_prior: bool = option("Give a new DIM a lexical prior: a small layer on similarities of names.", False)
    tune: str = option("`full`: everything. `lora`: adapters on the towers, and the fusion. `head`: the fusion alone; "
                       "the towers run once, and their vectors are cached in output_dir/cache.", "full",
                       choices=["full", "lora", "head"])  # fmt: skip
    lora_rank: int = option("Rank of the adapters of `--tune lora`.", 16, least=1, most=65_536)
    freeze_text: bool = option("Freeze the text tower and its projection; every text is encoded once.", False)
    freeze_vision: bool = option("Freeze the vision tower and its projection; every picture is encoded once.", False)


@dataclass
class DataArguments:
    """The dataset, and how batches are made.

    Example:

        >>> DataArguments(dataset="datasets/namesakes", negatives="mined").num_candidates
        4
    """

    dataset: str | None = option("Folder or Hub name of a dataset with the configs `mentions` and `entities`.", None)
    negatives: str = option("`in_batch`: golds of the batch's other mentions. `candidates`: also each mention's "
                            "candidates from the dataset. `mined`: also entities that the model or the name takes for "
                            "the gold.", "in_batch", choices=["in_batch", "candidates", "mined"])  # fmt: skip
    num_candidates: int = option("Candidates or mined entities of a mention in the pool, at most.", 4, least=1)
    rank_candidates: bool = option("Also rank the validation split among each mention's own candidates.", False)
    mine_every: int = option("Epochs between two minings.", 1, least=1)
    picture_dropout: float = option("Share of training mentions without their picture, redrawn each epoch.", 0.0,
                                    least=0, most=1)  # fmt: skip
    entity_picture_dropout: float = option("Share of batches in which entities lose their pictures: a random share of "
                                           "them, from none to all.", 0.0, least=0, most=1)  # fmt: skip
    mention_masking: float = option("Share of mentions with a picture but a hidden name, redrawn each epoch.", 0.0,
                                    least=0, most=1)  # fmt: skip
    mask_text: str = option("Text in place of a hidden name.", "it")
    composites: int = option("Synthetic photographs of each entity with a picture, as further training mentions: the "
                             "picture, cut out of a plain background, on parts of training photographs.", 0,
                             least=0, most=1000)  # fmt: skip
    picture_views: int = option("Parts of each training photograph, in another light, that are also shown. A frozen "
                                "tower encodes them once.", 0, least=0, most=1000)  # fmt: skip
    augment: bool = option("Shift, scale, rotate and recolour the training pictures, anew each epoch.", False)


@dataclass
class TrainArguments:
    """The optimization, the rankings, and the output.

    Example:

        >>> TrainArguments(output_dir="runs/mine", num_train_epochs=3).learning_rate
        5e-05
    """

    output_dir: str | None = option("Folder of the model and the checkpoints.", None)
    overwrite: bool = option("Replace the model and the checkpoints of an earlier run in output_dir.", False)
    num_train_epochs: int = option("Epochs over the training mentions.", 10, least=1)
    max_steps: int = option("Stop after this many steps. -1: by num_train_epochs.", -1, least=-1)
    per_device_train_batch_size: int = option("Mentions of a step, for each process.", 64, least=1)
    gradient_accumulation_steps: int = option("Batches of an optimizer step, each with its negatives.", 1, least=1)
    mini_batch_size: int | None = option("Rows in the towers at a time (gradient caching): less memory, the gradient "
                                         "of the whole batch. Default: the batch.", None, least=1)  # fmt: skip
    dataloader_num_workers: int = option("Processes that draw batches ahead of time.", 0, least=0, most=1024)
    per_device_eval_batch_size: int = option("Texts or pictures encoded at a time.", 256, least=1)
    learning_rate: float = option("Highest learning rate of the towers and their projections.", 5e-5, least=0, most=10)
    head_learning_rate: float | None = option("The same for the fusion. Default: learning_rate.", None, least=0,
                                              most=10)  # fmt: skip
    prior_learning_rate: float | None = option("The same for the lexical prior. Default: learning_rate.", None, least=0,
                                               most=10)  # fmt: skip
    prior_epochs: int = option("Before each ranking, fit the lexical prior for so many epochs on golds against their "
                               "hard negatives, and train the rest without it. 0: train it with the rest.", 0,
                               least=0)  # fmt: skip
    weight_decay: float = option("Weight decay of matrices; biases, norms and scales have none.", 1e-3, least=0,
                                 most=1000)  # fmt: skip
    warmup_ratio: float = option("Share of the steps over which the learning rate rises.", 0.1, least=0, most=1)
    warmup_steps: int | None = option("The same as a number of steps, instead of warmup_ratio.", None, least=0)
    lr_scheduler_type: str = option("Shape of the learning rate after the warm-up.", "linear", choices=_SCHEDULES)
    max_grad_norm: float = option("Longer gradients are scaled down to this norm.", 1.0, above=0, most=1e6)
    mixed_precision: str = option("bf16, fp16, no, or `auto`: bf16 where the device has units for it and is faster by "
                                  "it. A run that is resumed keeps its precision.", "no",
                                  choices=["no", "bf16", "fp16", "auto"])  # fmt: skip
    seed: int = option("Seed of weights, batches and dropout.", 0, least=0)
    eval_epochs: int = option("Epochs between two rankings of the validation split.", 1, least=1)
    eval_steps: int | None = option("Steps between two rankings, instead of epochs.", None, least=1)
    early_stopping_patience: int | None = option("Stop after so many rankings without improvement.", None, least=1)
    save_steps: int | None = option("Steps between two checkpoints. Default: an epoch.", None, least=1)
    logging_steps: int = option("Steps between two lines of the log.", 10, least=1)
    report_to: list[str] = option("Trackers: tensorboard, trackio, wandb, or `none`.", ["tensorboard"])
    expected_processes: int | None = option("Fail when the run has more or fewer processes.", None, least=1)
    picture_weights: list[float] = option("Weights of the entities' pictures to try at each ranking; the best one is "
                                          "saved. The trained one is too high, since training pictures are better "
                                          "known than new ones.", [1.0], above=0, most=1000)  # fmt: skip
    metric_for_best_model: str = option("H@1, H@3, H@5, H@10, H@20 or MRR.", "H@1")
    resume_from_checkpoint: str | None = option("`auto`: the newest in output_dir; or a checkpoint's folder.", None)
    save_total_limit: int = option("How many checkpoints to keep.", 1, least=1)


ARGUMENT_GROUPS = (ModelArguments, DataArguments, TrainArguments)


def parse_arguments(
    argv: Sequence[str] | None = None, prog: str = "train.py"
) -> tuple[ModelArguments, DataArguments, TrainArguments]:
    """Reads an optional YAML file (first argument) and options; an option beats the file.

    Args:
        argv: Arguments as on the command line, `sys.argv[1:]` by default. The YAML file is a path, or the name of a
            config that ships with DIM, such as `wikimel_text`.
        prog: How the command is called in its help.

    Returns:
        The three groups of arguments, checked against each other.

    Raises:
        DIMError: For a file that is not there, an unknown key or option (the error names the nearest known one) or
            values that contradict each other.

    Example:

        >>> _, data, train = parse_arguments("--text_tower x --dataset y --output_dir z --seed 7".split())
        >>> train.seed, data.negatives
        (7, 'in_batch')
        >>> parse_arguments(["sample"])[1].dataset
        'datasets/namesakes'
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = Parser(ARGUMENT_GROUPS, "_", prog=prog, usage="%(prog)s [CONFIG] [--OPTION VALUE ...]",
                    description="Trains DIM. CONFIG is a YAML file of options, or the name of one that ships with DIM, "
                    "such as wikimel_text.")  # fmt: skip
    if argv and not argv[0].startswith("-"):
        path, argv = config_file(argv[0]), argv[1:]
        words = _words(path)
        try:
            parser.parse(words)
        except DIMError as error:
            raise DIMError(f"{path}: {error}") from error
        argv = [*words, *argv]
    model, data, train = parser.parse(argv)
    _check(model, data, train)
    return model, data, train


def _words(path: Path) -> list[str]:
    """The values of a YAML file as options, so that both are checked alike."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DIMError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise DIMError(f"{path} must hold `key: value` lines, got a {type(values).__name__}.")
    known = [one.name for group in ARGUMENT_GROUPS for one in fields(group)]
    words: list[str] = []
    for key, value in values.items():
        if key not in known:
            raise DIMError(f"Unknown key {key!r}{did_you_mean(str(key), known) or '; `--help` lists what there is.'}")
        if isinstance(value, list):
            words += [f"--{key}", *map(str, value)]
        elif value is not None:
            words.append(f"--{key}={value}")
    return words


def _check(model: ModelArguments, data: DataArguments, train: TrainArguments) -> None:
    for name, value in (("dataset", data.dataset), ("output_dir", train.output_dir)):
        if not value:
            raise DIMError(f"--{name} is missing.")
    if (model.model_name_or_path is None) == (model.text_tower is None):
        raise DIMError(
            "Give either --model_name_or_path (a DIM to continue with) or --text_tower (to build a new one)."
        )
    for name in (
        "vision_tower",
        "fusion",
        "projection_dim",
        "max_length",
        "dropout",
        "logit_scale_init_value",
        "lexical_prior",
    ):
        if model.model_name_or_path and getattr(model, name):
            raise DIMError(f"--{name} belongs to --text_tower; a saved DIM has its own.")
    if train.max_steps == 0:
        raise DIMError(f"--max_steps must be positive, or -1 for no limit, got {train.max_steps}.")
    if train.report_to == ["none"]:
        train.report_to = []
    unknown = [name for name in train.report_to if name not in _TRACKERS]
    if unknown:
        raise DIMError(f"--report_to knows {', '.join(_TRACKERS)} and none, got {unknown[0]!r}.")
    for name in (*train.report_to, "matplotlib", *(["peft"] if model.tune == "lora" else [])):
        if importlib.util.find_spec(name) is None:
            raise DIMError(f"Training needs the package {name} here: pip install 'dim-mel[train]' {name}")
