"""A stored model, made again with its weights and its preparation."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlcluster.data.load import preparation_from
from dlcluster.errors import ComponentError
from dlcluster.models.catalog import Shapes, make_model
from dlcluster.training.start import model_place

if TYPE_CHECKING:
    from torch import nn

    from dlcluster.data.prepared import Preparation
    from dlcluster.store.objects import Objects


@dataclass(frozen=True)
class StoredModel:
    """A model as its run left it.

    Attributes:
        model: In evaluation mode, on the CPU.
        preparation: What was fitted on train; None for a user's own data function.
        config: All that was stored beside the weights.
    """

    model: nn.Module
    preparation: Preparation | None
    config: dict[str, Any]


def load_model(objects: Objects, named: str) -> StoredModel:
    """Makes a stored model again.

    Args:
        objects: The store that a run's id refers to.
        named: A run's id, or a model's uri.

    Raises:
        ComponentError: When there is none, or its weights are of another model.
        StoreError: When it cannot be read.
    """
    from safetensors.torch import load

    store, prefix = model_place(objects, named)
    config = json.loads(store.get(f"{prefix}/config.json"))
    spec = config["model"]
    shapes = Shapes(
        tuple(config["input_shape"]), tuple(config["output_shape"]), config["num_classes"], config["num_tokens"]
    )
    model = make_model(spec["name"], spec["params"], shapes)
    try:
        model.load_state_dict(load(store.get(f"{prefix}/model.safetensors")))
    except RuntimeError as error:
        raise ComponentError(f"{named}: its weights are of another model: {str(error).splitlines()[0]}") from error
    fitted = config["preparation"]
    preparation = None if fitted is None else preparation_from(fitted["kind"], fitted)
    return StoredModel(model.eval(), preparation, config)
