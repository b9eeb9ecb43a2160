"""The models by name: their parameters with defaults and bounds, known without importing torch."""

from __future__ import annotations

import bdb
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from dlcluster.errors import ComponentError
from dlcluster.models.named import import_named, is_own, near

if TYPE_CHECKING:
    from torch import nn


class Params(BaseModel):
    """Parameters of one component, as a job file's ``params`` gives them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class LstmParams(Params):
    """What an LSTM can be told."""

    hidden_size: int = Field(50, ge=1, description="Units in each layer")
    num_layers: int = Field(1, ge=1, description="Layers on top of each other")
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="Dropout between layers and before the head")
    bidirectional: bool = Field(False, description="Read the window in both directions")


@dataclass(frozen=True)
class ModelEntry:
    """One model a job file can name.

    Attributes:
        name: As written in ``model.name``.
        target: ``module:Class`` with the torch code.
        params: Its parameters.
        summary: One line for ``dlcluster models``.
        source: The paper.
    """

    name: str
    target: str
    params: type[Params]
    summary: str
    source: str


MODELS: Mapping[str, ModelEntry] = {
    entry.name: entry
    for entry in (
        ModelEntry(
            "lstm",
            "dlcluster.models.recurrent:LSTM",
            LstmParams,
            "Long short-term memory over a window, to a horizon or to classes",
            "Hochreiter & Schmidhuber 1997, Long Short-Term Memory",
        ),
    )
}


@dataclass(frozen=True)
class Shapes:
    """What the data asks of a model; sizes are without the batch dimension.

    Attributes:
        input_shape: Of one sample of x, such as ``(window, channels)``.
        output_shape: Of one prediction, such as ``(horizon, channels)`` or ``(num_classes,)``.
        num_classes: Number of classes, or None where there are none.
        num_tokens: x holds token ids below this; None where it holds numbers.
    """

    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    num_classes: int | None = None
    num_tokens: int | None = None


def model_class(name: str) -> Any:
    """Returns the class or function behind ``model.name``.

    Raises:
        ComponentError: When there is none.
    """
    if is_own(name):
        return import_named(name, "model")
    if name not in MODELS:
        raise ComponentError(f"no model {name!r}; {near(name, MODELS)}")
    return import_named(MODELS[name].target, "model")


def model_arguments(name: str, params: Mapping[str, Any], shapes: Shapes | None = None) -> dict[str, Any]:
    """Works out the keyword arguments a model is made with.

    The model's own ``params`` go in as they are; ``input_shape``, ``output_shape``, ``num_classes`` and
    ``num_tokens`` go in where the constructor asks for them by name.

    Args:
        name: ``model.name``.
        params: ``model.params``.
        shapes: What the data asks for; None to check the names alone, before any data is read.

    Raises:
        ComponentError: When the constructor does not take these arguments.
    """
    make = model_class(name)
    arguments = dict(params)
    if not is_own(name):
        arguments = MODELS[name].params.model_validate(arguments).model_dump()
    signature = inspect.signature(make)
    offered = {
        "input_shape": shapes.input_shape if shapes else (),
        "output_shape": shapes.output_shape if shapes else (),
        "num_classes": shapes.num_classes if shapes else None,
        "num_tokens": shapes.num_tokens if shapes else None,
    }
    for key, value in offered.items():
        if key in signature.parameters and key not in arguments:
            arguments[key] = value
    try:
        signature.bind(**arguments)
    except TypeError as error:
        accepted = ", ".join(key for key in signature.parameters if key not in offered)
        raise ComponentError(
            f"model {name}: {error}", hint=f"Its constructor takes: {accepted or 'nothing'}."
        ) from error
    return arguments


def make_model(name: str, params: Mapping[str, Any], shapes: Shapes) -> nn.Module:
    """Makes the model a job names, for data of these shapes.

    Raises:
        ComponentError: When it cannot be made, or is no ``nn.Module``.
    """
    from torch import nn

    arguments = model_arguments(name, params, shapes)
    try:
        model = model_class(name)(**arguments)
    except (ComponentError, bdb.BdbQuit):
        raise
    except (Exception, SystemExit) as error:
        shown = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        raise ComponentError(f"model {name}({shown}) failed: {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise ComponentError(f"model {name} made a {type(model).__name__}, not a torch.nn.Module")
    return model
