"""The transformer: blocks of self-attention over a window, a picture's rows or tokens."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from dlcluster.models.channels import each_channel, one_channel
from dlcluster.models.layers import as_steps, is_language_model, steps_shape, text_embedding, text_lengths, within


class Attention(nn.Module):
    """Multi-head self-attention, all projections of a step in one multiplication.

    Args:
        embed_size: Numbers in a step; a multiple of ``num_heads``.
        num_heads: Heads.
        dropout: Share of the attention weights dropped.
        causal: A step sees itself and those before it.
    """

    def __init__(self, embed_size: int, num_heads: int, dropout: float, *, causal: bool) -> None:
        super().__init__()
        self.num_heads, self.dropout, self.causal = num_heads, dropout, causal
        self.qkv = nn.Linear(embed_size, 3 * embed_size)
        self.out = nn.Linear(embed_size, embed_size)

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """Mixes the steps.

        Args:
            x: ``(batch, steps, embed)``.
            seen: Which steps may be looked at, ``(batch, 1, 1, steps)``; None for all.

        Returns:
            ``(batch, steps, embed)``.
        """
        batch, steps, size = x.shape
        projected: Tensor = self.qkv(x)
        heads = projected.view(batch, steps, 3, self.num_heads, size // self.num_heads).permute(2, 0, 3, 1, 4)
        query, key, value = heads.unbind()  # each (batch, heads, steps, embed / heads)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, seen, dropout, is_causal=self.causal)
        result: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, steps, size))
        return result


class Block(nn.Module):
    """Attention, then two dense layers, each added to what came in.

    What comes in is normalised before each part rather than the sum after it: so the sum passes all blocks
    untouched, gradients stay even from the first step, and no warm-up of the learning rate is needed.

    Source: Xiong et al. 2020, On Layer Normalization in the Transformer Architecture. GELU: Hendrycks & Gimpel 2016.

    Args:
        embed_size: Numbers in a step.
        num_heads: Heads of the attention.
        feedforward_size: Units between the two dense layers.
        dropout: Share dropped of the attention weights and of what each part adds.
        causal: A step sees itself and those before it.
    """

    def __init__(self, embed_size: int, num_heads: int, feedforward_size: int, dropout: float, *, causal: bool) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(embed_size)
        self.attention = Attention(embed_size, num_heads, dropout, causal=causal)
        self.feedforward_norm = nn.LayerNorm(embed_size)
        self.feedforward = nn.Sequential(
            nn.Linear(embed_size, feedforward_size), nn.GELU(), nn.Linear(feedforward_size, embed_size)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """As `Attention.forward`."""
        x = x + self.dropout(self.attention(self.attention_norm(x), seen))
        result: Tensor = x + self.dropout(self.feedforward(self.feedforward_norm(x)))
        return result


class Transformer(nn.Module):
    """Self-attention over steps; an encoder, or for a language model a decoder that looks back only.

    A series is predicted from all its steps side by side (as in PatchTST, Nie et al. 2023), a picture and a text from
    the mean of theirs, in which padding has no part; of running text each token predicts the next one.

    Source: Vaswani et al. 2017, Attention Is All You Need. A language model begins with weights as in Radford et al.
    2019, Language Models are Unsupervised Multitask Learners (GPT-2).

    Args:
        embed_size: Numbers that stand for a step or a token; a multiple of ``num_heads``.
        num_heads: Heads of each attention.
        feedforward_size: Units between the two dense layers of a block.
        num_layers: Blocks.
        dropout: Share dropped of attention weights, of what each part adds, and of what the first block reads.
        positions: ``learned`` for each place, or ``sinusoidal``.
        channel_independent: The same network for each channel of a series.
        input_shape: ``(window, channels)``, ``(channels, height, width)`` read row by row, or ``(length,)``.
        output_shape: Of one prediction, such as ``(horizon, channels)``; ``(length, num_tokens)`` for a language model.
        num_tokens: x holds token ids below this; in a text 0 is padding, at the end.

    Raises:
        ComponentError: When ``channel_independent`` does not fit the data.
    """

    places: Tensor

    def __init__(
        self,
        *,
        embed_size: int = 32,
        num_heads: int = 2,
        feedforward_size: int = 32,
        num_layers: int = 1,
        dropout: float = 0.0,
        positions: Literal["learned", "sinusoidal"] = "learned",
        channel_independent: bool = False,
        input_shape: tuple[int, ...],
        output_shape: tuple[int, ...],
        num_tokens: int | None = None,
    ) -> None:
        super().__init__()
        if channel_independent:
            input_shape, output_shape = one_channel(input_shape, output_shape)
        self.channel_independent, self.output_shape = channel_independent, output_shape
        self.reads_tokens, self.reads_series = num_tokens is not None, len(input_shape) == 2
        self.causal = is_language_model(input_shape, output_shape, num_tokens)
        if num_tokens is None:
            steps, width = steps_shape(input_shape)
            self.embedding: nn.Module = nn.Linear(width, embed_size)
        else:
            (steps,) = input_shape
            # In running text every id is a token, 0 too.
            make = nn.Embedding if self.causal else text_embedding
            self.embedding = make(num_tokens, embed_size)
        self.positions: nn.Embedding | None = None
        if positions == "learned":
            # An embedding rather than a bare parameter: so it is left alone where only weights are initialised.
            self.positions = nn.Embedding(steps, embed_size)
            nn.init.normal_(self.positions.weight, std=0.02)
            self.register_buffer("places", torch.arange(steps)[None], persistent=False)
        else:
            self.register_buffer("places", sinusoids(steps, embed_size)[None], persistent=False)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            Block(embed_size, num_heads, feedforward_size, dropout, causal=self.causal) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(embed_size)
        read = embed_size * steps if self.reads_series else embed_size
        self.head = nn.Linear(read, output_shape[-1] if self.causal else math.prod(output_shape))
        if self.causal:
            self._begin_as_gpt2()

    def forward(self, x: Tensor) -> Tensor:
        """Predicts from a batch.

        Args:
            x: ``(batch, *input_shape)``; a language model takes shorter blocks, too.

        Returns:
            ``(batch, *output_shape)``.
        """
        return each_channel(self._predict, x) if self.channel_independent else self._predict(x)

    def _predict(self, x: Tensor) -> Tensor:
        steps: Tensor = self.embedding(x if self.reads_tokens else as_steps(x))
        places = self.places[:, : steps.shape[1]]  # (1, steps), or as sinusoids (1, steps, embed)
        steps = self.dropout(steps + (places if self.positions is None else self.positions(places)))
        real = within(text_lengths(x), x.shape[1]) if self.reads_tokens and not self.causal else None
        seen = None if real is None else real[:, None, None]
        for block in self.blocks:
            steps = block(steps, seen)
        if self.causal:
            following: Tensor = self.head(self.norm(steps))
            return following
        prediction: Tensor = self.head(self._together(self.norm(steps), real))
        return prediction.view(-1, *self.output_shape)

    def _together(self, steps: Tensor, real: Tensor | None) -> Tensor:
        """One vector for all steps, ``(batch, embed)``, or for a series ``(batch, steps * embed)``."""
        if self.reads_series:
            # Measured on ETTh1, 96 hours to 96: a squared error of 0.40 where the last step or the mean give 0.65.
            return steps.flatten(1)
        if real is None:
            return steps.mean(dim=1)
        return (steps * real[:, :, None]).sum(dim=1) / real.sum(dim=1, keepdim=True)

    def _begin_as_gpt2(self) -> None:
        """Small normal weights; smaller still where a block adds to the sum, so that it does not grow with depth."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                adds = name.endswith(("attention.out", "feedforward.2"))
                nn.init.normal_(module.weight, std=0.02 / math.sqrt(2 * len(self.blocks)) if adds else 0.02)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding) and self.positions is not None:
                nn.init.normal_(module.weight, std=0.02)  # beside sinusoids, whose size is 1, it would be lost


def sinusoids(steps: int, size: int) -> Tensor:
    """Makes Vaswani's positions: sines and cosines of wavelengths from 2 pi to 10,000 times that, ``(steps, size)``."""
    wavelengths = torch.exp(torch.arange(0, size, 2) * (-math.log(10_000.0) / size))
    angles = torch.arange(steps)[:, None] * wavelengths
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :size]
