"""Checks what a job file names and the parameters it gives, without importing torch or a user's code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from dlcluster.data.catalog import DATASETS
from dlcluster.data.params import ForecastParams
from dlcluster.models.catalog import MODELS
from dlcluster.models.named import is_own, look_up, near

LOSS_NAMES = ("mse", "mae", "huber", "cross_entropy")
_TASK_LOSSES = {
    "forecast": ("mse", "mae", "huber"),
    "regression": ("mse", "mae", "huber"),
    "classification": ("cross_entropy",),
}

Problem = tuple[str, str]


def check_names(raw: Mapping[str, Any], folder: Path) -> Iterable[Problem]:
    """Yields what is wrong with the components a job names.

    Args:
        raw: The decoded job file, whatever it holds; what the job file's own rules refuse is left to them.
        folder: Where the user's own modules would be.

    Yields:
        ``(dotted path, message)``.
    """
    yield from _check_model(_section(raw, "model"), folder)
    yield from _check_data(_section(raw, "data"), folder)
    training = _section(raw, "training")
    loss = training.get("loss")
    if isinstance(loss, str):
        yield from _check_loss(loss, _task(_section(raw, "data")), folder)
    metrics = training.get("metrics")
    for i, metric in enumerate(metrics if isinstance(metrics, list) else []):
        if isinstance(metric, str) and is_own(metric):
            yield from _own(f"training.metrics.{i}", metric, folder)
    stopping = _section(training, "early_stopping")
    split = _section(_section(raw, "data"), "split")
    if (
        stopping.get("metric", "validation_loss" if stopping else "").startswith("validation_")
        and split.get("validation") == 0
    ):
        yield "training.early_stopping", "needs a validation split (data.split.validation is 0)"


def _section(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = raw.get(name)
    return section if isinstance(section, Mapping) else {}


def _task(data: Mapping[str, Any]) -> str | None:
    task, name = data.get("task"), data.get("name")
    if isinstance(task, str):
        return task
    return DATASETS[name].task if isinstance(name, str) and name in DATASETS else None


def _own(key: str, name: str, folder: Path) -> Iterable[Problem]:
    wrong = look_up(name, folder)
    if wrong is not None:
        yield key, wrong


def _check_model(model: Mapping[str, Any], folder: Path) -> Iterable[Problem]:
    name = model.get("name")
    if not isinstance(name, str):
        return
    if is_own(name):
        yield from _own("model.name", name, folder)
    elif name not in MODELS:
        yield "model.name", f"no model {name!r}; {near(name, MODELS)}; your own as package.module:Class"
    elif isinstance(model.get("params", {}), Mapping):
        yield from params_problems("model.params", MODELS[name].params, _section(model, "params"))


def _check_data(data: Mapping[str, Any], folder: Path) -> Iterable[Problem]:
    name, task = data.get("name"), _task(data)
    if isinstance(name, str) and is_own(name):
        yield from _own("data.name", name, folder)
        if task == "forecast":  # the function's own parameters are known on the cluster only
            ours = {key: value for key, value in _section(data, "params").items() if key in ForecastParams.model_fields}
            yield from params_problems("data.params", ForecastParams, ours)
    elif isinstance(name, str) and name not in DATASETS:
        yield (
            "data.name",
            f"no data set {name!r}; {near(name, DATASETS)}; your own as package.module:function",
        )
    elif isinstance(name, str) or isinstance(data.get("path"), str):
        if task == "forecast":
            yield from params_problems("data.params", ForecastParams, _section(data, "params"))
        elif task in _TASK_LOSSES:
            yield (
                "data.task",
                f"{task} needs a data function of yours for now (data.name: package.module:function)",
            )
    if (
        task is None
        and (isinstance(name, str) or isinstance(data.get("path"), str))
        and (not isinstance(name, str) or name in DATASETS or is_own(name))
    ):
        yield "data.task", f"say what the data is for: {', '.join(_TASK_LOSSES)}"


def _check_loss(loss: str, task: str | None, folder: Path) -> Iterable[Problem]:
    if is_own(loss):
        yield from _own("training.loss", loss, folder)
    elif loss not in LOSS_NAMES:
        yield (
            "training.loss",
            f"no loss {loss!r}; {near(loss, LOSS_NAMES)}; your own as package.module:function",
        )
    elif task in _TASK_LOSSES and loss not in _TASK_LOSSES[task]:
        yield "training.loss", f"{loss} does not fit task {task}; one of: {', '.join(_TASK_LOSSES[task])}"


def params_problems(key: str, params: type[BaseModel], given: Mapping[str, Any]) -> Iterable[Problem]:
    """Yields what is wrong with a component's parameters, in the words of the job file's own faults.

    Args:
        key: Dotted path of the parameters.
        params: What they may be.
        given: What they are.
    """
    try:
        params.model_validate(dict(given))
    except ValidationError as error:
        for found in error.errors():
            path = ".".join([key, *map(str, found["loc"])])
            if found["type"] == "extra_forbidden":
                yield path, f"there is no such parameter; {near(str(found['loc'][-1]), params.model_fields)}"
            else:
                yield path, _words(found)


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
    "list_type": "a list",
    "finite_number": "a finite number",
}


def _words(found: Mapping[str, Any]) -> str:
    """One of pydantic's errors in the words of the job file's own faults."""
    kind, value, context = found["type"], found.get("input"), found.get("ctx") or {}
    if kind == "missing":
        return "is missing; this task needs it"
    if kind in _BOUNDS:
        words, bound = _BOUNDS[kind]
        return f"must be {words} {context[bound]:g} (got {value})"
    if kind == "literal_error":
        return f"must be {str(context['expected']).replace(chr(39), '')} (got {value})"
    return f"must be {_TYPES[kind]} (got {value!r})" if kind in _TYPES else str(found["msg"])
