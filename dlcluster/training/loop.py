"""The training loop: epochs of steps, each said out loud; evaluate, report, remember the best, save."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dlcluster.data.batches import Samples, epoch_order
from dlcluster.training.best import early_words, remember_best
from dlcluster.training.checkpoint import Progress, Saver, Training, capture, random_state
from dlcluster.training.evaluate import evaluate
from dlcluster.training.objective import Objective
from dlcluster.training.ranks import Ranks
from dlcluster.training.steps import LossSums, OwnStep, Step, SupervisedStep, autocast_for, has_own_step

if TYPE_CHECKING:
    from dlcluster.spec import TrainJob

SHOWN = 64
"""How many samples of a generating model are shown."""
SYNC_SECONDS = 0.5
"""How often the ranks look up from their steps to ask rank 0 whether to stop or to save."""


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
        show: Takes what a generating model makes after an epoch, ``(samples, *input_shape)``, and its number.
        clock: Seconds, monotonic.
    """

    report: Callable[[dict[str, Any]], None]
    stop: Callable[[], str | None] = lambda: None
    saver: Saver | None = None
    show: Callable[[int, Tensor], None] | None = None
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
    augment: Callable[[Tensor], Tensor] | None = None,
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
        augment: Changes a training batch of x; None for none.
    """
    spec, progress = job.training, training.progress
    step = _make_step(job, training, objective, ranks, augment)
    cadence = _Cadence(hooks.clock)
    cadence.agreed(progress.step, 1)
    while progress.epoch <= spec.epochs and not progress.stopped_early:
        stop = _train_epoch(job, training, step, splits["train"], ranks, hooks, cadence)
        if stop is not None:
            _save(training, ranks, hooks, wait=True)
            return Ended("STOPPED", "stopped", stop)
        row = _finish_epoch(job, training, splits, objective, ranks)
        progress.history.append(row)
        if ranks.leads:
            hooks.report(row)
        _show(job, training, row["epoch"], hooks)
        if not math.isfinite(row["train_loss"]) and job.retry.nan_loss == "stop":
            return Ended("FAILED", "nan_loss", _nan_words(row, progress, training))
        for schedule in training.schedules.values():
            schedule.epoch_ended(row.get("validation_loss", row["train_loss"]))
        remember_best(job, training, row, keeps_last=objective.task == "generation")
        progress.epoch, progress.step_in_epoch = progress.epoch + 1, 0
        progress.loss_sums, progress.samples, progress.epoch_seconds = {}, 0, 0.0
        if ranks.decide(partial(_due_after_epoch, job, row["epoch"], hooks)):
            _save(training, ranks, hooks)
    if training.best_model is not None:
        training.model.load_state_dict(training.best_model)
    return Ended("SUCCEEDED", reason=early_words(job, progress))


def _make_step(
    job: TrainJob,
    training: Training,
    objective: Objective,
    ranks: Ranks,
    augment: Callable[[Tensor], Tensor] | None,
) -> Step:
    if has_own_step(training.model):
        return OwnStep(job.training, training, ranks, augment)
    # What is called is compiled and wrapped; what is saved is the bare model.
    forward: nn.Module = torch.compile(training.model) if job.training.compile else training.model  # type: ignore[assignment]
    if any(parameter.requires_grad for parameter in training.model.parameters()):
        forward = ranks.wrap(forward)
    return SupervisedStep(job.training, training, forward, objective, ranks, augment)


def steps_in_epoch(job: TrainJob, samples: int) -> int:
    """Steps of one epoch over so many training samples."""
    return job.training.steps_per_epoch or -(-samples // job.training.global_batch_size)


def _train_epoch(
    job: TrainJob,
    training: Training,
    step: Step,
    samples: Samples,
    ranks: Ranks,
    hooks: Hooks,
    cadence: _Cadence,
) -> str | None:
    """Trains what is left of the epoch under way; returns why to stop, if so."""
    spec, progress, schedules = job.training, training.progress, list(training.schedules.values())
    size, limit = spec.global_batch_size, spec.steps_per_epoch
    order = epoch_order(len(samples), seed=spec.seed, epoch=progress.epoch, count=limit and limit * size)
    sums = LossSums(ranks.device, progress.loss_sums, progress.samples)
    clock, began = hooks.clock, hooks.clock() - progress.epoch_seconds
    _train_mode(training.model)

    def settle() -> None:
        progress.loss_sums, progress.samples = sums.plain(), sums.samples
        progress.epoch_seconds = clock() - began

    for batch in torch.split(order, size)[progress.step_in_epoch :]:
        step(samples, batch, sums)
        for schedule in schedules:
            schedule.step()
        progress.step_in_epoch += 1
        progress.step += 1
        if progress.step >= cadence.next:
            stop, save, gap = ranks.decide(lambda: (hooks.stop(), _due_in_epoch(job, hooks), cadence.propose()))
            cadence.agreed(progress.step, gap)
            if stop or save:
                settle()
                if stop:
                    return stop
                _save(training, ranks, hooks)
    settle()
    return None


def _train_mode(model: nn.Module) -> None:
    """Training mode, but for frozen layers: batch norm that is not trained must not learn statistics either."""
    model.train()
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if own and not any(parameter.requires_grad for parameter in own):
            module.eval()


def _finish_epoch(
    job: TrainJob, training: Training, splits: Mapping[str, Samples], objective: Objective, ranks: Ranks
) -> dict[str, Any]:
    """Evaluates, and makes the epoch's row."""
    progress = training.progress
    names = sorted(progress.loss_sums)  # the same on all ranks, which take the same steps
    local = [*(progress.loss_sums[name] for name in names), progress.samples]
    *totals, samples = ranks.sum(torch.tensor(local, dtype=torch.float64, device=ranks.device)).tolist()
    losses = {name: total / samples for name, total in zip(names, totals, strict=True)}
    row: dict[str, Any] = {
        "epoch": progress.epoch,
        "step": progress.step,
        "train_loss": sum(losses.values()),
        "learning_rate": next(iter(training.schedules.values())).get_last_lr()[0],
        "epoch_seconds": progress.epoch_seconds,
        "num_samples": int(samples),
        "samples_per_second": samples / max(progress.epoch_seconds, 1e-9),
    }
    metrics = {} if names == ["loss"] else {f"train_{name}": loss for name, loss in losses.items()}
    if len(splits["validation"]) and objective.task != "generation":
        metrics |= evaluate(
            training.model, splits["validation"], objective, ranks, "validation", job.training.global_batch_size,
            autocast_for(job.training.precision, ranks.device),
            objective.further_for(len(splits["validation"]), ranks.device),
        )  # fmt: skip
        row["validation_loss"] = metrics.pop("validation_loss")
    row["metrics"] = metrics
    return row


def _show(job: TrainJob, training: Training, epoch: int, hooks: Hooks) -> None:
    """Hands over samples of a model that makes them; always the same noise, so that epochs can be compared."""
    model: Any = training.model
    every = job.training.sample_every_epochs
    if hooks.show is None or not hasattr(model, "samples") or (epoch % every and epoch != job.training.epochs):
        return
    model.eval()
    with torch.no_grad():
        hooks.show(epoch, model.samples(SHOWN, generator=torch.Generator().manual_seed(job.training.seed)).cpu())


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
    sums = ranks.gather((progress.loss_sums, progress.samples))
    if hooks.saver is not None:
        epoch = progress.epoch if progress.step_in_epoch else progress.epoch - 1  # the last one with a step in it
        hooks.saver.save(lambda: capture(training, states, sums), epoch=epoch, step=progress.step)
        if wait:
            hooks.saver.flush()


def _nan_words(row: Mapping[str, Any], progress: Progress, training: Training) -> str:
    rate = next(iter(training.optimizers.values())).param_groups[0]["lr"]
    return (
        f"train_loss is {row['train_loss']} after epoch {row['epoch']} (step {progress.step}, learning rate {rate:g}); "
        "try a smaller training.optimizer.learning_rate or training.gradient_clip"
    )
