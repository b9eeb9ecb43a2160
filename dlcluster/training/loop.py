"""The training loop: epochs of steps, each said out loud; evaluate, report, remember the best, save."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dlcluster.data.batches import Samples, epoch_order, rank_slice
from dlcluster.training.checkpoint import Progress, Saver, Training, capture, copied, random_state
from dlcluster.training.objective import Objective
from dlcluster.training.ranks import Ranks

if TYPE_CHECKING:
    from dlcluster.spec import TrainJob

SYNC_SECONDS = 0.5
"""How often the ranks look up from their steps to ask rank 0 whether to stop or to save."""
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Ended:
    """How `train` ended.

    Attributes:
        state: ``SUCCEEDED``, ``STOPPED`` or ``FAILED``.
        cause: ``None`` when it succeeded; else ``stopped`` or ``nan_loss``.
        reason: In words; early stopping is one, too.
    """

    state: str
    cause: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Hooks:
    """What the loop is given to talk to the world; it knows nothing of Ray or of a store.

    Attributes:
        report: Takes one row per epoch; returns at once.
        stop: The reason to stop, or None; read often, so it must be cheap.
        saver: Saves copies; None on ranks other than 0.
        prune: Called after an epoch with the best epoch so far.
        clock: Seconds, monotonic.
    """

    report: Callable[[dict[str, Any]], None]
    stop: Callable[[], str | None] = lambda: None
    saver: Saver | None = None
    clock: Callable[[], float] = time.perf_counter


class _Cadence:
    """How many steps to go until about `SYNC_SECONDS` have passed; the same number on all ranks."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock, self.at, self.next, self.gap = clock, clock(), 1, 1

    def agreed(self, step: int, gap: int) -> None:
        self.at, self.gap, self.next = self.clock(), gap, step + gap

    def propose(self) -> int:
        seconds = max(self.clock() - self.at, 1e-9) / self.gap
        return max(1, min(self.gap * 8, int(SYNC_SECONDS / seconds)))


def train(
    job: TrainJob,
    training: Training,
    splits: Mapping[str, Samples],
    objective: Objective,
    ranks: Ranks,
    hooks: Hooks,
) -> Ended:
    """Trains until the last epoch, until early stopping, until told to stop, or until the loss is not a number.

    All ranks call it with the same arguments but their own `Ranks`; `training.progress` says where to begin.

    Args:
        job: Only its ``training`` and ``checkpoint`` sections are read.
        training: Model, optimizer and the rest, fresh or restored; changed in place. When it succeeded, the
            model holds the weights of the best epoch by ``checkpoint.metric``.
        splits: Train and validation samples.
        objective: Loss and metrics.
        ranks: This process among all.
        hooks: Where rows and copies go, and who says stop.
    """
    spec, progress = job.training, training.progress
    # What is called is compiled and wrapped; what is saved is the bare model.
    forward: nn.Module = torch.compile(training.model) if spec.compile else training.model  # type: ignore[assignment]
    forward = ranks.wrap(forward)
    cadence = _Cadence(hooks.clock)
    cadence.agreed(progress.step, 1)
    while progress.epoch <= spec.epochs and not progress.stopped_early:
        stop = _train_epoch(job, training, forward, splits["train"], objective, ranks, hooks, cadence)
        if stop is not None:
            _save(training, ranks, hooks, wait=True)
            return Ended("STOPPED", "stopped", stop)
        row = _finish_epoch(job, training, splits, objective, ranks)
        progress.history.append(row)
        if ranks.leads:
            hooks.report(row)
        if not math.isfinite(row["train_loss"]) and job.retry.nan_loss == "stop":
            return Ended("FAILED", "nan_loss", _nan_words(row, progress, training))
        _remember_best(job, training, row)
        progress.epoch, progress.step_in_epoch = progress.epoch + 1, 0
        progress.loss_sum, progress.samples, progress.epoch_seconds = 0.0, 0, 0.0
        if ranks.decide(partial(_due_after_epoch, job, row["epoch"], hooks)):
            _save(training, ranks, hooks)
    if training.best_model is not None:
        training.model.load_state_dict(training.best_model)
    return Ended("SUCCEEDED", reason=_early_words(job, progress))


