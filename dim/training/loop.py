"""The training loop, on Accelerate: from a prepared dataset to a published model."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from accelerate.logging import get_logger
from accelerate.utils import set_seed
from torch import Tensor
from tqdm.auto import tqdm
from transformers import TrainerCallback, get_scheduler

from dim.common.files import write_json
from dim.errors import DIMError
from dim.metrics.ranks import DEFAULT_KS
from dim.modeling_dim import DIMModel
from dim.processing_dim import DIMProcessor
from dim.training.arguments import DataArguments, ModelArguments, TrainArguments
from dim.training.batches import Batch, BatchDataset
from dim.training.callbacks import Callbacks
from dim.training.checkpoints import publish
from dim.training.curves import write_curves
from dim.training.data import MELData
from dim.training.distributed import start_accelerator
from dim.training.identity import content_of, settings_of, start_of
from dim.training.interruption import StoppedError, StopSignal
from dim.training.mining import HardNegativeMiner
from dim.training.model import load_model, merged, parameter_groups
from dim.training.model_card import model_card
from dim.training.plan import obstacles, plan_steps
from dim.training.prior_fit import LexicalPriorFitter
from dim.training.resuming import Beginning
from dim.training.sharded import gather_weights, is_sharded, sharded_copy
from dim.training.state import RunState, Trained, load_state, save_state
from dim.training.step import Objective, backward, check_caching, reduce_gradients
from dim.training.tables import Tables
from dim.training.validation import picture_weight, rank_at_best_weight
from dim.training.watch import LossWatch

logger = get_logger(__name__)
_METRICS = [*(f"H@{k}" for k in DEFAULT_KS), "MRR"]


class Run:
    """A training run. The constructor checks its arguments and prepares everything; `run` trains.

    Args:
        start: The model to start from with its processor, or the arguments by which they are loaded.
        data_arguments: The dataset, and how batches are drawn.
        arguments: How to train.
        tables: The rows of the dataset; they are loaded by its name by default.
        callbacks: Callbacks of transformers.

    Raises:
        DIMError: As [`dim.training.trainer.DIMTrainer.train`].
    """

    def __init__(
        self,
        start: ModelArguments | tuple[DIMModel, DIMProcessor],
        data_arguments: DataArguments,
        arguments: TrainArguments,
        tables: Tables | None = None,
        callbacks: Sequence[TrainerCallback | type[TrainerCallback]] = (),
    ):
        if arguments.metric_for_best_model not in _METRICS:
            got = arguments.metric_for_best_model
            raise DIMError(f"--metric_for_best_model must be one of {_METRICS}, got {got!r}.")
        self.arguments, self.output_dir = arguments, Path(str(arguments.output_dir))
        chosen = start if isinstance(start, ModelArguments) else ModelArguments()
        self.settings = asdict(chosen) | asdict(data_arguments) | asdict(arguments)
        self.accelerator = start_accelerator(arguments)
        resume, decisive = arguments.resume_from_checkpoint, settings_of(self.settings, self.accelerator.num_processes)
        self.beginning = Beginning(self.output_dir, resume, arguments.overwrite, decisive)
        set_seed(arguments.seed)
        self.model, self.processor = load_model(start) if isinstance(start, ModelArguments) else start
        self._check_model()
        origin = start_of(self.model, self.processor)
        self.data = self._prepare_data(data_arguments, tables)
        self.beginning.check_content(content_of(self.data, origin))
        self._encode_frozen()
        main = self.accelerator.is_main_process
        self.miner = HardNegativeMiner(self.data, arguments.per_device_eval_batch_size, progress=main)
        fitted = arguments.prior_epochs > 0  # the vectors are trained without the prior, then it is fitted to them
        self.prior = LexicalPriorFitter(self.model, self.data, self.miner, arguments) if fitted else None
        self.batches = self._make_batches(lexical=not fitted)
        self.plan = plan_steps(self.batches, arguments)
        for line in obstacles(self.plan, self.batches, arguments):
            logger.warning(line)
        self.prepared, self.optimizer, self.scheduler = self._prepare_model()
        self.trained = Trained(self.accelerator, self.prepared, self.optimizer, self.scheduler)
        self.state = self._begin()
        self.callbacks = Callbacks(callbacks, arguments, main, model=self.model, processing_class=self.processor,
                                   optimizer=self.optimizer, lr_scheduler=self.scheduler)  # fmt: skip
        self.mentions, self.seconds = 0, 0.0  # since the last line of the log

    def _make_batches(self, lexical: bool) -> BatchDataset:
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        size = self.arguments.per_device_train_batch_size * world
        return BatchDataset(self.data, size, self.arguments.seed, rank, world, lexical=lexical)

    def _begin(self) -> RunState:
        """Loads the checkpoint, if the run continues one, or makes room for the checkpoints of a new run."""
        self.accelerator.wait_for_everyone()  # no process deletes what another one still reads
        if self.accelerator.is_main_process:
            self.beginning.clear()
        self.accelerator.wait_for_everyone()
        if self.beginning.checkpoint is None:
            return RunState()
        state, self.batches.negatives = load_state(self.trained, self.beginning.checkpoint)
        logger.info("resumed from step %d", state.step)
        if state.step >= self.plan.total:
            logger.warning("this run is finished: it has done %d of %d steps", state.step, self.plan.total)
        return state

    def _check_model(self) -> None:
        if self.arguments.mini_batch_size is not None:
            check_caching(self.model, self.accelerator)
        if self.arguments.picture_weights != [1.0] and self.model.config.fusion == "sum":
            raise DIMError("--picture_weights needs fusion='attention' or 'pairs'; 'sum' adds pictures as they are.")

    def _prepare_data(self, arguments: DataArguments, tables: Tables | None) -> MELData:
        pictures = self.output_dir / "cache" / f"pictures-{self.accelerator.process_index}.u8"
        data = MELData(arguments, self.processor, pictures, self.model.config, tables)
        if data.truncated:
            logger.info("cut to %d tokens: %s", self.processor.max_text_length, data.truncated)
        return data

    def _encode_frozen(self) -> None:
        """Encodes the dataset once for all epochs by the towers that are frozen."""
        # Channels last: 1.5 times as fast for convolutional towers.
        self.model.to(self.accelerator.device, memory_format=torch.channels_last).eval()
        batch_size, cache = self.arguments.per_device_eval_batch_size, self.output_dir / "cache"
        store, hold = self.accelerator.is_main_process, not self.arguments.dataloader_num_workers
        for bank in self.data.frozen_banks(self.model):
            bank.encode(self.model, batch_size, cache, store, hold)

    def _prepare_model(self) -> tuple[torch.nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        """The objective that is trained, with its optimizer and its schedule of learning rates."""
        accelerator, arguments, trained = self.accelerator, self.arguments, self.model
        if is_sharded(accelerator):  # `self.model` stays whole, and ranks
            pictures = self.data.pictures
            trained = sharded_copy(self.model, None if pictures is None else pictures.pixels.shape[1:])
        fused = accelerator.device.type == "cuda" and not is_sharded(accelerator)
        optimizer = torch.optim.AdamW(parameter_groups(trained, arguments), lr=arguments.learning_rate, fused=fused)
        self.watch = LossWatch(optimizer)
        # Not prepared: a prepared scheduler would step once for each process.
        scheduler = get_scheduler(arguments.lr_scheduler_type, optimizer, self.plan.warmup, self.plan.total)
        if is_sharded(accelerator):
            accelerator.register_for_checkpointing(scheduler)
        return *accelerator.prepare(Objective(trained), optimizer), scheduler

    def run(self) -> dict:
        """Trains to the end; returns what [`dim.training.trainer.DIMTrainer.train`] returns."""
        self.accelerator.init_trackers("logs", config={name: str(value) for name, value in self.settings.items()})
        hidden = not self.accelerator.is_main_process
        bar = tqdm(total=self.plan.total, initial=self.state.step, desc="training", disable=hidden)
        self._call("on_train_begin")
        with StopSignal(self.accelerator) as stop, bar as progress:
            while not self._is_over():
                epoch, first = divmod(self.state.step, self.plan.per_epoch)
                self._mine(epoch)
                self._call("on_epoch_begin")
                for batches in self.epoch(epoch, first):
                    self._call("on_step_begin")
                    self._after_step(epoch, self._logged_step(batches, progress), stop)
                    if self._is_over():
                        break
                self._call("on_epoch_end")
        self._call("on_train_end")
        return self._finish()

    def _call(self, event: str, **values: dict) -> None:
        self.callbacks.call(event, self.state.step, self.state.step / self.plan.per_epoch, **values)

    def _is_over(self) -> bool:
        stale = self.state.is_stale(self.arguments.early_stopping_patience)
        return self.state.step >= self.plan.total or stale or self.callbacks.control.should_training_stop

    def epoch(self, epoch: int, first: int) -> Iterator[list[Batch]]:
        """Yields the batches of each step of an epoch, from step `first` on."""
        accumulation, workers = self.arguments.gradient_accumulation_steps, self.arguments.dataloader_num_workers
        return self.batches.steps(epoch, first, accumulation, workers, ahead=self.accelerator.device.type == "cuda")

    def step(self, batches: list[Batch]) -> tuple[Tensor, Tensor]:
        """Takes one step of the optimizer; returns loss and unclipped gradient norm, which may not be ready yet."""
        accelerator, arguments = self.accelerator, self.arguments
        self.prepared.train()
        losses = torch.stack([backward(self.prepared, batch, accelerator, arguments.mini_batch_size)
                              for batch in batches])  # fmt: skip
        loss = accelerator.reduce(losses.mean(), "mean")
        self.watch.add(losses, loss, batches, *divmod(self.state.step, self.plan.per_epoch))
        if arguments.mini_batch_size is not None:
            reduce_gradients(self.model, accelerator)
        norm = accelerator.clip_grad_norm_(self.prepared.parameters(), arguments.max_grad_norm)
        self.optimizer.step()
        if hasattr(self.model, "logit_scale"):
            accelerator.unwrap_model(self.prepared).model.logit_scale.clamp()
        self.scheduler.step()
        self.optimizer.zero_grad()
        return loss, norm

    def _logged_step(self, batches: list[Batch], progress: tqdm) -> Tensor:
        """Takes one step, logs it if that is due, and returns its loss."""
        began = time.perf_counter()
        loss, norm = self.step(batches)
        self.state.step += 1
        progress.update()
        due = self.state.step % self.arguments.logging_steps == 0
        if due:
            self.watch.check()  # waits for a GPU
        self.mentions += sum(len(batch.ids) for batch in batches) * self.accelerator.num_processes
        self.seconds += time.perf_counter() - began
        if due:
            speed, rate = self.mentions / self.seconds, self.scheduler.get_last_lr()[0]
            self.mentions, self.seconds = 0, 0.0
            values = {
                "loss": float(loss),
                "learning_rate": rate,
                "grad_norm": float(norm),
                "mentions_per_second": speed,
            }
            progress.set_postfix(loss=f"{loss:.3f}", lr=f"{rate:.1e}", norm=f"{norm:.2f}", mentions=f"{speed:.0f}/s")
            self.accelerator.log({f"train/{name}": value for name, value in values.items()}, step=self.state.step)
            self._call("on_log", logs=values)
        self._call("on_step_end")
        return loss

    def _after_step(self, epoch: int, loss: Tensor, stop: StopSignal) -> None:
        """Evaluates, writes a checkpoint and stops the run, each if it is due."""
        arguments, step, wishes = self.arguments, self.state.step, self.callbacks.control
        done = step == self.plan.total or wishes.should_training_stop
        ends = step % self.plan.per_epoch == 0 and (epoch + 1) % arguments.eval_epochs == 0
        due = ends if arguments.eval_steps is None else step % arguments.eval_steps == 0
        evaluated = done or due or wishes.should_evaluate
        if evaluated:
            self.watch.check()
            self._evaluate(epoch, float(loss))
        stopped = stop.asked()
        due = step % (arguments.save_steps or self.plan.per_epoch) == 0
        if evaluated or stopped or due or wishes.should_save:
            self.watch.check()
            kept = self.state, self.batches.negatives, arguments.save_total_limit, self.beginning.run
            save_state(self.trained, self.output_dir, *kept)
            self._call("on_save")
        if stopped and not done:
            raise StoppedError(step, stopped)

    def _mine(self, epoch: int) -> None:
        """Mines hard negatives every `mine_every` epochs."""
        due = epoch - epoch % self.data.arguments.mine_every
        if self.data.arguments.negatives == "mined" and self.state.mined_epoch != due:
            self.state.mined_epoch = due
            gather_weights(self.prepared, self.model, self.accelerator)
            with self.accelerator.autocast():
                self.batches.negatives = self.miner.mine(*self.miner.encode(self.model))

    def _evaluate(self, epoch: int, loss: float) -> None:
        """Ranks the validation split, and publishes the model if it is the best so far."""
        began = time.perf_counter()
        gather_weights(self.prepared, self.model, self.accelerator)
        if self.prior is not None:
            self.prior.fit(self.accelerator)
        weights = self.arguments.picture_weights if self.model.config.entity_pictures else [1.0]
        size, by = self.arguments.per_device_eval_batch_size, self.arguments.metric_for_best_model
        weight, metrics = rank_at_best_weight(self.model, self.data, size, weights, by)
        row = {"step": self.state.step, "epoch": epoch + 1, "loss": loss, "picture_weight": weight} | metrics
        self.state.history.append(row)
        self.accelerator.log({f"validation/{name}": value for name, value in metrics.items()}, step=self.state.step)
        if self.accelerator.is_main_process:
            tqdm.write(
                f"epoch {row['epoch']:>3}  step {row['step']:>6}  loss {loss:.3f}  validation H@1 {row['H@1']:.1f}  "
                f"H@5 {row['H@5']:.1f}  MRR {row['MRR']:.1f}  ({time.perf_counter() - began:.1f} s)"
            )
        self._publish_if_best(row)
        self._call("on_evaluate", metrics=row)

    def _publish_if_best(self, row: dict) -> None:
        def save(folder: Path) -> None:
            merged(self.model).save_pretrained(folder)
            self.processor.save_pretrained(folder)
            (folder / "README.md").write_text(model_card(row, self.settings), encoding="utf-8")

        if (value := row[self.arguments.metric_for_best_model]) > self.state.best:
            self.state.best, self.state.best_step = value, self.state.step
            if self.accelerator.is_main_process:
                with picture_weight(self.model, row["picture_weight"]):
                    publish(self.output_dir, save)

    def _finish(self) -> dict:
        """Writes the metrics and the learning curves, and returns the metrics."""
        history = self.state.history
        best = next(row for row in history if row["step"] == self.state.best_step)
        if self.accelerator.is_main_process:
            write_json(self.output_dir / "metrics.json", {"best": best, "history": history})
            write_curves(self.output_dir / "curves.png", history, self.arguments.metric_for_best_model)
        self.accelerator.end_training()
        return {"best": best, "history": history}
