"""The models by name: what they read and their parameters with defaults and bounds, without importing torch."""

from __future__ import annotations

import bdb
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pydantic import BaseModel

from dlcluster.errors import ComponentError
from dlcluster.models.gan_params import GanParams
from dlcluster.models.named import import_named, is_own, near
from dlcluster.models.params import (
    CnnParams,
    MlpParams,
    PersistenceParams,
    RecurrentParams,
    TextCnnParams,
    TransformerParams,
)

if TYPE_CHECKING:
    from torch import nn


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


Reads: TypeAlias = Literal["tables", "series", "pictures", "texts", "running text", "other arrays"]
READS: Mapping[Reads, str] = {
    "tables": "tables (features,)",
    "series": "series (window, channels)",
    "pictures": "pictures (channels, height, width)",
    "texts": "texts (tokens,)",
    "running text": "running text (block,) to the next tokens (block, num_tokens)",
    "other arrays": "other arrays",
}
"""What a model may read, with the shape of one sample."""


def reads_of(shapes: Shapes) -> Reads:
    """Tells what a model would read, by the shapes of x and of predictions."""
    if shapes.num_tokens is not None:
        follows = shapes.output_shape == (*shapes.input_shape, shapes.num_tokens)
        return "running text" if follows else "texts"
    kinds: Mapping[int, Reads] = {1: "tables", 2: "series", 3: "pictures"}
    return kinds.get(len(shapes.input_shape), "other arrays")


@dataclass(frozen=True)
class ModelEntry:
    """One model a job file can name.

    Attributes:
        name: As written in ``model.name``.
        target: ``module:Class`` with the torch code.
        params: Its parameters.
        reads: What it can be trained on.
        typical: Shapes it is shown with.
        summary: One line for ``dlcluster models``.
        source: The paper.
        generates: It makes samples like those it reads, rather than predicting something of them.
    """

    name: str
    target: str
    params: type[BaseModel]
    reads: tuple[Reads, ...]
    typical: Shapes
    summary: str
    source: str
    generates: bool = False


_SERIES = Shapes((52, 1), (26, 1))
_STEPS: tuple[Reads, ...] = ("series", "pictures", "texts", "running text")

MODELS: Mapping[str, ModelEntry] = {
    entry.name: entry
    for entry in (
        ModelEntry(
            "mlp",
            "dlcluster.models.mlp:MLP",
            MlpParams,
            ("tables", "series", "pictures", "texts", "other arrays"),
            Shapes((13,), (3,), num_classes=3),
            "Multilayer perceptron over all of a sample at once; without hidden layers a linear model",
            "Rumelhart, Hinton & Williams 1986, Learning representations by back-propagating errors",
        ),
        ModelEntry(
            "cnn",
            "dlcluster.models.cnn:CNN",
            CnnParams,
            ("pictures", "series"),
            Shapes((1, 28, 28), (10,), num_classes=10),
            "Blocks of convolution and pooling over pictures or series, then dense layers",
            "LeCun, Bottou, Bengio & Haffner 1998, Gradient-based learning applied to document recognition",
        ),
        ModelEntry(
            "text_cnn",
            "dlcluster.models.text_cnn:TextCNN",
            TextCnnParams,
            ("texts",),
            Shapes((56,), (2,), num_classes=2, num_tokens=10_000),
            "Convolutions of several widths over a text, each filter's strongest answer, to classes",
            "Kim 2014, Convolutional Neural Networks for Sentence Classification",
        ),
        ModelEntry(
            "rnn",
            "dlcluster.models.recurrent:RNN",
            RecurrentParams,
            _STEPS,
            _SERIES,
            "Plain recurrent network over a window, a picture's rows or tokens",
            "Elman 1990, Finding Structure in Time",
        ),
        ModelEntry(
            "lstm",
            "dlcluster.models.recurrent:LSTM",
            RecurrentParams,
            _STEPS,
            _SERIES,
            "Long short-term memory over a window, a picture's rows or tokens",
            "Hochreiter & Schmidhuber 1997, Long Short-Term Memory",
        ),
        ModelEntry(
            "gru",
            "dlcluster.models.recurrent:GRU",
            RecurrentParams,
            _STEPS,
            _SERIES,
            "Gated recurrent units over a window, a picture's rows or tokens",
            "Cho et al. 2014, Learning Phrase Representations using RNN Encoder-Decoder",
        ),
        ModelEntry(
            "transformer",
            "dlcluster.models.transformer:Transformer",
            TransformerParams,
            _STEPS,
            _SERIES,
            "Self-attention over a window, a picture's rows or tokens; a language model looks back only",
            "Vaswani et al. 2017, Attention Is All You Need",
        ),
        ModelEntry(
            "persistence",
            "dlcluster.models.persistence:Persistence",
            PersistenceParams,
            ("series",),
            _SERIES,
            "Repeats a window's last value over the horizon; learns nothing, to compare with",
            "Hyndman & Athanasopoulos 2021, Forecasting: Principles and Practice, section 5.2",
        ),
        ModelEntry(
            "gan",
            "dlcluster.models.gan:GAN",
            GanParams,
            ("pictures", "tables", "series", "other arrays"),
            Shapes((1, 28, 28), (1, 28, 28)),
            "Generator and discriminator against each other: new pictures like those of the data",
            "Goodfellow et al. 2014, Generative Adversarial Nets",
            generates=True,
        ),
    )
}


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


def check_reads(entry: ModelEntry, shapes: Shapes) -> None:
    """Refuses data that a model cannot read.

    Raises:
        ComponentError: With what it reads, what the data has, and which models read that.
    """
    reads = reads_of(shapes)
    if reads in entry.reads:
        return
    fitting = [other.name for other in MODELS.values() if reads in other.reads and other.generates == entry.generates]
    shown = f"{shapes.input_shape} to {shapes.output_shape}" if reads == "running text" else f"{shapes.input_shape}"
    raise ComponentError(
        f"model {entry.name} reads {listed([READS[kind] for kind in entry.reads], 'and')}; "
        f"the data has {shown}, the shape of {reads}",
        hint=f"For {reads}, model.name: {listed(fitting, 'or')}.",
    )


def listed(words: Sequence[str], last: str) -> str:
    """Writes ``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def model_arguments(name: str, params: Mapping[str, Any], shapes: Shapes | None = None) -> dict[str, Any]:
    """Works out the keyword arguments a model is made with.

    The model's own ``params`` go in as they are; ``input_shape``, ``output_shape``, ``num_classes`` and
    ``num_tokens`` go in where the constructor asks for them by name.

    Args:
        name: ``model.name``.
        params: ``model.params``.
        shapes: What the data asks for; None to check the names alone, before any data is read.

    Raises:
        ComponentError: When the constructor does not take these arguments, or the model cannot read this data.
    """
    make = model_class(name)
    arguments = dict(params)
    if not is_own(name):
        if shapes is not None:
            check_reads(MODELS[name], shapes)
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