def _train_epoch(
    job: TrainJob,
    training: Training,
    forward: nn.Module,
    samples: Samples,
    objective: Objective,
    ranks: Ranks,
    hooks: Hooks,
    cadence: _Cadence,
) -> str | None:
    """Trains what is left of the epoch under way; returns why to stop, if so."""
    spec, progress, optimizer = job.training, training.progress, training.optimizer
    size = spec.global_batch_size
    order = epoch_order(len(samples), seed=spec.seed, epoch=progress.epoch)
    autocast = autocast_for(spec.precision, ranks.device)
    loss_sum = torch.tensor(progress.loss_sum, dtype=torch.float64, device=ranks.device)
    clock, began = hooks.clock, hooks.clock() - progress.epoch_seconds
    forward.train()
    for start in range(progress.step_in_epoch * size, len(order), size):
        batch = order[start : start + size]
        part = batch[rank_slice(len(batch), rank=ranks.rank, world=ranks.world)]
        # A rank without a sample in a short last batch still has to take part in adding up gradients.
        x, y = to_device(samples.gather(part if len(part) else batch[:1]), ranks.device)
        with autocast:
            loss = objective.loss(forward(x), y)
        optimizer.zero_grad(set_to_none=True)
        if ranks.world > 1:
            # Ranks average their gradients; this weight makes that the mean over samples, uneven parts included.
            weighted = loss * (ranks.world * len(part) / len(batch))
            training.scaler.scale(weighted).backward()  # type: ignore[no-untyped-call]
        else:
            training.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if spec.gradient_clip is not None:
            training.scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(training.model.parameters(), spec.gradient_clip)
        training.scaler.step(optimizer)
        training.scaler.update()
        training.lr_scheduler.step()
        loss_sum.add_(loss.detach(), alpha=len(part))
        progress.samples += len(part)
        progress.step_in_epoch += 1
        progress.step += 1
        if progress.step >= cadence.next:
            stop, save, gap = ranks.decide(lambda: (hooks.stop(), _due_in_epoch(job, hooks), cadence.propose()))
            cadence.agreed(progress.step, gap)
            if stop or save:
                progress.loss_sum, progress.epoch_seconds = loss_sum.item(), clock() - began
                if stop:
                    return stop
                _save(training, ranks, hooks)
    progress.loss_sum, progress.epoch_seconds = loss_sum.item(), clock() - began
    return None


def _finish_epoch(
    job: TrainJob, training: Training, splits: Mapping[str, Samples], objective: Objective, ranks: Ranks
) -> dict[str, Any]:
    """Evaluates, and makes the epoch's row."""
    progress = training.progress
    sums = ranks.sum(torch.tensor([progress.loss_sum, progress.samples], dtype=torch.float64, device=ranks.device))
    loss_sum, samples = sums.tolist()
    row: dict[str, Any] = {
        "epoch": progress.epoch,
        "step": progress.step,
        "train_loss": loss_sum / samples,
        "learning_rate": training.lr_scheduler.get_last_lr()[0],
        "epoch_seconds": progress.epoch_seconds,
        "num_samples": int(samples),
        "samples_per_second": samples / max(progress.epoch_seconds, 1e-9),
    }
    if len(splits["validation"]):
        metrics = evaluate(
            training.model, splits["validation"], objective, ranks, "validation", job.training.global_batch_size,
            autocast_for(job.training.precision, ranks.device),
        )  # fmt: skip
        row["validation_loss"] = metrics.pop("validation_loss")
        row["metrics"] = metrics
    return row


