"""A small training, made the way a trial makes it."""

from __future__ import annotations

from typing import Any

import torch

from dlcluster.data.load import load_data
from dlcluster.data.prepared import Prepared
from dlcluster.spec import TrainJob, job_from_dict
from dlcluster.training.build import build_model, build_training
from dlcluster.training.checkpoint import Training
from dlcluster.training.objective import Objective, make_objective


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
    model = build_model(job.model, data)
    return data, make_objective(job.training, data), build_training(job, data, model)


def curve(rows: list[dict[str, Any]]) -> list[tuple[int, int, float, float]]:
    """What must be equal in two trainings that are the same."""
    return [(row["epoch"], row["step"], row["train_loss"], row["validation_loss"]) for row in rows]
