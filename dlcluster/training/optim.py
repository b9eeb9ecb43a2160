"""Optimizers and learning-rate schedules by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from dlcluster.spec.training import LrScheduler, Optimizer

LEAST_GAIN = 1e-4
"""Share by which a loss must fall for `reduce_on_plateau` to see a gain; torch's, too."""
ONE_CYCLE_RISE, ONE_CYCLE_START, ONE_CYCLE_END = 0.3, 25.0, 1e4
"""Share of steps in which `one_cycle` rises; it begins at 1/25 of the rate and ends at 1/10,000 of that."""


def make_optimizer(spec: Optimizer, model: nn.Module, *, compiled: bool = False) -> torch.optim.Optimizer:
    """Makes the optimizer a job names, in its fused form where torch has one.

    ``weight_decay`` is an L2 penalty, added to the gradient; for adamw it is decoupled from the gradient
    (Loshchilov & Hutter 2019, Decoupled Weight Decay Regularization).

    Args:
        spec: Name, learning rate, weight decay, and what that optimizer takes besides.
        model: Whose parameters it moves, at least one; those that need no gradient are left out.
        compiled: The model is compiled, so torch's compiler is loaded anyway.
    """
    if not compiled:
        spare_the_compiler()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # One kernel for all parameters instead of a dozen small ones each; torch has it for floats on CPU and CUDA.
    fused = all(parameter.is_floating_point() for parameter in parameters)
    rate, decay, betas = spec.learning_rate, spec.weight_decay, (spec.beta1, spec.beta2)
    optimizer: torch.optim.Optimizer
    if spec.name == "adam":
        optimizer = torch.optim.Adam(parameters, lr=rate, betas=betas, weight_decay=decay, fused=fused)
    elif spec.name == "adamw":
        optimizer = torch.optim.AdamW(parameters, lr=rate, betas=betas, weight_decay=decay, fused=fused)
    elif spec.name == "sgd":
        optimizer = torch.optim.SGD(
            parameters, lr=rate, momentum=spec.momentum, nesterov=spec.nesterov, weight_decay=decay, fused=fused
        )
    elif spec.name == "rmsprop":
        # Not fused in torch; it takes its own best way by the device (on a CPU one parameter after the other).
        optimizer = torch.optim.RMSprop(parameters, lr=rate, momentum=spec.momentum, weight_decay=decay)
    else:
        optimizer = torch.optim.Adagrad(parameters, lr=rate, weight_decay=decay, fused=fused)
    return optimizer if compiled else _stepping_eagerly(optimizer)


def spare_the_compiler() -> None:
    """Keeps an optimizer's bookkeeping from loading torch's compiler, a second of every worker's start.

    torch marks these methods to be left alone by the compiler when they are first called, and loads it for
    that; the mark it looks for is set here. Where a release of torch looks for another, nothing changes.
    """
    for method in vars(torch.optim.Optimizer).values():
        function = getattr(method, "__wrapped__", None)
        if isinstance(function, FunctionType):
            vars(function).setdefault("__dynamo_disable", function)