@torch.no_grad()
def evaluate(
    model: Callable[[Tensor], Tensor],
    samples: Samples,
    objective: Objective,
    ranks: Ranks,
    split: str,
    batch_size: int,
    autocast: contextlib.AbstractContextManager[Any] | None = None,
) -> dict[str, float]:
    """Measures loss and metrics on a split, each rank on its part of it.

    Args:
        model: From x to predictions; a module is put into evaluation mode.
        samples: The split.
        objective: What to measure.
        ranks: This process among all.
        split: Name, which the metrics begin with.
        batch_size: Samples at once over all ranks.
        autocast: Precision to compute in.
    """
    if isinstance(model, nn.Module):
        model.eval()
    totals = torch.zeros(len(objective.names), dtype=torch.float64, device=ranks.device)
    own = rank_slice(len(samples), rank=ranks.rank, world=ranks.world)
    step = max(1, batch_size // ranks.world)
    for start in range(own.start, own.stop, step):
        x, y = to_device(samples.gather(torch.arange(start, min(start + step, own.stop))), ranks.device)
        with autocast or contextlib.nullcontext():
            prediction = model(x)
            totals += objective.sums(prediction, y)
    return objective.metrics(ranks.sum(totals), split)


def autocast_for(precision: str, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """The context in which a forward pass computes at ``fp32``, ``bf16`` or ``fp16``; may be entered many times."""
    dtype = _AUTOCAST.get(precision)
    return contextlib.nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)


def to_device(batch: tuple[Tensor, Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    """Moves a batch where the model is; nothing happens when it is there."""
    x, y = batch
    return x.to(device, non_blocking=True), y.to(device, non_blocking=True)


def metric_of(row: Mapping[str, Any], name: str) -> float | None:
    """Finds a metric in an epoch's row: a column, or one of its ``metrics``."""
    value = row.get(name, row.get("metrics", {}).get(name))
    return None if value is None else float(value)


def _remember_best(job: TrainJob, training: Training, row: Mapping[str, Any]) -> None:
    """Keeps a copy of the best epoch's weights, and counts epochs without gain."""
    progress = training.progress
    value = metric_of(row, job.checkpoint.metric)
    if value is not None and better(value, progress.best_value, job.checkpoint.mode):
        progress.best_epoch, progress.best_value = row["epoch"], value
        training.best_model = copied(training.model.state_dict())
    stopping = job.training.early_stopping
    if stopping is None:
        return
    values = [metric_of(past, stopping.metric) for past in progress.history]
    progress.epochs_without_gain = without_gain(values, stopping.mode, stopping.min_delta)
    progress.stopped_early = progress.epochs_without_gain >= stopping.patience


def better(value: float, than: float, mode: str) -> bool:
    """Whether a value beats another; nothing that is not a number does, and everything else beats that."""
    if math.isnan(value) or math.isnan(than):
        return not math.isnan(value)
    return value < than if mode == "min" else value > than


def without_gain(values: list[float | None], mode: str, min_delta: float) -> int:
    """Counts the values since the last that beat all before it by more than ``min_delta``."""
    best, since = math.nan, 0
    for value in values:
        shifted = math.nan if value is None else value + min_delta if mode == "min" else value - min_delta
        if better(shifted, best, mode):
            best, since = float(value or 0.0), 0
        else:
            since += 1
    return since


def _due_in_epoch(job: TrainJob, hooks: Hooks) -> bool:
    seconds = job.checkpoint.every_seconds
    saver = hooks.saver
    return saver is not None and seconds is not None and saver.seconds_since_last() >= seconds and saver.ready()


def _due_after_epoch(job: TrainJob, epoch: int, hooks: Hooks) -> bool:
    return hooks.saver is not None and epoch % job.checkpoint.every_epochs == 0 and hooks.saver.ready()


def _save(training: Training, ranks: Ranks, hooks: Hooks, *, wait: bool = False) -> None:
    """Saves a copy; all ranks call it, since each has random numbers of its own."""
    progress = training.progress
    states = ranks.gather(random_state())
    sums = ranks.gather((progress.loss_sum, progress.samples))
    if hooks.saver is not None:
        epoch = progress.epoch if progress.step_in_epoch else progress.epoch - 1  # the last one with a step in it
        hooks.saver.save(lambda: capture(training, states, sums), epoch=epoch, step=progress.step)
        if wait:
            hooks.saver.flush()


def _nan_words(row: Mapping[str, Any], progress: Progress, training: Training) -> str:
    rate = training.optimizer.param_groups[0]["lr"]
    return (
        f"train_loss is {row['train_loss']} after epoch {row['epoch']} (step {progress.step}, learning rate {rate:g}); "
        "try a smaller training.optimizer.learning_rate or training.gradient_clip"
    )


def _early_words(job: TrainJob, progress: Progress) -> str | None:
    stopping = job.training.early_stopping
    if not progress.stopped_early or stopping is None:
        return None
    return (
        f"stopped early after epoch {progress.epoch - 1} of {job.training.epochs}: {stopping.metric} "
        f"did not improve for {stopping.patience} epochs"
    )
