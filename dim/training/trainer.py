"""Training from Python: `dim train` is its first user."""

from collections.abc import Sequence

from datasets import Dataset
from transformers import TrainerCallback

from dim.errors import DIMError
from dim.modeling_dim import DIMModel
from dim.processing_dim import DIMProcessor
from dim.training.arguments import DataArguments, ModelArguments, TrainArguments
from dim.training.loop import Run
from dim.training.precision import with_precision
from dim.training.tables import Tables, tables_in_memory


class DIMTrainer:
    """Trains a DIM on datasets in memory, or on those that arguments name.

    The loop, its checkpoints and its output are those of `dim train`: the best model by the validation split, its
    processor, card, learning curves and `metrics.json`.

    Args:
        model: The model to start from, which is trained in place, or the arguments by which it is loaded. Parameters
            without `requires_grad` are not trained; a tower that is frozen as a whole encodes the dataset once.
            Adapters that `peft.inject_adapter_in_model` added are merged into the model that is written.
        args: How to train; the options of `dim train`.
        train_dataset: Training mentions with the columns `id`, `sentence`, `mention`, `start`, `end`, `image` and
            `entity_id`, as `load_mentions` gives them. Without it, `data_args.dataset` is loaded.
        eval_dataset: Validation mentions, which are ranked against all entities.
        entities: The knowledge base with the columns `id`, `name`, `description` and `images`, as `load_entities`
            gives it.
        processing_class: The processor of a model that is given.
        data_args: How batches are drawn.
        callbacks: Callbacks of transformers, which are called as by its `Trainer`. `should_training_stop`,
            `should_evaluate` and `should_save` of their control are heeded.

    Raises:
        DIMError: If `args` lack an `output_dir`, or something that belongs together is given in part.

    Example:

        >>> from dim import DIMTrainer, TrainArguments, load_dim, load_entities, load_mentions
        >>> model, processor = load_dim("demo/start")
        >>> trainer = DIMTrainer(
        ...     model, TrainArguments(output_dir="runs/python", max_steps=2, report_to=[]),
        ...     load_mentions("datasets/namesakes", "train").select(range(64)),
        ...     load_mentions("datasets/namesakes", "validation").select(range(64)),
        ...     load_entities("datasets/namesakes"), processor)
        >>> trainer.args.max_steps  # `trainer.train()` runs it
        2
    """

    def __init__(
        self,
        model: DIMModel | ModelArguments,
        args: TrainArguments,
        train_dataset: Dataset | None = None,
        eval_dataset: Dataset | None = None,
        entities: Dataset | None = None,
        processing_class: DIMProcessor | None = None,
        data_args: DataArguments | None = None,
        callbacks: Sequence[TrainerCallback | type[TrainerCallback]] = (),
    ):
        if not args.output_dir:
            raise DIMError("args needs an output_dir, the folder of the model and the checkpoints.")
        self.data_args = DataArguments() if data_args is None else data_args
        self.start: ModelArguments | tuple[DIMModel, DIMProcessor]
        if isinstance(model, ModelArguments) and processing_class is None:
            self.start = model
        elif isinstance(model, DIMModel) and processing_class is not None:
            self.start = model, processing_class
        else:
            raise DIMError("A model is given with its processing_class, and its arguments without one.")
        self.args, self.callbacks = args, callbacks
        given = train_dataset, eval_dataset, entities
        self.tables: Tables | None = None
        if train_dataset is not None and eval_dataset is not None and entities is not None:
            self.tables = tables_in_memory(train_dataset, eval_dataset, entities, self.data_args)
        elif any(rows is not None for rows in given) or not self.data_args.dataset:
            raise DIMError("Give train_dataset, eval_dataset and entities, or the name of a dataset in data_args.")

    def train(self) -> dict:
        """Trains, or resumes as `args.resume_from_checkpoint` says.

        Returns:
            The content of `metrics.json`: `history`, the metrics of each evaluation on the validation split, and
            `best`, those of the published model.

        Raises:
            DIMError: Before any long work starts, for bad arguments or data.
            FloatingPointError: If the loss is not finite; the message names the batch's mentions.
            StoppedError: After SIGTERM or Ctrl-C, when a checkpoint is written.
        """
        return Run(self.start, self.data_args, with_precision(self.args), self.tables, self.callbacks).run()


def train(model_arguments: ModelArguments, data_arguments: DataArguments, arguments: TrainArguments) -> dict:
    """Trains as `dim train` does.

    Args:
        model_arguments: The model to start from.
        data_arguments: The dataset, and how batches are drawn.
        arguments: How to train.

    Returns:
        What [`DIMTrainer.train`] returns.

    Raises:
        DIMError, FloatingPointError, StoppedError: As [`DIMTrainer.train`].

    Example:

        >>> from dim.training.arguments import parse_arguments
        >>> flags = "--model_name_or_path demo/start --dataset datasets/namesakes --output_dir runs/mine --max_steps 2"
        >>> model, data, arguments = parse_arguments(flags.split())  # `train(model, data, arguments)` runs it
        >>> arguments.metric_for_best_model = "accuracy"
        >>> train(model, data, arguments)
        Traceback (most recent call last):
            ...
        dim.errors_dim.DIMError: --metric_for_best_model must be one of ['H@1', ...], got 'accuracy'.
    """
    return DIMTrainer(model_arguments, arguments, data_args=data_arguments).train()
