"""The training run: one loop on Accelerate, from prepared data to a published model."""

import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import GradientAccumulationPlugin, set_seed
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import get_scheduler

from dim.common.files import write_json
from dim.errors import DIMError
from dim.metrics.ranks import DEFAULT_KS
from dim.training.arguments import DataArguments, ModelArguments, TrainArguments
from dim.training.batches import Batch, BatchSampler
from dim.training.checkpoints import find_checkpoint, publish
from dim.training.curves import write_curves
from dim.training.data import MELData
from dim.training.distributed import check_processes
from dim.training.interruption import StoppedError, StopSignal
from dim.training.mining import Miner
from dim.training.model import frozen_towers, load_model, merged, parameter_groups
from dim.training.model_card import model_card
from dim.training.prior_fit import LexicalPrior
from dim.training.sharded import configure_deepspeed, gather_weights, is_sharded, sharded_copy
from dim.training.state import RunState, load_state, save_state
from dim.training.step import backward, check_caching, reduce_gradients
from dim.training.validation import picture_weight, rank_validation


def train(model_arguments: ModelArguments, data_arguments: DataArguments, arguments: TrainArguments) -> dict:
    """Trains DIM and leaves the best model, its processor, its card, its curves and `metrics.json` in `output_dir`.

    Args:
        model_arguments: Where the model comes from.
        data_arguments: What it is trained on.
        arguments: How.

    Returns:
        What `metrics.json` holds: the history of the validation split, the best step and its metrics.

    Raises:
        DIMError: Before any long work starts, for bad arguments or data.
        FloatingPointError: If the loss is not finite; the message names the batch's mentions.
        StoppedError: After SIGTERM, when a checkpoint is written.

    Example:

        >>> from dim.training.arguments import parse_arguments
        >>> flags = "--model_name_or_path demo/start --dataset datasets/namesakes --output_dir runs/mine --max_steps 2"
        >>> model, data, arguments = parse_arguments(flags.split())  # `train(model, data, arguments)` runs it
        >>> arguments.metric_for_best_model = "accuracy"
        >>> train(model, data, arguments)
        Traceback (most recent call last):
            ...
        DIMError: --metric_for_best_model must be one of ['H@1', ...], got 'accuracy'.
    """
    return Run(model_arguments, data_arguments, arguments).run()


