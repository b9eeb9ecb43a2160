"""The loop: the same as one written by hand, on any number of ranks, stopped anywhere and resumed."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor

from dlcluster.data.batches import TensorSamples, epoch_order
from dlcluster.training.best import without_gain
from dlcluster.training.checkpoint import Saver, capture, random_state, restore, serialized
from dlcluster.training.evaluate import evaluate
from dlcluster.training.loop import Ended, Hooks, train
from dlcluster.training.ranks import Ranks
from tests.training.helpers import curve, make_job, make_training

SETTINGS: dict[str, Any] = {
    "optimizer": {"name": "adam", "learning_rate": 0.01},
    "lr_scheduler": {"name": "cosine", "warmup_steps": 3},
    "gradient_clip": 1.0,
}


def run(job: Any, ranks: Ranks | None = None, **hooks: Any) -> tuple[list[dict[str, Any]], Ended, Any]:
    data, objective, training = make_training(job)
    rows: list[dict[str, Any]] = []
    ended = train(job, training, data.splits, objective, ranks or Ranks(), Hooks(report=rows.append, **hooks))
    return rows, ended, training


def test_it_computes_what_a_loop_written_by_hand_computes() -> None:
    job = make_job(**SETTINGS)
    rows, ended, _ = run(job)
    data, _, by_hand = make_training(job)
    model, train_split, expected = by_hand.model, data.splits["train"], []
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    steps = 0
    total = 4 * -(-len(train_split) // 32)
    x_all, y_all = data.splits["validation"].gather(torch.arange(len(data.splits["validation"])))
    for epoch in range(1, 5):
        model.train()
        loss_sum = 0.0
        for batch in epoch_order(len(train_split), seed=7, epoch=epoch).split(32):  # type: ignore[no-untyped-call]
            done = (steps - 3) / (total - 3)
            factor = (steps + 1) / 3 if steps < 3 else 0.5 * (1 + math.cos(math.pi * done))
            optimizer.param_groups[0]["lr"] = 0.01 * factor
            x, y = train_split.gather(batch)
            loss = torch.nn.functional.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            steps += 1
            loss_sum += loss.item() * len(batch)
        model.eval()
        with torch.no_grad():
            validation = torch.nn.functional.mse_loss(model(x_all), y_all).item()
        expected.append((epoch, steps, loss_sum / len(train_split), validation))
    assert ended == Ended("SUCCEEDED")
    for ours, theirs in zip(curve(rows), expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)


@pytest.mark.parametrize("stop_at", [1, 5, 8, 13, 27])
def test_stopped_anywhere_and_resumed_it_is_as_if_never_stopped(stop_at: int) -> None:
    job = make_job(**SETTINGS)
    undisturbed, _, whole = run(job)
    data, objective, first = make_training(job)
    kept: list[bytes] = []

    def stop() -> str | None:
        return "enough" if first.progress.step >= stop_at else None

    rows: list[dict[str, Any]] = []
    saver = Saver(lambda epoch, step, state: kept.append(state), min_seconds=1e9)
    # A clock that stands still makes the loop ask at every step.
    hooks = Hooks(report=rows.append, stop=stop, saver=saver, clock=_ticking(10.0))
    ended = train(job, first, data.splits, objective, Ranks(), hooks)
    saver.close()
    assert ended == Ended("STOPPED", "stopped", "enough")
    assert first.progress.step == stop_at

    data, objective, second = make_training(job)
    torch.manual_seed(999)  # another process has drawn other numbers
    restore(second, kept[-1], rank=0)
    resumed: list[dict[str, Any]] = []
    train(job, second, data.splits, objective, Ranks(), Hooks(report=resumed.append))
    assert curve(rows + resumed) == curve(undisturbed)
    assert curve(second.progress.history) == curve(undisturbed)
    for ours, theirs in zip(second.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def _ticking(step: float) -> Any:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += step
        return now

    return clock


def _on_rank(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    rows, _, training = run(make_job(**SETTINGS), Ranks(rank, world))
    torch.save((curve(rows), training.model.state_dict()), f"{folder}/{rank}.pt")
    torch.distributed.barrier()  # who leaves first must not break the last sum of another
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("world", [2, 3])
def test_several_ranks_compute_what_one_does(world: int, tmp_path: Path) -> None:
    # Three ranks on batches of 32 and a last one of 22 take uneven slices.
    alone, _, training = run(make_job(**SETTINGS))
    mp.spawn(_on_rank, (world, str(tmp_path)), nprocs=world)  # type: ignore[attr-defined,no-untyped-call]
    together, weights = torch.load(tmp_path / "0.pt", weights_only=True)
    for ours, theirs in zip(together, curve(alone), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    for name, tensor in training.model.state_dict().items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-3, atol=1e-5)
    for rank in range(1, world):
        rows, others = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert rows == []  # only rank 0 reports
        assert all(torch.equal(others[name], tensor) for name, tensor in weights.items())


def test_the_best_epochs_weights_are_what_remains() -> None:
    job = make_job(epochs=6, optimizer={"name": "sgd", "learning_rate": 0.9, "momentum": 0.9})
    data, objective, training = make_training(job)
    rows: list[dict[str, Any]] = []
    train(job, training, data.splits, objective, Ranks(), Hooks(report=rows.append))
    best = min(rows, key=lambda row: row["validation_loss"])
    assert best["epoch"] < 6  # or this proves nothing
    again = evaluate(training.model, data.splits["validation"], objective, Ranks(), "validation", 32)
    assert again["validation_loss"] == pytest.approx(best["validation_loss"], rel=1e-6)
    assert (training.progress.best_epoch, training.progress.best_value) == (
        best["epoch"],
        best["validation_loss"],
    )


def test_early_stopping_says_what_it_did() -> None:
    stopping = {"metric": "validation_loss", "patience": 1, "min_delta": 1e9}
    rows, ended, _ = run(make_job(early_stopping=stopping))
    assert len(rows) == 2
    assert ended == Ended(
        "SUCCEEDED", None, "stopped early after epoch 2 of 4: validation_loss did not improve for 1 epochs"
    )


@pytest.mark.parametrize(
    ("values", "mode", "delta", "since"),
    [
        ([3.0, 2.0, 1.0], "min", 0.0, 0),
        ([3.0, 2.0, 2.0, 2.5], "min", 0.0, 2),
        ([1.0, 2.0, 1.5], "max", 0.0, 1),
        ([3.0, 2.95, 2.9], "min", 0.1, 2),
        ([math.nan, math.nan], "min", 0.0, 2),
        ([math.nan, 5.0, math.nan], "min", 0.0, 1),
    ],
)
def test_epochs_without_gain(values: list[float | None], mode: str, delta: float, since: int) -> None:
    assert without_gain(values, mode, delta) == since


def test_a_loss_that_is_no_number_ends_the_trial_with_a_reason() -> None:
    rows, ended, _ = run(make_job(optimizer={"name": "sgd", "learning_rate": 1e30}))
    assert (ended.state, ended.cause, len(rows)) == ("FAILED", "nan_loss", 1)
    assert ended.reason is not None
    assert ended.reason.startswith("train_loss is nan after epoch 1 (step 7, learning rate 1e+30); try a smaller")


def test_loss_and_metrics_do_not_depend_on_the_batch_size() -> None:
    job = make_job()
    data, objective, training = make_training(job)
    samples = data.splits["validation"]
    x, y = samples.gather(torch.arange(len(samples)))
    with torch.no_grad():
        error = (training.model(x) - y).double()
    assert data.preparation is not None
    scale = data.preparation.config()["scale"][0]
    expected = {
        "validation_loss": error.square().mean().item(),
        "validation_mae": error.abs().mean().item() * scale,
        "validation_rmse": error.square().mean().sqrt().item() * scale,
        "validation_scaled_mae": error.abs().mean().item(),
        "validation_scaled_rmse": error.square().mean().sqrt().item(),
    }
    for size in (1, 7, 32, 10_000):
        assert evaluate(training.model, samples, objective, Ranks(), "validation", size) == pytest.approx(
            expected, rel=1e-5
        )


def test_a_checkpoint_holds_nothing_that_only_a_pickle_could() -> None:
    _, _, training = run(make_job())
    training.progress.history.append({"epoch": 9, "train_loss": float("nan")})
    state = capture(training, [random_state()], [({}, 0)])
    _, _, other = make_training(make_job())
    restore(other, serialized(state), rank=0)  # torch.load(weights_only=True)
    assert other.progress.epoch == training.progress.epoch
    states = [each.optimizers["model"].state_dict()["state"].keys() for each in (training, other)]
    assert states[0] == states[1]


def test_random_numbers_go_on_where_they_were() -> None:
    import random

    import numpy as np

    from dlcluster.training.checkpoint import set_random_state

    state = random_state()
    drawn = (torch.rand(3).tolist(), random.random(), np.random.rand())
    set_random_state(state)
    assert (torch.rand(3).tolist(), random.random(), np.random.rand()) == drawn


def test_saving_costs_at_most_its_share_of_time() -> None:
    now = [0.0]
    saved: list[int] = []
    saver = Saver(lambda epoch, step, state: saved.append(step), clock=lambda: now[0])
    assert saver.ready()
    saver.save(lambda: {"x": torch.zeros(1000)}, epoch=1, step=1)
    saver.flush()
    assert not saver.ready()
    now[0] += 3600.0
    assert saver.ready()
    saver.close()
    assert saved == [1]


def test_a_save_that_fails_is_said_and_ends_nothing() -> None:
    said: list[str] = []

    def put(epoch: int, step: int, state: bytes) -> None:
        raise OSError("disk full")

    saver = Saver(put, min_seconds=0.0, say=said.append)
    saver.save(dict, epoch=2, step=9)
    saver.close()
    assert said == ["checkpoint of epoch 2, step 9 could not be saved: disk full"]


def test_an_own_metric_is_weighted_by_samples() -> None:
    from dlcluster.training.objective import Objective

    def bias(prediction: Tensor, target: Tensor) -> Tensor:
        return (prediction - target).mean()

    x = torch.arange(10.0).reshape(-1, 1)
    objective = Objective("regression", torch.nn.functional.mse_loss, {"bias": bias})
    measured = evaluate(lambda batch: batch + 1, TensorSamples(x, x * 0), objective, Ranks(), "test", 4)
    assert measured["test_bias"] == pytest.approx((x + 1).mean().item())


def test_a_training_that_compiles_nothing_does_not_load_the_compiler() -> None:
    code = (
        "import sys\n"
        "from tests.training.test_loop import SETTINGS, run\n"
        "from tests.training.helpers import make_job\n"
        "for optimizer in ('adam', 'adamw', 'sgd'):\n"
        "    run(make_job(epochs=1, optimizer={'name': optimizer, 'learning_rate': 0.01}, gradient_clip=1.0))\n"
        "print('torch._dynamo' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=root)
    assert done.stdout == "False\n"
