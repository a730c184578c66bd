"""The training run: one loop on Accelerate, from prepared data to a published model."""

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn
from tqdm.auto import tqdm
from transformers import get_scheduler

from dim.evaluation.ranking import DEFAULT_KS
from dim.modeling_dim import DIMModel
from dim.processing_dim import DIMProcessor
from dim.training.arguments import DataArguments, ModelArguments, TrainArguments
from dim.training.batches import BatchSampler
from dim.training.card import model_card
from dim.training.checkpoints import find_checkpoint, publish, read_state, write_checkpoint, write_json
from dim.training.data import MELData
from dim.training.evaluation import picture_weight, rank_validation

logger = logging.getLogger(__name__)


@dataclass
class RunState:
    """How far a run has come: what a checkpoint holds beside tensors."""

    step: int = 0
    best: float = -1.0
    best_step: int = 0


def load_model(arguments: ModelArguments) -> tuple[DIMModel, DIMProcessor]:
    """The model and processor that a run starts from.

    Args:
        arguments: A DIM to go on with, or towers to build on.

    Returns:
        Both, with frozen towers marked so.

    Raises:
        ValueError: If a name is neither a folder nor on the Hub, or holds no such model.
    """
    source = str(arguments.model_name_or_path or arguments.text_tower)
    try:
        if arguments.model_name_or_path:
            model = DIMModel.from_pretrained(source, dtype=torch.float32)
            processor = DIMProcessor.from_pretrained(source)
        else:
            model = DIMModel.from_towers(source, arguments.vision_tower)
            processor = DIMProcessor.from_towers(source, arguments.vision_tower, max_length=arguments.max_length)
    except OSError as error:
        names = " or ".join(repr(name) for name in (source, arguments.vision_tower) if name)
        raise ValueError(f"Cannot load {names}: neither a model folder nor reachable on the Hub ({error}).") from error
    frozen = ["text_model", "text_projection"] if arguments.freeze_text else []
    if model.config.uses_pictures:
        frozen += ["vision_model", "visual_projection"] if arguments.freeze_vision else []
    elif arguments.freeze_vision:
        raise ValueError("--freeze_vision is set, but the model has no vision tower.")
    for name in frozen:
        getattr(model, name).requires_grad_(False)
    return model, processor


