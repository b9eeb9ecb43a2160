"""Series as arrays: taken from a table or from what a function returned, gaps filled, smoothed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from dlcluster.data.columns import floats
from dlcluster.data.params import Denoise, ForecastParams
from dlcluster.errors import DataError
from dlcluster.models.named import near

if TYPE_CHECKING:
    import pyarrow as pa

Values: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


def as_series(made: Any, name: str) -> tuple[Values, list[str]]:
    """Takes what a user's own function returned as a series, ``(steps, channels)``.

    Args:
        made: What it returned.
        name: Of the function, for messages.

    Returns:
        The series, and a name for each channel.

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


def table_to_series(
    table: pa.Table, path: str, params: ForecastParams, columns: Sequence[str] | None = None
) -> tuple[Values, list[str]]:
    """Takes the numeric columns of a table as a series, ``(steps, channels)`` with NaN where empty.

    Args:
        table: What was read.
        path: Where from, for messages.
        params: Which columns.
        columns: Those the series must have, whatever ``params`` say; None where it is the first of them.

    Returns:
        The series, and a name for each channel.

    Raises:
        DataError: When a column is not there, holds text, or the rows are not in the order of time.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if not table.num_rows:
        raise DataError(f"data.path: {path}: has no rows")
    names = table.column_names
    time_column, wanted = params.time_column, list(columns or params.columns or [])
    for key, name in [("time_column", time_column), *(("columns", name) for name in wanted)]:
        if name is not None and name not in names:
            raise DataError(f"data.params.{key}: {path} has no column {name!r}; {near(str(name), names)}")
    if time_column is None and names[0] not in wanted and _is_time(table, names[0]):
        time_column = names[0]
    if time_column is not None and not pa.types.is_string(table.schema.field(time_column).type):
        times = table[time_column].combine_chunks()
        later = pc.all(pc.less(times[:-1], times[1:])).as_py()
        if later is False:
            raise DataError(
                f"data.path: {path}: rows are not in the order of column {time_column!r}",
                hint="Sort the file by time.",
            )
    chosen = wanted or [name for name in names if name != time_column]
    arrays = []
    for name in chosen:
        kind = table.schema.field(name).type
        empty = pa.types.is_null(kind) and columns is not None  # missing in this part of the series only
        if not (empty or pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
            shown = next((value for value in table[name].to_pylist() if value is not None), None)
            raise DataError(
                f"data.path: {path}: column {name!r} holds {kind}, not numbers (such as {shown!r})",
                hint=f"Name the numeric columns in data.params.columns (there is: {', '.join(names)}).",
            )
        arrays.append(floats(table[name]))
    return np.stack(arrays, axis=1), chosen


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


def refuse_missing(series: Values, columns: Sequence[str], rule: str | None, where: str = "data") -> None:
    """Refuses values that are infinite, or missing without a rule to fill them.

    Args:
        series: ``(steps, channels)``, NaN where a value is missing.
        columns: A name for each channel.
        rule: ``data.params.missing``.
        where: Beginning of the message.

    Raises:
        DataError: With the column and the first such row.
    """
    if np.isinf(series).any():
        step, channel = np.argwhere(np.isinf(series))[0]
        raise DataError(f"{where}: column {columns[channel]!r} is infinite at row {step + 1}")
    missing = np.isnan(series)
    for channel, name in enumerate(columns):
        count = int(missing[:, channel].sum())
        if count and rule is None:
            raise DataError(
                f"{where}: column {name!r} lacks {count} of its {len(series)} values (the first at row "
                f"{int(missing[:, channel].argmax()) + 1})",
                hint="Say how to fill them: data.params.missing: interpolate | forward_fill | mean",
            )


def fill(values: Values, rule: str | None, mean: Sequence[float] | Values) -> Values:
    """Fills the gaps of one split; a gap at its edge takes the nearest value.

    Args:
        values: ``(steps, channels)``, NaN where a value is missing.
        rule: ``data.params.missing``.
        mean: Of each channel in train; it also fills a channel without any value.
    """
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


def smooth(values: Values, how: Denoise | None) -> Values:
    """Replaces each value by the mean or median of itself and the ``width - 1`` before it.

    Before the first step, its value is taken to have stood for ever. No value depends on a later one.

    Args:
        values: ``(steps, channels)``, without gaps.
        how: ``data.params.denoise``; None leaves the values as they are.
    """
    if how is None or not len(values):
        return values
    from scipy import ndimage

    past = (how.width - 1) // 2  # moves the filter from around a step to before it
    if how.name == "moving_average":
        smoothed = ndimage.uniform_filter1d(values, how.width, axis=0, mode="nearest", origin=past)
    else:
        smoothed = ndimage.median_filter(values, size=(how.width, 1), mode="nearest", origin=(past, 0))
    return np.asarray(smoothed, dtype=np.float64)
