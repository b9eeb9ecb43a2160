"""A small training, made the way a trial makes it."""

from __future__ import annotations

from typing import Any

import torch

from dlcluster.data.load import load_data
from dlcluster.data.prepared import Prepared
from dlcluster.models.catalog import make_model
from dlcluster.spec import TrainJob, job_from_dict
from dlcluster.training.checkpoint import Training
from dlcluster.training.objective import Objective, make_objective
from dlcluster.training.optim import make_lr_scheduler, make_optimizer


def make_job(**training: Any) -> TrainJob:
    """An LSTM on co2 with shares that make uneven last batches."""
    return job_from_dict(
        {
            "version": 1,
            "name": "small",
            "model": {"name": "lstm", "params": {"hidden_size": 8}},
            "data": {
                "name": "co2",
                "params": {"window": 12, "horizon": 3, "missing": "interpolate", "center": "last"},
                "split": {"train": 0.1, "validation": 0.05, "test": 0.85},
            },
            "training": {"epochs": 4, "global_batch_size": 32, "seed": 7, **training},
        }
    )


def make_training(job: TrainJob) -> tuple[Prepared, Objective, Training]:
    """Data, objective and a fresh training of a job."""
    data = load_data(job.data)
    torch.manual_seed(job.training.seed)
    model = make_model(job.model.name, job.model.params, data.shapes)
    optimizer = make_optimizer(job.training.optimizer, model)
    steps = -(-len(data.splits["train"]) // job.training.global_batch_size) * job.training.epochs
    objective = make_objective(data.task, job.training.loss, job.training.metrics, data.unit_scale)
    scheduler = make_lr_scheduler(job.training.lr_scheduler, optimizer, steps)
    return data, objective, Training(model, optimizer, scheduler, torch.amp.GradScaler("cpu", enabled=False))


def curve(rows: list[dict[str, Any]]) -> list[tuple[int, int, float, float]]:
    """What must be equal in two trainings that are the same."""
    return [(row["epoch"], row["step"], row["train_loss"], row["validation_loss"]) for row in rows]
