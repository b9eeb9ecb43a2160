"""Samples in memory, gathered into batches by index, and cut into slices by rank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

WRITTEN_OUT_BYTES = 256 * 2**20
"""Windows up to this size are written out; a window repeats most of the one before it."""


class Samples(Protocol):
    """A split: so many samples, any of them gathered by index."""

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def gather(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Returns ``x (len(index), *input_shape)`` and ``y (len(index), *target_shape)``."""
        ...

    def to(self, device: torch.device) -> Samples:
        """The same samples with their tensors on ``device``, where that can be done at once."""
        ...


class TensorSamples:
    """Samples that lie in two tensors.

    Args:
        x: ``(samples, *input_shape)``.
        y: ``(samples, *target_shape)``.
    """

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.x)

    def gather(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Copies the rows named by ``index``."""
        return self.x[index], self.y[index]

    def to(self, device: torch.device) -> TensorSamples:
        """Moves both tensors."""
        return TensorSamples(self.x.to(device), self.y.to(device))


class WindowSamples:
    """Windows over a series too large to be written out: each is copied when a batch wants it.

    Args:
        series: ``(steps, channels)``, scaled.
        window: Steps in x.
        horizon: Steps in y, right after x.
        targets: Channels in y.
        center_last: Subtract each channel's last value in x from x and y.
        answers: ``(steps, channels)``, what y is cut from; None for ``series``.
    """

    def __init__(
        self,
        series: Tensor,
        *,
        window: int,
        horizon: int,
        targets: Sequence[int],
        center_last: bool = False,
        answers: Tensor | None = None,
    ) -> None:
        self.series, self.window, self.horizon, self.answers = series, window, horizon, answers
        self.targets, self.center_last = list(targets), center_last
        self.all_targets = self.targets == list(range(series.shape[1]))
        # (windows, window + horizon, channels): strides over the series, no copy
        self.windows = series.unfold(0, window + horizon, 1).transpose(1, 2)
        self.ahead = None if answers is None else answers[window:].unfold(0, horizon, 1).transpose(1, 2)

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.windows)

    def gather(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Copies the windows named by ``index``: x ``(n, window, channels)``, y ``(n, horizon, targets)``."""
        both = self.windows[index]
        if self.ahead is not None:
            both[:, self.window :] = self.ahead[index]
        if self.center_last:
            both -= both[:, self.window - 1 : self.window].clone()
        y = both[:, self.window :]
        return both[:, : self.window], y if self.all_targets else y[:, :, self.targets]

    def to(self, device: torch.device) -> WindowSamples:
        """Moves the series."""
        return WindowSamples(
            self.series.to(device),
            window=self.window,
            horizon=self.horizon,
            targets=self.targets,
            center_last=self.center_last,
            answers=None if self.answers is None else self.answers.to(device),
        )


def window_samples(
    series: Tensor,
    *,
    window: int,
    horizon: int,
    targets: Sequence[int],
    center_last: bool = False,
    answers: Tensor | None = None,
) -> Samples:
    """Cuts a series into windows: written out once where they fit, since that makes every batch cheaper.

    Args:
        series: ``(steps, channels)``, scaled.
        window: Steps in x.
        horizon: Steps in y, right after x.
        targets: Channels in y.
        center_last: Subtract each channel's last value in x from x and y.
        answers: ``(steps, channels)``, what y is cut from; None for ``series``.
    """
    windows = WindowSamples(
        series, window=window, horizon=horizon, targets=targets, center_last=center_last, answers=answers
    )
    if windows.windows.numel() * series.element_size() > WRITTEN_OUT_BYTES:
        return windows
    x, y = windows.gather(torch.arange(len(windows)))
    return TensorSamples(x.contiguous(), y.contiguous())


class DatasetSamples:
    """Samples out of a torch ``Dataset`` of ``(x, y)``, fetched one by one.

    Args:
        dataset: Anything with ``__len__`` and ``__getitem__``.
        index: The part of it that is this split; None for all.
    """

    def __init__(self, dataset: Any, index: Tensor | None = None) -> None:
        self.dataset = dataset
        self.index = index if index is not None else torch.arange(len(dataset))

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.index)

    def gather(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Fetches and stacks the items named by ``index``."""
        from torch.utils.data import default_collate

        x, y = default_collate([self.dataset[i] for i in self.index[index.cpu()].tolist()])
        return x, y

    def to(self, device: torch.device) -> DatasetSamples:
        """The same: a data set's items are moved batch by batch."""
        return self


def epoch_order(samples: int, *, seed: int, epoch: int, count: int | None = None) -> Tensor:
    """Returns the order of samples in one epoch, ``(count,)``.

    It depends on seed and epoch alone: not on the number of workers, nor on where an attempt began.

    Args:
        samples: How many there are.
        seed: Of the training.
        epoch: From 1.
        count: How many to take: the first ones of the order, or several orders one after the other; None for all.
    """
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    order = torch.randperm(samples, generator=generator)
    if count is None or count == samples:
        return order
    while len(order) < count:
        order = torch.cat([order, torch.randperm(samples, generator=generator)])
    return order[:count]


def rank_slice(size: int, *, rank: int, world: int) -> slice:
    """Returns which part of a batch of ``size`` samples a rank takes; sizes differ by at most one."""
    return slice(size * rank // world, size * (rank + 1) // world)
