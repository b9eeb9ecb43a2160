"""What a job names is checked before anything is sent: names, parameters, places."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dlcluster.api import load, load_any
from dlcluster.data.catalog import DATASETS
from dlcluster.data.kinds import TASKS
from dlcluster.errors import JobFileError
from dlcluster.models.catalog import MODELS
from dlcluster.spec import TrainJob
from dlcluster.training.components import FURTHER, LOSSES, METRICS, check_names
from dlcluster.tuning.trials import train_trial

JOBS = Path(__file__).parents[2] / "jobs"


@pytest.mark.parametrize("file", sorted(JOBS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_job_is_fine(file: Path) -> None:
    assert load_any(file, folder=JOBS.parent).kind in ("train", "predict")


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
            f"model.name: no model 'lstn'; did you mean lstm? (there is: {', '.join(sorted(MODELS))}); "
            "your own as package.module:Class",
        ),
        ("model.name='nets:Nett'", "model.name: nets has no 'Nett'; did you mean Net? (there is: Net, data)"),
        ("model.params.hidden_size=0", "model.params.hidden_size: must be at least 1 (got 0)"),
        ("model.params.hidden_size=big", "model.params.hidden_size: must be a whole number (got 'big')"),
        (
            "model.params.hiden_size=3",
            "model.params.hiden_size: there is no such parameter; did you mean hidden_size? (there is: "
            f"{', '.join(sorted(MODELS['lstm'].params.model_fields))})",
        ),
        (
            "data.name=co3",
            f"data.name: no data set 'co3'; did you mean co2? (there is: {', '.join(sorted(DATASETS))}); "
            "your own as package.module:function",
        ),
        ("data.params.missing=drop", "data.params.missing: must be interpolate, forward_fill or mean (got drop)"),
        ("data.params={missing: mean}", "data.params.window: is missing; this task needs it"),
        (
            "training.loss=cross_entropy",
            "training.loss: cross_entropy does not fit the task forecast; one of: mse, mae, huber; "
            "your own as package.module:function",
        ),
        (
            "training.loss=msee",
            "training.loss: no loss 'msee'; did you mean mse? (there is: huber, mae, mse); "
            "your own as package.module:function",
        ),
        ("training.loss='nets:nope'", "training.loss: nets has no 'nope'; there is: Net, data"),
        ("training.metrics=['nets:nope']", "training.metrics[0]: nets has no 'nope'; there is: Net, data"),
        (
            "training.metrics=[mse, mapee]",
            "training.metrics[1]: no metric 'mapee'; did you mean mape? (there is: mae, mape, mse, r2, rmse, "
            "scaled_mae, scaled_rmse); your own as package.module:function",
        ),
        (
            "training.metrics=[auroc]",
            "training.metrics[0]: auroc does not fit the task forecast; one of: mae, rmse, scaled_mae, scaled_rmse, "
            "mse, mape, r2; your own as package.module:function",
        ),
        (
            "training.metrics=[r2, 'other:r2']",
            "training.metrics[1]: would be reported as r2, as r2 is: give the function another name",
        ),
        ("training.class_weights=balanced", "training.class_weights: is for the task classification, not for forecast"),
        ("data.split.by=random", "data.split.by: random would let a forecast see what comes after its test"),
    ],
)
def test_each_fault_is_said(tmp_path: Path, override: str, expected: str) -> None:
    (tmp_path / "other.py").write_text("def r2(): ...\n")
    (found,) = faults(tmp_path, override)
    assert found in (expected, f"{expected}: remove it", f"{expected}: write time, or leave it out")


LEAST: dict[str, Any] = {"version": 1, "name": "a", "model": {"name": "nets:Net"}}
KINDS: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    ({"path": "a.csv", "task": "forecast", "params": {"window": 3}}, {}, []),
    ({"path": "a.csv", "task": "regression", "params": {"target": "y"}}, {}, []),
    ({"path": "a.csv", "task": "regression"}, {}, ["data.params.target: is missing; this task needs it"]),
    ({"path": "folder", "format": "images", "task": "classification"}, {}, []),
    ({"path": "a.txt", "task": "language_model"}, {}, []),
    ({"path": "folder", "task": "language_model"}, {}, []),
    ({"name": "co2", "task": "regression", "params": {"target": "co2"}}, {}, []),
    (
        {"path": "a.csv"},
        {},
        ["data.task: say what the data is for: forecast, classification, regression, language_model, generation"],
    ),
    (
        {"name": "nets:data"},
        {},
        ["data.task: say what the data is for: forecast, classification, regression, language_model, generation"],
    ),
    (
        {"path": "folder", "task": "classification"},
        {},
        [
            "data.format: is needed, since folder does not tell what its files are; one of: csv, parquet, npz, idx, "
            "images, text"
        ],
    ),
    (
        {"path": "a.csv", "task": "language_model"},
        {},
        ["data.format: the task language_model does not take csv; one of: text"],
    ),
    (
        {"path": "a.csv", "format": "text", "task": "forecast"},
        {},
        ["data.format: the task forecast does not take text; one of: csv, parquet"],
    ),
    (
        {"name": "co2", "task": "generation"},
        {},
        ["data.task: data set co2 is not for generation (it is csv); one of: forecast, classification, regression"],
    ),
    (
        {
            "path": "a.txt",
            "task": "language_model",
            "params": {"block": 1, "tokenizer": {"name": "wordz", "vocab": 3, "lowercase": 1}},
        },
        {},
        [
            "data.params.block: must be at least 2 (got 1)",
            "data.params.tokenizer.name: must be characters, words or bpe (got wordz)",
            "data.params.tokenizer.lowercase: must be true or false (got 1)",
            "data.params.tokenizer.vocab: there is no such parameter; did you mean vocab_size? "
            "(there is: lowercase, name, vocab_size)",
        ],
    ),
    (
        {
            "path": "a.npz",
            "task": "classification",
            "params": {"size": [28], "augment": {"rotation": 200, "flipp": True}, "channels": 2, "bad_files": ["skip"]},
        },
        {},
        [
            "data.params.size: must have at least 2 values (got 1)",
            "data.params.channels: must be 1 or 3 (got 2)",
            "data.params.augment.rotation: must be at most 180 (got 200)",
            "data.params.augment.flipp: there is no such parameter; did you mean flip? "
            "(there is: flip, rotation, shear, shift, zoom)",
            "data.params.bad_files: must be refuse or skip (got a list)",
        ],
    ),
    (
        {"path": "a.csv", "task": "forecast", "params": {"window": 3, "denoise": "median", "columns": ["a", 3]}},
        {},
        [
            "data.params.columns[1]: must be text (got 3)",
            "data.params.denoise: must be a mapping such as {key: value} (got 'median')",
        ],
    ),
    (
        {"path": "a.csv", "task": "forecast", "params": {"window": 3, "denoise": {"width": 3}}},
        {},
        ["data.params.denoise.name: is missing"],
    ),
    (
        {"path": "a.csv", "task": "forecast", "params": {"window": 3, "center": "last"}},
        {"training": {"metrics": ["r2", "mape"]}},
        [
            "training.metrics[1]: mape needs values in the data's own units, and windows centred on their last value "
            "have none: remove mape, or data.params.center"
        ],
    ),
    (
        {"path": "a.npz", "task": "generation"},
        {"model": {"name": "lstm"}},
        ["model.name: lstm generates nothing: write gan, or your own as package.module:Class"],
    ),
    (
        {"path": "a.npz", "task": "generation"},
        {"training": {"loss": "mse", "metrics": ["f1", "nets:data"]}},
        [
            "training.loss: a model for generation brings its own loss: remove it",
            "training.metrics[0]: f1 does not fit the task generation; your own as package.module:function",
            "training.metrics[1]: a model for generation is not compared with targets: remove it",
        ],
    ),
    (
        {"path": "a.npz", "task": "classification"},
        {"training": {"loss": "bce", "class_weights": [1, 2], "metrics": ["accuracy", "f1", "auroc", "nets:data"]}},
        [],
    ),
    (
        {"path": "a.npz", "task": "classification"},
        {"training": {"metrics": ["confusion_matrix", "perplexity", "nets:accuracy", "acuracy"]}},
        [
            "training.metrics[0]: confusion_matrix comes with the final test, unasked: remove it",
            "training.metrics[1]: perplexity does not fit the task classification; one of: accuracy, f1, precision, "
            "recall, auroc; your own as package.module:function",
            "training.metrics[2]: would be reported as accuracy, as accuracy is: give the function another name",
            "training.metrics[3]: no metric 'acuracy'; did you mean accuracy? (there is: accuracy, auroc, f1, "
            "precision, recall); your own as package.module:function",
        ],
    ),
    (
        {"path": "a.txt", "task": "language_model"},
        {"training": {"loss": "bce", "metrics": ["f1"]}},
        [
            "training.loss: bce does not fit the task language_model; one of: cross_entropy; "
            "your own as package.module:function",
            "training.metrics[0]: f1 does not fit the task language_model; one of: accuracy, perplexity; "
            "your own as package.module:function",
        ],
    ),
]


@pytest.mark.parametrize(("data", "more", "expected"), KINDS)
def test_data_task_model_and_loss_fit_together(
    tmp_path: Path, data: dict[str, Any], more: dict[str, Any], expected: list[str]
) -> None:
    (tmp_path / "nets.py").write_text("class Net: ...\ndef data(): ...\ndef accuracy(): ...\n")
    found: list[str] = []
    try:
        load({**LEAST, "data": data, **more}, folder=tmp_path)
    except JobFileError as error:
        found = [f"{fault.key}: {fault.message}" for fault in error.faults]
    assert sorted(found) == sorted(expected)


def test_a_gan_is_for_generation(tmp_path: Path) -> None:
    values = {**LEAST, "model": {"name": "gan"}, "data": {"path": "a.npz", "task": "classification"}}
    with pytest.raises(JobFileError) as caught:
        load(values, folder=tmp_path)
    assert str(caught.value) == "<job>: model.name: gan is for the task generation, not for classification"
    assert isinstance(load({**values, "data": {"path": "a.npz", "task": "generation"}}, folder=tmp_path), TrainJob)


@pytest.mark.parametrize(
    ("model", "data", "expected"),
    [
        (
            "text_cnn",
            {"path": "a.csv", "task": "classification", "params": {"target": "y"}},
            ["model.name: text_cnn reads texts (tokens,), the data is tables (features,); one of: mlp"],
        ),
        (
            "persistence",
            {"name": "digits"},
            [
                "model.name: persistence reads series (window, channels), the data is pictures (channels, height, "
                "width); one of: mlp, cnn, rnn, lstm, gru, transformer"
            ],
        ),
        ("cnn", {"name": "co2", "params": {"window": 30}}, []),
        ("lstm", {"path": "a.npz", "task": "classification"}, []),  # only its arrays say what they are
    ],
)
def test_a_model_that_cannot_read_the_data_is_named_before_anything_is_sent(
    tmp_path: Path, model: str, data: dict[str, Any], expected: list[str]
) -> None:
    found = list(check_names({**LEAST, "model": {"name": model}, "data": data}, tmp_path))
    assert [f"{path}: {message}" for path, message in found] == expected


def test_every_loss_and_metric_that_is_checked_is_there() -> None:
    assert {task: names[:1] for task, names in LOSSES.items()} == {
        "forecast": ("mse",),
        "regression": ("mse",),
        "classification": ("cross_entropy",),
        "language_model": ("cross_entropy",),
        "generation": (),
    }
    assert LOSSES.keys() == METRICS.keys() == FURTHER.keys() == TASKS.keys()


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
