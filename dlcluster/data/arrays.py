"""What a user's own data function returned, as splits ready to train on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dlcluster.data.batches import DatasetSamples, Samples, TensorSamples
from dlcluster.data.prepared import SPLITS, Prepared
from dlcluster.data.splits import split_indices
from dlcluster.data.tables import class_scores
from dlcluster.errors import DataError

if TYPE_CHECKING:
    from dlcluster.spec.data import Split


def prepare_arrays(task: str, data: Any, split: Split) -> Prepared:
    """Prepares what a user's own data function returned.

    Args:
        task: ``classification`` or ``regression``.
        data: ``(x, y)`` arrays, a torch ``Dataset``, or a mapping of ``train``, ``validation`` and ``test`` to
            either. Without a mapping, samples are dealt to the splits.
        split: The job's ``data.split``.

    Raises:
        DataError: When it is none of these, or an array holds NaN.
    """
    if isinstance(data, Mapping):
        unknown = sorted(set(data) - set(SPLITS))
        if unknown or "train" not in data:
            raise DataError(f"data: a mapping must have train, validation and test (got {', '.join(map(str, data))})")
        samples = {name: _as_samples(data[name], name, task) for name in SPLITS if name in data}
        samples |= {name: TensorSamples(torch.empty(0), torch.empty(0)) for name in SPLITS if name not in data}
    else:
        whole = _as_samples(data, "data", task)
        classes = _targets(whole).numpy() if split.stratify else None
        parts = split_indices(len(whole), split, classes=classes)
        samples = {name: _part(whole, torch.from_numpy(part)) for name, part in parts.items()}
    if not len(samples["train"]):
        raise DataError("data.split.train: no samples to train on")
    x, y = samples["train"].gather(torch.arange(1))
    if task == "classification":
        targets = {name: _targets(part) for name, part in samples.items()}
        num_classes = _count_classes(targets)
        scores = class_scores(targets["train"].long(), num_classes)

        def most_frequent(batch: Tensor) -> Tensor:
            return scores.to(batch.device).expand(len(batch), -1)

        return Prepared(
            task,
            samples,
            tuple(x.shape[1:]),
            (num_classes,),
            num_classes,
            baseline=most_frequent,
            baseline_name="most frequent class of train",
        )
    mean = y.new_tensor(0.0)
    if isinstance(samples["train"], TensorSamples):
        mean = samples["train"].y.float().mean(dim=0)
    shape = tuple(y.shape[1:])

    def mean_of_train(batch: Tensor) -> Tensor:
        return mean.to(batch.device).expand(len(batch), *shape)

    return Prepared(task, samples, tuple(x.shape[1:]), shape, baseline=mean_of_train, baseline_name="mean of train")


def _as_samples(data: Any, name: str, task: str) -> Samples:
    if isinstance(data, tuple | list) and len(data) == 2:
        x, y = (_as_tensor(part, f"{name}[{i}]") for i, part in enumerate(data))
        if len(x) != len(y):
            raise DataError(f"data: {name} has {len(x)} samples of x but {len(y)} of y")
        return TensorSamples(x, _as_losses_take_it(y, task))
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        from torch.utils.data import TensorDataset

        if isinstance(data, TensorDataset) and len(data.tensors) == 2:
            x, y = data.tensors
            return TensorSamples(x, _as_losses_take_it(y, task))
        return DatasetSamples(data)
    raise DataError(
        f"data: {name} is a {type(data).__name__}",
        hint="Return (x, y) arrays, a torch Dataset, or a mapping of splits.",
    )


def _as_losses_take_it(y: Tensor, task: str) -> Tensor:
    if task == "regression":
        return y.float()
    return y if y.is_floating_point() else y.long()


def _as_tensor(values: Any, name: str) -> Tensor:
    try:
        tensor = values if isinstance(values, Tensor) else torch.from_numpy(np.ascontiguousarray(values))
    except (TypeError, ValueError) as error:
        raise DataError(f"data: {name} cannot be made a tensor: {error}", hint="Return arrays of numbers.") from error
    tensor = tensor.float() if tensor.is_floating_point() else tensor
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        row = int((~torch.isfinite(tensor)).reshape(len(tensor), -1).any(dim=1).nonzero()[0])
        raise DataError(f"data: {name} holds NaN or infinity, first in row {row + 1}")
    return tensor


def _targets(samples: Samples) -> Tensor:
    if isinstance(samples, TensorSamples):
        return samples.y
    if isinstance(samples, DatasetSamples):  # one by one: all x together may be more than fits into memory
        items = [torch.as_tensor(samples.dataset[i][1]) for i in samples.index.tolist()]
        return torch.stack(items) if items else torch.empty(0, dtype=torch.long)
    raise TypeError(type(samples).__name__)


def _part(samples: Samples, index: Tensor) -> Samples:
    if isinstance(samples, TensorSamples):
        return TensorSamples(*samples.gather(index))
    if isinstance(samples, DatasetSamples):
        return DatasetSamples(samples.dataset, samples.index[index])
    raise TypeError(type(samples).__name__)


def _count_classes(targets: Mapping[str, Tensor]) -> int:
    for name, y in targets.items():
        if len(y) and (y.is_floating_point() or y.dim() != 1 or int(y.min()) < 0):
            raise DataError(
                f"data: classes must be whole numbers from 0, one a sample ({name} has {y.dtype} {tuple(y.shape)})"
            )
    known = set(targets["train"].tolist())
    for name in ("validation", "test"):
        only = sorted(set(targets[name].tolist()) - known)
        if only:
            raise DataError(f"data: class {int(only[0])} stands only in {name}, never in train")
    return int(max(known)) + 1
