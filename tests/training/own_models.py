"""Models of a user's own, with trainings of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Pair(nn.Module):
    """Two layers, each trained by an optimizer and towards a target of its own."""

    def __init__(self, *, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.output_shape = output_shape
        size = output_shape[0] * output_shape[1]
        self.first, self.second = nn.Linear(input_shape[0], size), nn.Linear(input_shape[0], size)

    def forward(self, x: Tensor) -> Tensor:
        both: Tensor = self.first(x[..., 0]) + self.second(x[..., 0])
        return both.view(-1, *self.output_shape) / 2

    def configure_optimizers(self, training: Any) -> dict[str, torch.optim.Optimizer]:
        rate = training.optimizer.learning_rate
        return {
            "first": torch.optim.Adam(self.first.parameters(), lr=rate),
            "second": torch.optim.SGD(self.second.parameters(), lr=rate),
        }

    def training_step(
        self, batch: tuple[Tensor, Tensor], optimizers: Mapping[str, torch.optim.Optimizer]
    ) -> dict[str, Tensor]:
        x, y = batch
        losses = {}
        for name, layer in (("first", self.first), ("second", self.second)):
            loss = (layer(x[..., 0]).view(-1, *self.output_shape) - y).square().mean()
            optimizers[name].zero_grad()
            loss.backward()
            optimizers[name].step()
            losses[f"{name}_loss"] = loss
        return losses


class Wordy(Pair):
    """Its training step returns no losses."""

    def training_step(self, batch: Any, optimizers: Any) -> Any:
        return "done"


class Halfway(Pair):
    """It does not say how it is optimised."""

    configure_optimizers = None  # type: ignore[assignment]
