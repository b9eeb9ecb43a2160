"""Checks what a job file names and the parameters it gives, without importing torch or a user's code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from dlcluster.data.catalog import DATASETS
from dlcluster.data.kinds import PARAMS, TASKS, Format, Kind, format_of, kind_of
from dlcluster.data.params import ForecastParams
from dlcluster.models.catalog import MODELS, READS, Reads, listed
from dlcluster.models.named import is_own, look_up, near
from dlcluster.spec.rules import task_conflicts
from dlcluster.training.params import params_problems

LOSSES: Mapping[str, tuple[str, ...]] = {
    "forecast": ("mse", "mae", "huber"),
    "regression": ("mse", "mae", "huber"),
    "classification": ("cross_entropy", "bce"),
    "language_model": ("cross_entropy",),
    "generation": (),
}
"""Losses by task, its usual one first; a model for generation brings its own."""
METRICS: Mapping[str, tuple[str, ...]] = {
    "forecast": ("mae", "rmse", "scaled_mae", "scaled_rmse"),
    "regression": ("mae", "rmse", "scaled_mae", "scaled_rmse"),
    "classification": ("accuracy",),
    "language_model": ("accuracy", "perplexity"),
    "generation": (),
}
"""Metrics by task that every epoch reports, named or not."""
FURTHER: Mapping[str, tuple[str, ...]] = {
    "forecast": ("mse", "mape", "r2"),
    "regression": ("mse", "mape", "r2"),
    "classification": ("f1", "precision", "recall", "auroc"),
    "language_model": (),
    "generation": (),
}
"""Metrics by task that the final test reports, and every epoch where they are named."""
NO_MAPE = (
    "mape needs values in the data's own units, and windows centred on their last value have none: remove mape, "
    "or data.params.center"
)
_GAN = "gan"
_OWN_FUNCTION = "your own as package.module:function"

Problem = tuple[str, str]


def check_names(raw: Mapping[str, Any], folder: Path) -> Iterable[Problem]:
    """Yields what is wrong with the components a job names.

    Args:
        raw: The decoded job file, whatever it holds; what the job file's own rules refuse is left to them.
        folder: Where the user's own modules would be.

    Yields:
        ``(dotted path, message)``.
    """
    data, training = _section(raw, "data"), _section(raw, "training")
    task = _task(data)
    yield from _check_model(_section(raw, "model"), task, folder)
    yield from _check_data(data, task, folder)
    yield from _check_fit(_section(raw, "model").get("name"), data, task)
    loss, metrics = training.get("loss"), training.get("metrics")
    if isinstance(loss, str):
        wrong = look_up(loss, folder) if is_own(loss) else None
        wrong = wrong or loss_problem(loss, task)
        if wrong is not None:
            yield "training.loss", wrong
    names = [name if isinstance(name, str) else "" for name in metrics] if isinstance(metrics, list) else []
    for key, wrong in metric_problems(names, task, folder):
        yield f"training.{key}", wrong
    if task == "forecast" and "mape" in names and _section(data, "params").get("center") == "last":
        yield f"training.metrics.{names.index('mape')}", NO_MAPE
    if "task" not in data:  # the job file's own rules know a task only where the file says it
        for path, wrong in task_conflicts(task, _getter(raw)):
            yield ".".join(map(str, path)), wrong


def _section(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = raw.get(name)
    return section if isinstance(section, Mapping) else {}


def _getter(raw: Mapping[str, Any]) -> Any:
    def get(*path: str) -> Any:
        value: Any = raw
        for part in path:
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

    return get


def _task(data: Mapping[str, Any]) -> str | None:
    """What is learnt; None where nothing says it, or what says it is no task."""
    task, name = data.get("task"), data.get("name")
    if task is None and isinstance(name, str) and name in DATASETS:
        task = DATASETS[name].task
    return task if isinstance(task, str) and task in TASKS else None


def _check_model(model: Mapping[str, Any], task: str | None, folder: Path) -> Iterable[Problem]:
    name = model.get("name")
    if not isinstance(name, str):
        return
    if is_own(name):
        wrong = look_up(name, folder)
        if wrong is not None:
            yield "model.name", wrong
        return
    if name not in MODELS:
        yield "model.name", f"no model {name!r}; {near(name, MODELS)}; your own as package.module:Class"
        return
    if name == _GAN and task not in (None, "generation"):
        yield "model.name", f"gan is for the task generation, not for {task}"
    elif name != _GAN and task == "generation":
        yield "model.name", f"{name} generates nothing: write gan, or your own as package.module:Class"
    if isinstance(model.get("params", {}), Mapping):
        yield from params_problems("model.params", MODELS[name].params, _section(model, "params"))


def _check_data(data: Mapping[str, Any], task: str | None, folder: Path) -> Iterable[Problem]:
    name, path = data.get("name"), data.get("path")
    if isinstance(name, str) and not is_own(name) and name not in DATASETS:
        yield "data.name", f"no data set {name!r}; {near(name, DATASETS)}; {_OWN_FUNCTION}"
        return
    if not isinstance(name, str) and not isinstance(path, str):
        return
    if isinstance(name, str) and is_own(name):
        wrong = look_up(name, folder)
        if wrong is not None:
            yield "data.name", wrong
    if task is None:
        yield "data.task", f"say what the data is for: {', '.join(TASKS)}"
    elif isinstance(name, str) and is_own(name):
        if task == "forecast":  # the function's own parameters are known on the cluster only
            ours = {key: value for key, value in _section(data, "params").items() if key in ForecastParams.model_fields}
            yield from params_problems("data.params", ForecastParams, ours)
    else:
        yield from _check_kind(data, task)


_READ_AS: Mapping[Kind, Reads] = {
    "series": "series",
    "table": "tables",
    "images": "pictures",
    "texts": "texts",
    "language": "running text",
}


def _check_fit(model: Any, data: Mapping[str, Any], task: str | None) -> Iterable[Problem]:
    """Whether a model reads what the data gives; sizes are compared when the data is read."""
    name, path = data.get("name"), data.get("path")
    if task is None or not isinstance(model, str) or model not in MODELS:
        return
    if isinstance(name, str) and name in DATASETS:
        format_: Format | None = DATASETS[name].format
    elif isinstance(path, str) and not isinstance(name, str):
        format_ = data.get("format", format_of(path))
    else:
        return
    if format_ is not None and format_ not in get_args(Format):
        return
    if format_ == "npz" and not isinstance(name, str):
        return  # only the arrays in it say what they are
    kind, entry = kind_of(task, format_), MODELS[model]
    if kind is None or entry.generates != (task == "generation"):
        return  # said by others
    given = _READ_AS[kind]
    if given not in entry.reads:
        fitting = [each.name for each in MODELS.values() if given in each.reads and each.generates == entry.generates]
        yield (
            "model.name",
            f"{model} reads {listed([READS[each] for each in entry.reads], 'and')}, the data is {READS[given]}; "
            f"one of: {', '.join(fitting)}",
        )


def _check_kind(data: Mapping[str, Any], task: str) -> Iterable[Problem]:
    """Whether a task takes such files, and which parameters that kind of data has."""
    formats: tuple[Format, ...] = get_args(Format)
    name, given = data.get("name"), data.get("format")
    if isinstance(name, str):
        format_: Format | None = DATASETS[name].format
    elif given is None:
        format_ = format_of(data["path"])
    elif given in formats:
        format_ = given
    else:
        return
    kind = kind_of(task, format_)
    if kind is not None:
        if isinstance(data.get("params", {}), Mapping):
            yield from params_problems("data.params", PARAMS[kind], _section(data, "params"))
        return
    fitting = ", ".join(each for each in formats if kind_of(task, each) is not None)
    if isinstance(name, str):
        tasks = ", ".join(each for each in TASKS if kind_of(each, format_) is not None)
        yield "data.task", f"data set {name} is not for {task} (it is {format_}); one of: {tasks}"
    elif format_ is None:
        yield "data.format", f"is needed, since {data['path']} does not tell what its files are; one of: {fitting}"
    else:
        yield "data.format", f"the task {task} does not take {format_}; one of: {fitting}"


def loss_problem(loss: str, task: str | None) -> str | None:
    """Says what is wrong with ``training.loss``, or None.

    Args:
        loss: A loss by name, or a user's own.
        task: What is learnt; None where that is not known.
    """
    if task is not None and not LOSSES[task]:
        return f"a model for {task} brings its own loss: remove it"
    if is_own(loss):
        return None
    fitting = LOSSES[task] if task is not None else ()
    known = sorted({name for names in LOSSES.values() for name in names})
    if loss not in known:
        return f"no loss {loss!r}; {near(loss, fitting or known)}; {_OWN_FUNCTION}"
    if fitting and loss not in fitting:
        return f"{loss} does not fit the task {task}; one of: {', '.join(fitting)}; {_OWN_FUNCTION}"
    return None


def metric_problems(names: Sequence[str], task: str | None, folder: Path | None = None) -> Iterable[Problem]:
    """Yields what is wrong with ``training.metrics``.

    Args:
        names: Metrics by name, or a user's own.
        task: What is learnt; None where that is not known.
        folder: Where the user's own modules would be; None not to look.

    Yields:
        ``(metrics.number, message)``.
    """
    tasks = TASKS if task is None else (task,)
    fitting = list(dict.fromkeys(name for each in tasks for name in (*METRICS[each], *FURTHER[each])))
    reported = {name: name for name in ["loss", "samples", *(() if task is None else fitting)]}
    for number, name in enumerate(names):
        wrong = None
        if is_own(name):
            shown = name.partition(":")[2]
            wrong = look_up(name, folder) if folder is not None else None
            if task == "generation":
                wrong = "a model for generation is not compared with targets: remove it"
            elif wrong is None and reported.get(shown, name) != name:
                wrong = f"would be reported as {shown}, as {reported[shown]} is: give the function another name"
            reported[shown] = name
        elif name == "confusion_matrix" and task in (None, "classification"):
            wrong = "confusion_matrix comes with the final test, unasked: remove it"
        elif name and name not in fitting:
            wrong = _unknown_metric(name, task, fitting)
        if wrong is not None:
            yield f"metrics.{number}", wrong


def _unknown_metric(name: str, task: str | None, fitting: Sequence[str]) -> str:
    if any(name in (*METRICS[each], *FURTHER[each], "confusion_matrix") for each in TASKS):
        one_of = f"one of: {', '.join(fitting)}; " if fitting else ""
        return f"{name} does not fit the task {task}; {one_of}{_OWN_FUNCTION}"
    return f"no metric {name!r}; {near(name, fitting)}; {_OWN_FUNCTION}"
