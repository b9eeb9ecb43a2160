"""From a job and its data to a training ready to begin: model, optimizers, schedules."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from dlcluster.errors import ComponentError
from dlcluster.models.catalog import make_model
from dlcluster.models.named import near
from dlcluster.training.checkpoint import Training
from dlcluster.training.loop import steps_in_epoch
from dlcluster.training.optim import make_lr_scheduler, make_optimizer, spare_the_compiler
from dlcluster.training.steps import has_own_step

if TYPE_CHECKING:
    from dlcluster.data.prepared import Prepared
    from dlcluster.spec import TrainJob
    from dlcluster.spec.data import Model


def build_model(spec: Model, data: Prepared) -> nn.Module:
    """Makes the model a job names for its data, with the weights it begins with and what is frozen.

    Args:
        spec: The job's ``model``.
        data: Whose shapes it has to fit.

    Raises:
        ComponentError: When it cannot be made, or a pattern of ``freeze`` matches nothing.
    """
    model = make_model(spec.name, spec.params, data.shapes)
    if spec.init is not None:
        from dlcluster.models.init import initialise

        initialise(model, spec.init)
    return model


def freeze(model: nn.Module, patterns: list[str]) -> int:
    """Takes parameters out of the training.

    Args:
        model: Whose parameters.
        patterns: Names with ``*`` for anything, such as ``lstm.*``.

    Returns:
        How many numbers are frozen.

    Raises:
        ComponentError: When a pattern matches nothing, or nothing is left to train.
    """
    named = dict(model.named_parameters())
    frozen: set[str] = set()
    for number, pattern in enumerate(patterns):
        matching = fnmatch.filter(named, pattern)
        if not matching:
            raise ComponentError(f"model.freeze.{number}: no parameter matches {pattern!r}; {near(pattern, named)}")
        frozen.update(matching)
    if patterns and len(frozen) == len(named):
        raise ComponentError("model.freeze: all parameters are frozen, nothing is left to train")
    for name in frozen:
        named[name].requires_grad_(False)
    return sum(named[name].numel() for name in frozen)


def build_training(job: TrainJob, data: Prepared, model: nn.Module) -> Training:
    """Makes optimizers and schedules for a model that is where it will be trained.

    Raises:
        ComponentError: When a model with a training of its own does not say how to optimise.
    """
    spec = job.training
    if has_own_step(model):
        optimizers = _own_optimizers(model, job)
    elif any(parameter.requires_grad for parameter in model.parameters()):
        optimizers = {"model": make_optimizer(spec.optimizer, model, compiled=spec.compile)}
    else:  # nothing to learn, only to measure
        optimizers = {"model": torch.optim.SGD([nn.Parameter(torch.zeros(0))])}
    steps = steps_in_epoch(job, len(data.splits["train"]))
    schedules = {
        name: make_lr_scheduler(spec.lr_scheduler, optimizer, steps_per_epoch=steps, epochs=spec.epochs)
        for name, optimizer in optimizers.items()
    }
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    scaler = torch.amp.GradScaler(device.type, enabled=spec.precision == "fp16" and device.type == "cuda")
    return Training(model, optimizers, schedules, scaler)


def _own_optimizers(model: Any, job: TrainJob) -> dict[str, torch.optim.Optimizer]:
    name = job.model.name
    if not callable(getattr(model, "configure_optimizers", None)):
        raise ComponentError(
            f"model {name} has a training_step but no configure_optimizers",
            hint="Define configure_optimizers(training), which returns optimizers by name.",
        )
    spare_the_compiler()
    made = model.configure_optimizers(job.training)
    if isinstance(made, torch.optim.Optimizer):
        made = {"model": made}
    if not isinstance(made, Mapping) or not made:
        raise ComponentError(f"model {name}: configure_optimizers returned {made!r:.80}, not optimizers by name")
    if job.training.precision == "fp16":
        raise ComponentError(f"training.precision: model {name} steps by itself, which fp16 does not fit: write bf16")
    return dict(made)
