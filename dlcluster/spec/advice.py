"""Settings that are right by themselves but do nothing, or not what they seem to."""

from __future__ import annotations

import re

from dlcluster.spec.job import Job, TrainJob

_SECRET = re.compile(r"(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY|PRIVATE_KEY)(_|$)", re.IGNORECASE)


def job_warnings(job: Job) -> list[str]:
    """What a user should know before this job runs, one sentence each."""
    found = [*_of_data(job), *_of_schedule(job)] if isinstance(job, TrainJob) else []
    if job.resources.gpus_per_worker == 0:
        if job.resources.accelerator_type is not None:
            found.append("resources.accelerator_type is ignored: resources.gpus_per_worker is 0")
        if job.limits.gpu_hours is not None:
            found.append("limits.gpu_hours is ignored: resources.gpus_per_worker is 0")
    if job.storage.shared and (job.storage.path or "").startswith("s3://"):
        found.append("storage.shared is ignored: an s3:// path is the same on every machine")
    found += _of_metrics(job) if isinstance(job, TrainJob) else []
    found += [
        f"env.{name} stands in the job file, which is kept with the results: name it under secrets instead"
        for name in job.env
        if _SECRET.search(name)
    ]
    return found


def _of_metrics(job: TrainJob) -> list[str]:
    stopping, found = job.training.early_stopping, []
    if stopping is not None and stopping.patience >= job.training.epochs:
        found.append(
            f"training.early_stopping never ends this job: its patience ({stopping.patience}) is not below "
            f"training.epochs ({job.training.epochs})"
        )
    modes = [("checkpoint", job.checkpoint.metric, job.checkpoint.mode)]
    if stopping is not None:
        modes.append(("training.early_stopping", stopping.metric, stopping.mode))
    for section, metric, mode in modes:
        if metric.endswith("_loss") and mode == "max":
            found.append(f"{section}.mode is max, so the largest {metric} counts as the best: is min meant?")
    return found


def _of_data(job: TrainJob) -> list[str]:
    data, split, found = job.data, job.data.split, []
    if data.name is not None and data.format is not None:
        found.append("data.format is ignored: data.name says what its files are")
    if split.seed != 0 and (split.by == "time" or data.task in ("forecast", "language_model")):
        found.append("data.split.seed is ignored: the splits follow the order of the data")
    for name in ("validation", "test"):
        # A share as it is by default, or none, was not meant to say anything.
        usual = (type(split).model_fields[name].default, 0.0)
        if getattr(split.files, name) is not None and getattr(split, name) not in usual:
            found.append(f"data.split.{name} is ignored: data.split.files.{name} has that split")
    if split.folds is not None and min(abs(split.test - usual) for usual in (0.2, 1 / split.folds)) > 0.005:
        found.append(f"data.split.test is ignored: one of {split.folds} folds is tested on")
    if job.training.metrics and split.validation == 0 and split.files.validation is None:
        found.append("training.metrics are measured by the final test only: data.split.validation is 0")
    return found


def _of_schedule(job: TrainJob) -> list[str]:
    training, schedule, found = job.training, job.training.lr_scheduler, []
    if training.steps_per_epoch is not None:
        steps = training.steps_per_epoch * training.epochs
        if schedule.warmup_steps >= steps:
            found.append(
                f"training.lr_scheduler.warmup_steps ({schedule.warmup_steps}) is not below the {steps} steps of this "
                "job: it never gets to its learning rate"
            )
    if schedule.name == "step" and schedule.every_epochs >= training.epochs:
        found.append(
            f"training.lr_scheduler never acts: its every_epochs ({schedule.every_epochs}) is not below "
            f"training.epochs ({training.epochs})"
        )
    # The first epoch is always a gain, and after the last there is nothing left to change.
    if schedule.name == "reduce_on_plateau" and schedule.patience >= training.epochs - 1:
        found.append(
            f"training.lr_scheduler never acts: its patience ({schedule.patience}) leaves none of the "
            f"{training.epochs} epochs to act in"
        )
    return found
