"""A job's ``data`` section to splits ready to train on."""

from __future__ import annotations

import bdb
import hashlib
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from dlcluster.data.catalog import DATASETS, ForecastParams
from dlcluster.data.read import fingerprint, read_table
from dlcluster.errors import ComponentError, DataError
from dlcluster.models.named import import_named, is_own, near

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from dlcluster.data.prepare import Prepared
    from dlcluster.spec.job import Data


def data_fingerprint(data: Data) -> str:
    """Returns a text that changes when the data does; part of a trial's identity.

    Of a user's own function only the name is known: what it reads cannot be seen from outside.

    Raises:
        DataError: When a file is not there.
    """
    if data.path is not None:
        return fingerprint(data.path)
    name = str(data.name)  # the job file has one or the other
    if name in DATASETS:
        return fingerprint(str(DATASETS[name].file))
    return "name:" + hashlib.sha256(name.encode()).hexdigest()


def task_of(data: Data) -> str:
    """Returns what the data is used for: ``data.task``, or what the named data set is usually used for.

    Raises:
        DataError: When neither says it.
    """
    if data.task is not None:
        return data.task
    if data.name is not None and data.name in DATASETS:
        return DATASETS[data.name].task
    raise DataError("data.task: say what the data is for", hint="One of: forecast, classification, regression.")


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
    from dlcluster.data.prepare import prepare_arrays, prepare_forecast

    task = task_of(data)
    split = data.split.model_dump()
    params: Mapping[str, Any] = data.params
    if data.name is not None and is_own(data.name):
        function, arguments, params = own_arguments(data.name, task, data.params)
        try:
            made = function(**arguments)
        except bdb.BdbQuit:
            raise
        except (Exception, SystemExit) as error:
            raise ComponentError(f"data set {data.name} failed: {type(error).__name__}: {error}") from error
        if task != "forecast":
            return prepare_arrays(task, made, split)
        series, columns = _as_series(made, data.name)
    elif task != "forecast":
        raise DataError(
            f"data.task: {task} from {data.path or data.name} is not available yet",
            hint="Files can be used for task: forecast; for others, name a function of yours that returns arrays.",
        )
    else:
        if data.path is None and data.name not in DATASETS:
            raise DataError(f"data.name: no data set {data.name!r}; {near(str(data.name), DATASETS)}")
        path = data.path if data.path is not None else str(DATASETS[str(data.name)].file)
        series, columns = table_to_series(read_table(path), path, params)
    try:
        forecast = ForecastParams.model_validate(dict(params))
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(f"data.params.{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    return prepare_forecast(series, columns, forecast, split)


def _as_series(made: Any, name: str) -> tuple[np.ndarray[Any, Any], list[str]]:
    import numpy as np

    try:
        series = np.asarray(made, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"data set {name}: a forecast needs numbers (steps,) or (steps, channels): {error}") from error
    if series.ndim == 1:
        series = series[:, None]
    if series.ndim != 2:
        raise DataError(f"data set {name}: a forecast needs (steps,) or (steps, channels), got shape {series.shape}")
    return series, [f"channel_{i}" for i in range(series.shape[1])]


def table_to_series(table: pa.Table, path: str, params: Mapping[str, Any]) -> tuple[np.ndarray[Any, Any], list[str]]:
    """Takes the numeric columns of a table as a series, ``(steps, channels)`` with NaN where empty.

    Args:
        table: What was read.
        path: Where from, for messages.
        params: ``columns`` and ``time_column`` of ``data.params``.

    Raises:
        DataError: When a column is not there, holds text, or the rows are not in the order of time.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if not table.num_rows:
        raise DataError(f"data.path: {path}: has no rows")
    names = table.column_names
    time_column, wanted = params.get("time_column"), params.get("columns")
    for key, name in [("time_column", time_column), *(("columns", name) for name in wanted or [])]:
        if name is not None and name not in names:
            raise DataError(f"data.params.{key}: {path} has no column {name!r}; {near(str(name), names)}")
    if time_column is None and wanted is None and _is_time(table, names[0]):
        time_column = names[0]
    if time_column is not None and not pa.types.is_string(table.schema.field(time_column).type):
        times = table[time_column].combine_chunks()
        later = pc.all(pc.less(times[:-1], times[1:])).as_py()
        if later is False:
            raise DataError(
                f"data.path: {path}: rows are not in the order of column {time_column!r}",
                hint="Sort the file by time.",
            )
    columns = list(wanted) if wanted else [name for name in names if name != time_column]
    arrays = []
    for name in columns:
        kind = table.schema.field(name).type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
            shown = next((value for value in table[name].to_pylist() if value is not None), None)
            raise DataError(
                f"data.path: {path}: column {name!r} holds {kind}, not numbers (such as {shown!r})",
                hint=f"Name the numeric columns in data.params.columns (there is: {', '.join(names)}).",
            )
        arrays.append(table[name].cast(pa.float64()).to_numpy(zero_copy_only=False))
    return np.stack(arrays, axis=1), columns


def _is_time(table: pa.Table, name: str) -> bool:
    """Whether a first column holds times: dates, text, or whole numbers that read as YYYYMMDD."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = table.schema.field(name).type
    if pa.types.is_temporal(kind) or pa.types.is_string(kind):
        return bool(table.num_columns > 1)
    if not pa.types.is_integer(kind) or table.num_columns == 1:
        return False
    ends = pc.min_max(table[name]).as_py()
    return ends["min"] is not None and bool(1_000_01_01 <= ends["min"] <= ends["max"] <= 9999_12_31)
