"""Which epoch was the best, and when to stop for want of a better one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dlcluster.training.checkpoint import Progress, Training, copied

if TYPE_CHECKING:
    from dlcluster.spec import TrainJob


def metric_of(row: Mapping[str, Any], name: str) -> float | None:
    """Finds a metric in an epoch's row: a column, or one of its ``metrics``."""
    value = row.get(name, row.get("metrics", {}).get(name))
    return None if value is None else float(value)


def remember_best(job: TrainJob, training: Training, row: Mapping[str, Any], *, keeps_last: bool = False) -> None:
    """Keeps a copy of the best epoch's weights, and counts epochs without gain.

    Args:
        job: Its ``checkpoint`` says which is best, its ``training`` when to stop.
        training: The weights and where they stand.
        row: The epoch that has just ended.
        keeps_last: No epoch is the best: of networks that train against each other the losses do not say it.
    """
    progress = training.progress
    value = metric_of(row, job.checkpoint.metric)
    if not keeps_last and value is not None and better(value, progress.best_value, job.checkpoint.mode):
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


def early_words(job: TrainJob, progress: Progress) -> str | None:
    """Says why training ended before its last epoch; None when it did not."""
    stopping = job.training.early_stopping
    if not progress.stopped_early or stopping is None:
        return None
    return (
        f"stopped early after epoch {progress.epoch - 1} of {job.training.epochs}: {stopping.metric} "
        f"did not improve for {stopping.patience} epochs"
    )
