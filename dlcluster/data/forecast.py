"""From what was read to three splits: filled, scaled by what train tells, cut into windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dlcluster.data.batches import Samples, TensorSamples, window_samples
from dlcluster.data.params import ForecastParams
from dlcluster.data.prepared import Prepared
from dlcluster.data.read import read_table
from dlcluster.data.source import Source
from dlcluster.errors import DataError
from dlcluster.models.named import near

if TYPE_CHECKING:
    import pyarrow as pa

    from dlcluster.spec.data import Split


@dataclass(frozen=True)
class ForecastPreparation:
    """What was fitted on the train split of a series.

    Attributes:
        params: Window, horizon and how to fill and scale.
        columns: Channels of x, in order.
        targets: Those that are predicted.
        shift: Subtracted from each channel.
        scale: Each channel is divided by it after that.
    """

    params: ForecastParams
    columns: tuple[str, ...]
    targets: tuple[str, ...]
    shift: tuple[float, ...]
    scale: tuple[float, ...]

    kind = "series"

    def config(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {
            "params": self.params.model_dump(mode="json"),
            "columns": list(self.columns),
            "target": list(self.targets),
            "shift": list(self.shift),
            "scale": list(self.scale),
        }

    def inputs(self, batch: pa.Table) -> Tensor:
        """Not there yet: a forecast reads windows, not rows."""
        raise NotImplementedError

    def outputs(self, prediction: Tensor, batch: pa.Table) -> dict[str, np.ndarray[Any, Any]]:
        """Not there yet."""
        raise NotImplementedError


def preparation_from(config: Mapping[str, Any]) -> ForecastPreparation:
    """Makes a stored preparation again."""
    return ForecastPreparation(
        ForecastParams.model_validate(config["params"]),
        *(tuple(config[key]) for key in ("columns", "target", "shift", "scale")),
    )


def load(task: str, source: Source, params: ForecastParams, split: Split) -> Prepared:
    """Reads and prepares a series.

    Args:
        task: ``forecast``.
        source: A CSV or Parquet table.
        params: Window, horizon and how to fill and scale.
        split: The job's ``data.split``.

    Raises:
        DataError: When it cannot be read, or not be used as the job asks.
    """
    series, columns = table_to_series(read_table(source.path, source.format), source.path, params)
    return prepare_forecast(series, columns, params, split.model_dump())


def boundaries(length: int, split: Mapping[str, float]) -> dict[str, slice]:
    """Cuts ``length`` rows into train, validation and test, in that order and without a gap."""
    train = round(length * split["train"])
    validation = round(length * (split["train"] + split["validation"]))
    return {
        "train": slice(0, train),
        "validation": slice(train, validation),
        "test": slice(validation, length),
    }


def prepare_forecast(
    series: np.ndarray[Any, Any], columns: list[str], params: ForecastParams, split: Mapping[str, float]
) -> Prepared:
    """Prepares a series for forecasting.

    Splits follow each other in time and no window crosses from one into another; missing values are filled
    inside each split, so nothing of a later one seeps into an earlier one; scaling is fitted on train.

    Args:
        series: ``(steps, channels)``, NaN where a value is missing.
        columns: A name for each channel.
        params: Window, horizon and how to fill and scale.
        split: Shares of train, validation and test.

    Raises:
        DataError: When values are missing and no rule was given, or a split is smaller than one window.
    """
    targets = [_channel(name, columns) for name in params.target] if params.target else list(range(len(columns)))
    _refuse_missing(series, columns, params.missing)
    parts = {name: series[part].astype(np.float64) for name, part in boundaries(len(series), split).items()}
    needed = params.window + params.horizon
    for name, values in parts.items():
        if (split[name] > 0 or name == "train") and len(values) < needed:
            raise DataError(
                f"data.split.{name}: {len(values)} steps are fewer than one window of {params.window} and its "
                f"horizon of {params.horizon} ({needed} steps; the series has {len(series)})",
                hint="Make the window or the horizon shorter, or this split larger.",
            )
    train_mean = np.nanmean(parts["train"], axis=0)
    parts = {name: _fill(values, params.missing, train_mean) for name, values in parts.items()}
    shift, scale = _fit_scale(parts["train"], params.scale)
    samples: dict[str, Samples] = {}
    for name, values in parts.items():
        scaled = torch.from_numpy(((values - shift) / scale).astype(np.float32))
        if len(scaled) < needed:  # an empty split, asked for as such
            samples[name] = TensorSamples(torch.empty(0), torch.empty(0))
        else:
            samples[name] = window_samples(
                scaled,
                window=params.window,
                horizon=params.horizon,
                targets=targets,
                center_last=params.center == "last",
            )
    preparation = ForecastPreparation(
        params=params,
        columns=tuple(columns),
        targets=tuple(columns[i] for i in targets),
        shift=tuple(shift.tolist()),
        scale=tuple(scale.tolist()),
    )

    def persistence(x: Tensor) -> Tensor:
        return x[:, -1:, targets].expand(-1, params.horizon, -1)

    return Prepared(
        task="forecast",
        splits=samples,
        input_shape=(params.window, len(columns)),
        output_shape=(params.horizon, len(targets)),
        unit_scale=torch.tensor(scale[targets], dtype=torch.float32),
        baseline=persistence,
        baseline_name="persistence (last value repeated)",
        preparation=preparation,
    )


def _channel(name: str, columns: list[str]) -> int:
    if name not in columns:
        raise DataError(f"data.params.target: no column {name!r} (there is: {', '.join(columns)})")
    return columns.index(name)


def _refuse_missing(series: np.ndarray[Any, Any], columns: list[str], rule: str | None) -> None:
    if np.isinf(series).any():
        step, channel = np.argwhere(np.isinf(series))[0]
        raise DataError(f"data: column {columns[channel]!r} is infinite at row {step + 1}")
    missing = np.isnan(series)
    for channel, name in enumerate(columns):
        count = int(missing[:, channel].sum())
        if count and rule is None:
            raise DataError(
                f"data: column {name!r} lacks {count} of its {len(series)} values (the first at row "
                f"{int(missing[:, channel].argmax()) + 1})",
                hint="Say how to fill them: data.params.missing: interpolate | forward_fill | mean",
            )


def _fill(values: np.ndarray[Any, Any], rule: str | None, mean: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Fills gaps in one split, ``(steps, channels)``; a gap at its edge takes the nearest value."""
    filled = values.copy()
    for channel in range(values.shape[1]):
        column = filled[:, channel]
        known = np.flatnonzero(~np.isnan(column))
        gaps = np.flatnonzero(np.isnan(column))
        if not len(gaps):
            continue
        if rule == "mean" or not len(known):
            column[gaps] = mean[channel]
        elif rule == "interpolate":
            column[gaps] = np.interp(gaps, known, column[known])
        else:
            before = np.searchsorted(known, gaps) - 1
            column[gaps] = column[known[np.maximum(before, 0)]]
    return filled


