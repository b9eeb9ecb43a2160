"""The weights a model begins with, when they are those of an earlier run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from torch import Tensor, nn

from dlcluster.errors import ComponentError, StoreError
from dlcluster.store.objects import open_objects
from dlcluster.store.tables import table

if TYPE_CHECKING:
    from dlcluster.store.objects import Objects


def model_place(objects: Objects, named: str) -> tuple[Objects, str]:
    """Finds a stored model.

    Args:
        objects: The store of this run, which a run's id refers to.
        named: A run's id, or a model's uri as `results` shows it.

    Returns:
        The store it lies in, and the prefix of its files there.

    Raises:
        ComponentError: When there is no such run, or it has no model.
    """
    if "/v1/models/" in named:
        root, _, rest = named.rstrip("/").partition("/v1/models/")
        return open_objects(root), f"models/{rest}"
    if "/" in named:
        raise ComponentError(
            f"model.init_from: {named}: is no model's uri", hint="Give a run's id, or the model_uri of its results."
        )
    rows = table(objects, "trials", named, ["model_uri"]).to_pylist()
    uris = [row["model_uri"] for row in rows if row["model_uri"]]
    if not uris:
        why = "its trials kept no model" if rows else "there is no such run in this store, or it has not ended"
        raise ComponentError(f"model.init_from: run {named}: {why}")
    return objects, "models/" + uris[0].partition("/v1/models/")[2]


def load_weights(model: nn.Module, objects: Objects, named: str) -> list[str]:
    """Puts the weights of an earlier run into a model, wherever name and shape are the same.

    Args:
        model: What is to begin with them.
        objects: The store of this run.
        named: A run's id or a model's uri.

    Returns:
        Lines for the log: what was taken, and what begins anew.

    Raises:
        ComponentError: When nothing of it fits.
    """
    from safetensors.torch import load

    store, prefix = model_place(objects, named)
    try:
        stored = load(store.get(f"{prefix}/model.safetensors"))
        config = json.loads(store.get(f"{prefix}/config.json"))
    except StoreError as error:
        raise ComponentError(f"model.init_from: {named}: its weights cannot be read: {error}") from error
    own: dict[str, Tensor] = model.state_dict()
    fitting = {name: value for name, value in stored.items() if name in own and own[name].shape == value.shape}
    if not fitting:
        theirs = f"{config['model']['name']} with {', '.join(sorted(stored)[:3])}, ..."
        raise ComponentError(
            f"model.init_from: {named}: is of another model: no weight fits (it is {theirs}; yours has "
            f"{', '.join(sorted(own)[:3])}, ...)"
        )
    model.load_state_dict(fitting, strict=False)
    lines = [f"began with {len(fitting)} of {len(own)} weights from {named}"]
    for name, value in own.items():
        if name not in fitting:
            there = f"is {tuple(stored[name].shape)} there" if name in stored else "is not there"
            lines.append(f"  {name} {tuple(value.shape)} begins anew: it {there}")
    return lines
