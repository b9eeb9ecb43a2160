"""Further metrics, which no mean over batches gives: F1, AUROC, R2 and the like, right over any number of workers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dlcluster.training.components import FURTHER

if TYPE_CHECKING:
    from dlcluster.data.prepared import Prepared
    from dlcluster.training.ranks import Ranks

MOST_SCORES = 1_000_000
"""AUROC is exact for so many scores over all classes; of more, it is binned, and no score is kept."""
BINS = 1000
MOST_CLASSES = 100
"""No confusion matrix is shown of more."""


def further_metrics(data: Prepared) -> list[str]:
    """Returns the further metrics that can be measured on this data, for the final test.

    MAPE cannot be where a value in the data's own units is not to be had (a forecast with windows centred on
    their last value): a share of what, if zero is somewhere else in each window?
    """
    return [name for name in FURTHER[data.task] if name != "mape" or _has_units(data)]


def _has_units(data: Prepared) -> bool:
    return data.unit_scale is None or data.unit_shift is not None


class Further:
    """Measures further metrics on one split, once.

    Classification (by torchmetrics, imported here): ``f1``, ``precision`` and ``recall`` are means over the classes
    that were there or were predicted; ``auroc`` is the mean of each class against the rest, over classes that
    stand in the split and are not all of it, NaN where there are none. Beyond `MOST_SCORES` scores it is computed
    from `BINS` thresholds.

    Forecast and regression, from sums in float64 (torchmetrics takes squared errors below 1e-4 for none at all,
    which small units have): ``mse`` and ``mape`` in the data's own units, 0.05 being 5 %; ``r2`` is the mean over
    target channels. With centred windows its values are changes since each window's last value.

    Args:
        names: Of the metrics, as in `dlcluster.training.components.FURTHER`.
        data: What is measured on.
        samples: In the whole split, over all ranks.
        device: Where predictions are.
    """

    def __init__(self, names: Sequence[str], data: Prepared, *, samples: int, device: torch.device) -> None:
        self._names, self._device = list(names), device
        self._classes = data.num_classes or 0
        self._metrics: dict[str, Any] = {}
        self._sums: dict[str, Tensor] = {}
        self._confusion: Tensor | None = None
        self._scale, self._shift = data.unit_scale, data.unit_shift
        if data.task == "classification":
            exact = samples * self._classes <= MOST_SCORES
            self._metrics = _by_torchmetrics([*names, "confusion"], self._classes, exact, device)
        else:
            channels = data.output_shape[-1] if data.output_shape else 1
            per_channel = ("count", "sum", "squares", "residual", "units_residual", "share")
            self._sums = {name: torch.zeros(channels, dtype=torch.float64, device=device) for name in per_channel}

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Takes in one batch.

        Args:
            prediction: ``(batch, *output_shape)``.
            target: ``(batch, *target_shape)``.
        """
        if self._metrics:
            scores = prediction.float().softmax(dim=-1)
            for metric in self._metrics.values():
                metric.update(scores, target)
            return
        channels = len(self._sums["count"])
        given, right = (values.double().reshape(-1, channels) for values in (prediction, target))
        error = given - right
        in_units = error if self._scale is None else error * self._scale.to(self._device)
        value = right if self._scale is None else right * self._scale.to(self._device)
        if self._shift is not None:
            value = value + self._shift.to(self._device)
        # A value of zero would make any error infinite; scikit-learn's least value.
        share = in_units.abs() / value.abs().clamp(min=torch.finfo(torch.float64).eps)
        for name, each in (
            ("count", torch.ones_like(right)),
            ("sum", right),
            ("squares", right.square()),
            ("residual", error.square()),
            ("units_residual", in_units.square()),
            ("share", share),
        ):
            self._sums[name] += each.sum(dim=0)

    def compute(self, ranks: Ranks, split: str) -> dict[str, float]:
        """Puts together what all ranks took in; all of them call it, and get the same.

        Args:
            ranks: This process among all.
            split: Name, which the metrics begin with.
        """
        for total in self._sums.values():
            ranks.sum(total)
        for metric in self._metrics.values():
            for name, state in metric.metric_state.items():
                if isinstance(state, list):
                    parts = ranks.gather([part.cpu() for part in state])
                    joined = [part.to(self._device) for own in parts for part in (own or [])]
                    setattr(metric, name, joined)
                else:
                    setattr(metric, name, ranks.sum(state))
        return ranks.decide(lambda: {f"{split}_{name}": value for name, value in self._values().items()})

    @property
    def confusion(self) -> list[list[int]] | None:
        """How often samples of each class (rows) were taken for each class (columns), once `compute` was called.

        Known on rank 0; None for other tasks, and of more than `MOST_CLASSES` classes.
        """
        if self._confusion is None or self._classes > MOST_CLASSES:
            return None
        return self._confusion.tolist()

    def _values(self) -> dict[str, float]:
        if not self._metrics:
            values = self._of_values()
            return {name: values[name] for name in self._names}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of classes that are not there, which are left out below
            made = {name: metric.compute() for name, metric in self._metrics.items()}
        confusion: Tensor = made["confusion"].cpu()
        self._confusion = confusion
        found = {name: float(made[name]) for name in self._names if name != "auroc"}
        if "auroc" in self._names:
            there = confusion.sum(dim=1)
            usable = (there > 0) & (there < there.sum())
            found["auroc"] = float(made["auroc"].cpu()[usable].mean()) if bool(usable.any()) else math.nan
        return found

    def _of_values(self) -> dict[str, float]:
        sums = {name: total.cpu() for name, total in self._sums.items()}
        count = sums["count"]
        spread = sums["squares"] - sums["sum"].square() / count
        unspread = spread <= 1e-12 * sums["squares"]  # a channel that never changes, but for rounding
        perfect = (sums["residual"] == 0).double()
        scores = torch.where(unspread, perfect, 1 - sums["residual"] / spread)
        return {
            "mse": float(sums["units_residual"].sum() / count.sum()),
            "mape": float(sums["share"].sum() / count.sum()),
            "r2": float(scores.mean()) if float(count.min()) > 1 else math.nan,
        }


def _by_torchmetrics(names: Sequence[str], classes: int, exact: bool, device: torch.device) -> dict[str, Any]:
    from torchmetrics.classification import (
        MulticlassAUROC,
        MulticlassConfusionMatrix,
        MulticlassF1Score,
        MulticlassPrecision,
        MulticlassRecall,
    )

    # What they would send over the default process group by themselves, our own `Ranks` does.
    common: dict[str, Any] = {"num_classes": classes, "validate_args": False, "sync_on_compute": False}
    made: dict[str, Any] = {}
    for name in names:
        if name == "confusion":
            made[name] = MulticlassConfusionMatrix(**common)
        elif name == "auroc":
            made[name] = MulticlassAUROC(average="none", thresholds=None if exact else BINS, **common)
        else:
            kinds = {"f1": MulticlassF1Score, "precision": MulticlassPrecision, "recall": MulticlassRecall}
            made[name] = kinds[name](average="macro", **common)
    return {name: metric.to(device) for name, metric in made.items()}
