"""Whatever a file holds: a job, or a JobFileError; and a job comes back as it was."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlcluster.errors import JobFileError
from dlcluster.spec import TrainJob, job_from_dict, load_job, parse_job
from tests.conftest import FUZZ

HEAD = "version: 1\nname: a\nmodel: {name: mlp}\ndata: {name: co2}\n"
KEYS = [
    "version",
    "name",
    "model",
    "data",
    "training",
    "epochs",
    "optimizer",
    "env",
    "secrets",
    "params",
    "lr",
    "limits",
]
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates() | st.binary(max_size=4)
)
keys = st.sampled_from(KEYS) | st.text(max_size=5)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(keys, below, max_size=4),
    max_leaves=12,
)
marks = st.text(st.sampled_from("ab:-?[]{},&*!|>'\"%@`#~<\\ \t\n\r0179.e_x\x85\u2028\ufeff"), max_size=60)
quick = settings(max_examples=150 * FUZZ, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jobs")


@quick
@given(st.binary(max_size=80))
def test_any_bytes(folder: Path, data: bytes) -> None:
    path = folder / "j.yaml"
    path.write_bytes(data)
    with contextlib.suppress(JobFileError):
        load_job(path)


@settings(max_examples=500 * FUZZ, deadline=None)
@given(st.sampled_from(["", HEAD, HEAD + "training: "]), marks)
def test_any_text(head: str, text: str) -> None:
    with contextlib.suppress(JobFileError):
        parse_job(head + text)


@quick
@given(st.dictionaries(keys, values, max_size=5))
def test_any_yaml(mapping: dict[str, Any]) -> None:
    with contextlib.suppress(JobFileError):
        parse_job(HEAD + yaml.dump(mapping, allow_unicode=True))


@quick
@given(st.dictionaries(keys | st.integers(), values, max_size=5))
def test_any_mapping(mapping: dict[Any, Any]) -> None:
    with contextlib.suppress(JobFileError):
        job_from_dict(mapping)


@quick
@given(st.text(max_size=30) | st.builds("{}={}".format, st.sampled_from(["a.b", *KEYS, "training.epochs"]), marks))
def test_any_override(override: str) -> None:
    with contextlib.suppress(JobFileError):
        parse_job(HEAD, overrides=[override])


plain_text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=10)
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | plain_text,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(plain_text, below, max_size=3),
    max_leaves=8,
)
positive = st.floats(0, 1e300, exclude_min=True)


@quick
@given(
    params=st.dictionaries(plain_text, plain, max_size=4),
    labels=st.dictionaries(plain_text.filter(str.strip), plain_text, max_size=3),
    rate=positive,
    clip=st.none() | positive,
    epochs=st.integers(1, 2**63 - 1),
    duration=st.none() | st.floats(1e-9, 1e8) | st.integers(1, 10**8),
    memory=st.none() | st.integers(2**20, 2**60),
    min_seconds=st.just("auto") | st.floats(0, 1e300) | st.integers(0, 2**63 - 1),
)
def test_a_job_comes_back_as_it_was(
    *,
    params: Any,
    labels: Any,
    rate: float,
    clip: Any,
    epochs: int,
    duration: Any,
    memory: Any,
    min_seconds: Any,
) -> None:
    job = job_from_dict(
        {
            "version": 1,
            "name": "a",
            "labels": labels,
            "model": {"name": "m", "params": params},
            "data": {"path": "x", "params": params},
            "training": {"epochs": epochs, "optimizer": {"learning_rate": rate}, "gradient_clip": clip},
            "resources": {"memory_per_worker": memory},
            "limits": {"max_duration": duration},
            "checkpoint": {"min_seconds": min_seconds},
        }
    )
    kept = json.dumps(job.model_dump(mode="json"))
    assert TrainJob.model_validate(json.loads(kept)) == job
    assert parse_job(kept) == job  # JSON is YAML
    assert job.model_dump(mode="json") == TrainJob.model_validate(job.model_dump(mode="json")).model_dump(mode="json")
