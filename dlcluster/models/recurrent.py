"""Recurrent networks: step by step over a window, a picture's rows or tokens; values, classes or next tokens out."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from dlcluster.errors import ComponentError
from dlcluster.models.channels import each_channel, one_channel
from dlcluster.models.layers import as_steps, is_language_model, steps_shape, text_embedding, text_lengths


class _Recurrent(nn.Module):
    """What the three families have in common: the last hidden state to a linear head.

    Of a text it is the state at its last real token, however it is padded; of running text the head reads the state
    at every token, so that each predicts the next one.

    Args:
        hidden_size: Units in each layer.
        num_layers: Layers on top of each other.
        dropout: Share dropped between layers and before the head.
        bidirectional: Read in both directions.
        embedding_size: Numbers that stand for a token.
        channel_independent: The same network for each channel of a series.
        input_shape: ``(window, channels)``, ``(channels, height, width)`` read row by row, or ``(length,)``.
        output_shape: Of one prediction, such as ``(horizon, channels)``; ``(length, num_tokens)`` for a language model.
        num_tokens: x holds token ids below this; in a text 0 is padding, at the end.

    Raises:
        ComponentError: When ``channel_independent`` or ``bidirectional`` does not fit the data.
    """

    cell: ClassVar[type[nn.RNN | nn.LSTM | nn.GRU]]
    cell_name: ClassVar[str]

    def __init__(
        self,
        *,
        hidden_size: int = 50,
        num_layers: int = 1,
        dropout: float = 0.0,
        bidirectional: bool = False,
        embedding_size: int = 64,
        channel_independent: bool = False,
        input_shape: tuple[int, ...],
        output_shape: tuple[int, ...],
        num_tokens: int | None = None,
    ) -> None:
        super().__init__()
        if channel_independent:
            input_shape, output_shape = one_channel(input_shape, output_shape)
        self.channel_independent, self.bidirectional = channel_independent, bidirectional
        self.output_shape = output_shape
        self.embedding: nn.Embedding | None = None
        self.every_step = is_language_model(input_shape, output_shape, num_tokens)
        if num_tokens is None:
            _, width = steps_shape(input_shape)
        elif self.every_step and bidirectional:
            raise ComponentError(
                "model.params.bidirectional: a language model must not read what it predicts",
                hint="Leave bidirectional out.",
            )
        else:
            width = embedding_size
            # In running text every id is a token, 0 too.
            make = nn.Embedding if self.every_step else text_embedding
            self.embedding = make(num_tokens, embedding_size)
        recurrent = self.cell(
            width,
            hidden_size,
            num_layers,
            batch_first=True,
            # torch applies this between layers only, and warns when there is one layer.
            dropout=dropout if num_layers > 1 else 0.0,
            bidirectional=bidirectional,
        )
        self.add_module(self.cell_name, recurrent)
        self.dropout = nn.Dropout(dropout)
        size = output_shape[-1] if self.every_step else math.prod(output_shape)
        self.head = nn.Linear(hidden_size * (2 if bidirectional else 1), size)

    def forward(self, x: Tensor) -> Tensor:
        """Predicts from a batch.

        Args:
            x: ``(batch, *input_shape)``; a language model takes shorter blocks, too.

        Returns:
            ``(batch, *output_shape)``.
        """
        return each_channel(self._predict, x) if self.channel_independent else self._predict(x)

    def _predict(self, x: Tensor) -> Tensor:
        recurrent = self.get_submodule(self.cell_name)
        if self.embedding is None:
            _, state = recurrent(as_steps(x))
            last = self._last(state)
        elif self.every_step:
            states, _ = recurrent(self.embedding(x))
            following: Tensor = self.head(self.dropout(states))
            return following
        else:
            last = self._last_of_text(recurrent, self.embedding(x), text_lengths(x))
        prediction: Tensor = self.head(self.dropout(last))
        return prediction.view(-1, *self.output_shape)

    def _last_of_text(self, recurrent: nn.Module, embedded: Tensor, lengths: Tensor) -> Tensor:
        if not self.bidirectional:
            # What follows the last real token does not change its state; this is three times as quick as packing.
            states, _ = recurrent(embedded)
            last: Tensor = states[torch.arange(lengths.shape[0], device=lengths.device), lengths - 1]
            return last
        packed = pack_padded_sequence(embedded, lengths.cpu(), batch_first=True, enforce_sorted=False)
        return self._last(recurrent(packed)[1])

    def _last(self, state: Tensor | tuple[Tensor, Tensor]) -> Tensor:
        """The last layer's state after the last step, ``(batch, hidden)``, of both directions side by side."""
        hidden = state[0] if isinstance(state, tuple) else state  # (layers * directions, batch, hidden)
        return torch.cat([hidden[-2], hidden[-1]], dim=1) if self.bidirectional else hidden[-1]


class RNN(_Recurrent):
    """Plain recurrent network with tanh.

    Source: Elman 1990, Finding Structure in Time, Cognitive Science 14(2). Arguments as for every recurrent network.
    """

    cell, cell_name = nn.RNN, "rnn"
    rnn: nn.RNN


class LSTM(_Recurrent):
    """Long short-term memory.

    Source: Hochreiter & Schmidhuber 1997, Long Short-Term Memory, Neural Computation 9(8); with the forget gate of
    Gers, Schmidhuber & Cummins 2000, Learning to Forget. Arguments as for every recurrent network.
    """

    cell, cell_name = nn.LSTM, "lstm"
    lstm: nn.LSTM


class GRU(_Recurrent):
    """Gated recurrent units.

    Source: Cho et al. 2014, Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine
    Translation, EMNLP. Arguments as for every recurrent network.
    """

    cell, cell_name = nn.GRU, "gru"
    gru: nn.GRU
