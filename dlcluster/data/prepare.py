"""From what was read to three splits: filled, scaled by what train tells, cut into windows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlcluster.data.batches import DatasetSamples, Samples, TensorSamples, window_samples
from dlcluster.data.catalog import ForecastParams
from dlcluster.errors import DataError

SPLITS = ("train", "validation", "test")
_SPLIT_SEED = 20_240_229


@dataclass(frozen=True)
class Prepared:
    """Data ready to train on.

    Attributes:
        task: ``forecast``, ``classification`` or ``regression``.
        splits: Samples by split name; a split may have none.
        input_shape: Of one sample of x.
        output_shape: Of one prediction.
        num_classes: For classification.
        unit_scale: What one scaled unit is in the data's own units, by target channel; None where nothing was scaled.
        baseline: From a batch of x to the prediction anybody could make; None where there is none.
        baseline_name: What that prediction is called.
        fitted: What was fitted on train, to be stored with the model.
    """

    task: str
    splits: Mapping[str, Samples]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    num_classes: int | None = None
    unit_scale: Tensor | None = None
    baseline: Callable[[Tensor], Tensor] | None = None
    baseline_name: str | None = None
    fitted: Mapping[str, Any] = field(default_factory=dict)


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
    fitted = {
        "columns": columns,
        "target": [columns[i] for i in targets],
        "shift": shift.tolist(),
        "scale": scale.tolist(),
    }

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
        fitted=fitted,
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


def prepare_arrays(task: str, data: Any, split: Mapping[str, float]) -> Prepared:
    """Prepares what a user's own data function returned.

    Args:
        task: ``classification`` or ``regression``.
        data: ``(x, y)`` arrays, a torch ``Dataset``, or a mapping of ``train``, ``validation`` and ``test`` to
            either. Without a mapping, samples are dealt to the splits in a fixed random order.
        split: Shares of train, validation and test.

    Raises:
        DataError: When it is none of these, or an array holds NaN.
    """
    if isinstance(data, Mapping):
        unknown = sorted(set(data) - set(SPLITS))
        if unknown or "train" not in data:
            raise DataError(f"data: a mapping must have train, validation and test (got {', '.join(map(str, data))})")
        samples = {name: _as_samples(data[name], name) for name in SPLITS if name in data}
        samples |= {name: TensorSamples(torch.empty(0), torch.empty(0)) for name in SPLITS if name not in data}
    else:
        whole = _as_samples(data, "data")
        order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(_SPLIT_SEED))
        samples = {name: _part(whole, order[part]) for name, part in boundaries(len(whole), split).items()}
    if not len(samples["train"]):
        raise DataError("data.split.train: no samples to train on")
    x, y = samples["train"].gather(torch.arange(1))
    if task == "classification":
        num_classes = _count_classes(samples)
        return Prepared(task, samples, tuple(x.shape[1:]), (num_classes,), num_classes)
    mean = y.new_tensor(0.0)
    if isinstance(samples["train"], TensorSamples):
        mean = samples["train"].y.float().mean(dim=0)
    shape = tuple(y.shape[1:])

    def mean_of_train(batch: Tensor) -> Tensor:
        return mean.to(batch.device).expand(len(batch), *shape)

    return Prepared(task, samples, tuple(x.shape[1:]), shape, baseline=mean_of_train, baseline_name="mean of train")


def _as_samples(data: Any, name: str) -> Samples:
    if isinstance(data, tuple | list) and len(data) == 2:
        x, y = (_as_tensor(part, f"{name}[{i}]") for i, part in enumerate(data))
        if len(x) != len(y):
            raise DataError(f"data: {name} has {len(x)} samples of x but {len(y)} of y")
        return TensorSamples(x, y)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        from torch.utils.data import TensorDataset

        if isinstance(data, TensorDataset) and len(data.tensors) == 2:
            return TensorSamples(*data.tensors)
        return DatasetSamples(data)
    raise DataError(
        f"data: {name} is a {type(data).__name__}",
        hint="Return (x, y) arrays, a torch Dataset, or a mapping of splits.",
    )


def _as_tensor(values: Any, name: str) -> Tensor:
    tensor = values if isinstance(values, Tensor) else torch.from_numpy(np.ascontiguousarray(values))
    tensor = tensor.float() if tensor.is_floating_point() else tensor
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        row = int((~torch.isfinite(tensor)).reshape(len(tensor), -1).any(dim=1).nonzero()[0])
        raise DataError(f"data: {name} holds NaN or infinity, first in row {row + 1}")
    return tensor


def _part(samples: Samples, index: Tensor) -> Samples:
    if isinstance(samples, TensorSamples):
        return TensorSamples(*samples.gather(index))
    if isinstance(samples, DatasetSamples):
        return DatasetSamples(samples.dataset, samples.index[index])
    raise TypeError(type(samples).__name__)


def _count_classes(samples: Mapping[str, Samples]) -> int:
    seen: dict[str, set[int]] = {}
    for name, part in samples.items():
        _, y = part.gather(torch.arange(len(part))) if len(part) else (None, torch.empty(0, dtype=torch.long))
        if y.is_floating_point() or y.dim() != 1 or (len(y) and int(y.min()) < 0):
            raise DataError(
                f"data: classes must be whole numbers from 0, one a sample ({name} has {y.dtype} {tuple(y.shape)})"
            )
        seen[name] = set(y.tolist())
    for name in ("validation", "test"):
        only = sorted(seen[name] - seen["train"])
        if only:
            raise DataError(f"data: class {only[0]} stands only in {name}, never in train")
    return max(seen["train"]) + 1
