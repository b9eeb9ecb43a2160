"""The types of the job file's single values: what each accepts, and how it says no."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from dlcluster.spec.document import MAX_DEPTH
from dlcluster.spec.units import (
    DURATION_PATTERN,
    SIZE_PATTERN,
    WrongValueError,
    duration_seconds,
    is_number,
    size_bytes,
)

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_COMPONENT = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_NAME = 40


def _job_name(value: str) -> str:
    if len(value) > _MAX_NAME:
        raise WrongValueError(f"must be at most {_MAX_NAME} characters long")
    if not _NAME.fullmatch(value):
        guess = re.sub(r"[^a-z0-9]+", "-", value.lower()).strip("-")
        hint = f"did you mean {guess}?" if guess else None
        raise WrongValueError("must be small letters, digits and inner dashes", hint)
    return value


def _component(value: str) -> str:
    if ":" in value and not _COMPONENT.fullmatch(value):
        raise WrongValueError("must be package.module:thing, both Python names")
    if ":" not in value and not _PLAIN.fullmatch(value):
        raise WrongValueError("must be a name such as lstm, or your own as package.module:thing")
    return value


def _variable(value: str) -> str:
    if not _VARIABLE.fullmatch(value):
        raise WrongValueError("must be an environment variable's name: letters, digits and _, no digit first")
    return value


def _filled(value: str) -> str:
    if not value.strip():
        raise WrongValueError("must not be empty")
    return value


def _whole_above_one(value: float) -> float:
    if value > 1 and value != int(value):
        raise WrongValueError("must be whole above 1", f"write {int(value)} or {int(value) + 1}")
    return value


def _auto_or_seconds(value: Any) -> Any:
    if value == "auto" or (is_number(value) and 0 <= value < float("inf")):
        return value
    raise WrongValueError("must be auto, or a number of seconds of at least 0")


def _plain(params: dict[str, Any]) -> dict[str, Any]:
    """Only what a file can hold, so that a job made in Python is kept and read back as it was."""
    waiting: list[tuple[Any, int]] = [(params, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise WrongValueError(f"is nested more than {MAX_DEPTH} deep")
        if type(value) is dict and all(type(key) is str for key in value):
            waiting += [(item, depth + 1) for item in value.values()]
        elif type(value) is list:
            waiting += [(item, depth + 1) for item in value]
        elif type(value) is float and value - value != 0:
            raise WrongValueError("must hold finite numbers")
        elif value is not None and type(value) not in (str, int, float, bool):
            raise WrongValueError("must hold text, numbers, true, false, lists and mappings with text keys only")
    return params


def _version(value: Any) -> Any:
    if type(value) is not int:  # Literal[1] takes True and 1.0 for 1
        raise WrongValueError("must be the whole number 1")
    return value


Name = Annotated[
    str,
    AfterValidator(_job_name),
    Field(json_schema_extra={"pattern": f"^{_NAME.pattern}$", "maxLength": _MAX_NAME}),
]
Component = Annotated[str, AfterValidator(_component), Field(json_schema_extra={"minLength": 1})]
Variable = Annotated[str, AfterValidator(_variable), Field(json_schema_extra={"pattern": f"^{_VARIABLE.pattern}$"})]
Params = Annotated[dict[str, Any], AfterValidator(_plain)]
Filled = Annotated[str, AfterValidator(_filled), Field(json_schema_extra={"minLength": 1})]
Duration = Annotated[
    float,
    BeforeValidator(duration_seconds),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": DURATION_PATTERN, "minLength": 2},
                {"type": "number", "exclusiveMinimum": 0},
            ],
            "examples": ["6h", "90m", "1h30m"],
        }
    ),
]
Size = Annotated[
    int,
    BeforeValidator(size_bytes),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "pattern": SIZE_PATTERN}, {"type": "integer", "minimum": 2**20}],
            "examples": ["4GiB", "512MiB"],
        }
    ),
]
Version = BeforeValidator(_version)
GpuCount = Annotated[float, AfterValidator(_whole_above_one)]
AutoOrSeconds = BeforeValidator(_auto_or_seconds)
