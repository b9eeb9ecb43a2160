"""Pictures a model made, as one picture to look at."""

from __future__ import annotations

import io
import math

import torch
from torch import Tensor


def grid_png(pictures: Tensor, *, gap: int = 2) -> bytes:
    """Lays pictures out in rows as a PNG.

    Args:
        pictures: ``(count, channels, height, width)`` in [0, 1], with 1 or 3 channels.
        gap: White pixels between them.
    """
    from PIL import Image

    count, channels, height, width = pictures.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    page = torch.ones(channels, rows * (height + gap) - gap, columns * (width + gap) - gap)
    for number, picture in enumerate(pictures.clamp(0, 1)):
        top, left = number // columns * (height + gap), number % columns * (width + gap)
        page[:, top : top + height, left : left + width] = picture
    values = (page * 255).round().byte().permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(values[..., 0] if channels == 1 else values).save(buffer, format="PNG")
    return buffer.getvalue()