def _fit_scale(train: np.ndarray[Any, Any], kind: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    if kind == "standard":
        shift, scale = train.mean(axis=0), train.std(axis=0)
    elif kind == "minmax":
        shift, scale = train.min(axis=0), np.ptp(train, axis=0)
    else:
        shift, scale = np.zeros(train.shape[1]), np.ones(train.shape[1])
    return shift, np.where(scale > 0, scale, 1.0)  # a constant column stays as it is


def as_series(made: Any, name: str) -> tuple[np.ndarray[Any, Any], list[str]]:
    """Takes what a user's own function returned as a series, ``(steps, channels)``.

    Raises:
        DataError: When it is not numbers in that shape.
    """
    try:
        series = np.asarray(made, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"data set {name}: a forecast needs numbers (steps,) or (steps, channels): {error}") from error
    if series.ndim == 1:
        series = series[:, None]
    if series.ndim != 2:
        raise DataError(f"data set {name}: a forecast needs (steps,) or (steps, channels), got shape {series.shape}")
    return series, [f"channel_{i}" for i in range(series.shape[1])]


def table_to_series(table: pa.Table, path: str, params: ForecastParams) -> tuple[np.ndarray[Any, Any], list[str]]:
    """Takes the numeric columns of a table as a series, ``(steps, channels)`` with NaN where empty.

    Args:
        table: What was read.
        path: Where from, for messages.
        params: Which columns.

    Raises:
        DataError: When a column is not there, holds text, or the rows are not in the order of time.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if not table.num_rows:
        raise DataError(f"data.path: {path}: has no rows")
    names = table.column_names
    time_column, wanted = params.time_column, params.columns
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
