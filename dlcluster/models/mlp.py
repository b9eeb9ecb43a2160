"""The multilayer perceptron: dense layers over all of a sample at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dlcluster.models.channels import each_channel, one_channel
from dlcluster.models.layers import activation_layer, text_embedding, text_lengths, within
from dlcluster.models.params import ActivationName


class MLP(nn.Module):
    """Dense layers over a flattened sample, or over the mean of a text's embedded tokens.

    Without hidden layers it is a linear model; with ``channel_independent`` too, on series with their last value
    subtracted, it is NLinear (Zeng et al. 2023, Are Transformers Effective for Time Series Forecasting?).

    Source: Rumelhart, Hinton & Williams 1986, Learning representations by back-propagating errors, Nature 323. The
    mean over tokens: Iyyer et al. 2015, Deep Unordered Composition Rivals Syntactic Methods.

    Args:
        hidden: Units of each hidden layer.
        activation: After each hidden layer.
        dropout: Share dropped after each hidden layer.
        batch_norm: Batch normalisation before each activation.
        embedding_size: Numbers that stand for a token.
        channel_independent: The same network for each channel of a series.
        input_shape: Of one sample, any.
        output_shape: Of one prediction, any.
        num_tokens: x holds token ids below this.

    Raises:
        ComponentError: When ``channel_independent`` does not fit the data.
    """

    def __init__(
        self,
        *,
        hidden: Sequence[int] = (64, 64),
        activation: ActivationName = "relu",
        dropout: float = 0.0,
        batch_norm: bool = False,
        embedding_size: int = 64,
        channel_independent: bool = False,
        input_shape: tuple[int, ...],
        output_shape: tuple[int, ...],
        num_tokens: int | None = None,
    ) -> None:
        super().__init__()
        if channel_independent:
            input_shape, output_shape = one_channel(input_shape, output_shape)
        self.channel_independent, self.output_shape = channel_independent, output_shape
        self.embedding = None if num_tokens is None else text_embedding(num_tokens, embedding_size)
        size = math.prod(input_shape) if num_tokens is None else embedding_size
        layers: list[nn.Module] = []
        for units in hidden:
            layers.append(nn.Linear(size, units))
            if batch_norm:
                layers.append(nn.BatchNorm1d(units))
            layers.append(activation_layer(activation))
            if dropout:
                layers.append(nn.Dropout(dropout))
            size = units
        layers.append(nn.Linear(size, math.prod(output_shape)))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Predicts from a batch.

        Args:
            x: ``(batch, *input_shape)``.

        Returns:
            ``(batch, *output_shape)``.
        """
        return each_channel(self._predict, x) if self.channel_independent else self._predict(x)

    def _predict(self, x: Tensor) -> Tensor:
        flat = x.flatten(1) if x.dim() > 1 else x[:, None]
        if self.embedding is not None:
            flat = self._mean_of_tokens(self.embedding(x), x)
        prediction: Tensor = self.layers(flat)
        return prediction.view(-1, *self.output_shape)

    def _mean_of_tokens(self, embedded: Tensor, tokens: Tensor) -> Tensor:
        lengths = text_lengths(tokens)
        shares = within(lengths, tokens.shape[1]) / lengths[:, None]
        return torch.bmm(shares[:, None], embedded).squeeze(1)  # (batch, embedding)
