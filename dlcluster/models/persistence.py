"""Persistence: what was last seen stays as it is."""

from __future__ import annotations

from torch import Tensor, nn

from dlcluster.errors import ComponentError


class Persistence(nn.Module):
    """Repeats a window's last value over the horizon; it has nothing to learn.

    Source: Hyndman & Athanasopoulos 2021, Forecasting: Principles and Practice, section 5.2 (the naive method);
    Repeat in Zeng et al. 2023, Are Transformers Effective for Time Series Forecasting?

    Args:
        input_shape: ``(window, channels)``.
        output_shape: ``(horizon, channels)``.

    Raises:
        ComponentError: When other channels are predicted than read: it cannot tell which.
    """

    def __init__(self, *, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> None:
        super().__init__()
        if len(output_shape) != 2 or output_shape[1] != input_shape[1]:
            raise ComponentError(
                "model persistence predicts every channel it reads, (window, channels) to (horizon, channels); "
                f"the data has {input_shape} to {output_shape}",
                hint="Let data.params.columns and data.params.target be the same columns.",
            )
        self.horizon = output_shape[0]

    def forward(self, x: Tensor) -> Tensor:
        """Repeats the last step.

        Args:
            x: ``(batch, window, channels)``.

        Returns:
            ``(batch, horizon, channels)``.
        """
        return x[:, -1:].expand(-1, self.horizon, -1)
