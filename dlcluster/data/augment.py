"""Random changes to training pictures: turned, moved, sheared, resized and mirrored, in one pass."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dlcluster.data.params import Augment


def augmenter(params: Augment) -> Callable[[Tensor], Tensor]:
    """Makes what changes each training batch.

    Random numbers come from torch's global generator on the CPU, whatever the device: a resumed run draws on.

    Args:
        params: How much of each change.

    Returns:
        From pictures ``(n, channels, height, width)`` to changed ones, on the same device.
    """
    moves = any((params.rotation, params.shift, params.shear, params.zoom))

    def augment(x: Tensor) -> Tensor:
        drawn = torch.rand(len(x), 7)
        if params.flip:
            mirrored = (drawn[:, 6] < 0.5).to(x.device).view(-1, 1, 1, 1)
            x = torch.where(mirrored, x.flip(-1), x)
        if not moves:
            return x
        either_way = drawn * 2 - 1
        return warp(
            x,
            rotation=either_way[:, 0] * params.rotation,
            shift=either_way[:, 1:3] * params.shift,
            shear=either_way[:, 3:5] * params.shear,
            zoom=1 + either_way[:, 5] * params.zoom,
        )

    return augment


def warp(x: Tensor, *, rotation: Tensor, shift: Tensor, shear: Tensor, zoom: Tensor) -> Tensor:
    """Shears, resizes, turns and moves pictures about their middle; what comes in from outside repeats the edge.

    The changes are multiplied into one matrix a picture, so that it is resampled (bilinearly) only once.

    Args:
        x: ``(n, channels, height, width)``.
        rotation: Degrees clockwise, ``(n,)``.
        shift: To the right and down, as a share of width and height, ``(n, 2)``.
        shear: Degrees along the width and along the height, ``(n, 2)``.
        zoom: Factor, ``(n,)``; above 1 things grow.
    """
    from kornia.geometry.transform import get_affine_matrix2d, warp_affine

    height, width = x.shape[-2:]
    size = torch.tensor([width, height], dtype=torch.float32)
    radians = shear * (math.pi / 180)
    matrix = get_affine_matrix2d(
        shift * size,
        ((size - 1) / 2).expand(len(x), 2),
        zoom[:, None].expand(-1, 2),
        rotation,
        radians[:, 0],
        radians[:, 1],
    )
    matrix = matrix[:, :2].to(x.device, x.dtype, non_blocking=True)
    return warp_affine(x, matrix, (height, width), padding_mode="border")
