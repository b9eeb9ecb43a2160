"""What a job holds, how it is kept, and what it warns of."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from dlcluster.spec import TrainJob, job_from_dict, job_warnings, json_schema, parse_job

FULL = """\
version: 1
name: lstm-co2
kind: train
description: weekly CO2 at Mauna Loa, half a year ahead
labels: {team: climate}
model:
  name: lstm
  params: {hidden_size: 50, num_layers: 1, dropout: 0.0}
data:
  name: co2
  task: forecast
  params: {window: 104, horizon: 26, missing: interpolate}
  split: {train: 0.7, validation: 0.1, test: 0.2}
training:
  epochs: 20
  global_batch_size: 32
  loss: mse
  optimizer: {name: adam, learning_rate: 1.0e-3, weight_decay: 0.0}
  lr_scheduler: {name: cosine, warmup_steps: 100}
  precision: fp32
  compile: false
  gradient_clip: 1.0
  early_stopping: {metric: validation_loss, mode: min, patience: 3}
  seed: 0
resources: {num_workers: 1, gpus_per_worker: 0, cpus_per_worker: 1, memory_per_worker: null, accelerator_type: null}
checkpoint: {every_epochs: 1, min_seconds: auto, num_to_keep: 2, metric: validation_loss, mode: min}
retry: {max_failures: 3, max_preemptions: -1, oom: fail, nan_loss: stop}
limits: {max_duration: 6h, max_wait: 2h, gpu_hours: 20}
storage: {path: s3://acme-dl/results}
env: {NCCL_DEBUG: WARN}
secrets: [HF_TOKEN]
runtime_env: {working_dir: ., pip: []}
"""
RESOLVED: dict[str, Any] = {
    "version": 1,
    "name": "lstm-co2",
    "kind": "train",
    "description": "weekly CO2 at Mauna Loa, half a year ahead",
    "labels": {"team": "climate"},
    "model": {
        "name": "lstm",
        "params": {"hidden_size": 50, "num_layers": 1, "dropout": 0.0},
        "init": None,
        "init_from": None,
        "freeze": [],
    },
    "data": {
        "name": "co2",
        "path": None,
        "format": None,
        "task": "forecast",
        "params": {"window": 104, "horizon": 26, "missing": "interpolate"},
        "split": {
            "train": 0.7,
            "validation": 0.1,
            "test": 0.2,
            "by": None,
            "seed": 0,
            "stratify": False,
            "folds": None,
            "fold": 0,
            "files": {"validation": None, "test": None},
        },
    },
    "training": {
        "epochs": 20,
        "steps_per_epoch": None,
        "global_batch_size": 32,
        "gradient_accumulation": 1,
        "loss": "mse",
        "class_weights": None,
        "label_smoothing": 0.0,
        "metrics": [],
        "optimizer": {
            "name": "adam",
            "learning_rate": 0.001,
            "weight_decay": 0.0,
            "momentum": 0.0,
            "nesterov": False,
            "beta1": 0.9,
            "beta2": 0.999,
        },
        "lr_scheduler": {"name": "cosine", "warmup_steps": 100, "factor": 0.1, "every_epochs": 10, "patience": 3},
        "l1": 0.0,
        "precision": "fp32",
        "compile": False,
        "gradient_clip": 1.0,
        "gradient_clip_value": None,
        "early_stopping": {"metric": "validation_loss", "mode": "min", "patience": 3, "min_delta": 0.0},
        "sample_every_epochs": 5,
        "seed": 0,
        "deterministic": False,
    },
    "export": {"torch_export": False, "prune": None, "quantize": None},
    "resources": {
        "num_workers": 1,
        "gpus_per_worker": 0.0,
        "cpus_per_worker": 1.0,
        "memory_per_worker": None,
        "accelerator_type": None,
    },
    "checkpoint": {
        "every_epochs": 1,
        "every_seconds": None,
        "min_seconds": "auto",
        "num_to_keep": 2,
        "metric": "validation_loss",
        "mode": "min",
    },
    "retry": {"max_failures": 3, "max_preemptions": -1, "oom": "fail", "nan_loss": "stop"},
    "limits": {"max_duration": 21600.0, "max_wait": 7200.0, "gpu_hours": 20.0},
    "storage": {"path": "s3://acme-dl/results", "shared": False},
    "env": {"NCCL_DEBUG": "WARN"},
    "secrets": ["HF_TOKEN"],
    "runtime_env": {"working_dir": ".", "pip": []},
}
LEAST: dict[str, Any] = {"version": 1, "name": "a", "model": {"name": "mlp"}, "data": {"name": "co2"}}


def test_a_full_file_becomes_a_job() -> None:
    assert parse_job(FULL).model_dump(mode="json") == RESOLVED


def test_the_defaults() -> None:
    given = {
        **RESOLVED,
        **LEAST,
        "description": "",
        "labels": {},
        "model": {"name": "mlp", "params": {}, "init": None, "init_from": None, "freeze": []},
        "data": {**RESOLVED["data"], "task": None, "params": {}},
        "limits": {"max_duration": None, "max_wait": None, "gpu_hours": None},
        "storage": {"path": None, "shared": False},
        "env": {},
        "secrets": [],
        "runtime_env": {"working_dir": None, "pip": []},
    }
    given["training"] = {
        **RESOLVED["training"],
        "epochs": 10,
        "loss": None,
        "lr_scheduler": {**RESOLVED["training"]["lr_scheduler"], "name": "constant", "warmup_steps": 0},
        "gradient_clip": None,
        "early_stopping": None,
    }
    assert job_from_dict(LEAST).model_dump(mode="json") == given


def test_a_job_comes_back_from_json_as_it_was() -> None:
    job = parse_job(FULL)
    assert TrainJob.model_validate(json.loads(json.dumps(job.model_dump(mode="json")))) == job
    assert TrainJob.model_validate_json(job.model_dump_json()) == job
    assert job_from_dict(job.model_dump(mode="json")) == job


UNITS = [
    ("limits.max_duration=6h", 21600.0),
    ("limits.max_duration=90m", 5400.0),
    ("limits.max_duration=45s", 45.0),
    ("limits.max_duration=1h30m", 5400.0),
    ("limits.max_duration=1d 2h", 93600.0),
    ("limits.max_duration=1.5h", 5400.0),
    ("limits.max_duration=30", 30.0),
    ("resources.memory_per_worker=4GiB", 4 * 2**30),
    ("resources.memory_per_worker=500 MB", 500_000_000),
    ("resources.memory_per_worker=1.5GiB", 3 * 2**29),
    ("resources.memory_per_worker=1048576", 2**20),
    ("checkpoint.min_seconds=0", 0.0),
    ("checkpoint.min_seconds=auto", "auto"),
]


@pytest.mark.parametrize(("setting", "value"), UNITS)
def test_durations_and_sizes(setting: str, value: object) -> None:
    job = parse_job(FULL, overrides=[setting])
    section, _, key = setting.partition("=")[0].partition(".")
    assert job.model_dump(mode="json")[section][key] == value


def test_a_job_cannot_be_changed() -> None:
    job = parse_job(FULL)
    with pytest.raises(ValidationError):
        job.name = "b"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        job.training.epochs = 3  # type: ignore[misc]


PYTHON = [
    {"env": {"A": "x"}, "secrets": ["A"]},
    {"model": {"name": "a", "params": {"x": float("nan")}}},
    {"model": {"name": "a", "params": {"x": (1, 2)}}},
    {"training": {"epochs": True}},
]


@pytest.mark.parametrize("wrong", PYTHON)
def test_the_model_itself_refuses_what_the_file_may_not_say(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TrainJob.model_validate({**LEAST, **wrong})


WARNINGS: list[tuple[list[str], list[str]]] = [
    ([], ["limits.gpu_hours is ignored: resources.gpus_per_worker is 0"]),
    (["resources.gpus_per_worker=1"], []),
    (
        ["limits.gpu_hours=null", "resources.accelerator_type=A100"],
        ["resources.accelerator_type is ignored: resources.gpus_per_worker is 0"],
    ),
    (
        ["limits={}", "training.epochs=3"],
        ["training.early_stopping never ends this job: its patience (3) is not below training.epochs (3)"],
    ),
    (["limits={}", "storage.shared=true"], ["storage.shared is ignored: an s3:// path is the same on every machine"]),
    (
        ["limits={}", "checkpoint.mode=max", "training.early_stopping.mode=max"],
        [
            "checkpoint.mode is max, so the largest validation_loss counts as the best: is min meant?",
            "training.early_stopping.mode is max, so the largest validation_loss counts as the best: is min meant?",
        ],
    ),
    (
        ["limits={}", "env={MY_API_KEY: x, TOKENIZERS_PARALLELISM: y}"],
        ["env.MY_API_KEY stands in the job file, which is kept with the results: name it under secrets instead"],
    ),
    (["limits={}", "data.format=csv"], ["data.format is ignored: data.name says what its files are"]),
    (["limits={}", "data.split.seed=1"], ["data.split.seed is ignored: the splits follow the order of the data"]),
    (["limits={}", "data.split.seed=1", "data.task=regression"], []),
    (
        ["limits={}", "data.split={train: 0.6, validation: 0.2, test: 0.2, files: {validation: x, test: y}}"],
        ["data.split.validation is ignored: data.split.files.validation has that split"],
    ),
    (
        ["limits={}", "data.split={train: 0.5, validation: 0.1, test: 0.4, folds: 5}"],
        ["data.split.test is ignored: one of 5 folds is tested on"],
    ),
    (["limits={}", "data.split={train: 0.57, validation: 0.1, test: 0.33, folds: 3}"], []),
    (
        ["limits={}", "training.metrics=[r2]", "data.split={train: 0.8, validation: 0}", "checkpoint.metric=train_loss",
         "training.early_stopping=null"],
        ["training.metrics are measured by the final test only: data.split.validation is 0"],
    ),
    (
        ["limits={}", "training.steps_per_epoch=5"],
        ["training.lr_scheduler.warmup_steps (100) is not below the 100 steps of this job: it never gets to its "
         "learning rate"],
    ),
    (["limits={}", "training.steps_per_epoch=6"], []),
    (
        ["limits={}", "training.lr_scheduler={name: step, every_epochs: 20}"],
        ["training.lr_scheduler never acts: its every_epochs (20) is not below training.epochs (20)"],
    ),
    (
        ["limits={}", "training.lr_scheduler={name: reduce_on_plateau, patience: 19}"],
        ["training.lr_scheduler never acts: its patience (19) leaves none of the 20 epochs to act in"],
    ),
    (["limits={}", "training.lr_scheduler={name: reduce_on_plateau, patience: 18}"], []),
]  # fmt: skip


@pytest.mark.parametrize(("overrides", "found"), WARNINGS)
def test_warnings(overrides: list[str], found: list[str]) -> None:
    assert job_warnings(parse_job(FULL, overrides=overrides)) == found


def _valid(job: object) -> bool:
    jsonschema = pytest.importorskip("jsonschema")
    return bool(jsonschema.Draft202012Validator(json_schema()).is_valid(job))


def test_the_schema_is_a_schema_and_describes_every_key() -> None:
    schema = json_schema()
    pytest.importorskip("jsonschema").Draft202012Validator.check_schema(schema)
    sections = [schema, *schema["$defs"].values()]
    assert (schema["$schema"], schema["title"]) == (
        "https://json-schema.org/draft/2020-12/schema",
        "dlcluster job file",
    )
    assert [each["title"] for each in sections if each["additionalProperties"] is not False] == []
    keys = [(name, key) for each in sections for name, key in each["properties"].items()]
    described = [name for name, key in keys if "description" in key or "$ref" in key]
    assert (described, len(keys) > 50) == ([name for name, _ in keys], True)


def test_the_schema_takes_a_full_file_as_written_and_as_resolved() -> None:
    import yaml

    assert [_valid(yaml.safe_load(FULL)), _valid(RESOLVED), _valid(LEAST)] == [True, True, True]


REFUSED = [
    {"epochs": 3},
    {"training": {"epochs": 0}},
    {"training": {"optimizer": {"name": "lion"}}},
    {"training": {"class_weights": "even"}},
    {"training": {"class_weights": [0]}},
    {"training": {"label_smoothing": 1}},
    {"data": {"name": "co2", "split": {"folds": 1}}},
    {"limits": {"max_duration": "soon"}},
    {"limits": {"max_duration": ""}},
    {"resources": {"memory_per_worker": "4x"}},
    {"checkpoint": {"min_seconds": "soon"}},
    {"name": "Not a name"},
    {"data": {}},
    {"env": {"A": 3}},
    {"secrets": ["3x"]},
    {"kind": "tune"},
]


@pytest.mark.parametrize("wrong", REFUSED)
def test_the_schema_refuses(wrong: dict[str, Any]) -> None:
    assert not _valid({**LEAST, **wrong})


def test_importing_the_package_loads_nothing_heavy() -> None:
    program = (
        "import sys, dlcluster.spec; print('pydantic' in sys.modules, 'yaml' in sys.modules); "
        "dlcluster.spec.load_job; print(sorted({'torch', 'ray', 'pyarrow', 'click', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n[]\n"
