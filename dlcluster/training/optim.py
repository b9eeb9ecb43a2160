"""Optimizers and learning-rate schedules by name."""

from __future__ import annotations

import math
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

if TYPE_CHECKING:
    from dlcluster.spec.training import LrScheduler, Optimizer


def make_optimizer(spec: Optimizer, model: nn.Module, *, compiled: bool = False) -> torch.optim.Optimizer:
    """Makes the optimizer a job names, in its fused form where torch has one.

    Args:
        spec: Name, learning rate, weight decay, momentum.
        model: Whose parameters it moves; those that need no gradient are left out.
        compiled: The model is compiled, so torch's compiler is loaded anyway.
    """
    if not compiled:
        _spare_the_compiler()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # One kernel for all parameters instead of a dozen small ones each; torch has it for floats on CPU and CUDA.
    fused = all(parameter.is_floating_point() for parameter in parameters)
    rate, decay = spec.learning_rate, spec.weight_decay
    optimizer: torch.optim.Optimizer
    if spec.name == "sgd":
        optimizer = torch.optim.SGD(parameters, lr=rate, momentum=spec.momentum, weight_decay=decay, fused=fused)
    else:
        make = torch.optim.AdamW if spec.name == "adamw" else torch.optim.Adam
        optimizer = make(parameters, lr=rate, weight_decay=decay, fused=fused)
    return optimizer if compiled else _stepping_eagerly(optimizer)


def _spare_the_compiler() -> None:
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


def make_lr_scheduler(spec: LrScheduler, optimizer: torch.optim.Optimizer, total_steps: int) -> LambdaLR:
    """Makes the schedule a job names; it moves once a step.

    ``cosine`` goes from the learning rate to 0 over all steps (Loshchilov & Hutter 2017, SGDR, without
    restarts); ``warmup_steps`` come first and rise linearly.

    Args:
        spec: Name and warm-up.
        optimizer: Whose learning rate it sets.
        total_steps: Steps of the whole training.
    """

    def factor(step: int) -> float:
        if step < spec.warmup_steps:
            return (step + 1) / spec.warmup_steps
        if spec.name == "constant":
            return 1.0
        done = (step - spec.warmup_steps) / max(1, total_steps - spec.warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    return LambdaLR(optimizer, factor)
