"""What dies while a run goes: a worker, its driver, the cluster. Nothing is lost, nothing is computed twice."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

import dlcluster
from dlcluster.cluster.local import Cluster
from dlcluster.errors import ExitCode, RunEnded
from dlcluster.results.follow import follow
from dlcluster.results.summary import attempt_rows, epoch_rows
from tests.runs.conftest import Submit, first_epoch, losses

pytestmark = pytest.mark.ray

EPOCHS = 24
# Every epoch is saved, and the model is large enough that one takes a moment.
JOB = (f"training.epochs={EPOCHS}", "model.params.hidden_size=64", "checkpoint.min_seconds=0")


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[tuple[Any, ...]]]:
    """The curves nothing happened to, by number of workers."""
    curves = {}
    for workers in (1, 2):
        file = Path(__file__).parents[2] / "jobs/lstm.yaml"
        storage = str(tmp_path_factory.mktemp("undisturbed"))
        run = dlcluster.submit(file, overrides=[*JOB, f"resources.num_workers={workers}"], storage=storage)
        run.wait(120)
        curves[workers] = losses(run)
    return curves


def worker_pid(run: dlcluster.Run) -> int:
    return int(attempt_rows(run.objects, run.run_id)[-1]["pid"])


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_worker_costs_at_most_an_epoch(
    submit: Submit, undisturbed: dict[int, list[tuple[Any, ...]]], workers: int, seed: int
) -> None:
    run = submit("jobs/lstm.yaml", *JOB, f"resources.num_workers={workers}")
    at = random.Random(seed).randint(3, EPOCHS - 8)
    first_epoch(run, at)  # at least two epochs behind it, and two to go
    os.kill(worker_pid(run), signal.SIGKILL)
    assert run.wait(180).state == "SUCCEEDED"
    attempts = attempt_rows(run.objects, run.run_id)
    assert len(attempts) >= 2, f"killed at epoch {at}"
    assert [row["state"] for row in attempts] == ["FAILED"] * (len(attempts) - 1) + ["SUCCEEDED"]
    assert attempts[0]["cause"] == "infrastructure"
    start = attempts[-1]["start_epoch"]
    rows = epoch_rows(run.objects, run.run_id)
    assert [row["epoch"] for row in rows] == list(range(1, EPOCHS + 1))
    assert start >= at - 1  # the newest checkpoint may have been on its way
    assert start > 1
    assert all(row["attempt"] < attempts[-1]["attempt"] for row in rows if row["epoch"] < start)
    assert all(row["attempt"] == attempts[-1]["attempt"] for row in rows if row["epoch"] >= start)
    if workers == 1:
        assert losses(run) == undisturbed[1]
    else:  # the order in which two ranks' sums arrive is not ours to fix
        for ours, theirs in zip(losses(run), undisturbed[2], strict=True):
            assert ours == pytest.approx(theirs, rel=1e-5)


def driver_of(run: dlcluster.Run) -> psutil.Process:
    (found,) = [
        process
        for process in psutil.process_iter(["cmdline"])
        if "dlcluster.driver" in (process.info["cmdline"] or []) and run.run_id in " ".join(process.info["cmdline"])
    ]
    return found


def test_a_killed_driver_is_said_and_its_run_goes_on_where_it_was(
    submit: Submit, undisturbed: dict[int, list[tuple[Any, ...]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLCLUSTER_HEARTBEAT_SECONDS", "0.5")
    run = submit("jobs/lstm.yaml", *JOB)
    first_epoch(run, 4)
    driver_of(run).kill()
    # Nobody asks the cluster: the store alone tells, six heartbeats later.
    for _ in follow(run.objects, run.run_id):
        pass
    view = run.view
    assert (view.state, view.exit_code, view.sealed, view.partial) == ("FAILED", ExitCode.FAILED, False, True)
    assert view.reason is not None
    assert view.reason.startswith("driver lost (no heartbeat for ")
    assert view.reason.endswith(f"dlcluster resume {run.run_id}")
    assert [found.state for found in dlcluster.open().runs(1)] == ["FAILED"]
    # Whoever follows learns it from the cluster, sooner.
    with pytest.raises(RunEnded, match="driver lost"):
        run.wait(60)
    run.resume()
    assert run.wait(120).state == "SUCCEEDED"
    assert losses(run) == undisturbed[1]
    first, last = attempt_rows(run.objects, run.run_id)
    assert (first["state"], first["cause"]) == ("FAILED", "driver_lost")
    assert (last["fence"], last["attempt"], last["state"]) == (2, 1, "SUCCEEDED")
    assert last["start_epoch"] > 2


def test_a_run_without_a_driver_can_be_stopped(submit: Submit) -> None:
    run = submit("jobs/lstm.yaml", "training.epochs=5000")
    first_epoch(run, 2)
    driver_of(run).kill()
    with pytest.raises(RunEnded, match="driver lost"):
        run.wait(60)
    view = run.stop("no use")
    assert (view.state, view.sealed, view.exit_code) == ("STOPPED", True, ExitCode.STOPPED)
    assert view.reason is not None
    assert view.reason.endswith(": no use")
    assert len(losses(run)) >= 2


def test_retries_end_with_the_budget(submit: Submit, folder: Path) -> None:
    (folder / "dies.py").write_text(
        "import os, torch\nclass Dies(torch.nn.Module):\n    def __init__(self):\n        os.kill(os.getpid(), 9)\n"
    )
    run = submit("jobs/lstm.yaml", "model={name: 'dies:Dies'}", "retry.max_failures=1")
    with pytest.raises(RunEnded) as caught:
        run.wait(120)
    assert str(caught.value) == (
        "FAILED: failed 2 times (retry.max_failures: 1); the last time: the worker died: "
        "its process ended without a word (killed, out of memory, or crashed)"
    )
    attempts = attempt_rows(run.objects, run.run_id)
    assert [(row["attempt"], row["state"], row["cause"]) for row in attempts] == [
        (1, "FAILED", "infrastructure"),
        (2, "FAILED", "infrastructure"),
    ]
