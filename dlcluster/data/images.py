"""Pictures, and arrays of plain features, to splits that are scaled batch by batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dlcluster.data.augment import augmenter
from dlcluster.data.locate import find_one
from dlcluster.data.params import ImageParams
from dlcluster.data.picture_arrays import Array, Pictures
from dlcluster.data.picture_folders import NoPictureError, decode
from dlcluster.data.picture_samples import by_channel, fit_scale, picture_samples, scaled
from dlcluster.data.pictures import read_pictures
from dlcluster.data.prepared import SPLITS, Prepared
from dlcluster.data.source import Source
from dlcluster.data.splits import split_indices
from dlcluster.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

    from dlcluster.spec.data import Split


@dataclass(frozen=True)
class ImagePreparation:
    """What was fitted on the train split of pictures.

    Attributes:
        task: As in `dlcluster.data.kinds.TASKS`.
        params: Size, channels and how to scale.
        shape: Of one sample: ``(channels, height, width)``, or ``(features,)``.
        whole: Whether the samples were bytes, as picture files have them; else numbers of any range.
        shift: Subtracted from each channel.
        scale: Each channel is divided by it after that.
        classes: In the order of the ids, as the data names them; None where there are none.
    """

    task: str
    params: ImageParams
    shape: tuple[int, ...]
    whole: bool
    shift: tuple[float, ...]
    scale: tuple[float, ...]
    classes: tuple[int | str, ...] | None = None

    kind = "images"

    def config(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {
            "task": self.task,
            "params": self.params.model_dump(mode="json"),
            "shape": list(self.shape),
            "whole": self.whole,
            "shift": list(self.shift),
            "scale": list(self.scale),
            "classes": None if self.classes is None else list(self.classes),
        }

    def inputs(self, batch: pa.Table) -> Tensor:
        """Makes x, ``(rows, *shape)``, of the column ``image``, ``path`` or ``pixels``.

        ``image`` holds the bytes of picture files and ``path`` says where such files lie; ``pixels`` holds the
        numbers of a sample as a list, channel after channel and row after row.

        Raises:
            DataError: When there is no such column, a row has no picture, or one of another size.
        """
        names = batch.column_names
        if "pixels" in names:
            return self._from_pixels(batch)
        if not self.whole or ("image" not in names and "path" not in names):
            wanted = "image (bytes), path or pixels" if self.whole else "pixels"
            raise DataError(f"needs a column {wanted}; there is: {', '.join(names)}")
        column = "image" if "image" in names else "path"
        x = np.empty((batch.num_rows, *self.shape), np.uint8)
        for row, value in enumerate(batch[column].to_pylist()):
            x[row] = self._picture(value, f"column {column!r}: row {row + 1}", bytes if column == "image" else str)
        return self._scaled(x)

    def _picture(self, value: Any, shown: str, wanted: type[bytes | str]) -> Array:
        if not isinstance(value, wanted):
            words = "the bytes of a picture file" if wanted is bytes else "the path of one"
            raise DataError(f"{shown} holds {'nothing' if value is None else type(value).__name__}, not {words}")
        try:
            picture = decode(
                value if isinstance(value, bytes) else find_one(value).read(), self.params.size, self.shape[0]
            )
        except NoPictureError as error:
            raise DataError(f"{shown} cannot be decoded: {error}") from error
        if picture.shape != self.shape:
            raise DataError(
                f"{shown} is {picture.shape[1]} x {picture.shape[2]} pixels, the model was trained on "
                f"{self.shape[1]} x {self.shape[2]}",
                hint="A model trained with data.params.size takes pictures of any size.",
            )
        return picture

    def _from_pixels(self, batch: pa.Table) -> Tensor:
        shape = (batch.num_rows, *self.shape)
        try:
            x = np.array(batch["pixels"].to_pylist(), dtype=np.float32).reshape(shape)
        except (TypeError, ValueError):
            x = np.full(shape, np.nan, np.float32)
        if not np.isfinite(x).all():
            raise DataError(
                f"column 'pixels': each row must be a list of {math.prod(self.shape)} numbers, none missing"
            )
        return self._scaled(x)

    def _scaled(self, x: Array) -> Tensor:
        return scaled(torch.from_numpy(x), *(by_channel(values, x.ndim) for values in (self.shift, self.scale)))

    def outputs(self, prediction: Tensor, batch: pa.Table) -> dict[str, np.ndarray[Any, Any]]:
        """Names the most likely class and says how likely it is; a generated sample is given in its own units.

        Args:
            prediction: Logits ``(rows, num_classes)``, or values ``(rows, *output_shape)``.
            batch: Not used.
        """
        prediction = prediction.detach().cpu().float()
        if self.classes is not None:
            confidence, best = prediction.softmax(dim=-1).max(dim=-1)
            return {"prediction": np.array(self.classes)[best.numpy()], "confidence": confidence.numpy()}
        if self.task == "generation":
            shift, scale = (by_channel(values, prediction.dim()) for values in (self.shift, self.scale))
            values = prediction * scale + shift
            return {"pixels": (values.round().clamp(0, 255).byte() if self.whole else values).numpy()}
        return {"prediction": prediction.numpy()}


def preparation_from(config: Mapping[str, Any]) -> ImagePreparation:
    """Makes a stored preparation again."""
    return ImagePreparation(
        config["task"],
        ImageParams.model_validate(config["params"]),
        tuple(config["shape"]),
        config["whole"],
        tuple(config["shift"]),
        tuple(config["scale"]),
        None if config["classes"] is None else tuple(config["classes"]),
    )


def load(task: str, source: Source, params: ImageParams, split: Split) -> Prepared:
    """Reads and prepares pictures, or arrays of features.

    Args:
        task: ``classification``, ``generation`` (classes are not looked at) or ``regression`` (npz only).
        source: Files of format ``idx``, ``npz`` or ``images``.
        params: Size, channels, scaling and augmentation.
        split: The job's ``data.split``.

    Raises:
        DataError: When they cannot be read, or not be used as the job asks.
    """
    found, notes = read_pictures(source, params, labelled=task != "generation")
    if split.folds is not None and "test" in found:
        notes.append(f"{found.pop('test').shown} is left out: data.split.folds tests on a part of train")
    whole = found["train"]
    _refuse_other_shapes(found)
    features = whole.x.ndim == 2
    if features and params.augment is not None:
        raise DataError(
            f"data.params.augment: needs pictures; {whole.shown} has plain features, {whole.x.shape[1]} a sample"
        )
    targets = {name: _targets(task, part) for name, part in found.items()}
    given = frozenset(found) - {"train"}
    labels = targets["train"] if task == "classification" else None
    dealt = split_indices(len(whole.x), split, classes=labels, given=given)
    if not len(dealt["train"]):
        raise DataError(f"data.split.train: no samples to train on (there are {len(whole.x)} in all)")
    shift, scale = fit_scale(whole.x, dealt["train"], params.scale)
    preparation = ImagePreparation(task, params, whole.x.shape[1:], whole.x.dtype == np.uint8, shift, scale)
    origin = {name: name if name in given else "train" for name in SPLITS}
    index = {name: np.arange(len(found[name].x)) if name in given else dealt[name] for name in SPLITS}
    y = {name: targets[origin[name]][index[name]] for name in SPLITS}
    if task == "classification":
        classes, y = _numbered(y, given)
        preparation = replace(preparation, classes=classes)
    samples = {name: picture_samples(found[origin[name]].x[index[name]], y[name], shift, scale) for name in SPLITS}
    prepared = Prepared(
        task=task,
        splits=samples,
        input_shape=preparation.shape,
        output_shape=preparation.shape if task == "generation" else y["train"].shape[1:],
        preparation=preparation,
        augment=None if params.augment is None else augmenter(params.augment),
        notes=tuple(notes),
    )
    if task == "generation":
        return prepared
    if task == "regression":
        mean = torch.from_numpy(y["train"].mean(axis=0, dtype=np.float64).astype(np.float32)[None])
        return replace(prepared, baseline=_Constant(mean), baseline_name="mean of train")
    shares = np.bincount(y["train"]) / len(y["train"])
    return replace(
        prepared,
        output_shape=(len(shares),),
        num_classes=len(shares),
        class_names=tuple(str(value) for value in preparation.classes or ()),
        baseline=_Constant(torch.from_numpy(np.log(shares)).float()[None]),
        baseline_name="most frequent class of train",
    )


@dataclass(frozen=True)
class _Constant:
    """The same prediction, ``(1, ...)``, for every sample."""

    value: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return self.value.to(x.device).expand(len(x), *self.value.shape[1:])


def _refuse_other_shapes(found: Mapping[str, Pictures]) -> None:
    train = found["train"]
    for name, part in found.items():
        if part.x.shape[1:] != train.x.shape[1:] or part.x.dtype != train.x.dtype:
            raise DataError(
                f"data: samples of {name} ({part.shown}) are {part.x.shape[1:]} {part.x.dtype}, those of train "
                f"({train.shown}) are {train.x.shape[1:]} {train.x.dtype}"
            )


def _targets(task: str, part: Pictures) -> Array:
    """Returns what is to be learnt of each sample: a class as the data names it, numbers, or nothing (zeros)."""
    if part.y is None:
        return np.zeros(len(part.x), np.int64)
    if task == "regression":
        if part.y.dtype.kind not in "buif" or not np.isfinite(part.y).all():
            raise DataError(f"data: the targets of {part.shown} must be numbers, and finite (got {part.y.dtype})")
        return part.y.astype(np.float32).reshape(len(part.y), *(part.y.shape[1:] or (1,)))
    if part.y.ndim != 1 or part.y.dtype.kind not in "buiU":
        raise DataError(
            f"data: the classes of {part.shown} must be whole numbers or names, one a sample (got {part.y.dtype} "
            f"{part.y.shape})"
        )
    return part.y


def _numbered(y: Mapping[str, Array], given: frozenset[str]) -> tuple[tuple[int | str, ...], dict[str, Array]]:
    """Numbers the classes of train in their order; refuses those that only validation or test has."""
    classes = np.unique(y["train"])
    for name in ("validation", "test"):
        only = np.setdiff1d(y[name], classes)
        if len(only):
            raise DataError(
                f"data: class {only[0]} stands only in {name}, never in train",
                hint=f"Leave its samples out of {name}, or add some to train."
                if name in given
                else "data.split.stratify: true gives each split its share of each class.",
            )
    if len(classes) == 1:
        raise DataError(
            f"data: all {len(y['train'])} samples of train are of class {classes[0]}: there is nothing to tell apart"
        )
    return tuple(classes.tolist()), {name: np.searchsorted(classes, part) for name, part in y.items()}
