"""What is wrong with a component's parameters, in the words of the job file's own faults; no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from dlcluster.models.named import near


def params_problems(key: str, params: type[BaseModel], given: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Yields what is wrong with a component's parameters.

    Args:
        key: Dotted path of the parameters.
        params: What they may be.
        given: What they are.

    Yields:
        ``(dotted path, message)``.
    """
    try:
        params.model_validate(dict(given))
    except ValidationError as error:
        for found in error.errors():
            path = ".".join([key, *map(str, found["loc"])])
            if found["type"] == "extra_forbidden":
                known = _section(params, found["loc"][:-1]).model_fields
                yield path, f"there is no such parameter; {near(str(found['loc'][-1]), known)}"
            else:
                yield path, _words(found)


def _section(params: type[BaseModel], location: Sequence[str | int]) -> type[BaseModel]:
    """The model at a place within another, such as that of ``tokenizer``."""
    for part in location:
        annotation = params.model_fields[str(part)].annotation
        inner = [annotation, *get_args(annotation)]
        params = next(each for each in inner if isinstance(each, type) and issubclass(each, BaseModel))
    return params


_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}
_TYPES = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list such as [a, b]",
    "model_type": "a mapping such as {key: value}",
    "finite_number": "a finite number",
}


def _words(found: Mapping[str, Any]) -> str:
    """One of pydantic's errors in the words of the job file's own faults."""
    kind, value, context = found["type"], found.get("input"), found.get("ctx") or {}
    if kind == "missing":
        return "is missing; this task needs it" if len(found["loc"]) == 1 else "is missing"
    if kind in _BOUNDS:
        words, bound = _BOUNDS[kind]
        return f"must be {words} {context[bound]:g} (got {value})"
    if kind == "literal_error":
        got = value if isinstance(value, str) else _shown(value)
        return f"must be {str(context['expected']).replace(chr(39), '')} (got {got})"
    if kind in ("too_short", "too_long"):
        words, bound = ("at least", "min_length") if kind == "too_short" else ("at most", "max_length")
        return f"must have {words} {context[bound]} values (got {context['actual_length']})"
    return f"must be {_TYPES[kind]} (got {_shown(value)})" if kind in _TYPES else str(found["msg"])


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, list) else repr(value)
