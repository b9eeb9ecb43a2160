"""What is minimised and what is measured: a loss and metrics by task, as sums that add up over workers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from dlcluster.errors import ComponentError
from dlcluster.models.named import import_named, is_own, near

Loss = Callable[[Tensor, Tensor], Tensor]

LOSSES: Mapping[str, Loss] = {
    "mse": F.mse_loss,
    "mae": F.l1_loss,
    "huber": F.huber_loss,
    "cross_entropy": F.cross_entropy,
}
DEFAULT_LOSS = {"forecast": "mse", "regression": "mse", "classification": "cross_entropy"}


@dataclass(frozen=True)
class Objective:
    """Loss and metrics of a task.

    Losses and a user's own metrics are means over a batch; they are weighted by its samples, so that neither
    the batch size nor the number of workers changes what is reported.

    Attributes:
        task: ``forecast``, ``regression`` or ``classification``.
        loss: ``(prediction, target) -> scalar``, a mean over samples.
        own: A user's own metrics by name.
        unit_scale: One scaled unit in the data's units by target channel, or None.
    """

    task: str
    loss: Loss
    own: Mapping[str, Loss]
    unit_scale: Tensor | None = None

    def to(self, device: torch.device) -> Objective:
        """The same objective with its tensors on ``device``."""
        scale = None if self.unit_scale is None else self.unit_scale.to(device)
        return Objective(self.task, self.loss, self.own, scale)

    @property
    def names(self) -> list[str]:
        """Names of the sums, in the order of `sums`."""
        if self.task == "classification":
            built_in = ["correct"]
        elif self.unit_scale is None:
            built_in = ["absolute", "squared"]
        else:
            built_in = ["absolute", "squared", "scaled_absolute", "scaled_squared"]
        return ["samples", "loss", *built_in, *self.own]

    def sums(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Sums over one batch, ``(len(names),)`` in float64; sums of all batches and workers may be added up.

        Args:
            prediction: ``(batch, *output_shape)``.
            target: ``(batch, *target_shape)``.
        """
        count = len(target)
        values = [torch.as_tensor(float(count)), self.loss(prediction, target) * count]
        if self.task == "classification":
            values.append((prediction.argmax(dim=-1) == target).sum())
        else:
            error = (prediction - target).float()
            per_sample = error.numel() / count if count else 1.0
            if self.unit_scale is not None:
                in_units = error * self.unit_scale
                values += [in_units.abs().sum() / per_sample, in_units.square().sum() / per_sample]
            values += [error.abs().sum() / per_sample, error.square().sum() / per_sample]
        values += [metric(prediction, target) * count for metric in self.own.values()]
        return torch.stack([value.double().to(prediction.device) for value in values])

    def metrics(self, sums: Tensor, prefix: str) -> dict[str, float]:
        """Turns added-up sums into metrics, such as ``validation_loss`` and ``validation_rmse``.

        Args:
            sums: From `sums`, added up.
            prefix: The split's name.
        """
        values = dict(zip(self.names, sums.tolist(), strict=True))
        count = values.pop("samples")
        means = {name: value / count if count else math.nan for name, value in values.items()}
        named = {
            "loss": ("loss", False),
            "correct": ("accuracy", False),
            "absolute": ("mae", False),
            "squared": ("rmse", True),
            "scaled_absolute": ("scaled_mae", False),
            "scaled_squared": ("scaled_rmse", True),
        }
        result = {}
        for name, mean in means.items():
            shown, root = named.get(name, (name, False))
            result[f"{prefix}_{shown}"] = math.sqrt(mean) if root else mean
        return result


def make_objective(task: str, loss: str | None, metrics: Sequence[str], unit_scale: Tensor | None = None) -> Objective:
    """Makes the objective of a job.

    Args:
        task: ``forecast``, ``regression`` or ``classification``.
        loss: ``training.loss``; None for the task's usual one.
        metrics: ``training.metrics``: names of a user's own functions.
        unit_scale: From the prepared data.

    Raises:
        ComponentError: When a name is not there or is no function.
    """
    name = loss or DEFAULT_LOSS[task]
    if not is_own(name) and name not in LOSSES:
        raise ComponentError(f"training.loss: no loss {name!r}; {near(name, LOSSES)}")
    function = own_function(name, "loss") if is_own(name) else LOSSES[name]
    own = {metric.partition(":")[2]: own_function(metric, "metric") for metric in metrics}
    return Objective(task, function, own, unit_scale)


def own_function(name: str, what: str) -> Loss:
    """Imports a user's own ``(prediction, target) -> scalar``.

    Raises:
        ComponentError: When it is not there or cannot be called.
    """
    function: Any = import_named(name, what)
    if not callable(function):
        raise ComponentError(
            f"{what} {name} is a {type(function).__name__}, not a function (prediction, target) -> scalar"
        )
    if isinstance(function, type) and issubclass(function, torch.nn.Module):
        function = function()
    return function  # type: ignore[no-any-return]
