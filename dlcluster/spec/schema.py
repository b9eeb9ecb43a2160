"""The job file's JSON Schema, for editors."""

from __future__ import annotations

from typing import Any

from dlcluster.spec.job import TrainJob


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a job file, with descriptions, defaults and no unknown keys."""
    schema = TrainJob.model_json_schema(mode="validation")
    for part in (schema, *schema["$defs"].values()):
        for field in part["properties"].values():
            field.pop("title", None)  # pydantic's repeat the key in capitals
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "dlcluster job file",
    }
