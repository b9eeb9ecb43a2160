"""Rows of a table become samples: names one-hot, gaps filled, numbers scaled, all by what train tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dlcluster.data.batches import TensorSamples
from dlcluster.data.columns import Column, Names, Numbers, as_names, as_numbers, missing_in, rows_of, taken
from dlcluster.data.features import Feature, fit_feature, fit_scale
from dlcluster.data.frame import Frame, class_names_of, read_frame
from dlcluster.data.params import TableParams
from dlcluster.data.prepared import SPLITS, Prepared
from dlcluster.data.splits import Indices, split_indices
from dlcluster.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

    from dlcluster.data.source import Source
    from dlcluster.spec.data import Split


@dataclass(frozen=True)
class TablePreparation:
    """What was fitted on the train split of a table.

    Attributes:
        task: ``classification`` or ``regression``.
        params: Columns, and how to fill and scale.
        features: How each column becomes inputs, in order.
        class_names: Classes in the order of their ids; None for a regression.
        shift: What was subtracted from a regression's target.
        scale: What it was divided by after that.
    """

    task: str
    params: TableParams
    features: tuple[Feature, ...]
    class_names: tuple[str, ...] | None
    shift: float = 0.0
    scale: float = 1.0

    kind = "table"

    def config(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {
            "task": self.task,
            "params": self.params.model_dump(mode="json"),
            "features": [feature.config() for feature in self.features],
            "class_names": None if self.class_names is None else list(self.class_names),
            "shift": self.shift,
            "scale": self.scale,
        }

    def inputs(self, batch: pa.Table) -> Tensor:
        """Makes x of rows as they were read.

        Args:
            batch: The rows; columns the model does not read are ignored, the target too.

        Returns:
            ``(rows, inputs)``. A name that train did not have is none of its categories: all zeros.

        Raises:
            DataError: When a column is missing, or holds what the model was not trained on.
        """
        columns: dict[str, Column] = {}
        for feature in self.features:
            array = taken(batch, feature.name, "data", "which the model was trained on")
            named = feature.categories is not None
            columns[feature.name] = (as_names if named else as_numbers)(array, feature.name, "data")
            missing = missing_in(columns[feature.name])
            if feature.fill is None and missing.any():
                raise DataError(
                    f"data: column {feature.name!r} lacks {int(missing.sum())} of its {len(missing)} values (the first "
                    f"at row {int(missing.argmax()) + 1})",
                    hint="The model was trained without a rule to fill them: fill them first, or train it again with "
                    "data.params.missing: mean | median | most_frequent | zero",
                )
        return self.encoded(columns, None)

    def encoded(self, columns: Mapping[str, Column], index: Indices | None) -> Tensor:
        """Makes x of columns, ``(rows, inputs)``.

        Args:
            columns: By name, with no gap that there is no filling for.
            index: Rows to take; None for all.
        """
        parts = []
        for feature in self.features:
            column = columns[feature.name]
            parts.append(feature.encoded(column if index is None else rows_of(column, index)))
        return torch.from_numpy(np.concatenate(parts, axis=1))

    def outputs(self, prediction: Tensor, batch: pa.Table) -> dict[str, np.ndarray[Any, Any]]:
        """Names the most likely class and how likely it is, or gives values in the target's own units.

        Args:
            prediction: Logits ``(rows, num_classes)``, or scaled values ``(rows,)``.
            batch: Not used.
        """
        values = prediction.detach().cpu()
        if self.class_names is None:
            return {"prediction": values.double().numpy() * self.scale + self.shift}
        confidence, best = values.float().softmax(dim=-1).max(dim=-1)
        return {"prediction": np.array(self.class_names)[best.numpy()], "confidence": confidence.numpy()}


def preparation_from(config: Mapping[str, Any]) -> TablePreparation:
    """Makes a stored preparation again."""
    names = config["class_names"]
    return TablePreparation(
        config["task"],
        TableParams.model_validate(config["params"]),
        tuple(Feature.from_config(feature) for feature in config["features"]),
        None if names is None else tuple(names),
        config["shift"],
        config["scale"],
    )


def load(task: str, source: Source, params: TableParams, split: Split) -> Prepared:
    """Reads and prepares a table.

    Args:
        task: ``classification`` or ``regression``.
        source: A CSV or Parquet table; validation and test may have tables of their own.
        params: Columns, and how to fill and scale.
        split: The job's ``data.split``.

    Raises:
        DataError: When it cannot be read, or not be used as the job asks.
    """
    frame = read_frame(task, source, params)
    class_names, ids = None, None
    target = frame.columns[params.target]
    if isinstance(target, Names):
        class_names = class_names_of(target, f"data.path: {source.path}: column {params.target!r}")
        ids = target.coded(class_names)
    parts = _dealt(frame, source, split, ids, class_names)
    train = parts["train"]
    features = tuple(
        fit_feature(name, rows_of(column, train), params, f"data.path: {source.path}")
        for name, column in frame.columns.items()
        if name != params.target
    )
    shift, scale = 0.0, 1.0
    if not isinstance(target, Names):
        shift, scale = fit_scale(target[train], params.scale)
    preparation = TablePreparation(task, params, features, class_names, shift, scale)
    y = _answers(target, ids, shift, scale)
    splits = {name: TensorSamples(preparation.encoded(frame.columns, parts[name]), y[parts[name]]) for name in SPLITS}
    notes = [*frame.notes, *(note for feature in features if (note := _unseen(feature, frame, parts)))]
    typical = splits["train"].y.float().mean()
    output_shape: tuple[int, ...] = ()
    if class_names is not None:
        typical = class_scores(splits["train"].y, len(class_names))
        output_shape = (len(class_names),)

    def guess(x: Tensor) -> Tensor:
        return typical.to(x.device).expand(len(x), *output_shape)

    scaled = class_names is None and params.scale != "none"
    return Prepared(
        task=task,
        splits=splits,
        input_shape=tuple(splits["train"].x.shape[1:]),
        output_shape=output_shape,
        num_classes=None if class_names is None else len(class_names),
        class_names=class_names,
        unit_scale=torch.tensor(scale, dtype=torch.float32) if scaled else None,
        unit_shift=torch.tensor(shift, dtype=torch.float32) if scaled else None,
        baseline=guess,
        baseline_name="mean of train" if class_names is None else "most frequent class of train",
        preparation=preparation,
        notes=tuple(notes),
    )


def class_scores(y: Tensor, num_classes: int) -> Tensor:
    """Returns the logits of how frequent each class is, ``(num_classes,)``: the best guess without any x.

    Args:
        y: Class of each sample of train, ``(samples,)``.
        num_classes: How many there are; one that no sample has gets next to nothing.
    """
    return torch.bincount(y, minlength=num_classes).float().div(len(y)).clamp(min=1e-9).log()


def _dealt(
    frame: Frame, source: Source, split: Split, ids: Indices | None, class_names: tuple[str, ...] | None
) -> dict[str, Indices]:
    """Rows of each split; refuses one that is wanted and has none, or has a class that train has not."""
    main = frame.starts[1]
    classes = None if ids is None else ids[:main]
    given = frozenset(source.files)
    parts = split_indices(main, split, classes=classes, class_names=class_names, given=given)
    for name, start, end in zip(source.files, frame.starts[1:], frame.starts[2:], strict=False):
        parts[name] = np.arange(start, end)
    for name in SPLITS:
        wanted = name == "train" or getattr(split, name) > 0 or (name == "test" and split.folds is not None)
        if wanted and not len(parts[name]):
            raise DataError(
                f"data.split.{name}: not one of the {main} rows of {source.path} falls to it",
                hint="Make this split larger, or give more rows.",
            )
    if ids is None or class_names is None:
        return parts
    known = np.unique(ids[parts["train"]])
    for name in ("validation", "test"):
        only = parts[name][~np.isin(ids[parts[name]], known)]
        if len(only):
            raise DataError(
                f"data: class {class_names[ids[only[0]]]!r} stands only in {name} ({frame.place(int(only[0]))}), never "
                "in train",
                hint="Leave its rows out"
                + (", or write data.split.stratify: true." if name not in given and not split.stratify else "."),
            )
    return parts


def _answers(target: Column, ids: Indices | None, shift: float, scale: float) -> Tensor:
    if ids is not None:
        return torch.from_numpy(ids)
    numbers: Numbers = np.asarray(target)
    return torch.from_numpy(((numbers - shift) / scale).astype(np.float32))


def _unseen(feature: Feature, frame: Frame, parts: Mapping[str, Indices]) -> str | None:
    """A line on names that train did not have, for the log."""
    column = frame.columns[feature.name]
    if feature.categories is None or not isinstance(column, Names):
        return None
    later = column.codes[np.concatenate([parts["validation"], parts["test"]])]
    counts = Counter(later[later >= 0].tolist())
    strange = {column.names[i]: count for i, count in counts.items() if column.names[i] not in feature.categories}
    if not strange:
        return None
    rows = sum(strange.values())
    return (
        f"column {feature.name!r}: {rows} {'row' if rows == 1 else 'rows'} of validation and test with a name that "
        f"train does not have (such as {next(iter(strange))!r}) count as none of its categories"
    )
