"""Classification and generation on a real cluster: metrics over several workers, pictures in the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import dlcluster
from dlcluster.results.summary import epoch_rows, trial_rows
from tests.runs.conftest import Submit

DIGITS: dict[str, Any] = {
    "version": 1,
    "name": "digits",
    "model": {"name": "mlp", "params": {"hidden": [16]}},
    "data": {"name": "digits", "split": {"train": 0.2, "validation": 0.05, "test": 0.75}},
    "training": {"epochs": 2, "global_batch_size": 31, "metrics": ["f1"]},
}


def test_two_workers_measure_what_one_does(submit: Submit, folder: Path) -> None:
    here = dlcluster.submit(DIGITS, storage="here", local=True)
    two = dlcluster.submit({**DIGITS, "resources": {"num_workers": 2}}, storage="two")
    two.wait()
    (alone,), (together,) = (trial_rows(run.objects, run.run_id) for run in (here, two))
    names = {"accuracy", "auroc", "f1", "loss", "precision", "recall"}
    assert alone["metrics"].keys() == together["metrics"].keys() == {f"test_{name}" for name in names}
    assert together["metrics"] == pytest.approx(alone["metrics"], rel=1e-3)
    assert together["baseline"] == pytest.approx(alone["baseline"], rel=1e-6, nan_ok=True)
    for ours, theirs in zip(*(epoch_rows(run.objects, run.run_id) for run in (here, two)), strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-4)
        assert ours["metrics"].keys() == {"validation_accuracy", "validation_f1"}
        assert ours["metrics"] == pytest.approx(theirs["metrics"], rel=1e-3)


def test_a_gan_leaves_pictures_in_the_store(submit: Submit, folder: Path) -> None:
    job = {
        **DIGITS,
        "name": "gan",
        "model": {"name": "gan"},
        "data": {"name": "digits", "task": "generation", "split": {"train": 1.0, "validation": 0, "test": 0}},
        "training": {"epochs": 3, "sample_every_epochs": 2},
    }
    run = dlcluster.submit(job, storage="made")
    run.wait()
    pictures = sorted(path.name for path in Path("made").glob(f"v1/runs/{run.run_id}/f1/artifacts/*/*.png"))
    assert pictures == ["samples-0002.png", "samples-0003.png"]
    rows = epoch_rows(run.objects, run.run_id)
    assert [sorted(row["metrics"]) for row in rows] == [["train_discriminator_loss", "train_generator_loss"]] * 3
    assert [row["train_loss"] for row in rows] == [pytest.approx(sum(row["metrics"].values())) for row in rows]
    (trial,) = trial_rows(run.objects, run.run_id)
    assert (trial["best_epoch"], trial["metrics"], trial["num_epochs"]) == (None, None, 3)
