"""One step of training: from a batch of samples to new weights, the usual way or a model's own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dlcluster.data.batches import Samples, rank_slice
from dlcluster.errors import ComponentError
from dlcluster.training.checkpoint import Training
from dlcluster.training.objective import Objective
from dlcluster.training.ranks import Ranks

if TYPE_CHECKING:
    from dlcluster.spec.training import Training as TrainingSpec

_AT_ONCE = contextlib.nullcontext()
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class LossSums:
    """Losses of the epoch under way, each added up over this rank's samples, in float64.

    On a GPU they stay there, so that no step waits for it.

    Args:
        device: Where the losses are.
        start: Sums to go on from, of an epoch that was interrupted.
        samples: How many samples are behind them.
    """

    def __init__(self, device: torch.device, start: Mapping[str, float], samples: int) -> None:
        self.device, self.samples, self.here = device, samples, device.type == "cpu"
        self.totals: dict[str, Any] = {name: self._total(value) for name, value in start.items()}

    def _total(self, value: float = 0.0) -> Any:
        return value if self.here else torch.tensor(value, dtype=torch.float64, device=self.device)

    def add(self, name: str, loss: Tensor, samples: int) -> None:
        """Adds a mean over ``samples`` samples; each sample is counted by `count` once."""
        if name not in self.totals:
            self.totals[name] = self._total()
        if self.here:
            self.totals[name] += loss.item() * samples
        else:
            self.totals[name].add_(loss.detach(), alpha=samples)

    def count(self, samples: int) -> None:
        """Counts samples whose losses were added."""
        self.samples += samples

    def plain(self) -> dict[str, float]:
        """The sums as numbers; waits for the device."""
        return {name: float(total) for name, total in self.totals.items()}


class Step(Protocol):
    """Trains on one batch of the whole job; each rank takes its slice of it."""

    def __call__(self, samples: Samples, batch: Tensor, sums: LossSums) -> None:
        """Takes the step.

        Args:
            samples: The train split.
            batch: Indices of the batch over all ranks, ``(batch,)``.
            sums: What the losses are added to.
        """
        ...


class SupervisedStep:
    """Forward, loss, backward, clip, update.

    Args:
        spec: The job's ``training``.
        training: What moves.
        forward: The model, compiled and wrapped as may be.
        objective: The loss.
        ranks: This process among all.
        augment: Changes a batch of x; None for none.
    """

    def __init__(
        self,
        spec: TrainingSpec,
        training: Training,
        forward: nn.Module,
        objective: Objective,
        ranks: Ranks,
        augment: Callable[[Tensor], Tensor] | None,
    ) -> None:
        self.spec, self.forward, self.objective, self.ranks, self.augment = spec, forward, objective, ranks, augment
        self.scaler, (self.optimizer,) = training.scaler, training.optimizers.values()
        self.autocast = autocast_for(spec.precision, ranks.device)
        self.parameters = [each for each in training.model.parameters() if each.requires_grad]
        self.penalised = [each for each in self.parameters if each.dim() > 1] if spec.l1 else []
        self.scales = training.scaler.is_enabled()
        self.clips = spec.gradient_clip is not None or spec.gradient_clip_value is not None

    def __call__(self, samples: Samples, batch: Tensor, sums: LossSums) -> None:
        """Takes the step; the gradient is that of the mean over the batch, however it is cut up."""
        # Tensor.size rather than len, which is Python: a step of a small model takes a few hundred microseconds.
        size, world = batch.size(0), self.ranks.world
        part = batch if world == 1 else batch[rank_slice(size, rank=self.ranks.rank, world=world)]
        here = part.size(0)
        # A rank without a sample in a short last batch still has to take part in adding up gradients.
        mine = part if here else batch[:1]
        accumulation = self.spec.gradient_accumulation
        pieces = (mine,) if accumulation == 1 else mine.chunk(accumulation)
        self.optimizer.zero_grad(set_to_none=True)
        for number, piece in enumerate(pieces, 1):
            count = piece.size(0) if here else 0
            x, y = to_device(samples.gather(piece), self.ranks.device)
            if self.augment is not None:
                x = self.augment(x)
            last = number == len(pieces)
            with _AT_ONCE if last or world == 1 else self.forward.no_sync():  # type: ignore[operator]
                with self.autocast:
                    loss = self.objective.loss(self.forward(x), y)
                # Ranks average their gradients; this weight makes that the mean over samples, uneven parts included.
                self._backward(loss, world * count / size, last)
            sums.add("loss", loss, count)
        sums.count(here)
        if not self.parameters:  # there is nothing to learn: the loss alone is wanted
            return
        if self.clips:
            self._clip()
        if self.scales:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            self.optimizer.step()

    def _backward(self, loss: Tensor, weight: float, last: bool) -> None:
        if not self.parameters:
            return
        total = loss if weight == 1.0 else loss * weight
        if last and self.penalised:
            total = total + self.spec.l1 * torch.stack([each.abs().sum() for each in self.penalised]).sum()
        if self.scales:
            total = self.scaler.scale(total)
        total.backward()  # type: ignore[no-untyped-call]

    def _clip(self) -> None:
        if self.scales:
            self.scaler.unscale_(self.optimizer)
        if self.spec.gradient_clip_value is not None:
            nn.utils.clip_grad_value_(self.parameters, self.spec.gradient_clip_value)
        if self.spec.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.spec.gradient_clip)


class OwnStep:
    """A model's own ``training_step``; gradients are averaged over ranks before each of its optimizers steps.

    Args:
        spec: The job's ``training``.
        training: What moves.
        ranks: This process among all.
        augment: Changes a batch of x; None for none.
    """

    def __init__(
        self,
        spec: TrainingSpec,
        training: Training,
        ranks: Ranks,
        augment: Callable[[Tensor], Tensor] | None,
    ) -> None:
        self.model: Any = training.model
        self.optimizers, self.ranks, self.augment = training.optimizers, ranks, augment
        self.autocast = autocast_for(spec.precision, ranks.device)
        self.weight = 1.0
        if ranks.world > 1:
            for optimizer in training.optimizers.values():
                optimizer.register_step_pre_hook(self._average)

    def __call__(self, samples: Samples, batch: Tensor, sums: LossSums) -> None:
        """Takes the step.

        Raises:
            ComponentError: When the model returns something else than named losses.
        """
        part = batch[rank_slice(len(batch), rank=self.ranks.rank, world=self.ranks.world)]
        x, y = to_device(samples.gather(part if len(part) else batch[:1]), self.ranks.device)
        if self.augment is not None:
            x = self.augment(x)
        self.weight = self.ranks.world * len(part) / len(batch)
        with self.autocast:
            losses = self.model.training_step((x, y), self.optimizers)
        if not isinstance(losses, Mapping) or not losses or not all(map(_is_number, losses.values())):
            raise ComponentError(
                f"{type(self.model).__name__}.training_step returned {losses!r:.80}",
                hint="Return a mapping from names to losses, each a tensor with one number.",
            )
        for name, loss in losses.items():
            sums.add(name, loss.reshape(()), len(part))
        sums.count(len(part))

    def _average(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad.mul_(self.weight / self.ranks.world)
                    dist.all_reduce(parameter.grad)


def _is_number(loss: Any) -> bool:
    return isinstance(loss, Tensor) and loss.numel() == 1


def has_own_step(model: nn.Module) -> bool:
    """Whether a model brings a training of its own."""
    return callable(getattr(model, "training_step", None))


def autocast_for(precision: str, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """The context in which a forward pass computes at ``fp32``, ``bf16`` or ``fp16``; may be entered many times."""
    dtype = _AUTOCAST.get(precision)
    return contextlib.nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)


def to_device(batch: tuple[Tensor, Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    """Moves a batch where the model is; nothing happens when it is there."""
    x, y = batch
    return x.to(device, non_blocking=True), y.to(device, non_blocking=True)