def _stepping_eagerly(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Takes off ``step`` what is there for the compiler and for hooks; what is left runs without gradients."""
    step: Any = type(optimizer).step
    while hasattr(step, "__wrapped__"):
        step = step.__wrapped__
    optimizer.step = MethodType(torch.no_grad()(step), optimizer)  # type: ignore[method-assign]
    return optimizer


class Schedule:
    """A learning rate that moves: told of every step and of the end of every epoch.

    Its state is plain numbers. What it is made with is not part of it, so that a training with more epochs
    than before goes on with the curve of that many epochs.

    Args:
        spec: Name and settings.
        optimizer: Whose learning rate it sets; groups with rates of their own keep their ratios.
        steps_per_epoch: Steps of each epoch.
        epochs: Epochs of the whole training.
    """

    def __init__(
        self, spec: LrScheduler, optimizer: torch.optim.Optimizer, *, steps_per_epoch: int, epochs: int
    ) -> None:
        self._spec, self._optimizer = spec, optimizer
        self._steps_per_epoch, self._total = steps_per_epoch, steps_per_epoch * epochs
        self._rates: list[float] = [group["lr"] for group in optimizer.param_groups]
        self._step = 0
        self._set = 1.0
        # Of reduce_on_plateau: what it multiplied with so far, the lowest value, and the epochs since.
        self._reduced, self._lowest, self._waited = 1.0, math.inf, 0
        self._apply()
        self._last = self._set

    def step(self) -> None:
        """Sets the learning rate of the next step; called after each."""
        self._last = self._set
        self._step += 1
        self._apply()

    def epoch_ended(self, value: float | None) -> None:
        """Hears how an epoch went; only ``reduce_on_plateau`` listens.

        Args:
            value: Its validation loss, or its training loss where there is no validation; None for neither.
        """
        if self._spec.name != "reduce_on_plateau" or value is None:
            return
        if value < self._lowest * (1 - LEAST_GAIN):
            self._lowest, self._waited = value, 0
            return
        self._waited += 1
        if self._waited >= self._spec.patience:
            self._reduced, self._waited = self._reduced * self._spec.factor, 0
            self._apply()

    def get_last_lr(self) -> list[float]:
        """Returns the learning rate of the last step, or of the first before there was one, for each group."""
        return [rate * self._last for rate in self._rates]

    def state_dict(self) -> dict[str, float]:
        """Returns all that has changed since it was made."""
        return {
            "step": self._step,
            "last": self._last,
            "reduced": self._reduced,
            "lowest": self._lowest,
            "waited": self._waited,
        }

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Puts back what `state_dict` returned, and sets the learning rate."""
        self._step, self._waited = int(state["step"]), int(state["waited"])
        self._last, self._reduced, self._lowest = state["last"], state["reduced"], state["lowest"]
        self._set = math.nan  # the optimizer may hold any rate by now
        self._apply()

    def _apply(self) -> None:
        factor = self._factor(self._step)
        if factor != self._set:
            self._set = factor
            for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
                group["lr"] = rate * factor

    def _factor(self, step: int) -> float:
        name, warmup = self._spec.name, self._spec.warmup_steps
        if name == "one_cycle":
            return _one_cycle(step, self._total)
        risen = (step + 1) / warmup if step < warmup else 1.0
        if name == "cosine":
            done = (step - warmup) / max(1, self._total - warmup)
            return risen if step < warmup else _between(1.0, 0.0, min(1.0, done))
        if name == "step":
            times = step // self._steps_per_epoch // self._spec.every_epochs
            return risen * float(self._spec.factor**times)
        return risen * self._reduced


def _one_cycle(step: int, total: int) -> float:
    rising, end = ONE_CYCLE_RISE * total - 1, total - 1
    low = 1 / ONE_CYCLE_START
    if step <= rising:
        return _between(low, 1.0, step / rising)
    return _between(1.0, low / ONE_CYCLE_END, min(1.0, (step - rising) / (end - rising)))


def _between(first: float, last: float, done: float) -> float:
    """Half a cosine wave from one value to another; ``done`` goes from 0 to 1."""
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * done))


def make_lr_scheduler(
    spec: LrScheduler, optimizer: torch.optim.Optimizer, *, steps_per_epoch: int, epochs: int
) -> Schedule:
    """Makes the schedule a job names.

    - ``constant``: the learning rate as it is.
    - ``step``: times ``factor`` after every ``every_epochs`` epochs.
    - ``cosine``: from the learning rate to 0 over all steps (Loshchilov & Hutter 2017, SGDR, without restarts).
    - ``one_cycle``: from 1/25 of the learning rate up to it in three tenths of all steps, and down to next to
      nothing in the rest (Smith & Topin 2018, Super-Convergence), as torch's ``OneCycleLR`` does by default.
    - ``reduce_on_plateau``: times ``factor`` after ``patience`` epochs in which the validation loss did not fall
      below its lowest by at least 0.01 %.

    ``warmup_steps`` rise linearly to the learning rate: before the cosine begins, and on top of the others.

    Args:
        spec: Name and settings.
        optimizer: Whose learning rate it sets.
        steps_per_epoch: Steps of each epoch.
        epochs: Epochs of the whole training.
    """
    return Schedule(spec, optimizer, steps_per_epoch=steps_per_epoch, epochs=epochs)
