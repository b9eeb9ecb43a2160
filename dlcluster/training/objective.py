"""What is minimised and what is measured: a loss and metrics by task, as sums that add up over workers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from dlcluster.data.batches import Samples, TensorSamples
from dlcluster.errors import ComponentError
from dlcluster.models.named import import_named, is_own
from dlcluster.spec.rules import task_conflicts
from dlcluster.training.components import FURTHER, LOSSES, NO_MAPE, loss_problem, metric_problems
from dlcluster.training.metrics import Further, further_metrics

if TYPE_CHECKING:
    from dlcluster.data.prepared import Prepared
    from dlcluster.spec.training import Training

Loss = Callable[[Tensor, Tensor], Tensor]

_PLAIN: Mapping[str, Loss] = {"mse": F.mse_loss, "mae": F.l1_loss, "huber": F.huber_loss}
_COUNTED_AT_ONCE = 4096


@dataclass(frozen=True)
class CrossEntropy:
    """Cross entropy between class scores and the right class, in nats.

    With weights, each sample's loss is multiplied by its class's, and the mean is taken over samples (torch divides
    by the sum of a batch's weights instead, which makes the loss depend on how samples are cut into batches).

    Attributes:
        weights: Of each class, ``(classes,)``, with a mean of 1 over the training samples; None for all the same.
        smoothing: Share of the target spread over all classes (Szegedy et al. 2016, Rethinking the Inception
            Architecture).
        binary: Take the difference of two scores as the logit of the second class, as binary cross entropy does;
            the same value as over two classes.
    """

    weights: Tensor | None = None
    smoothing: float = 0.0
    binary: bool = False

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Computes the mean over a batch.

        Args:
            prediction: Scores before any softmax, ``(batch, ..., classes)``.
            target: Classes, ``(batch, ...)``.
        """
        scores, right = prediction.float().flatten(0, -2), target.flatten()
        if self.binary:
            logit = scores[:, 1] - scores[:, 0]
            each = F.binary_cross_entropy_with_logits(logit, right.float(), reduction="none")
            return each.mean() if self.weights is None else (each * self.weights[right]).mean()
        if self.weights is None:
            return F.cross_entropy(scores, right, label_smoothing=self.smoothing)
        return F.cross_entropy(
            scores, right, weight=self.weights, label_smoothing=self.smoothing, reduction="none"
        ).mean()

    def to(self, device: torch.device) -> CrossEntropy:
        """The same loss with its weights on ``device``."""
        return self if self.weights is None else replace(self, weights=self.weights.to(device))


@dataclass(frozen=True)
class Objective:
    """Loss and metrics of a task.

    Losses and a user's own metrics are means over a batch; they are weighted by its samples, so that neither
    the batch size nor the number of workers changes what is reported.

    Attributes:
        task: As in `dlcluster.data.kinds.TASKS`.
        loss: ``(prediction, target) -> scalar``, a mean over samples.
        own: A user's own metrics by name.
        unit_scale: One scaled unit in the data's units by target channel, or None.
        further: Metrics of `dlcluster.training.metrics` that a job wants after each epoch.
        data: What it was made for; None where no further metrics are wanted.
    """

    task: str
    loss: Loss
    own: Mapping[str, Loss]
    unit_scale: Tensor | None = None
    further: tuple[str, ...] = ()
    data: Prepared | None = None

    def to(self, device: torch.device) -> Objective:
        """The same objective with its tensors on ``device``."""
        return replace(
            self,
            loss=_moved(self.loss, device),
            own={name: _moved(metric, device) for name, metric in self.own.items()},
            unit_scale=None if self.unit_scale is None else self.unit_scale.to(device),
        )

    @property
    def names(self) -> list[str]:
        """Names of the sums, in the order of `sums`."""
        built_in: list[str] = []
        if self.task == "classification":
            built_in = ["correct"]
        elif self.task == "language_model":
            built_in = ["correct"] if self._in_nats else ["correct", "nats"]
        elif self.task != "generation":
            scaled = [] if self.unit_scale is None else ["scaled_absolute", "scaled_squared"]
            built_in = ["absolute", "squared", *scaled]
        return ["samples", "loss", *built_in, *self.own]

    @property
    def _in_nats(self) -> bool:
        """Whether the loss is what perplexity is made of."""
        return isinstance(self.loss, CrossEntropy) and self.loss.smoothing == 0

    def sums(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Sums over one batch, ``(len(names),)`` in float64; sums of all batches and workers may be added up.

        Args:
            prediction: ``(batch, *output_shape)``.
            target: ``(batch, *target_shape)``.
        """
        count = len(target)
        values = [torch.as_tensor(float(count)), self.loss(prediction, target) * count]
        if self.task in ("classification", "language_model"):
            per_sample = target.numel() / count if count else 1.0  # tokens
            values.append((prediction.argmax(dim=-1) == target).sum() / per_sample)
            if self.task == "language_model" and not self._in_nats:
                values.append(CrossEntropy()(prediction, target) * count)
        elif self.task != "generation":
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
        result = {f"{prefix}_{_SHOWN.get(name, name)}": mean for name, mean in means.items() if name != "nats"}
        for name in ("squared", "scaled_squared"):
            if name in means:
                result[f"{prefix}_{_SHOWN[name]}"] = math.sqrt(means[name])
        if self.task == "language_model":
            nats = means.get("nats", means["loss"])
            result[f"{prefix}_perplexity"] = math.exp(nats) if nats < _MOST_NATS else math.inf
        return result

    def further_for(self, samples: int, device: torch.device, *, final: bool = False) -> Further | None:
        """Makes what measures the further metrics on a split, once; None where there are none.

        Args:
            samples: In the whole split, over all ranks.
            device: Where predictions are.
            final: All that can be measured, as for the final test; else those that a job wants after each epoch.
        """
        if self.data is None:
            return None
        names = further_metrics(self.data) if final else self.further
        return Further(names, self.data, samples=samples, device=device) if names else None


_MOST_NATS = 700.0  # math.exp raises a little above
_SHOWN = {
    "correct": "accuracy",
    "absolute": "mae",
    "squared": "rmse",
    "scaled_absolute": "scaled_mae",
    "scaled_squared": "scaled_rmse",
}


def make_objective(training: Training, data: Prepared) -> Objective:
    """Makes the objective of a job.

    Args:
        training: The job's ``training``: loss, class weights, label smoothing and metrics are read.
        data: What it is trained on.

    Raises:
        ComponentError: When a name is not there, is no function, or does not fit the data.
    """
    own = {metric.partition(":")[2]: own_function(metric, "metric") for metric in training.metrics if is_own(metric)}
    for key, problem in [*_loss_problems(training, data), *metric_problems(training.metrics, data.task)]:
        raise ComponentError(f"training.{key}: {problem}")
    further = tuple(metric for metric in training.metrics if metric in FURTHER[data.task])
    if "mape" in further and "mape" not in further_metrics(data):
        raise ComponentError(f"training.metrics: {NO_MAPE}")
    return Objective(data.task, _loss(training, data), own, data.unit_scale, further, data)


def _loss_problems(training: Training, data: Prepared) -> list[tuple[str, str]]:
    wrong = None if training.loss is None else loss_problem(training.loss, data.task)
    found = [] if wrong is None else [("loss", wrong)]

    def get(*path: str) -> Any:
        return getattr(training, path[1]) if path[0] == "training" else None

    found += [(str(path[-1]), message) for path, message in task_conflicts(data.task, get) if path[0] == "training"]
    classes, weights = data.num_classes, training.class_weights
    if training.loss == "bce" and data.task == "classification" and classes != 2:
        found.append(("loss", f"bce is for two classes, the data has {classes}; write cross_entropy"))
    if isinstance(weights, list) and len(weights) != classes:
        names = f" ({', '.join(data.class_names)})" if data.class_names and len(data.class_names) <= 20 else ""
        found.append(("class_weights", f"must be one for each of the {classes} classes{names}, got {len(weights)}"))
    return found


def _loss(training: Training, data: Prepared) -> Loss:
    if training.loss is not None and is_own(training.loss):
        return own_function(training.loss, "loss")
    if not LOSSES[data.task]:
        return _none
    name = training.loss or LOSSES[data.task][0]
    if name in _PLAIN:
        return _PLAIN[name]
    weights = None
    if training.class_weights is not None and data.num_classes is not None:
        counts = class_counts(data.splits["train"], data.num_classes)
        weights = _class_weights(training.class_weights, counts).float()
    return CrossEntropy(weights, training.label_smoothing, binary=name == "bce")


def _none(prediction: Tensor, target: Tensor) -> Tensor:
    raise ComponentError("a model for generation brings its own loss: it needs a training_step")


def class_counts(samples: Samples, num_classes: int) -> Tensor:
    """Counts the samples of each class, ``(num_classes,)``."""
    if isinstance(samples, TensorSamples):
        return torch.bincount(samples.y.cpu(), minlength=num_classes)
    counts = torch.zeros(num_classes, dtype=torch.long)
    for index in torch.arange(len(samples)).split(_COUNTED_AT_ONCE):  # type: ignore[no-untyped-call]
        counts += torch.bincount(samples.gather(index)[1].cpu(), minlength=num_classes)
    return counts


def _class_weights(given: str | list[float], counts: Tensor) -> Tensor:
    """Weights, ``(classes,)``, with a mean of 1 over the counted samples, so that the loss keeps its size."""
    if isinstance(given, list):
        weights = torch.tensor(given, dtype=torch.float64)
    else:  # balanced: all classes that there are have the same say
        weights = torch.where(counts > 0, counts.sum() / ((counts > 0).sum() * counts.clamp(min=1).double()), 1.0)
    return weights * (counts.sum() / (weights * counts).sum())


def _moved(function: Loss, device: torch.device) -> Loss:
    return function.to(device) if isinstance(function, CrossEntropy | nn.Module) else function


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
