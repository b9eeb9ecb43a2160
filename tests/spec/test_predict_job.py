"""Jobs of kind ``predict``: their own keys, defaults and faults."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dlcluster.errors import JobFileError
from dlcluster.spec import (
    PredictJob,
    TrainJob,
    job_from_dict,
    job_from_kept,
    job_warnings,
    json_schema,
    parse_any_job,
    parse_job,
)

HEAD = "version: 1\nname: p\nkind: predict\n"
LEAST = HEAD + "predict: {run: latest, data: new.csv, out: predictions}\n"
RESOLVED: dict[str, Any] = {
    "version": 1,
    "name": "p",
    "kind": "predict",
    "description": "",
    "labels": {},
    "predict": {"run": "latest", "data": "new.csv", "format": None, "out": "predictions", "batch_size": 1024},
    "resources": {
        "num_workers": 1,
        "gpus_per_worker": 0.0,
        "cpus_per_worker": 1.0,
        "memory_per_worker": None,
        "accelerator_type": None,
    },
    "retry": {"max_failures": 3, "max_preemptions": -1, "oom": "fail", "nan_loss": "stop"},
    "limits": {"max_duration": None, "max_wait": None, "gpu_hours": None},
    "storage": {"path": None, "shared": False},
    "env": {},
    "secrets": [],
    "runtime_env": {"working_dir": None, "pip": []},
}
TRAIN = {"version": 1, "name": "t", "model": {"name": "mlp"}, "data": {"name": "co2"}}


def faults(text: str, *overrides: str) -> list[str]:
    with pytest.raises(JobFileError) as caught:
        parse_any_job(text, source="j.yaml", overrides=overrides)
    return [str(fault) for fault in caught.value.faults]


def test_every_default_is_filled_in_and_a_kept_job_is_read_back() -> None:
    job = parse_any_job(LEAST)
    assert isinstance(job, PredictJob)
    assert job.model_dump(mode="json") == RESOLVED
    assert job_from_kept(json.loads(job.model_dump_json())) == job
    assert isinstance(job_from_kept(json.loads(job_from_dict(TRAIN).model_dump_json())), TrainJob)
    assert job_warnings(job) == []


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ("data: new.csv", "5: data: unknown key: did you mean predict.data?"),
        ("batch_size: 3", "5: batch_size: unknown key: did you mean predict.batch_size?"),
        ("model: {name: mlp}", "5: model: unknown key: it belongs to kind: train"),
        ("training: {epochs: 3}", "5: training: unknown key: it belongs to kind: train"),
        ("workers: 3", "5: workers: unknown key: did you mean resources.num_workers?"),
        (
            "epochs: 3",
            "5: epochs: unknown key: must be one of version, name, kind, description, labels, predict, resources, "
            "retry, limits, storage, env, secrets, runtime_env",
        ),
        (
            "tune: {}",
            "5: tune: unknown key: it belongs to another kind of job, and this version runs kind: train and predict "
            "only",
        ),
        ("env: {A: b}\nsecrets: [A]", "5: env.A: is also under secrets: keep one of the two"),
        ("secrets: [A, A]", "5: secrets[1]: A is in the list already: remove one"),
        ("resources: {num_workers: 0}", "5: resources.num_workers: must be at least 1 (got 0)"),
    ],
)
def test_a_fault_is_named_by_the_keys_of_this_kind(more: str, found: str) -> None:
    assert faults(LEAST + more + "\n") == [f"j.yaml:{found}"]


@pytest.mark.parametrize(
    ("section", "found"),
    [
        ("", "1: predict: is missing: write predict: {run: latest, data: new.csv, out: predictions}"),
        ("predict: latest",
         "4: predict: must be a mapping (got latest): its keys are run, data, format, out, batch_size"),
        ("predict: {run: r, data: d}", "4: predict.out: is missing: write out: s3://bucket/predictions"),
        ("predict: {run: r, data: d, out: o, format: cvs}",
         "4: predict.format: must be one of csv, parquet, images, text (got cvs): did you mean csv?"),
        ("predict: {run: r, data: d, out: o, batchsize: 3}",
         "4: predict.batchsize: unknown key: did you mean predict.batch_size?"),
        ("predict: {run: r, data: d, out: o, batch_size: 0}", "4: predict.batch_size: must be at least 1 (got 0)"),
        ('predict: {run: r, data: d, out: ""}', '4: predict.out: must not be empty (got "")'),
    ],
)  # fmt: skip
def test_a_fault_in_its_own_section(section: str, found: str) -> None:
    assert faults(f"{HEAD}{section}\n") == [f"j.yaml:{found}"]


def test_who_wants_a_job_to_train_gets_no_other() -> None:
    with pytest.raises(JobFileError) as caught:
        parse_job(LEAST, source="j.yaml")
    assert str(caught.value) == "j.yaml: kind: must be train here (got predict)"


def test_a_job_to_train_says_where_predict_belongs() -> None:
    text = "version: 1\nname: t\nmodel: {name: mlp}\ndata: {name: co2}\npredict: {}\n"
    assert faults(text) == ["j.yaml:5: predict: unknown key: it belongs to kind: predict"]


def test_the_kind_can_come_from_an_override() -> None:
    job = parse_any_job(LEAST.replace("kind: predict\n", ""), overrides=["kind=predict", "predict.batch_size=7"])
    assert isinstance(job, PredictJob)
    assert job.predict.batch_size == 7


def test_a_setting_that_is_ignored_warns() -> None:
    job = parse_any_job(LEAST + "limits: {gpu_hours: 3}\n")
    assert job_warnings(job) == ["limits.gpu_hours is ignored: resources.gpus_per_worker is 0"]


def test_the_schema_has_both_kinds() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    check = jsonschema.Draft202012Validator(json_schema())

    def valid(job: dict[str, Any]) -> bool:
        return bool(check.is_valid(job))

    least = {"version": 1, "name": "p", "kind": "predict", "predict": {"run": "r", "data": "d", "out": "o"}}
    assert [valid(least), valid(RESOLVED), valid(TRAIN)] == [True, True, True]
    wrong = [
        {**least, "model": {"name": "mlp"}},
        {**least, "kind": "train"},
        {**least, "predict": {"run": "r", "data": "d"}},
        {**least, "predict": {**least["predict"], "format": "npz"}},  # type: ignore[dict-item]
        {**TRAIN, "predict": least["predict"]},
        {**TRAIN, "kind": "predict"},
    ]
    assert [valid(each) for each in wrong] == [False] * len(wrong)
