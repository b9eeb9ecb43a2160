"""Measures a model on a split, each rank on its part of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dlcluster.data.batches import Samples, rank_slice
from dlcluster.training.metrics import Further
from dlcluster.training.objective import Objective
from dlcluster.training.ranks import Ranks
from dlcluster.training.steps import to_device


@torch.no_grad()
def evaluate(
    model: Callable[[Tensor], Tensor],
    samples: Samples,
    objective: Objective,
    ranks: Ranks,
    split: str,
    batch_size: int,
    autocast: contextlib.AbstractContextManager[Any] | None = None,
    further: Further | None = None,
) -> dict[str, float]:
    """Measures loss and metrics on a split, each rank on its part of it.

    Args:
        model: From x to predictions; a module is put into evaluation mode.
        samples: The split.
        objective: What to measure.
        ranks: This process among all.
        split: Name, which the metrics begin with.
        batch_size: Samples at once over all ranks.
        autocast: Precision to compute in.
        further: Metrics that no sums give; None for none.
    """
    if isinstance(model, nn.Module):
        model.eval()
    totals = torch.zeros(len(objective.names), dtype=torch.float64, device=ranks.device)
    own = rank_slice(len(samples), rank=ranks.rank, world=ranks.world)
    step = max(1, batch_size // ranks.world)
    for start in range(own.start, own.stop, step):
        x, y = to_device(samples.gather(torch.arange(start, min(start + step, own.stop))), ranks.device)
        with autocast or contextlib.nullcontext():
            prediction = model(x)
            totals += objective.sums(prediction, y)
        if further is not None:
            further.update(prediction, y)
    metrics = objective.metrics(ranks.sum(totals), split)
    return metrics if further is None else {**metrics, **further.compute(ranks, split)}
