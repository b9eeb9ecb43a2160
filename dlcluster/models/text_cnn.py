"""The convolutional network over texts: filters of several widths, each one's strongest answer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from dlcluster.models.layers import text_embedding, text_lengths, within


class TextCNN(nn.Module):
    """Filters of several widths over embedded tokens, the largest value of each, to a linear layer.

    A filter sees real tokens alone, so that more padding changes nothing; a text shorter than a filter is seen once.

    Source: Kim 2014, Convolutional Neural Networks for Sentence Classification, EMNLP (CNN-rand).

    Args:
        embedding_size: Numbers that stand for a token.
        widths: Tokens that filters look at.
        filters: Filters of each width.
        dropout: Share dropped before the last layer.
        input_shape: ``(length,)``.
        output_shape: Of one prediction, such as ``(num_classes,)``.
        num_tokens: Ids are below this; 0 is padding, at the end.
    """

    def __init__(
        self,
        *,
        embedding_size: int = 128,
        widths: Sequence[int] = (3, 4, 5),
        filters: int = 100,
        dropout: float = 0.5,
        input_shape: tuple[int, ...],
        output_shape: tuple[int, ...],
        num_tokens: int,
    ) -> None:
        super().__init__()
        self.output_shape = output_shape
        self.missing = max(0, max(widths) - input_shape[0])
        self.embedding = text_embedding(num_tokens, embedding_size)
        self.convolutions = nn.ModuleList(nn.Conv1d(embedding_size, filters, width) for width in widths)
        self.widths = list(widths)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(filters * len(widths), math.prod(output_shape))

    def forward(self, x: Tensor) -> Tensor:
        """Predicts from a batch of texts.

        Args:
            x: ``(batch, length)``.

        Returns:
            ``(batch, *output_shape)``.
        """
        tokens = F.pad(x, (0, self.missing))
        embedded = self.embedding(tokens).transpose(1, 2)  # (batch, embedding, length)
        lengths = text_lengths(x)
        strongest = []
        for width, convolution in zip(self.widths, self.convolutions, strict=True):
            answers: Tensor = convolution(embedded)  # (batch, filters, places)
            whole = within((lengths - width + 1).clamp(min=1), answers.shape[2])
            outside = torch.zeros_like(whole, dtype=answers.dtype).masked_fill(~whole, -torch.inf)
            strongest.append((answers + outside[:, None]).max(dim=2).values)
        # ReLU keeps the order, so it may come after the maximum, where there is less to do.
        prediction: Tensor = self.head(self.dropout(torch.cat(strongest, dim=1).relu()))
        return prediction.view(-1, *self.output_shape)
