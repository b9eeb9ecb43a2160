"""What a job names is checked before anything is sent: names, parameters, places."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dlcluster.api import load
from dlcluster.errors import JobFileError
from dlcluster.spec import TrainJob
from dlcluster.tuning.trials import train_trial

JOBS = Path(__file__).parents[2] / "jobs"


@pytest.mark.parametrize("file", sorted(JOBS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_job_is_fine(file: Path) -> None:
    assert isinstance(load(file, folder=JOBS.parent), TrainJob)


def faults(tmp_path: Path, *overrides: str) -> list[str]:
    (tmp_path / "nets.py").write_text("class Net: ...\ndef data(): ...\n")
    with pytest.raises(JobFileError) as caught:
        load(JOBS / "lstm.yaml", overrides=overrides, folder=tmp_path)
    return [f"{fault.key}: {fault.message}" for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "model.name=lstn",
            "model.name: no model 'lstn'; did you mean lstm? (there is: lstm); your own as package.module:Class",
        ),
        ("model.name='nets:Nett'", "model.name: nets has no 'Nett'; did you mean Net? (there is: Net, data)"),
        ("model.params.hidden_size=0", "model.params.hidden_size: must be at least 1 (got 0)"),
        ("model.params.hidden_size=big", "model.params.hidden_size: must be a whole number (got 'big')"),
        (
            "model.params.hiden_size=3",
            "model.params.hiden_size: there is no such parameter; did you mean hidden_size? (there is: "
            "bidirectional, dropout, hidden_size, num_layers)",
        ),
        (
            "data.name=co3",
            "data.name: no data set 'co3'; did you mean co2? (there is: co2); your own as package.module:function",
        ),
        ("data.params.missing=drop", "data.params.missing: must be interpolate, forward_fill or mean (got drop)"),
        ("data.params={missing: mean}", "data.params.window: is missing; this task needs it"),
        (
            "training.loss=cross_entropy",
            "training.loss: cross_entropy does not fit task forecast; one of: mse, mae, huber",
        ),
        (
            "training.loss=msee",
            "training.loss: no loss 'msee'; did you mean mse? (there is: cross_entropy, huber, mae, mse); "
            "your own as package.module:function",
        ),
        ("training.metrics=['nets:nope']", "training.metrics[0]: nets has no 'nope'; there is: Net, data"),
    ],
)
def test_each_fault_is_said(tmp_path: Path, override: str, expected: str) -> None:
    assert faults(tmp_path, override) == [expected]


def test_faults_of_the_file_and_of_its_components_come_together(tmp_path: Path) -> None:
    found = faults(tmp_path, "training.epochs=0", "model.params.hidden_size=0", "training.loss=msee")
    assert [fault.partition(":")[0] for fault in found] == [
        "training.epochs",
        "model.params.hidden_size",
        "training.loss",
    ]


def test_checking_a_job_imports_neither_torch_nor_ray() -> None:
    code = (
        "import sys; from dlcluster.api import load; load(sys.argv[1])\n"
        "print([name for name in ('torch', 'ray', 'pyarrow', 'boto3') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(JOBS / "lstm.yaml")]
    assert subprocess.run(command, check=True, capture_output=True, text=True, cwd=JOBS.parent).stdout == "[]\n"


def test_a_trials_identity_is_what_decides_its_result() -> None:
    def trial(*overrides: str, fingerprint: str = "sha256:1") -> tuple[str, str]:
        made = train_trial(load(JOBS / "lstm.yaml", overrides=overrides), fingerprint)
        return made.trial_id, made.setting_id

    base = trial()
    same: list[Any] = ["name=other", "retry.max_failures=9", "limits.max_duration=1h", "resources.num_workers=2"]
    assert [trial(override) for override in same] == [base] * len(same)
    seeded = trial("training.seed=1")
    assert (seeded[0] != base[0], seeded[1] == base[1]) == (True, True)
    different = [
        trial("model.params.hidden_size=51"),
        trial("training.optimizer.learning_rate=0.1"),
        trial("data.params.window=53"),
        trial(fingerprint="sha256:2"),
    ]
    assert len({base, *different}) == 5
