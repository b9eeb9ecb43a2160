"""The training processes of one trial as each of them sees the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process among ``world`` processes that train one model together.

    With one process nothing is ever sent. With more, the default process group must have been set up.

    Attributes:
        rank: This process's number, from 0; rank 0 decides and reports.
        world: Number of processes.
        device: Where this process computes.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def leads(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """Makes gradients of all ranks averages of each other's (DistributedDataParallel)."""
        if self.world == 1:
            return model
        ids = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=ids)

    def sum(self, values: Tensor) -> Tensor:
        """Adds up a tensor over all ranks, in place."""
        if self.world > 1:
            dist.all_reduce(values)
        return values

    def decide(self, decision: Callable[[], T]) -> T:
        """Lets rank 0 decide, and tells all ranks what it decided."""
        if self.world == 1:
            return decision()
        box = [decision() if self.leads else None]
        dist.broadcast_object_list(box, src=0, device=self.device if self.device.type == "cuda" else None)
        return box[0]  # type: ignore[return-value]

    def gather(self, value: Any) -> list[Any]:
        """Collects one value from each rank; meaningful on rank 0 only."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.gather_object(value, values if self.leads else None, dst=0)
        return values
