"""What every kind of data becomes: splits ready to train on, and what it takes to treat later data alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from dlcluster.data.batches import Samples
from dlcluster.models.catalog import Shapes

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

SPLITS = ("train", "validation", "test")


class Preparation(Protocol):
    """What was fitted on train, and what it does to data that comes later.

    Each kind of data has one, a frozen dataclass in its own module with a ``kind`` of `dlcluster.data.kinds`
    and a ``from_config`` that takes back what `config` gave.
    """

    @property
    def kind(self) -> str:
        """As in `dlcluster.data.kinds`."""
        ...

    def config(self) -> dict[str, Any]:
        """All of it as JSON can hold it, to be stored with the model."""
        ...

    def inputs(self, batch: pa.Table) -> Tensor:
        """Makes x, ``(rows, *input_shape)``, of rows as they were read.

        Raises:
            DataError: When a column is missing or holds what the model was not trained on.
        """
        ...

    def outputs(self, prediction: Tensor, batch: pa.Table) -> dict[str, np.ndarray[Any, Any]]:
        """Turns predictions into columns in the data's own terms: classes by name, values in their own units.

        Args:
            prediction: ``(rows, *output_shape)``.
            batch: The rows they were made from.
        """
        ...


@dataclass(frozen=True)
class Prepared:
    """Data ready to train on.

    Attributes:
        task: As in `dlcluster.data.kinds.TASKS`.
        splits: Samples by split name; a split may have none.
        input_shape: Of one sample of x.
        output_shape: Of one prediction.
        num_classes: For classification.
        num_tokens: x holds token ids below this; None where it holds numbers.
        class_names: For classification, in the order of the ids; None where the data has numbers only.
        unit_scale: What one scaled unit is in the data's own units, by target channel; None where nothing was scaled.
        unit_shift: What a scaled zero is in the data's own units, by target channel; None where nothing was scaled,
            or where it differs from sample to sample.
        baseline: From a batch of x to the prediction anybody could make; None where there is none.
        baseline_name: What that prediction is called.
        preparation: What was fitted on train; None for a user's own data function.
        augment: From a training batch of x to a changed one, drawn from torch's global generator; None for none.
        notes: Lines for the log, such as which files were skipped.
    """

    task: str
    splits: Mapping[str, Samples]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    num_classes: int | None = None
    num_tokens: int | None = None
    class_names: tuple[str, ...] | None = None
    unit_scale: Tensor | None = None
    unit_shift: Tensor | None = None
    baseline: Callable[[Tensor], Tensor] | None = None
    baseline_name: str | None = None
    preparation: Preparation | None = None
    augment: Callable[[Tensor], Tensor] | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def shapes(self) -> Shapes:
        """What a model for this data has to fit."""
        return Shapes(self.input_shape, self.output_shape, self.num_classes, self.num_tokens)
