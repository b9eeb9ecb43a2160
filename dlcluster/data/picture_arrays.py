"""Arrays of pictures or features, brought into one order of dimensions, one size, one number of channels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from dlcluster.data.params import ImageParams
from dlcluster.errors import DataError

Array: TypeAlias = np.ndarray[Any, Any]
_CHUNK = 2**20


@dataclass(frozen=True)
class Pictures:
    """Samples as their files have them.

    Attributes:
        x: Pictures ``(n, channels, height, width)`` or plain features ``(n, features)``; bytes as uint8, every other
            kind of number as float32.
        y: A class or a target for each, ``(n, ...)``; None where none was asked for.
        shown: Where they lie, for messages.
    """

    x: Array
    y: Array | None
    shown: str


def as_targets(y: Array, count: int, shown: str) -> Array:
    """Returns one class or target a sample, ``(n, ...)``; names as text, a second dimension of 1 dropped."""
    if len(np.shape(y)) == 0 or len(y) != count:
        raise DataError(f"data.path: {shown}: has shape {np.shape(y)}, but there are {count} samples")
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    return np.char.decode(y, "utf-8") if y.dtype.kind == "S" else y


def as_pictures(x: Array, shown: str, params: ImageParams) -> Array:
    """Brings an array into the one order of dimensions, size and channels.

    Args:
        x: ``(n, height, width)``, ``(n, height, width, channels)``, ``(n, channels, height, width)`` or
            ``(n, features)``.
        shown: Where it lies, for messages.
        params: Size and channels wanted.
    """
    if x.dtype.kind not in "buif":
        raise DataError(f"data.path: {shown}: holds {x.dtype}, not numbers")
    if x.ndim not in (2, 3, 4) or 0 in x.shape:
        raise DataError(
            f"data.path: {shown}: has shape {x.shape}",
            hint="Pictures are (n, height, width), (n, height, width, channels) or (n, channels, height, width).",
        )
    if x.ndim == 2:
        x = x.astype(np.float32)
    elif x.dtype != np.uint8:
        x = x.astype(np.float32, copy=False)
    if x.dtype == np.float32 and not np.isfinite(x).all():
        row = int(np.flatnonzero(~np.isfinite(x).reshape(len(x), -1).all(axis=1))[0])
        raise DataError(f"data.path: {shown}: holds NaN or infinity, first in sample {row + 1}")
    if x.ndim == 2:
        if params.size is not None or params.channels is not None:
            key = "size" if params.size is not None else "channels"
            raise DataError(f"data.params.{key}: needs pictures; {shown} has plain features, {x.shape[1]} a sample")
        return x
    if x.ndim == 3:
        x = x[:, None]
    else:
        first, last = x.shape[1] in (1, 3), x.shape[3] in (1, 3)
        if first == last:
            why = "both could be" if first else "neither can be"
            raise DataError(
                f"data.path: {shown}: shape {x.shape} does not say which dimension is the channels: {why}",
                hint="Grey pictures have 1 channel, or none: (n, height, width); colour has 3.",
            )
        x = x if first else x.transpose(0, 3, 1, 2)
    return _resized(_with_channels(x, params.channels), params.size)


def _with_channels(x: Array, channels: int | None) -> Array:
    if channels is None or x.shape[1] == channels:
        return x
    if channels == 3:
        return np.repeat(x, 3, axis=1)
    grey = np.empty((len(x), 1, *x.shape[2:]), x.dtype)
    weights = np.array([0.299, 0.587, 0.114], np.float32)  # brightness as ITU-R BT.601 has it, and Pillow
    for part in chunks(x, len(x)):
        mixed = np.einsum("nchw,c->nhw", x[part].astype(np.float32), weights)
        grey[part, 0] = np.rint(mixed) if x.dtype == np.uint8 else mixed
    return grey


def _resized(x: Array, size: list[int] | None) -> Array:
    if size is None or list(x.shape[2:]) == size:
        return x
    import torch
    from torch.nn.functional import interpolate

    resized = np.empty((*x.shape[:2], *size), x.dtype)
    for part in chunks(x, len(x)):
        whole = torch.from_numpy(x[part].astype(np.float32))
        smaller = interpolate(whole, size=tuple(size), mode="bilinear", antialias=True).numpy()
        resized[part] = np.rint(smaller) if x.dtype == np.uint8 else smaller
    return resized


def chunks(x: Array, count: int) -> Iterator[slice]:
    """Cuts ``count`` samples like those of ``x`` into slices small enough to be computed on as floats."""
    step = max(1, _CHUNK // max(1, math.prod(x.shape[1:])))
    return (slice(start, start + step) for start in range(0, count, step))
