"""The convolutional network: blocks of convolution and pooling, then dense layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from dlcluster.errors import ComponentError
from dlcluster.models.layers import activation_layer
from dlcluster.models.params import ActivationName


class CNN(nn.Module):
    """Blocks of convolution, activation and max-pooling, then dense layers.

    On pictures the filters are square; a series is read along its window, with its channels as theirs.

    Source: LeCun, Bottou, Bengio & Haffner 1998, Gradient-based learning applied to document recognition,
    Proceedings of the IEEE 86(11). With four blocks of 32, 64, 128 and 128 filters and one dense layer of 512 it is
    the network for cats and dogs in Chollet 2017, Deep Learning with Python.

    Args:
        filters: Filters of each block.
        kernel_size: Width of every filter.
        padding: ``valid``: none; ``same``: so many zeros that a convolution keeps the size.
        pool: Width of the max-pooling of each block; what is left over at the edge is dropped.
        dense: Units of each dense layer after the blocks.
        activation: After each convolution and dense layer.
        dropout: Share dropped between the blocks and the dense layers.
        batch_norm: Batch normalisation before each activation of a block.
        input_shape: ``(channels, height, width)``, or ``(window, channels)``.
        output_shape: Of one prediction, any.

    Raises:
        ComponentError: When a block has nothing left to read.
    """

    def __init__(
        self,
        *,
        filters: Sequence[int] = (32, 64),
        kernel_size: int = 3,
        padding: Literal["valid", "same"] = "valid",
        pool: int = 2,
        dense: Sequence[int] = (64,),
        activation: ActivationName = "relu",
        dropout: float = 0.0,
        batch_norm: bool = False,
        input_shape: tuple[int, ...],
        output_shape: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.output_shape = output_shape
        pictures = len(input_shape) == 3
        convolution: type[nn.Conv1d | nn.Conv2d] = nn.Conv2d if pictures else nn.Conv1d
        norm: type[nn.Module] = nn.BatchNorm2d if pictures else nn.BatchNorm1d
        pooling: type[nn.Module] = nn.MaxPool2d if pictures else nn.MaxPool1d
        channels, *sides = input_shape if pictures else input_shape[::-1]
        around = kernel_size // 2 if padding == "same" else 0
        layers: list[nn.Module] = []
        for number, width in enumerate(filters, 1):
            left = [(side + 2 * around - kernel_size + 1) // pool for side in sides]
            if min(left) < 1:
                raise ComponentError(_nothing_left(number, kernel_size, pool, sides, input_shape), hint=_SMALLER)
            layers.append(convolution(channels, width, kernel_size, padding=around))
            if batch_norm:
                layers.append(norm(width))
            layers.append(activation_layer(activation))
            if pool > 1:
                layers.append(pooling(pool))
            channels, sides = width, left
        layers.append(nn.Flatten())
        if dropout:
            layers.append(nn.Dropout(dropout))
        size = channels * math.prod(sides)
        for units in dense:
            layers += [nn.Linear(size, units), activation_layer(activation)]
            size = units
        layers.append(nn.Linear(size, math.prod(output_shape)))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Predicts from a batch.

        Args:
            x: ``(batch, channels, height, width)``, or ``(batch, window, channels)``.

        Returns:
            ``(batch, *output_shape)``.
        """
        if x.dim() == 3:
            x = x.transpose(1, 2)
        elif x.device.type == "cpu":
            # Convolutions on a CPU are half as long again with the channels of a pixel apart. A copy, since
            # contiguous() leaves pictures of one channel, which have both layouts, in the slow one.
            x = torch.empty_like(x, memory_format=torch.channels_last).copy_(x)
        prediction: Tensor = self.layers(x)
        return prediction.view(-1, *self.output_shape)


_SMALLER = "Take fewer filters (one number is one block), a smaller kernel_size or pool, or padding: same."


def _nothing_left(number: int, kernel_size: int, pool: int, sides: Sequence[int], input_shape: tuple[int, ...]) -> str:
    size = " x ".join(str(side) for side in sides)
    what = "steps" if len(sides) == 1 else "pixels"
    before = f", which is {size} {what} before it" if number > 1 else ""
    return f"model cnn: block {number} (kernel_size {kernel_size}, pool {pool}) leaves nothing of {input_shape}{before}"
