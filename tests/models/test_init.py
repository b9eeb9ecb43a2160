"""Weights are drawn by torch's own initialisers, gate by gate where gates are stacked."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlcluster.models.catalog import MODELS, Shapes, make_model
from dlcluster.models.init import Initialiser, initialise

DRAWS: dict[Initialiser, Callable[..., Tensor]] = {
    "xavier": nn.init.xavier_uniform_,
    "kaiming": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
    "orthogonal": nn.init.orthogonal_,
}
names = pytest.mark.parametrize("name", DRAWS)


@names
def test_weights_are_drawn_in_order_and_biases_are_zero(name: Initialiser) -> None:
    model: Any = make_model("cnn", {"batch_norm": True}, Shapes((1, 28, 28), (10,)))
    norm = model.layers[1]
    norm.weight.data.fill_(3.0)
    torch.manual_seed(5)
    initialise(model, name)
    torch.manual_seed(5)
    for layer in model.layers:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            torch.testing.assert_close(layer.weight.data, DRAWS[name](torch.empty_like(layer.weight)), atol=0, rtol=0)
            assert layer.bias is not None
            assert not layer.bias.any()
    assert norm.weight.eq(3.0).all()
    assert all(parameter.requires_grad for parameter in model.parameters())


@names
@pytest.mark.parametrize(("kind", "gates"), [("rnn", 1), ("lstm", 4), ("gru", 3)])
def test_recurrent_weights_are_drawn_gate_by_gate(name: Initialiser, kind: str, gates: int) -> None:
    model: Any = make_model(kind, {"hidden_size": 6, "num_layers": 2, "bidirectional": True}, Shapes((7, 3), (2,)))
    torch.manual_seed(5)
    initialise(model, name)
    torch.manual_seed(5)
    for key, parameter in getattr(model, kind).named_parameters():
        if key.startswith("weight"):
            drawn = torch.cat([DRAWS[name](torch.empty(6, parameter.shape[1])) for _ in range(gates)])
            torch.testing.assert_close(parameter.data, drawn, atol=0, rtol=0)
        else:
            forget = [0, 1, 0, 0] if kind == "lstm" and key.startswith("bias_ih") else [0] * gates
            assert parameter.tolist() == [float(value) for value in forget for _ in range(6)]


def test_each_recurrent_gate_is_orthogonal() -> None:
    model: Any = make_model("gru", {"hidden_size": 6}, Shapes((7, 3), (2,)))
    initialise(model, "orthogonal")
    for gate in model.gru.weight_hh_l0.chunk(3):
        torch.testing.assert_close(gate @ gate.T, torch.eye(6))


def test_spread_is_the_papers() -> None:
    model: Any = make_model("mlp", {"hidden": [400]}, Shapes((300,), (1,)))
    initialise(model, "xavier")
    limit = math.sqrt(6 / (300 + 400))
    assert model.layers[0].weight.abs().max().item() == pytest.approx(limit, rel=1e-3)
    initialise(model, "kaiming")
    assert model.layers[0].weight.std().item() == pytest.approx(math.sqrt(2 / 300), rel=0.01)


@names
def test_embeddings_are_left_alone(name: Initialiser) -> None:
    model: Any = make_model("transformer", {}, Shapes((8,), (2,), num_tokens=20))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    initialise(model, name)
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert {"embedding.weight", "positions.weight", "norm.weight"}.isdisjoint(changed)
    assert {"blocks.0.attention.qkv.weight", "blocks.0.attention.qkv.bias", "head.weight"} <= changed


@names
@pytest.mark.parametrize("entry", MODELS.values(), ids=lambda entry: entry.name)
def test_every_family_can_be_initialised(name: Initialiser, entry: Any) -> None:
    model = make_model(entry.name, {}, entry.typical)
    initialise(model, name)
    assert all(parameter.isfinite().all() for parameter in model.parameters())
