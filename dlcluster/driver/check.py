"""Checks every component a job names before a worker starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlcluster.data.load import own_arguments, task_of
from dlcluster.models.catalog import model_arguments
from dlcluster.models.named import is_own

if TYPE_CHECKING:
    from dlcluster.spec import TrainJob


def check_components(job: TrainJob) -> None:
    """Imports a user's own model, data, loss and metrics, and checks the arguments they are to be called with.

    Ours were checked when the file was read; theirs can only be checked where their packages are.

    Raises:
        ComponentError: When something is not there or does not take its arguments.
    """
    task = task_of(job.data)
    if is_own(job.model.name):
        model_arguments(job.model.name, job.model.params)
    if job.data.name is not None and is_own(job.data.name):
        own_arguments(job.data.name, task, job.data.params)
    own = [name for name in (job.training.loss, *job.training.metrics) if name is not None and is_own(name)]
    if own:
        from dlcluster.training.objective import (
            own_function,  # brings torch, which their modules bring anyway
        )

        for name in own:
            own_function(name, "loss" if name == job.training.loss else "metric")
