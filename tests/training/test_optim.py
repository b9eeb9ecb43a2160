"""Optimizers and schedules: each beside torch's own or the formula of its paper, and resumed anywhere."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler

from dlcluster.spec.training import LrScheduler, Optimizer
from dlcluster.training.optim import Schedule, make_lr_scheduler, make_optimizer


def make_model() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def walk(make: Callable[[nn.Module], Any], steps: int = 6) -> list[Tensor]:
    """All parameters after each of a few steps on the same random batches."""
    model = make_model()
    optimizer = make(model)
    torch.manual_seed(4)
    path = []
    for _ in range(steps):
        loss = model(torch.randn(5, 3)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        path.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).clone())
    return path


class Adagrad:
    """Duchi et al. 2011, with an L2 penalty."""

    def __init__(self, model: nn.Module, rate: float, decay: float) -> None:
        self.parameters = list(model.parameters())
        self.sums = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.rate, self.decay = rate, decay

    def zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        for parameter, total in zip(self.parameters, self.sums, strict=True):
            assert parameter.grad is not None
            gradient = parameter.grad + self.decay * parameter
            total.add_(gradient.square())
            parameter.sub_(self.rate * gradient / (total.sqrt() + 1e-10))


class Adam(Adagrad):
    """Kingma & Ba 2015 with an L2 penalty, or Loshchilov & Hutter 2019 with a decoupled one."""

    def __init__(
        self, model: nn.Module, rate: float, decay: float, decoupled: bool, betas: tuple[float, float]
    ) -> None:
        super().__init__(model, rate, decay)
        self.means = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.decoupled, self.betas, self.count = decoupled, betas, 0

    @torch.no_grad()
    def step(self) -> None:
        self.count += 1
        first, second = self.betas
        for parameter, mean, square in zip(self.parameters, self.means, self.sums, strict=True):
            assert parameter.grad is not None
            gradient = parameter.grad.clone()
            if self.decoupled:
                parameter.mul_(1 - self.rate * self.decay)
            else:
                gradient += self.decay * parameter
            mean.mul_(first).add_((1 - first) * gradient)
            square.mul_(second).add_((1 - second) * gradient.square())
            corrected = mean / (1 - first**self.count), square / (1 - second**self.count)
            parameter.sub_(self.rate * corrected[0] / (corrected[1].sqrt() + 1e-8))


OPTIMIZERS: list[tuple[dict[str, Any], Callable[[nn.Module], Any]]] = [
    ({"name": "adam"}, lambda model: Adam(model, 0.1, 0.0, False, (0.9, 0.999))),
    (
        {"name": "adam", "weight_decay": 0.3, "beta1": 0.5, "beta2": 0.8},
        lambda model: Adam(model, 0.1, 0.3, False, (0.5, 0.8)),
    ),
    (
        {"name": "adamw", "weight_decay": 0.3, "beta1": 0.5, "beta2": 0.8},
        lambda model: Adam(model, 0.1, 0.3, True, (0.5, 0.8)),
    ),
    ({"name": "sgd"}, lambda model: torch.optim.SGD(model.parameters(), 0.1)),
    (
        {"name": "sgd", "momentum": 0.9, "weight_decay": 0.3},
        lambda model: torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.3),
    ),
    (
        {"name": "sgd", "momentum": 0.9, "nesterov": True},
        lambda model: torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True),
    ),
    ({"name": "rmsprop"}, lambda model: torch.optim.RMSprop(model.parameters(), 0.1)),
    (
        {"name": "rmsprop", "momentum": 0.9, "weight_decay": 0.3},
        lambda model: torch.optim.RMSprop(model.parameters(), 0.1, momentum=0.9, weight_decay=0.3),
    ),
    ({"name": "adagrad"}, lambda model: Adagrad(model, 0.1, 0.0)),
    ({"name": "adagrad", "weight_decay": 0.3}, lambda model: Adagrad(model, 0.1, 0.3)),
]


@pytest.mark.parametrize(("spec", "reference"), OPTIMIZERS, ids=[str(spec) for spec, _ in OPTIMIZERS])
def test_an_optimizer_steps_as_its_reference_does(spec: dict[str, Any], reference: Callable[[nn.Module], Any]) -> None:
    ours = walk(lambda model: make_optimizer(Optimizer(learning_rate=0.1, **spec), model))
    for mine, theirs in zip(ours, walk(reference), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_the_settings_make_a_difference() -> None:
    ends = [
        walk(lambda model, spec=spec: make_optimizer(Optimizer(learning_rate=0.1, **spec), model))[-1]  # type: ignore[misc]
        for spec, _ in OPTIMIZERS
    ]
    for i, one in enumerate(ends):
        for other in ends[:i]:
            assert not torch.allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "rmsprop", "adagrad"])
def test_what_needs_no_gradient_stays(name: Any) -> None:
    model = make_model()
    frozen = model[0]  # type: ignore[index]
    frozen.requires_grad_(False)
    before = [parameter.clone() for parameter in model.parameters()]
    optimizer = make_optimizer(Optimizer(name=name, learning_rate=0.1, weight_decay=0.1), model)
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    same = [torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)]
    assert same == [True, True, False, False]


def test_no_optimizer_loads_the_compiler() -> None:
    code = (
        "import sys, torch\n"
        "from dlcluster.spec.training import Optimizer\n"
        "from dlcluster.training.optim import make_optimizer\n"
        "for name in ('adam', 'adamw', 'sgd', 'rmsprop', 'adagrad'):\n"
        "    model = torch.nn.Linear(2, 2)\n"
        "    optimizer = make_optimizer(Optimizer(name=name), model)\n"
        "    model(torch.ones(1, 2)).sum().backward()\n"
        "    optimizer.step()\n"
        "    optimizer.zero_grad()\n"
        "print('torch._dynamo' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=root)
    assert done.stdout == "False\n"


def bare(rate: float = 0.5, groups: int = 1) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))], "lr": rate * (i + 1)} for i in range(groups)])


def curve(spec: LrScheduler, *, steps_per_epoch: int, epochs: int, losses: list[float] | None = None) -> list[float]:
    """The learning rate of every step of a training."""
    optimizer = bare()
    schedule = make_lr_scheduler(spec, optimizer, steps_per_epoch=steps_per_epoch, epochs=epochs)
    rates = []
    for epoch in range(epochs):
        for _ in range(steps_per_epoch):
            rates.append(optimizer.param_groups[0]["lr"])
            schedule.step()
            assert schedule.get_last_lr() == [rates[-1]]
        schedule.epoch_ended(losses[epoch] if losses else None)
    return rates


def torchs(make: Callable[[torch.optim.Optimizer], Any], steps: int) -> list[float]:
    optimizer = bare()
    schedule = make(optimizer)
    rates = []
    for i in range(steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        if i < steps - 1:
            schedule.step()
    return rates


def test_constant_with_warmup() -> None:
    spec = LrScheduler(name="constant", warmup_steps=4)
    assert curve(spec, steps_per_epoch=3, epochs=2) == [0.125, 0.25, 0.375, 0.5, 0.5, 0.5]


def test_step_is_torchs_step_lr() -> None:
    spec = LrScheduler(name="step", factor=0.3, every_epochs=2)
    ours = curve(spec, steps_per_epoch=5, epochs=7)
    theirs = torchs(lambda optimizer: lr_scheduler.StepLR(optimizer, 2 * 5, 0.3), 35)
    assert ours == pytest.approx(theirs, rel=1e-12)
    warmed = curve(spec.model_copy(update={"warmup_steps": 12}), steps_per_epoch=5, epochs=7)
    assert warmed == pytest.approx([rate * min(1, (i + 1) / 12) for i, rate in enumerate(theirs)], rel=1e-12)


def test_cosine_is_torchs_cosine_annealing_after_the_warmup() -> None:
    theirs = torchs(lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 30), 30)
    assert curve(LrScheduler(name="cosine"), steps_per_epoch=5, epochs=6) == pytest.approx(theirs, abs=1e-12)
    warmed = curve(LrScheduler(name="cosine", warmup_steps=10), steps_per_epoch=5, epochs=8)
    assert warmed == pytest.approx([0.05 * (i + 1) for i in range(10)] + theirs, abs=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 10, 100])
def test_one_cycle_is_torchs_one_cycle_lr(steps: int) -> None:
    theirs = torchs(
        lambda optimizer: lr_scheduler.OneCycleLR(optimizer, max_lr=0.5, total_steps=steps, cycle_momentum=False), steps
    )
    assert curve(LrScheduler(name="one_cycle"), steps_per_epoch=1, epochs=steps) == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_reduce_on_plateau_is_torchs(patience: int) -> None:
    generator = torch.Generator().manual_seed(patience)
    losses = (torch.rand(60, generator=generator) + torch.linspace(2, 0.5, 60)).tolist()
    losses[20:24] = [min(losses[:20]) * (1 - 0.5e-4), math.nan, math.inf, 99.0]  # no gains
    spec = LrScheduler(name="reduce_on_plateau", factor=0.7, patience=patience)
    optimizer = bare()
    # torch acts in the epoch after its patience has run out; we, as our early stopping does, when it has.
    torchs_own = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.7, patience=patience - 1, eps=0)
    theirs = []
    for loss in losses:
        theirs += [optimizer.param_groups[0]["lr"]] * 2
        torchs_own.step(loss)
    ours = curve(spec, steps_per_epoch=2, epochs=60, losses=losses)
    assert ours == pytest.approx(theirs, rel=1e-9)
    assert len(set(ours)) > 5  # or this proves nothing


def test_warmup_rises_over_a_plateau() -> None:
    spec = LrScheduler(name="reduce_on_plateau", factor=0.5, patience=1, warmup_steps=4)
    rates = curve(spec, steps_per_epoch=2, epochs=4, losses=[1.0, 1.0, 0.5, 0.4])
    assert rates == pytest.approx([0.125, 0.25, 0.375, 0.5, 0.25, 0.25, 0.25, 0.25])
    unheard = LrScheduler(name="reduce_on_plateau", patience=1)
    assert set(curve(unheard, steps_per_epoch=1, epochs=4)) == {0.5}  # nothing was measured


SPECS = [
    LrScheduler(name="constant", warmup_steps=7),
    LrScheduler(name="step", every_epochs=2, factor=0.5, warmup_steps=2),
    LrScheduler(name="cosine", warmup_steps=3),
    LrScheduler(name="one_cycle"),
    LrScheduler(name="reduce_on_plateau", patience=2, factor=0.5),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
@pytest.mark.parametrize("stop", [0, 1, 9, 12, 23, 29])
def test_resumed_it_goes_on_where_it_was(spec: LrScheduler, stop: int) -> None:
    losses = [3.0, 2.0, 2.5, 2.5, 2.5, 2.5, 2.5, 2.5, 1.0, 1.5]

    def run(schedule: Schedule, optimizer: torch.optim.Optimizer, steps: range) -> list[list[float]]:
        rates = []
        for step in steps:
            rates.append([group["lr"] for group in optimizer.param_groups])
            schedule.step()
            if step % 3 == 2:
                schedule.epoch_ended(losses[step // 3])
        return rates

    whole = bare(groups=2)
    undisturbed = run(make_lr_scheduler(spec, whole, steps_per_epoch=3, epochs=10), whole, range(30))
    assert all(second == pytest.approx(2 * first) for first, second in undisturbed)
    first = bare(groups=2)
    before = make_lr_scheduler(spec, first, steps_per_epoch=3, epochs=10)
    run(before, first, range(stop))
    state = before.state_dict()
    assert all(type(value) in (int, float) for value in state.values())
    second = bare(groups=2)
    after = make_lr_scheduler(spec, second, steps_per_epoch=3, epochs=10)
    second.load_state_dict(first.state_dict())
    after.load_state_dict(state)
    assert after.get_last_lr() == before.get_last_lr()
    assert run(after, second, range(stop, 30)) == undisturbed[stop:]
    assert after.state_dict() == {**after.state_dict(), "step": 30}


def test_state_alone_sets_the_rate() -> None:
    spec = LrScheduler(name="step", every_epochs=1, factor=0.5)
    optimizer = bare()
    schedule = make_lr_scheduler(spec, optimizer, steps_per_epoch=1, epochs=9)
    optimizer.param_groups[0]["lr"] = 77.0
    schedule.load_state_dict({"step": 3, "last": 0.25, "reduced": 1.0, "lowest": math.inf, "waited": 0})
    assert (optimizer.param_groups[0]["lr"], schedule.get_last_lr()) == (0.0625, [0.125])
    optimizer.param_groups[0]["lr"] = 77.0
    schedule.load_state_dict(schedule.state_dict())
    assert optimizer.param_groups[0]["lr"] == 0.0625
