"""The job file: what it may say, how it is read, and every fault in it at once.

Names are loaded on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlcluster.spec.advice import job_warnings
    from dlcluster.spec.job import Job, TrainJob
    from dlcluster.spec.load import Check, job_from_dict, load_job, parse_job
    from dlcluster.spec.schema import json_schema

__all__ = [
    "Check",
    "Job",
    "TrainJob",
    "job_from_dict",
    "job_warnings",
    "json_schema",
    "load_job",
    "parse_job",
]

_HOMES = {
    "Check": "load",
    "Job": "job",
    "TrainJob": "job",
    "job_from_dict": "load",
    "job_warnings": "advice",
    "json_schema": "schema",
    "load_job": "load",
    "parse_job": "load",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
