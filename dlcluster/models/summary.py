"""What a model is made of: its layers, what each gives and how many parameters it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dlcluster.errors import ComponentError
from dlcluster.models.catalog import Shapes, make_model


@dataclass(frozen=True)
class Layer:
    """One layer of a model.

    Attributes:
        name: Where it is in the model, such as ``blocks.0.attention.qkv``; parameters are called so, too.
        type: Its class.
        output_shape: What it gave for one sample, without the batch; None when it was not called, or gave no tensor.
        num_parameters: Its own; those of its parts, and what another layer has already, are not among them.
    """

    name: str
    type: str
    output_shape: tuple[int, ...] | None
    num_parameters: int


@dataclass(frozen=True)
class Summary:
    """A model's layers, and how large it is.

    Attributes:
        layers: In the order in which they are called; those never called at the end.
        num_parameters: Of all of them.
        num_trainable: Those that training changes.
    """

    layers: tuple[Layer, ...]
    num_parameters: int
    num_trainable: int


def summarise(name: str, params: Mapping[str, Any], shapes: Shapes) -> Summary:
    """Makes a model as a job would, and lists its layers.

    Args:
        name: ``model.name``.
        params: ``model.params``.
        shapes: What the data would ask for.

    Raises:
        ComponentError: When the model cannot be made for such data, or does not work on it.
    """
    model = make_model(name, params, shapes)
    # A generative model makes samples of the input's shape out of noise.
    noise = getattr(model, "latent_size", None)
    input_shape = shapes.input_shape if noise is None else (noise,)
    try:
        listed = layers(model, input_shape, torch.float32 if shapes.num_tokens is None else torch.int64)
    except (Exception, SystemExit) as error:  # of a user's own model
        raise ComponentError(
            f"model {name} does not work on x of shape {(1, *input_shape)}: {type(error).__name__}: {error}"
        ) from error
    parameters = list(model.parameters())
    return Summary(
        tuple(listed),
        sum(parameter.numel() for parameter in parameters),
        sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
    )


@torch.no_grad()
def layers(model: nn.Module, input_shape: tuple[int, ...], dtype: torch.dtype) -> list[Layer]:
    """Lists a model's layers as one sample of zeros passes them.

    A layer is a module without parts, or with parameters of its own beside its parts.

    Args:
        model: Left as it was.
        input_shape: Of one sample.
        dtype: Of x: int64 for token ids.
    """
    found: dict[nn.Module, tuple[int, ...] | None] = {}

    def note(module: nn.Module, _: Any, output: Any) -> None:
        found.setdefault(module, _shape(output))

    parts = {module: name for name, module in model.named_modules() if _is_layer(module)}
    hooks = [module.register_forward_hook(note) for module in parts]
    was_training = model.training
    model.eval()  # one sample is too few for batch normalisation, and must not change its averages
    try:
        model(torch.zeros(1, *input_shape, dtype=dtype))
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    found |= {module: None for module in parts if module not in found}
    counted: set[nn.Parameter] = set()
    rows = []
    for module, shape in found.items():
        own = set(module.parameters(recurse=False)) - counted
        counted |= own
        rows.append(Layer(parts[module], type(module).__name__, shape, sum(each.numel() for each in own)))
    return rows


def _is_layer(module: nn.Module) -> bool:
    return not any(module.children()) or any(True for _ in module.parameters(recurse=False))


def _shape(output: Any) -> tuple[int, ...] | None:
    """The shape of what a layer gave, or of the first of several; without the batch."""
    first = output[0] if isinstance(output, tuple) and output else output
    return tuple(first.shape[1:]) if isinstance(first, Tensor) else None