def parameter_groups(
    model: DIMModel, learning_rate: float, head_learning_rate: float, weight_decay: float
) -> list[dict]:
    """Parameters to train, by learning rate (towers, head) and weight decay (none on biases, norms and scales).

    Args:
        model: The model.
        learning_rate: Of the towers and their projections into the shared space.
        head_learning_rate: Of everything else.
        weight_decay: Of matrices.

    Returns:
        Groups for an optimizer of torch; empty ones left out.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            tower = name.startswith(("text_", "vision_", "visual_"))
            groups.setdefault((tower, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": learning_rate if tower else head_learning_rate,
            "weight_decay": weight_decay if matrix else 0.0,
        }
        for (tower, matrix), parameters in groups.items()
    ]


def train(model_arguments: ModelArguments, data_arguments: DataArguments, arguments: TrainArguments) -> dict:
    """Trains DIM and leaves the best model, its processor, its card and `metrics.json` in `output_dir`.

    Args:
        model_arguments: Where the model comes from.
        data_arguments: What it is trained on.
        arguments: How.

    Returns:
        What `metrics.json` holds: the history of the validation split, the best step and its metrics.

    Raises:
        ValueError: Before any long work starts, for bad arguments or data.
        FloatingPointError: If the loss is not finite; the message names the batch's mentions.
    """
    metrics = [f"H@{k}" for k in DEFAULT_KS] + ["MRR"]
    if arguments.metric_for_best_model not in metrics:
        raise ValueError(f"--metric_for_best_model must be one of {metrics}, got {arguments.metric_for_best_model!r}.")
    output_dir = Path(str(arguments.output_dir))
    checkpoint = find_checkpoint(output_dir, arguments.resume_from_checkpoint)
    accelerator = Accelerator(mixed_precision=arguments.mixed_precision)
    accelerator.print(f"processes: {accelerator.num_processes}, device: {accelerator.device}")
    set_seed(arguments.seed)
    model, processor = load_model(model_arguments)
    pictures = output_dir / "cache" / f"pictures-{accelerator.process_index}.u8"
    data = MELData(data_arguments, processor, pictures, model.config.uses_pictures)
    _report_truncation(data, processor, accelerator)
    _encode_frozen(model, data, model_arguments, arguments.per_device_eval_batch_size, accelerator.device)

    batch_size = arguments.per_device_train_batch_size * accelerator.num_processes
    sampler = BatchSampler(data, batch_size, arguments.seed, accelerator.process_index, accelerator.num_processes)
    total = sampler.steps_per_epoch * arguments.num_train_epochs
    total = total if arguments.max_steps < 0 else min(total, arguments.max_steps)
    head_rate = arguments.head_learning_rate or arguments.learning_rate
    optimizer = torch.optim.AdamW(
        parameter_groups(model, arguments.learning_rate, head_rate, arguments.weight_decay), lr=arguments.learning_rate
    )
    # Not prepared: a prepared scheduler would step once for each process.
    scheduler = get_scheduler(arguments.lr_scheduler_type, optimizer, arguments.warmup_steps, total)
    accelerator.register_for_checkpointing(scheduler)
    prepared, optimizer = accelerator.prepare(model, optimizer)
    state, history = RunState(), []
    if checkpoint is not None:
        accelerator.load_state(str(checkpoint))
        saved = read_state(checkpoint)
        state, history = RunState(**saved["state"]), saved["history"]
        accelerator.print(f"resumed from step {state.step}")

    progress = tqdm(total=total, initial=state.step, desc="training", disable=not accelerator.is_main_process)
    while state.step < total:
        epoch, step = divmod(state.step, sampler.steps_per_epoch)
        loss = _step(prepared, sampler, epoch, step, optimizer, scheduler, arguments.max_grad_norm, accelerator)
        state.step += 1
        progress.update()
        if state.step % 10 == 0:
            progress.set_postfix(loss=f"{loss.item():.3f}", lr=f"{scheduler.get_last_lr()[0]:.1e}")
        done = state.step == total
        if done or (step + 1 == sampler.steps_per_epoch and (epoch + 1) % arguments.eval_epochs == 0):
            _check_finite(loss, sampler, epoch, step)
            began = time.perf_counter()
            ranked, weight = _rank(model, data, arguments)
            row = {"step": state.step, "epoch": epoch + 1, "loss": loss.item(), "picture_weight": weight}
            history.append(row | ranked)
            _tell(history[-1], time.perf_counter() - began, accelerator)
            if ranked[arguments.metric_for_best_model] > state.best:
                state.best, state.best_step = ranked[arguments.metric_for_best_model], state.step
                if accelerator.is_main_process:
                    with picture_weight(model, weight):
                        _publish(
                            output_dir, model, processor, history[-1], (model_arguments, data_arguments, arguments)
                        )
            _checkpoint(accelerator, output_dir, state, history, arguments.save_total_limit)
    progress.close()
    result = {"best": max(history, key=lambda row: row["step"] == state.best_step), "history": history}
    if accelerator.is_main_process:
        write_json(output_dir / "metrics.json", result)
    accelerator.end_training()
    return result


def _step(
    model: nn.Module,
    sampler: BatchSampler,
    epoch: int,
    step: int,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    max_grad_norm: float,
    accelerator: Accelerator,
) -> Tensor:
    """One step of the optimizer; returns the loss, still on the device."""
    model.train()
    batch = {name: tensor.to(accelerator.device) for name, tensor in sampler.batch(epoch, step).items()}
    with accelerator.autocast():
        loss = model(**batch).loss
    _check_finite(loss, sampler, epoch, step)
    accelerator.backward(loss)
    accelerator.clip_grad_norm_(model.parameters(), max_grad_norm)
    optimizer.step()
    scheduler.step()
    optimizer.zero_grad()
    return loss.detach()


def _rank(model: DIMModel, data: MELData, arguments: TrainArguments) -> tuple[dict[str, float], float]:
    """Metrics of the validation split with the best of the picture weights, and that weight; the first of equals."""
    weights = arguments.picture_weights if model.config.entity_pictures else [1.0]
    found = rank_validation(model, data, arguments.per_device_eval_batch_size, weights)
    best = max(range(len(weights)), key=lambda place: found[place][arguments.metric_for_best_model])
    return found[best], weights[best]


def _check_finite(loss: Tensor, sampler: BatchSampler, epoch: int, step: int) -> None:
    if not torch.isfinite(loss):
        names = ", ".join(sampler.ids(epoch, step))
        raise FloatingPointError(
            f"The loss is {loss.item()} at epoch {epoch + 1}, step {step + 1}; the batch's mentions are {names}."
        )


def _encode_frozen(
    model: DIMModel, data: MELData, arguments: ModelArguments, batch_size: int, device: torch.device
) -> None:
    """Runs frozen towers once over everything, so that epochs read their vectors."""
    model.to(device).eval()
    if arguments.freeze_text:
        for bank in data.text_banks():
            bank.encode(model, batch_size, device)
    if arguments.freeze_vision and data.pictures is not None:
        data.pictures.encode(model, batch_size, device)


def _report_truncation(data: MELData, processor: DIMProcessor, accelerator: Accelerator) -> None:
    cut = {"training sentences": data.train.truncated, "validation sentences": data.validation.truncated,
           "entities": data.entities.truncated}  # fmt: skip
    told = ", ".join(f"{count} {what}" for what, count in cut.items() if count)
    if told:
        accelerator.print(f"cut to {processor.max_length} tokens: {told}")


def _tell(row: dict, seconds: float, accelerator: Accelerator) -> None:
    if accelerator.is_main_process:
        tqdm.write(
            f"epoch {row['epoch']:>3}  step {row['step']:>6}  loss {row['loss']:.3f}  "
            f"validation H@1 {row['H@1']:.1f}  H@5 {row['H@5']:.1f}  MRR {row['MRR']:.1f}  ({seconds:.1f} s)"
        )


def _publish(
    output_dir: Path, model: DIMModel, processor: DIMProcessor, row: dict, arguments: Sequence[object]
) -> None:
    settings = {key: value for group in arguments for key, value in asdict(group).items()}  # type: ignore[call-overload]

    def save(folder: Path) -> None:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        (folder / "README.md").write_text(model_card(row, settings), encoding="utf-8")

    publish(output_dir, save)


def _checkpoint(accelerator: Accelerator, output_dir: Path, state: RunState, history: list, keep: int) -> None:
    accelerator.wait_for_everyone()
    if accelerator.num_processes > 1:
        # Each process holds a random state of its own, so all of them write; only then is the folder renamed.
        shared = output_dir / f".checkpoint-{state.step}-all"
        accelerator.save_state(str(shared))
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            content = {"state": asdict(state), "history": history}
            write_checkpoint(output_dir, state.step, lambda folder: _move(shared, folder), content, keep)
        accelerator.wait_for_everyone()
    else:
        content = {"state": asdict(state), "history": history}
        write_checkpoint(output_dir, state.step, lambda folder: accelerator.save_state(str(folder)), content, keep)


def _move(source: Path, target: Path) -> None:
    for path in source.iterdir():
        path.rename(target / path.name)
    source.rmdir()


__all__ = ["RunState", "load_model", "parameter_groups", "train"]
