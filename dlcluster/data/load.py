"""A job's ``data`` section to splits ready to train on."""

from __future__ import annotations

import bdb
import hashlib
import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from dlcluster.data.catalog import DATASETS
from dlcluster.data.kinds import PARAMS, TASKS, Kind, kind_of
from dlcluster.data.params import DataParams, ForecastParams
from dlcluster.data.source import source_fingerprint, source_of
from dlcluster.errors import ComponentError, DataError
from dlcluster.models.named import import_named, is_own

if TYPE_CHECKING:
    from dlcluster.data.prepared import Preparation, Prepared
    from dlcluster.spec.data import Data

# Each has load(task, source, params, split) -> Prepared.
_LOADERS: Mapping[Kind, str] = {
    "series": "forecast",
    "table": "tables",
    "images": "images",
    "texts": "texts",
    "language": "language",
}


def data_fingerprint(data: Data) -> str:
    """Returns a text that changes when the data does; part of a trial's identity.

    Of a user's own function only the name is known: what it reads cannot be seen from outside.

    Raises:
        DataError: When a file is not there.
    """
    if data.name is not None and is_own(data.name):
        return "name:" + hashlib.sha256(data.name.encode()).hexdigest()
    return source_fingerprint(source_of(data))


def task_of(data: Data) -> str:
    """Returns what the data is used for: ``data.task``, or what the named data set is usually used for.

    Raises:
        DataError: When neither says it.
    """
    if data.task is not None:
        return data.task
    if data.name is not None and data.name in DATASETS:
        return DATASETS[data.name].task
    raise DataError("data.task: say what the data is for", hint=f"One of: {', '.join(TASKS)}.")


def own_arguments(name: str, task: str, params: Mapping[str, Any]) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Finds a user's data function and divides ``data.params`` between it and the preparation of a forecast.

    Returns:
        The function, its keyword arguments, and what is left for the preparation.

    Raises:
        ComponentError: When it is not there or does not take these arguments.
    """
    function = import_named(name, "data set")
    ours = set(ForecastParams.model_fields) if task == "forecast" else set()
    signature = inspect.signature(function)
    arguments = {key: value for key, value in params.items() if key not in ours or key in signature.parameters}
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise ComponentError(
            f"data set {name}: {error}", hint=f"It takes: {', '.join(signature.parameters) or 'nothing'}."
        ) from error
    return function, arguments, {key: value for key, value in params.items() if key in ours}


def load_data(data: Data) -> Prepared:
    """Reads and prepares what a job's ``data`` names.

    Raises:
        DataError: When it cannot be read, or not be used as the job asks.
        ComponentError: When it is a user's own function and that fails.
    """
    task = task_of(data)
    if data.name is not None and is_own(data.name):
        return _load_own(data, data.name, task)
    source = source_of(data)
    kind = kind_of(task, source.format)
    if kind is None:
        shown = source.format or "files whose names do not say what they are"
        raise DataError(f"data.format: task {task} does not take {shown}", hint=_formats_words(task))
    params = _validated(PARAMS[kind], data.params)
    return _module(kind).load(task, source, params, data.split)  # type: ignore[no-any-return]


def preparation_from(kind: Kind, config: Mapping[str, Any]) -> Preparation:
    """Makes a stored preparation again.

    Args:
        kind: Its ``kind``.
        config: What its ``config()`` gave.
    """
    return _module(kind).preparation_from(config)  # type: ignore[no-any-return]


def _module(kind: Kind) -> Any:
    return import_module(f"dlcluster.data.{_LOADERS[kind]}")


def _formats_words(task: str) -> str:
    formats = [name for name in ("csv", "parquet", "npz", "idx", "images", "text") if kind_of(task, name)]
    return f"Say what the files are: data.format: {' | '.join(formats)}."


def _validated(model: type[DataParams], params: Mapping[str, Any]) -> DataParams:
    try:
        return model.model_validate(dict(params))
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(f"data.params.{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _load_own(data: Data, name: str, task: str) -> Prepared:
    from dlcluster.data.arrays import prepare_arrays
    from dlcluster.data.forecast import prepare_forecast
    from dlcluster.data.series import as_series

    function, arguments, params = own_arguments(name, task, data.params)
    try:
        made = function(**arguments)
    except bdb.BdbQuit:
        raise
    except (Exception, SystemExit) as error:
        raise ComponentError(f"data set {name} failed: {type(error).__name__}: {error}") from error
    if task != "forecast":
        return prepare_arrays(task, made, data.split)
    forecast = ForecastParams.model_validate(_validated(ForecastParams, params).model_dump())
    return prepare_forecast(*as_series(made, name), forecast, data.split)
