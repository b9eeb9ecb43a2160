"""Your own model, data, loss and metric: plain functions and one nn.Module, named in own.yaml."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


def spirals(samples: int = 2000, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Two spirals wound into each other: points x (samples, 2) and how far along each lies, y (samples, 1)."""
    rng = np.random.default_rng(0)
    along = rng.uniform(0.0, 1.0, (samples, 1))
    angle = 3 * np.pi * along + np.pi * rng.integers(0, 2, (samples, 1))
    points = along * np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
    return points + rng.normal(0.0, noise / 10, points.shape), along


class Residual(nn.Module):
    """Dense layers that add to what came in.

    Args:
        width: Units in each layer.
        depth: Number of layers.
        input_shape: Given by dlcluster: the shape of one x.
        output_shape: Given by dlcluster: the shape of one prediction.
    """

    def __init__(self, width: int, depth: int, *, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.first = nn.Linear(input_shape[0], width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.last = nn.Linear(width, output_shape[0])

    def forward(self, x: Tensor) -> Tensor:
        """From (batch, *input_shape) to (batch, *output_shape)."""
        hidden = self.first(x)
        for layer in self.layers:
            hidden = hidden + torch.tanh(layer(hidden))
        return self.last(hidden)


def log_cosh(prediction: Tensor, target: Tensor) -> Tensor:
    """A loss: squared near zero, absolute far out; the mean over the batch."""
    error = prediction - target
    return (error + nn.functional.softplus(-2 * error) - np.log(2.0)).mean()


def worst_error(prediction: Tensor, target: Tensor) -> Tensor:
    """A metric: the largest error of a batch, averaged over batches."""
    return (prediction - target).abs().max()
