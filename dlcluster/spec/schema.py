"""The job file's JSON Schema, for editors."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from dlcluster.spec.job import KINDS


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a job file, with descriptions, defaults and no unknown keys.

    Which keys there are depends on ``kind``; a file without one is a job to train.
    """
    _, schema = models_json_schema([(model, "validation") for model in KINDS.values()])
    for part in schema["$defs"].values():
        for field in part["properties"].values():
            field.pop("title", None)  # pydantic's repeat the key in capitals
    keys = {
        name: key for model in KINDS.values() for name, key in schema["$defs"][model.__name__]["properties"].items()
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "dlcluster job file",
        "type": "object",
        "properties": {**keys, "kind": {"enum": list(KINDS), "default": "train", "description": "What is done."}},
        "additionalProperties": False,
        "if": {"required": ["kind"], "properties": {"kind": {"const": "predict"}}},
        "then": {"$ref": "#/$defs/PredictJob"},
        "else": {"$ref": "#/$defs/TrainJob"},
        **schema,
    }
