"""A summary lists what a model calls, in that order, with every parameter once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlcluster.errors import ComponentError
from dlcluster.models.catalog import MODELS, Shapes, make_model
from dlcluster.models.summary import Layer, layers, summarise


def test_it_lists_layers_as_they_are_called() -> None:
    summary = summarise("cnn", {"filters": [4], "dense": [], "batch_norm": True}, Shapes((1, 6, 6), (3,)))
    assert summary.layers == (
        Layer("layers.0", "Conv2d", (4, 4, 4), 40),
        Layer("layers.1", "BatchNorm2d", (4, 4, 4), 8),
        Layer("layers.2", "ReLU", (4, 4, 4), 0),
        Layer("layers.3", "MaxPool2d", (4, 2, 2), 0),
        Layer("layers.4", "Flatten", (16,), 0),
        Layer("layers.5", "Linear", (3,), 51),
    )
    assert (summary.num_parameters, summary.num_trainable) == (99, 99)


def test_of_several_outputs_the_first_is_shown() -> None:
    summary = summarise("lstm", {"hidden_size": 4, "bidirectional": True}, Shapes((7, 3), (2, 3)))
    assert summary.layers[0] == Layer("lstm", "LSTM", (7, 8), 2 * 4 * 4 * (3 + 4 + 2))


@pytest.mark.parametrize("entry", MODELS.values(), ids=lambda entry: entry.name)
def test_it_counts_every_parameter_of_every_family(entry: Any) -> None:
    summary = summarise(entry.name, {}, entry.typical)
    parameters = list(make_model(entry.name, {}, entry.typical).parameters())
    assert summary.num_parameters == sum(parameter.numel() for parameter in parameters)
    assert sum(layer.num_parameters for layer in summary.layers) == summary.num_parameters


class Odd(nn.Module):
    """Shares weights, keeps one itself, has a part it never calls, and dies on a second call in training."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(5), requires_grad=False)
        self.unused = nn.Linear(2, 2)
        self.last = nn.Linear(5, 5, bias=False)
        self.first = nn.Linear(5, 5, bias=False)
        self.last.weight = self.first.weight
        self.norm = nn.BatchNorm1d(5)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.norm(self.first(x))) * self.scale
        return y


def test_what_is_shared_counts_once_and_what_is_not_called_comes_last() -> None:
    model = Odd()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert layers(model, (5,), torch.float32) == [
        Layer("first", "Linear", (5,), 25),
        Layer("norm", "BatchNorm1d", (5,), 10),
        Layer("last", "Linear", (5,), 0),
        Layer("", "Odd", (5,), 5),
        Layer("unused", "Linear", None, 6),
    ]
    assert model.training
    torch.testing.assert_close(model.state_dict(), before, atol=0, rtol=0)
    assert not any(module._forward_hooks for module in model.modules())
    summary = summarise(f"{__name__}:Odd", {}, Shapes((5,), (5,)))
    assert (summary.num_parameters, summary.num_trainable) == (46, 41)


def test_a_model_that_does_not_work_on_such_data_says_why() -> None:
    with pytest.raises(ComponentError) as caught:
        summarise(f"{__name__}:Odd", {}, Shapes((4,), (5,)))
    assert caught.value.message == (
        f"model {__name__}:Odd does not work on x of shape (1, 4): RuntimeError: mat1 and mat2 shapes cannot be "
        "multiplied (1x4 and 5x5)"
    )
