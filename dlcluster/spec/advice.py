"""Settings that are right by themselves but do nothing, or not what they seem to."""

from __future__ import annotations

import re

from dlcluster.spec.job import Job

_SECRET = re.compile(r"(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY|PRIVATE_KEY)(_|$)", re.IGNORECASE)


def job_warnings(job: Job) -> list[str]:
    """What a user should know before this job runs, one sentence each."""
    found: list[str] = []
    if job.resources.gpus_per_worker == 0:
        if job.resources.accelerator_type is not None:
            found.append("resources.accelerator_type is ignored: resources.gpus_per_worker is 0")
        if job.limits.gpu_hours is not None:
            found.append("limits.gpu_hours is ignored: resources.gpus_per_worker is 0")
    stopping = job.training.early_stopping
    if stopping is not None and stopping.patience >= job.training.epochs:
        found.append(
            f"training.early_stopping never ends this job: its patience ({stopping.patience}) is not below "
            f"training.epochs ({job.training.epochs})"
        )
    if job.storage.shared and (job.storage.path or "").startswith("s3://"):
        found.append("storage.shared is ignored: an s3:// path is the same on every machine")
    modes = [("checkpoint", job.checkpoint.metric, job.checkpoint.mode)]
    if stopping is not None:
        modes.append(("training.early_stopping", stopping.metric, stopping.mode))
    for section, metric, mode in modes:
        if metric.endswith("_loss") and mode == "max":
            found.append(f"{section}.mode is max, so the largest {metric} counts as the best: is min meant?")
    found += [
        f"env.{name} stands in the job file, which is kept with the results: name it under secrets instead"
        for name in job.env
        if _SECRET.search(name)
    ]
    return found
