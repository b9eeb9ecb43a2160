"""The job file: what it may say, how it is read, and every fault in it at once.

Names are loaded on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlcluster.spec.advice import job_warnings
    from dlcluster.spec.job import Job, PredictJob, TrainJob, job_from_kept
    from dlcluster.spec.load import (
        Check,
        any_job_from_dict,
        job_from_dict,
        load_any_job,
        load_job,
        parse_any_job,
        parse_job,
    )
    from dlcluster.spec.schema import json_schema

__all__ = [
    "Check",
    "Job",
    "PredictJob",
    "TrainJob",
    "any_job_from_dict",
    "job_from_dict",
    "job_from_kept",
    "job_warnings",
    "json_schema",
    "load_any_job",
    "load_job",
    "parse_any_job",
    "parse_job",
]

_HOMES = {
    "Check": "load",
    "Job": "job",
    "PredictJob": "job",
    "TrainJob": "job",
    "any_job_from_dict": "load",
    "job_from_dict": "load",
    "load_any_job": "load",
    "parse_any_job": "load",
    "job_from_kept": "job",
    "job_warnings": "advice",
    "json_schema": "schema",
    "load_job": "load",
    "parse_job": "load",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
