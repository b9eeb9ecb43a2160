"""Recurrent networks: a window of steps in, a horizon of values or class scores out."""

from __future__ import annotations

import math
from typing import cast

from torch import Tensor, nn


class LSTM(nn.Module):
    """Long short-term memory, last hidden state to a linear head.

    Source: Hochreiter & Schmidhuber 1997, Long Short-Term Memory, Neural Computation 9(8).

    Args:
        hidden_size: Units in each layer.
        num_layers: Layers on top of each other.
        dropout: Share dropped between layers and before the head.
        bidirectional: Read the window in both directions.
        input_shape: ``(window, channels)``.
        output_shape: Shape of one prediction, such as ``(horizon, channels)``.
    """

    def __init__(
        self,
        *,
        hidden_size: int = 50,
        num_layers: int = 1,
        dropout: float = 0.0,
        bidirectional: bool = False,
        input_shape: tuple[int, ...],
        output_shape: tuple[int, ...],
    ) -> None:
        super().__init__()
        if len(input_shape) != 2:
            raise ValueError(f"an LSTM reads (window, channels), the data has {input_shape}")
        _, channels = input_shape
        self.output_shape = output_shape
        self.lstm = nn.LSTM(
            channels,
            hidden_size,
            num_layers,
            batch_first=True,
            # torch applies this between layers only, and warns when there is one layer.
            dropout=dropout if num_layers > 1 else 0.0,
            bidirectional=bidirectional,
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size * (2 if bidirectional else 1), math.prod(output_shape))

    def forward(self, x: Tensor) -> Tensor:
        """Predicts from a batch of windows.

        Args:
            x: ``(batch, window, channels)``.

        Returns:
            ``(batch, *output_shape)``.
        """
        _, (hidden, _) = self.lstm(x)  # (layers * directions, batch, hidden)
        last = hidden[-1] if not self.lstm.bidirectional else hidden[-2:].transpose(0, 1).flatten(1)
        return cast(Tensor, self.head(self.dropout(last))).view(-1, *self.output_shape)
