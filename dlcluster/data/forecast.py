"""From a series to three splits: filled, smoothed, scaled by what train tells, cut into windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dlcluster.data.batches import Samples, TensorSamples, window_samples
from dlcluster.data.params import ForecastParams
from dlcluster.data.prepared import SPLITS, Prepared
from dlcluster.data.read import read_table
from dlcluster.data.series import Values, fill, refuse_missing, smooth, table_to_series
from dlcluster.data.source import Source
from dlcluster.data.splits import edges, shares_of
from dlcluster.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

    from dlcluster.spec.data import Split


@dataclass(frozen=True)
class ForecastPreparation:
    """What was fitted on the train split of a series.

    Attributes:
        params: Window, horizon and how to fill, smooth and scale.
        columns: Channels of x, in order.
        targets: Those that are predicted.
        shift: Subtracted from each channel.
        scale: Each channel is divided by it after that.
        mean: Of each channel, as it fills gaps.
    """

    params: ForecastParams
    columns: tuple[str, ...]
    targets: tuple[str, ...]
    shift: tuple[float, ...]
    scale: tuple[float, ...]
    mean: tuple[float, ...]

    kind = "series"

    def config(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {
            "params": self.params.model_dump(mode="json"),
            "columns": list(self.columns),
            "target": list(self.targets),
            "shift": list(self.shift),
            "scale": list(self.scale),
            "mean": list(self.mean),
        }

    def inputs(self, batch: pa.Table) -> Tensor:
        """Cuts a table of steps into all its windows.

        Args:
            batch: One step a row, in the order of time; columns the model does not read are ignored.

        Returns:
            ``(rows - window + 1, window, channels)``, filled, smoothed and scaled like a split.

        Raises:
            DataError: When a column is missing or holds no numbers, or there are fewer rows than a window.
        """
        window = self.params.window
        x = self.scaled(batch).unfold(0, window, 1).transpose(1, 2)
        return x - x[:, -1:] if self.params.center == "last" else x

    def outputs(self, prediction: Tensor, batch: pa.Table) -> dict[str, np.ndarray[Any, Any]]:
        """Lays predictions out step by step, in the data's own units.

        Args:
            prediction: ``(windows, horizon, targets)``, of all windows that `inputs` made of ``batch``.
            batch: The steps they were made from.

        Returns:
            Columns of ``windows x horizon`` values: ``row``, which row (from 1) the window ends at; ``step``, how many
            steps after it (from 1); and one for each target, called as in the table (with ``_predicted`` after it
            where that is ``row`` or ``step``).
        """
        channels = [self.columns.index(name) for name in self.targets]
        values = prediction.detach().cpu().double()
        if self.params.center == "last":
            values = values + self.scaled(batch)[self.params.window - 1 :, None, channels].double()
        scale, shift = (torch.tensor(each, dtype=torch.float64)[channels] for each in (self.scale, self.shift))
        units = values * scale + shift
        windows, horizon = len(values), self.params.horizon
        columns: dict[str, np.ndarray[Any, Any]] = {
            "row": np.repeat(np.arange(windows) + self.params.window, horizon),
            "step": np.tile(np.arange(horizon) + 1, windows),
        }
        for i, name in enumerate(self.targets):
            columns[f"{name}_predicted" if name in ("row", "step") else name] = units[..., i].reshape(-1).numpy()
        return columns

    def scaled(self, batch: pa.Table) -> Tensor:
        """Returns the steps of a table as the model reads them, ``(rows, channels)``, not yet centred."""
        series, _ = table_to_series(batch, "the table", self.params, self.columns)
        refuse_missing(series, self.columns, self.params.missing)
        if len(series) < self.params.window:
            raise DataError(f"data: {len(series)} rows are fewer than the {self.params.window} that the model reads")
        values = smooth(fill(series, self.params.missing, self.mean), self.params.denoise)
        return _as_tensor(values, np.array(self.shift), np.array(self.scale))


def preparation_from(config: Mapping[str, Any]) -> ForecastPreparation:
    """Makes a stored preparation again."""
    return ForecastPreparation(
        ForecastParams.model_validate(config["params"]),
        *(tuple(config[key]) for key in ("columns", "target", "shift", "scale", "mean")),
    )


def load(task: str, source: Source, params: ForecastParams, split: Split) -> Prepared:
    """Reads and prepares a series.

    Args:
        task: ``forecast``.
        source: A CSV or Parquet table; validation and test may have tables of their own.
        params: Window, horizon and how to fill, smooth and scale.
        split: The job's ``data.split``.

    Raises:
        DataError: When it cannot be read, or not be used as the job asks.
    """
    table = read_table(source.path, source.format, header=params.header)
    series, columns = table_to_series(table, source.path, params)
    given = {
        name: table_to_series(read_table(path, source.format, header=params.header), path, params, columns)[0]
        for name, path in source.files.items()
    }
    return prepare_forecast(series, columns, params, split, given)


def boundaries(length: int, split: Split, given: frozenset[str] = frozenset()) -> dict[str, slice]:
    """Cuts ``length`` rows into train, validation and test, in that order.

    With ``folds`` the origin rolls: of ``folds + 1`` equal stretches, one after the first is tested on, and what
    comes before it is trained and validated on.

    Args:
        length: Rows.
        split: The job's ``data.split``.
        given: Splits that have files of their own.
    """
    if split.folds is None:
        start, end = edges(length, shares_of(split, given))
        return {"train": slice(0, start), "validation": slice(start, end), "test": slice(end, length)}
    start, end = (round(length * (split.fold + i) / (split.folds + 1)) for i in (1, 2))
    held = 0 if "validation" in given else round(start * split.validation)
    return {"train": slice(0, start - held), "validation": slice(start - held, start), "test": slice(start, end)}


def prepare_forecast(
    series: Values,
    columns: list[str],
    params: ForecastParams,
    split: Split,
    given: Mapping[str, Values] | None = None,
) -> Prepared:
    """Prepares a series for forecasting.

    Splits follow each other in time and no prediction crosses from one into another; missing values are filled, and
    x is smoothed, inside each split, so nothing of a later one seeps into an earlier one; scaling is fitted on train,
    before smoothing. Nor do windows cross, unless ``look_back`` lets the first ones begin in the split before: then
    each step of validation and test is predicted (as in Zhou et al. 2021, Informer).

    Args:
        series: ``(steps, channels)``, NaN where a value is missing.
        columns: A name for each channel.
        params: Window, horizon and how to fill, smooth and scale.
        split: The job's ``data.split``.
        given: Series of splits that have files of their own.

    Raises:
        DataError: When values are missing and no rule was given, or a split is smaller than one window.
    """
    given = given or {}
    targets = [_channel(name, columns) for name in params.target] if params.target else list(range(len(columns)))
    if params.rows is not None and params.rows > len(series):
        raise DataError(f"data.params.rows: {params.rows} rows are asked for, but there are {len(series)}")
    series = series[: params.rows]
    refuse_missing(series, columns, params.missing)
    for name, values in given.items():
        refuse_missing(values, columns, params.missing, f"data.split.files.{name}")
    parts = {name: series[part] for name, part in boundaries(len(series), split, frozenset(given)).items()}
    parts |= given
    _refuse_short(parts, params, split, len(series))
    mean = _known_mean(parts["train"], columns)
    parts = {name: fill(parts[name], params.missing, mean) for name in SPLITS}
    shift, scale = _fit_scale(parts["train"], params.scale)
    samples: dict[str, Samples] = {}
    before = after = np.empty((0, len(columns)))
    for name, answers in parts.items():
        read = smooth(answers, params.denoise)
        if len(answers):
            back = params.window if params.look_back else 0
            samples[name] = window_samples(
                _as_tensor(np.concatenate([before[len(before) - back :], read]), shift, scale),
                window=params.window,
                horizon=params.horizon,
                targets=targets,
                center_last=params.center == "last",
                answers=_as_tensor(np.concatenate([after[len(after) - back :], answers]), shift, scale)
                if params.denoise
                else None,
            )
        else:  # an empty split, asked for as such
            samples[name] = TensorSamples(torch.empty(0), torch.empty(0))
        before, after = np.concatenate([before, read]), np.concatenate([after, answers])
    preparation = ForecastPreparation(
        params=params,
        columns=tuple(columns),
        targets=tuple(columns[i] for i in targets),
        shift=tuple(shift.tolist()),
        scale=tuple(scale.tolist()),
        mean=tuple(mean.tolist()),
    )

    def persistence(x: Tensor) -> Tensor:
        return x[:, -1:, targets].expand(-1, params.horizon, -1)

    return Prepared(
        task="forecast",
        splits=samples,
        input_shape=(params.window, len(columns)),
        output_shape=(params.horizon, len(targets)),
        unit_scale=torch.tensor(scale[targets], dtype=torch.float32),
        unit_shift=None if params.center else torch.tensor(shift[targets], dtype=torch.float32),
        baseline=persistence,
        baseline_name="persistence of smoothed values" if params.denoise else "persistence",
        preparation=preparation,
    )


def _channel(name: str, columns: list[str]) -> int:
    if name not in columns:
        raise DataError(f"data.params.target: no column {name!r} (there is: {', '.join(columns)})")
    return columns.index(name)


def _refuse_short(parts: Mapping[str, Values], params: ForecastParams, split: Split, length: int) -> None:
    """Refuses a split, wanted as such, that has not even one window."""
    for name, values in parts.items():
        wanted = name == "train" or getattr(split, name) > 0 or getattr(split.files, name) is not None
        back = params.look_back and name != "train"
        needed = params.horizon + (0 if back else params.window)
        if (wanted or (name == "test" and split.folds)) and len(values) < needed:
            what = "a horizon" if back else f"one window of {params.window} and its horizon"
            raise DataError(
                f"data.split.{name}: {len(values)} steps are fewer than {what} of {params.horizon} ({needed} steps; "
                f"the series has {length})",
                hint="Make the window or the horizon shorter, or this split larger.",
            )


def _known_mean(train: Values, columns: list[str]) -> Values:
    for channel, name in enumerate(columns):
        if np.isnan(train[:, channel]).all():
            raise DataError(f"data: column {name!r} has no value in the {len(train)} steps of train")
    mean: Values = np.nanmean(train, axis=0)
    return mean


def _fit_scale(train: Values, kind: str) -> tuple[Values, Values]:
    if kind == "standard":
        shift, scale = train.mean(axis=0), train.std(axis=0)
    elif kind == "minmax":
        shift, scale = train.min(axis=0), np.ptp(train, axis=0)
    else:
        shift, scale = np.zeros(train.shape[1]), np.ones(train.shape[1])
    return shift, np.where(scale > 0, scale, 1.0)  # a constant column stays as it is


def _as_tensor(values: Values, shift: Values, scale: Values) -> Tensor:
    return torch.from_numpy(((values - shift) / scale).astype(np.float32))