class Run:
    """A run: everything is made ready when it is built, and checked before anything long begins.

    Args and errors are those of [`train`].
    """

    def __init__(self, model_arguments: ModelArguments, data_arguments: DataArguments, arguments: TrainArguments):
        metrics = [f"H@{k}" for k in DEFAULT_KS] + ["MRR"]
        if arguments.metric_for_best_model not in metrics:
            raise DIMError(
                f"--metric_for_best_model must be one of {metrics}, got {arguments.metric_for_best_model!r}."
            )
        self.groups, self.arguments = (model_arguments, data_arguments, arguments), arguments
        self.output_dir = Path(str(arguments.output_dir))
        checkpoint = find_checkpoint(self.output_dir, arguments.resume_from_checkpoint)
        self.accelerator = accelerator = Accelerator(
            mixed_precision=arguments.mixed_precision,
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=arguments.gradient_accumulation_steps),
            log_with=arguments.report_to or None,
            project_dir=self.output_dir,
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],  # a batch without pictures
        )
        check_processes(accelerator, arguments.expected_processes)
        set_seed(arguments.seed)
        accumulation = arguments.gradient_accumulation_steps
        configure_deepspeed(accelerator, arguments.per_device_train_batch_size, accumulation, arguments.max_grad_norm)
        self.model, self.processor = load_model(model_arguments)
        if arguments.mini_batch_size is not None:
            check_caching(self.model, accelerator)
        if arguments.picture_weights != [1.0] and self.model.config.fusion == "sum":
            raise DIMError("--picture_weights needs fusion='attention'; fusion='sum' adds pictures as they are.")
        pictures = self.output_dir / "cache" / f"pictures-{accelerator.process_index}.u8"
        self.data = MELData(data_arguments, self.processor, pictures, self.model.config)
        if self.data.truncated:
            accelerator.print(f"cut to {self.processor.max_length} tokens: {self.data.truncated}")
        self._encode_frozen()

        world = accelerator.num_processes
        self.miner = Miner(self.data, arguments.per_device_eval_batch_size)
        batch_size = arguments.per_device_train_batch_size * world
        alone = arguments.prior_epochs > 0  # the vectors are trained alone, and the prior is fitted to them
        self.prior = LexicalPrior(self.model, self.data, self.miner, arguments) if alone else None
        rank = accelerator.process_index
        self.sampler = BatchSampler(self.data, batch_size, arguments.seed, rank, world, lexical=not alone)
        self.steps_per_epoch, rest = divmod(self.sampler.steps_per_epoch, arguments.gradient_accumulation_steps)
        if self.steps_per_epoch == 0:
            raise DIMError(
                f"--gradient_accumulation_steps is {arguments.gradient_accumulation_steps}, but an epoch has "
                f"{rest} batches."
            )
        self.total = self.steps_per_epoch * arguments.num_train_epochs
        self.total = self.total if arguments.max_steps < 0 else min(self.total, arguments.max_steps)
        trained = self.model
        if is_sharded(accelerator):  # the whole one ranks
            pixels = None if self.data.pictures is None else self.data.pictures.pixels
            trained = sharded_copy(self.model, None if pixels is None or not len(pixels) else pixels.shape[1:])
        self.model.to(memory_format=torch.channels_last)  # half again as fast for convolutional towers
        optimizer = torch.optim.AdamW(parameter_groups(trained, arguments), lr=arguments.learning_rate)
        # Not prepared: a prepared scheduler would step once for each process.
        self.scheduler = get_scheduler(arguments.lr_scheduler_type, optimizer, arguments.warmup_steps, self.total)
        accelerator.register_for_checkpointing(self.scheduler)
        self.prepared, self.optimizer = accelerator.prepare(trained, optimizer)
        self.state = RunState()
        if checkpoint is not None:
            self.state, self.sampler.negatives = load_state(accelerator, checkpoint)
            accelerator.print(f"resumed from step {self.state.step}")

    def run(self) -> dict:
        """Trains to the end."""
        accelerator, arguments = self.accelerator, self.arguments
        plain = {name: str(value) for group in self.groups for name, value in asdict(group).items()}
        accelerator.init_trackers("logs", config=plain)
        stop = StopSignal(accelerator)
        progress = tqdm(
            total=self.total, initial=self.state.step, desc="training", disable=not accelerator.is_main_process
        )
        while self.state.step < self.total and not self._is_stale():
            epoch, first = divmod(self.state.step, self.steps_per_epoch)
            self._mine(epoch)
            for batches in self.epoch(epoch, first):
                began = time.perf_counter()
                loss, norm = self.step(batches)
                self.state.step += 1
                step = self.state.step
                progress.update()
                if step % arguments.logging_steps == 0:
                    mentions = sum(len(batch.ids) for batch in batches) * accelerator.num_processes
                    self._log(progress, loss, norm, mentions / (time.perf_counter() - began))
                done = step == self.total
                at_end = step % self.steps_per_epoch == 0 and (epoch + 1) % arguments.eval_epochs == 0
                due = at_end if arguments.eval_steps is None else step % arguments.eval_steps == 0
                if done or due:
                    self._evaluate(epoch, loss)
                asked = stop.asked()
                if done or due or asked or step % (arguments.save_steps or self.steps_per_epoch) == 0:
                    self._checkpoint()
                if asked and not done:
                    raise StoppedError(f"stopped by SIGTERM after step {step}; --resume_from_checkpoint auto goes on.")
                if done or self._is_stale():
                    break
        progress.close()
        result = {"best": max(self.state.history, key=lambda row: row["step"] == self.state.best_step),
                  "history": self.state.history}  # fmt: skip
        if accelerator.is_main_process:
            write_json(self.output_dir / "metrics.json", result)
            write_curves(self.output_dir / "curves.png", self.state.history, arguments.metric_for_best_model)
        accelerator.end_training()
        return result

    def epoch(self, epoch: int, first: int) -> Iterator[list[Batch]]:
        """The batches of each remaining step of an epoch, drawn by workers ahead of time."""
        self.sampler.epoch, count = epoch, self.arguments.gradient_accumulation_steps
        steps = range(first * count, self.steps_per_epoch * count)
        loader = DataLoader(
            self.sampler,
            sampler=steps,
            batch_size=None,
            num_workers=self.arguments.dataloader_num_workers,
            generator=torch.Generator(),  # else the loader draws from the generator that drives dropout
        )
        batches: list[Batch] = []
        for batch in loader:
            batches.append(batch)
            if len(batches) == count:
                yield batches
                batches = []

    def step(self, batches: list[Batch]) -> tuple[float, float]:
        """One step of the optimizer; returns the loss and the gradient's length before clipping."""
        accelerator, arguments = self.accelerator, self.arguments
        self.prepared.train()
        losses = []
        for batch in batches:
            losses.append(backward(self.prepared, batch, accelerator, arguments.mini_batch_size))
            if not torch.isfinite(losses[-1]):
                epoch, step = divmod(self.state.step, self.steps_per_epoch)
                raise FloatingPointError(
                    f"The loss is {losses[-1].item()} at epoch {epoch + 1}, step {step + 1}; the batch's mentions are "
                    f"{', '.join(batch.ids)}."
                )
        if arguments.mini_batch_size is not None:
            reduce_gradients(self.model, accelerator)
        norm = accelerator.clip_grad_norm_(self.prepared.parameters(), arguments.max_grad_norm)
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        loss = accelerator.reduce(torch.stack(losses).mean(), "mean")
        return loss.item(), float(norm)

    def _log(self, progress: tqdm, loss: float, norm: float, throughput: float) -> None:
        rate = self.scheduler.get_last_lr()[0]
        progress.set_postfix(loss=f"{loss:.3f}", lr=f"{rate:.1e}", norm=f"{norm:.2f}", mentions=f"{throughput:.0f}/s")
        values = {"loss": loss, "learning_rate": rate, "grad_norm": norm, "mentions_per_second": throughput}
        self.accelerator.log({f"train/{name}": value for name, value in values.items()}, step=self.state.step)

    def _evaluate(self, epoch: int, loss: float) -> None:
        """Ranks the validation split with each of the picture weights, and publishes the model if it is the best."""
        began, arguments, accelerator, state = time.perf_counter(), self.arguments, self.accelerator, self.state
        gather_weights(self.prepared, self.model, accelerator)
        if self.prior is not None:
            self.prior.fit(accelerator)
        weights = arguments.picture_weights if self.model.config.entity_pictures else [1.0]
        found = rank_validation(self.model, self.data, arguments.per_device_eval_batch_size, weights)
        place = max(range(len(weights)), key=lambda place: found[place][arguments.metric_for_best_model])
        row = {"step": state.step, "epoch": epoch + 1, "loss": loss, "picture_weight": weights[place]} | found[place]
        self.state.history.append(row)
        accelerator.log({f"validation/{name}": row[name] for name in found[place]}, step=state.step)
        if accelerator.is_main_process:
            tqdm.write(
                f"epoch {row['epoch']:>3}  step {row['step']:>6}  loss {loss:.3f}  validation H@1 {row['H@1']:.1f}  "
                f"H@5 {row['H@5']:.1f}  MRR {row['MRR']:.1f}  ({time.perf_counter() - began:.1f} s)"
            )
        if row[arguments.metric_for_best_model] > state.best:
            state.best, state.best_step = row[arguments.metric_for_best_model], state.step
            if accelerator.is_main_process:
                with picture_weight(self.model, weights[place]):
                    self._publish(row)

    def _is_stale(self) -> bool:
        """Whether the last `early_stopping_patience` rankings were no better than an earlier one."""
        patience = self.arguments.early_stopping_patience
        return (
            patience is not None and sum(row["step"] > self.state.best_step for row in self.state.history) >= patience
        )

    def _mine(self, epoch: int) -> None:
        """Looks for hard negatives, if this epoch is one for it."""
        every, state = self.groups[1].mine_every, self.state
        due = epoch - epoch % every
        if self.groups[1].negatives == "mined" and state.mined_epoch != due:
            state.mined_epoch = due
            gather_weights(self.prepared, self.model, self.accelerator)
            with self.accelerator.autocast():
                self.sampler.negatives = self.miner.mine(*self.miner.encode(self.model))

    def _encode_frozen(self) -> None:
        """Runs frozen towers once over everything, so that epochs read their vectors."""
        self.model.to(self.accelerator.device).eval()
        frozen, cache = frozen_towers(self.model), self.output_dir / "cache"
        size, device = self.arguments.per_device_eval_batch_size, self.accelerator.device
        if frozen["text"]:
            for bank in self.data.text_banks():
                bank.encode(self.model, size, device, cache)
        if frozen.get("vision") and self.data.pictures is not None:
            self.data.pictures.encode(self.model, size, device, cache)

    def _publish(self, row: dict) -> None:
        settings = {key: value for group in self.groups for key, value in asdict(group).items()}

        def save(folder: Path) -> None:
            merged(self.model).save_pretrained(folder)
            self.processor.save_pretrained(folder)
            (folder / "README.md").write_text(model_card(row, settings), encoding="utf-8")

        publish(self.output_dir, save)

    def _checkpoint(self) -> None:
        keep = self.arguments.save_total_limit
        save_state(self.accelerator, self.output_dir, self.state, self.sampler.negatives, keep)


__all__ = ["Run", "train"]
