"""Training throughput of the loop with rows and checkpoints on, beside loops that do neither."""

from __future__ import annotations

import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dlcluster.data.load import load_data
from dlcluster.driver.local import pusher
from dlcluster.models.catalog import make_model
from dlcluster.spec import TrainJob, load_job
from dlcluster.store.objects import open_objects
from dlcluster.store.sender import Sender
from dlcluster.store.writer import RunWriter
from dlcluster.training.ended import Attempt
from dlcluster.training.ranks import Ranks
from dlcluster.training.trial import run_attempt

EPOCHS, ROUNDS = 8, 7


def make(job: TrainJob) -> tuple[nn.Module, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The job's model and its data as four tensors."""
    data = load_data(job.data)
    torch.manual_seed(0)
    model = make_model(job.model.name, job.model.params, data.shapes)
    train, validation = data.splits["train"], data.splits["validation"]
    return model, *train.gather(torch.arange(len(train))), *validation.gather(torch.arange(len(validation)))


def minimal(job: TrainJob) -> float:
    """Samples per second of the least that trains and validates this model; nothing is kept or reported."""
    model, x, y, x_validation, y_validation = make(job)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * -(-len(x) // 32))
    began = time.perf_counter()
    for _ in range(EPOCHS):
        model.train()
        total = 0.0
        for index in torch.randperm(len(x)).split(32):  # type: ignore[no-untyped-call]
            loss = nn.functional.mse_loss(model(x[index]), y[index])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
        model.eval()
        with torch.no_grad():
            for start in range(0, len(x_validation), 32):
                nn.functional.mse_loss(model(x_validation[start : start + 32]), y_validation[start : start + 32]).item()
    return EPOCHS * len(x) / (time.perf_counter() - began)


def ours(job: TrainJob) -> float:
    """Samples per second of an attempt as a worker runs it, from its first epoch to its last row and checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        objects = open_objects(Path(folder))
        writer = RunWriter(objects, "20260101-000000-perf-0000", 1)
        sender = Sender(pusher(writer), "worker")
        rows: list[dict[str, Any]] = []
        times: list[float] = []

        def send(table: str, row: dict[str, Any]) -> None:
            times.append(time.perf_counter())
            if table == "epochs":
                rows.append(row)
            sender.send(table, row)

        attempt = Attempt(job, "20260101-000000-perf-0000", "trial", 1, 1)
        ended = run_attempt(
            attempt, objects=objects, ranks=Ranks(), send=send, stop=lambda: None, say=lambda line: None
        )
        if ended.state != "SUCCEEDED":
            raise RuntimeError(ended.reason)
        sender.close()
        writer.close()
        # From the attempt's row, which is sent right before the first epoch, to the last epoch's row.
        return float(sum(row["num_samples"] for row in rows) / (times[-1] - times[0]))


def lightning(job: TrainJob) -> float | None:
    """Samples per second of Lightning's Trainer, used as https://lightning.ai/docs/pytorch/stable/starter/introduction.html teaches."""
    try:
        import lightning as pl
        from torch.utils.data import DataLoader, TensorDataset
    except ImportError:
        return None
    model, x, y, x_validation, y_validation = make(job)

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: Any, index: int) -> Any:
            loss = nn.functional.mse_loss(self.model(batch[0]), batch[1])
            self.log("train_loss", loss)
            return loss

        def validation_step(self, batch: Any, index: int) -> None:
            self.log("validation_loss", nn.functional.mse_loss(self.model(batch[0]), batch[1]))

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=3e-3)

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = pl.Trainer(
            max_epochs=EPOCHS,
            default_root_dir=folder,
            enable_progress_bar=False,
            accelerator="cpu",
            enable_model_summary=False,
        )
        began = time.perf_counter()
        trainer.fit(
            Module(),
            DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True),
            DataLoader(TensorDataset(x_validation, y_validation), batch_size=32),
        )
        return EPOCHS * len(x) / (time.perf_counter() - began)


def measure() -> None:
    """Prints all figures."""
    import logging

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    job = load_job("jobs/lstm.yaml", overrides=[f"training.epochs={EPOCHS}"])
    ours(job)
    minimal(job)
    # Interleaved, so that a noisy neighbour slows all of them; the ratio of each round counts.
    rounds = [(ours(job), minimal(job)) for _ in range(ROUNDS)]
    ratios = sorted(mine / bare for mine, bare in rounds)
    print(f"training, samples/s, median of {ROUNDS}: ours {statistics.median(mine for mine, _ in rounds):,.0f}, "
          f"minimal loop {statistics.median(bare for _, bare in rounds):,.0f}")  # fmt: skip
    print(f"  ratio {statistics.median(ratios):.3f} (at least 0.97; from {ratios[0]:.3f} to {ratios[-1]:.3f})")
    theirs = lightning(job)
    if theirs is not None:
        mine = statistics.median(mine for mine, _ in rounds)
        print(f"  Lightning's Trainer {theirs:,.0f}: ours is {mine / theirs:.1f} times as fast")
