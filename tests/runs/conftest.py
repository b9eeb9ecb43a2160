"""One Ray cluster for all runs of the tests: started the way a user's is, and gone afterwards."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import dlcluster
from dlcluster.cluster import local
from dlcluster.results.summary import epoch_rows

JOBS = Path(__file__).parents[2] / "jobs"
LOSSES = ("epoch", "step", "train_loss", "validation_loss")


@pytest.fixture(scope="session")
def cluster(_own_home: Path) -> Iterator[local.Cluster]:
    yield local.up(num_cpus=2, say=lambda line: None)
    local.down(say=lambda line: None)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder, with the example jobs in it, and the current one."""
    shutil.copytree(JOBS, tmp_path / "jobs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


Submit = Callable[..., dlcluster.Run]


@pytest.fixture
def submit(cluster: local.Cluster, folder: Path) -> Submit:
    def send(file: str = "jobs/lstm.yaml", *overrides: str, **options: Any) -> dlcluster.Run:
        return dlcluster.submit(file, overrides=overrides, **options)

    return send


def losses(run: dlcluster.Run) -> list[tuple[Any, ...]]:
    """A run's epochs, as what must be equal in two runs of the same job."""
    return [tuple(row[name] for name in LOSSES) for row in epoch_rows(run.objects, run.run_id)]


def first_epoch(run: dlcluster.Run, epoch: int) -> Mapping[str, Any]:
    """Waits until an epoch's row is in the store."""
    for update in run.follow():
        if update.epoch is not None and update.epoch["epoch"] >= epoch:
            return update.epoch
    raise AssertionError(f"{run.run_id} ended before epoch {epoch}: {run.view}")
