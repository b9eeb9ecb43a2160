"""Parameters are checked before anything is sent: each fault in words."""

from __future__ import annotations

from typing import Any

import pytest

from dlcluster.models.catalog import MODELS
from dlcluster.training.params import params_problems


@pytest.mark.parametrize(
    ("name", "params", "said"),
    [
        ("mlp", {"hidden": [64, 0]}, "hidden.1: must be at least 1 (got 0)"),
        ("mlp", {"hidden": 64}, "hidden: must be a list such as [a, b] (got 64)"),
        (
            "mlp",
            {"activation": "swish"},
            "activation: must be relu, tanh, sigmoid, leaky_relu or gelu (got swish)",
        ),
        ("mlp", {"dropout": 1.0}, "dropout: must be less than 1 (got 1.0)"),
        ("cnn", {"filters": []}, "filters: must have at least 1 values (got 0)"),
        ("cnn", {"padding": "same", "kernel_size": 4}, "padding: same needs an odd kernel_size, such as 5"),
        ("cnn", {"pool": 0}, "pool: must be at least 1 (got 0)"),
        ("text_cnn", {"widths": [3, "4"]}, "widths.1: must be a whole number (got '4')"),
        ("lstm", {"dropout": -0.1}, "dropout: must be at least 0 (got -0.1)"),
        ("gru", {"bidirectional": 1}, "bidirectional: must be true or false (got 1)"),
        ("transformer", {"num_heads": 3}, "num_heads: must divide embed_size (got 3 for 32)"),
        ("transformer", {"embed_size": 33}, "num_heads: must divide embed_size (got 2 for 33)"),
        ("transformer", {"positions": "rotary"}, "positions: must be learned or sinusoidal (got rotary)"),
        ("persistence", {"horizon": 3}, "horizon: there is no such parameter; there is: nothing"),
    ],
)
def test_each_fault_is_said(name: str, params: dict[str, Any], said: str) -> None:
    (problem,) = params_problems("model.params", MODELS[name].params, params)
    assert ": ".join(problem) == f"model.params.{said}"


@pytest.mark.parametrize("params", [{"kernel_size": 4}, {"padding": "same", "kernel_size": 5}])
def test_an_even_kernel_is_fine_without_padding(params: dict[str, Any]) -> None:
    assert not list(params_problems("model.params", MODELS["cnn"].params, params))


def test_every_parameter_is_described_and_has_a_default() -> None:
    for entry in MODELS.values():
        for name, field in entry.params.model_fields.items():
            assert field.description, (entry.name, name)
            assert not field.is_required(), (entry.name, name)
