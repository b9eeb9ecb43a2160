"""The same network for each channel of a series: it sees one channel's past and predicts its future."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from dlcluster.errors import ComponentError


def one_channel(input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns the shapes that the network for each channel has: ``(window, 1)`` and ``(horizon, 1)``.

    Args:
        input_shape: ``(window, channels)``.
        output_shape: ``(horizon, channels)``.

    Raises:
        ComponentError: When the data is no series, or predicts other channels than it reads.
    """
    if len(input_shape) != 2 or len(output_shape) != 2 or input_shape[1] != output_shape[1]:
        raise ComponentError(
            "model.params.channel_independent: needs a series (window, channels) that predicts every channel it "
            f"reads, (horizon, channels); the data has {input_shape} to {output_shape}",
            hint="Leave channel_independent out, or let data.params.target be all columns.",
        )
    return (input_shape[0], 1), (output_shape[0], 1)


def each_channel(predict: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Applies a network for one channel to every channel.

    Source: Nie et al. 2023, A Time Series is Worth 64 Words (PatchTST), which names it; Zeng et al. 2023, Are
    Transformers Effective for Time Series Forecasting?, whose NLinear is it with one linear layer on series with
    their last value subtracted.

    Args:
        predict: From ``(samples, window, 1)`` to ``(samples, horizon, 1)``.
        x: ``(batch, window, channels)``.

    Returns:
        ``(batch, horizon, channels)``.
    """
    batch, window, channels = x.shape
    prediction = predict(x.transpose(1, 2).reshape(batch * channels, window, 1))
    return prediction.view(batch, channels, -1).transpose(1, 2)
