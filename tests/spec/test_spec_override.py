"""--set: single values from outside the file, checked as the file is."""

from __future__ import annotations

from typing import Any

import pytest

from dlcluster.errors import JobFileError
from dlcluster.spec import parse_job

TEXT = "version: 1\nname: a\nmodel: {name: mlp}\ndata: {name: co2}\ntraining:\n  epochs: 0\n"
QUOTES = "put the value in quotes that reach dlcluster, as in --set 'description=\"a: b\"'"

RIGHT: list[tuple[list[str], dict[str, Any]]] = [
    (["training.epochs=3"], {"training": {"epochs": 3}}),
    (["training.epochs=0", "training.epochs= 3 "], {"training": {"epochs": 3}}),
    (["training={epochs: 7}"], {"training": {"epochs": 7}}),
    (
        ["training.epochs=3", "training.early_stopping.patience=2"],
        {"training": {"epochs": 3, "early_stopping": {"patience": 2}}},
    ),
    (
        ["training.epochs=3", "training.gradient_clip=1e-3"],
        {"training": {"epochs": 3, "gradient_clip": 0.001}},
    ),
    (["training.epochs=3", "secrets=[A, B]"], {"training": {"epochs": 3}, "secrets": ["A", "B"]}),
    (["training.epochs=3", "description='a: b #c'"], {"training": {"epochs": 3}, "description": "a: b #c"}),
    (["training.epochs=3", "description=x=y"], {"training": {"epochs": 3}, "description": "x=y"}),
    (
        ["training.epochs=3", "limits.max_wait=90m"],
        {"training": {"epochs": 3}, "limits": {"max_wait": 5400.0}},
    ),
    (
        ["training.epochs=3", "model.params.a.b={c: [1, 2]}", "model.params.d="],
        {
            "training": {"epochs": 3},
            "model": {"name": "mlp", "params": {"a": {"b": {"c": [1, 2]}}, "d": None}},
        },
    ),
    (
        ["training.epochs=3", "data.name=null", "data.path=x"],
        {"training": {"epochs": 3}, "data": {"path": "x"}},
    ),
]


@pytest.mark.parametrize(("overrides", "changed"), RIGHT)
def test_values_are_changed(overrides: list[str], changed: dict[str, Any]) -> None:
    job = parse_job(TEXT, overrides=overrides)
    plain = {"version": 1, "name": "a", "model": {"name": "mlp"}, "data": {"name": "co2"}}
    assert job.model_dump(exclude_defaults=True) == {**plain, **changed}


WRONG = [
    ("training.epochs=-1", "training.epochs: must be at least 1 (got -1)"),
    ("training.epochs=3 4", "training.epochs: must be a whole number (got 3 4)"),
    ("training.epochs=", "training.epochs: is empty: give it a value, or remove the key"),
    ("training.epochs.x=3", "training.epochs.x: training.epochs has no keys below it"),
    ("secrets.0=A", "secrets.0: secrets has no keys below it"),
    ("a", "must have the form key=value, such as --set training.epochs=3"),
    ("=3", "must have the form key=value, such as --set training.epochs=3"),
    ("a..b=1", '"a..b" has an empty part between its dots'),
    ("description=run #3", f"description: reads as more than one value, or as a comment: {QUOTES}"),
    ("description=a: b", f"description: reads as more than one value, or as a comment: {QUOTES}"),
    ("description=- a", f"description: reads as more than one value, or as a comment: {QUOTES}"),
    (
        "data.path=*.csv",
        "data.path: is not valid YAML at column 2: a & or * without a name: put the text in quotes",
    ),
    (
        "model.params.x=[1,",
        "model.params.x: is not valid YAML at column 4: a value is missing, or a bracket is not closed; " + QUOTES,
    ),
    ("model.params={a: 1, a: 2}", "model.params.a: is given twice, on this line: keep one"),
    (
        "name=no",
        'name: must be text: put it in quotes: "no" (without, some YAML readers take it for false)',
    ),
    ("trainng.epochs=3", "trainng: unknown key: did you mean training?"),
    ("training.lr=3", "training.lr: unknown key: did you mean training.optimizer.learning_rate?"),
    ("data.path=x", "data.path: conflicts with data.name: keep one of the two"),
]  # fmt: skip


@pytest.mark.parametrize(("override", "message"), WRONG)
def test_faults_name_the_override(override: str, message: str) -> None:
    text = TEXT.replace("epochs: 0", "epochs: 1")
    with pytest.raises(JobFileError) as caught:
        parse_job(text, overrides=[override])
    assert str(caught.value) == f"--set {override}: {message}"


def test_faults_of_the_file_and_of_overrides_come_together() -> None:
    with pytest.raises(JobFileError) as caught:
        parse_job(TEXT, source="j.yaml", overrides=["training.seed=-1", "oops", "training.compile=1"])
    assert str(caught.value).split("\n") == [
        "j.yaml:6: training.epochs: must be at least 1 (got 0)",
        "--set training.seed=-1: training.seed: must be at least 0 (got -1)",
        "--set oops: must have the form key=value, such as --set training.epochs=3",
        "--set training.compile=1: training.compile: must be true or false (got 1)",
    ]


def test_kind_and_version_by_override_are_one_fault() -> None:
    with pytest.raises(JobFileError) as caught:
        parse_job(TEXT, overrides=["kind=tune"])
    assert (
        str(caught.value)
        == "--set kind=tune: kind: this version of dlcluster runs kind: train and predict only (got tune)"
    )


@pytest.mark.parametrize("override", ["env.TOKEN=123456789", "env={TOKEN: 123456789}"])
def test_values_of_environment_variables_are_never_shown(override: str) -> None:
    with pytest.raises(JobFileError) as caught:
        parse_job(TEXT.replace("epochs: 0", "epochs: 1"), overrides=[override])
    key = override.partition("=")[0]
    assert str(caught.value) == f"--set {key}=...: env.TOKEN: must be text: put it in quotes"


def test_a_long_override_is_cut_where_it_is_named() -> None:
    with pytest.raises(JobFileError) as caught:
        parse_job(TEXT.replace("epochs: 0", "epochs: 1"), overrides=["name=" + "x" * 1000])
    assert str(caught.value) == (
        f"--set name={'x' * 55}...: name: must be at most 40 characters long (got {'x' * 40}...)"
    )
