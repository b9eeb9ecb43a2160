"""Training throughput of each model family through the product, beside the least loop that trains the same model."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dlcluster.data.load import load_data
from dlcluster.models.catalog import make_model
from dlcluster.spec import TrainJob, job_from_dict
from tests.perf.throughput import ours

EPOCHS, ROUNDS = 3, 5
_SHARES = {"train": 0.9, "validation": 0.1, "test": 0.0}


def pictures(count: int = 4000) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Random pictures, ``(count, 1, 28, 28)``, and classes."""
    rng = np.random.default_rng(0)
    return rng.random((count, 1, 28, 28), dtype=np.float32), rng.integers(0, 10, count)


def rows(count: int = 20_000) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Random features, ``(count, 20)``, and classes."""
    rng = np.random.default_rng(0)
    return rng.random((count, 20), dtype=np.float32), rng.integers(0, 3, count)


def _series() -> dict[str, Any]:
    return {"name": "co2", "params": {"window": 52, "horizon": 4, "missing": "interpolate"}, "split": _SHARES | {"train": 0.8, "validation": 0.2}}  # fmt: skip


def _own(name: str, task: str) -> dict[str, Any]:
    return {"name": f"tests.perf.families:{name}", "task": task, "split": _SHARES}


def _text(folder: Path) -> dict[str, Any]:
    path = folder / "text.txt"
    draw = random.Random(0)
    path.write_text("".join(draw.choices("abcdefghijklmnopqrstuvwxyz \n.,", k=20_000)))
    return {"path": str(path), "task": "language_model", "params": {"block": 64}, "split": _SHARES}


def _jobs(folder: Path) -> Mapping[str, dict[str, Any]]:
    text = {"num_layers": 4, "num_heads": 4, "embed_size": 128, "feedforward_size": 512}
    return {
        "mlp": {"model": {"name": "mlp"}, "data": _own("rows", "classification")},
        "cnn": {"model": {"name": "cnn"}, "data": _own("pictures", "classification")},
        "rnn": {"model": {"name": "rnn"}, "data": _series()},
        "lstm": {"model": {"name": "lstm"}, "data": _series()},
        "gru": {"model": {"name": "gru"}, "data": _series()},
        "transformer": {"model": {"name": "transformer"}, "data": _series()},
        "transformer, text": {
            "model": {"name": "transformer", "params": text},
            "data": _text(folder),
            "training": {"steps_per_epoch": 40, "global_batch_size": 12},
        },
        "gan": {"model": {"name": "gan"}, "data": _own("pictures", "generation")},
    }


def minimal(job: TrainJob) -> float:
    """Samples per second of the least that trains and validates this model; nothing is kept or reported."""
    data = load_data(job.data)
    torch.manual_seed(0)
    model = make_model(job.model.name, job.model.params, data.shapes)
    train, validation = data.splits["train"], data.splits["validation"]
    if data.task == "generation":
        return _minimal_gan(job, model, train.gather(torch.arange(len(train))))
    size, steps = job.training.global_batch_size, job.training.steps_per_epoch
    text = data.task == "language_model"
    x, y = train.gather(torch.arange(len(train)))
    x_validation, y_validation = validation.gather(torch.arange(len(validation)))
    loss_of = nn.functional.mse_loss if data.task == "forecast" else nn.functional.cross_entropy

    def loss_on(part: Tensor, target: Tensor) -> Tensor:
        prediction = model(part)
        return loss_of(prediction.flatten(0, 1), target.flatten()) if text else loss_of(prediction, target)

    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    trained, began = 0, time.perf_counter()
    for _ in range(EPOCHS):
        model.train()
        total = 0.0
        for index in torch.randperm(len(x))[: steps and steps * size].split(size):  # type: ignore[no-untyped-call]
            loss = loss_on(x[index], y[index])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item()
            trained += len(index)
        model.eval()
        with torch.no_grad():
            for start in range(0, len(x_validation), size):
                loss_on(x_validation[start : start + size], y_validation[start : start + size]).item()
    return trained / (time.perf_counter() - began)


def _minimal_gan(job: TrainJob, model: Any, batches: tuple[Tensor, Tensor]) -> float:
    x, y = batches
    optimizers = model.configure_optimizers(job.training)
    began = time.perf_counter()
    for _ in range(EPOCHS):
        model.train()
        for index in torch.randperm(len(x)).split(job.training.global_batch_size):  # type: ignore[no-untyped-call]
            model.training_step((x[index], y[index]), optimizers)
    return EPOCHS * len(x) / (time.perf_counter() - began)


def measure() -> None:
    """Prints a ratio for each family."""
    torch.set_num_threads(1)
    print(f"training by family, samples/s, median of {ROUNDS} interleaved rounds, ours / minimal loop (at least 0.97)")
    with tempfile.TemporaryDirectory() as folder:
        for family, parts in _jobs(Path(folder)).items():
            job = job_from_dict(
                {
                    "version": 1,
                    "name": "perf",
                    **parts,
                    "training": {"epochs": EPOCHS, "sample_every_epochs": EPOCHS + 1, **parts.get("training", {})},
                }
            )
            ours(job)
            minimal(job)
            rounds = [(ours(job), minimal(job)) for _ in range(ROUNDS)]
            ratios = sorted(mine / bare for mine, bare in rounds)
            print(
                f"  {family:18} {statistics.median(mine for mine, _ in rounds):10,.0f} /"
                f" {statistics.median(bare for _, bare in rounds):10,.0f}  ratio {statistics.median(ratios):.3f}"
                f"  (from {ratios[0]:.3f} to {ratios[-1]:.3f})",
                flush=True,
            )
