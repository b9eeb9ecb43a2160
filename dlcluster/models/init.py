"""Other weights to begin with than those torch gives each layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

Initialiser: TypeAlias = Literal["xavier", "kaiming", "orthogonal"]


def _kaiming(weight: Tensor) -> Tensor:
    return nn.init.kaiming_normal_(weight, nonlinearity="relu")


_INITIALISERS: Mapping[Initialiser, Callable[[Tensor], Tensor]] = {
    "xavier": nn.init.xavier_uniform_,
    "kaiming": _kaiming,
    "orthogonal": nn.init.orthogonal_,
}
_GATES: Mapping[type[nn.Module], int] = {nn.RNN: 1, nn.LSTM: 4, nn.GRU: 3}
_FORGET = 1
"""Which of an LSTM's gates forgets: torch stacks input, forget, cell, output."""


@torch.no_grad()
def initialise(model: nn.Module, name: Initialiser) -> None:
    """Draws a model's weights anew, from torch's global generator.

    Weights with two dimensions or more are drawn, those of a recurrent layer gate by gate; biases become 0, but the
    forget gate of an LSTM begins open with 1 (Jozefowicz, Zaremba & Sutskever 2015, An Empirical Exploration of
    Recurrent Network Architectures). Embeddings, and the scales of normalising layers, stay as they are.

    Args:
        model: Changed in place.
        name: ``xavier``: uniform, by inputs and outputs (Glorot & Bengio 2010, Understanding the difficulty of
            training deep feedforward neural networks); ``kaiming``: normal, by inputs, for ReLU (He et al. 2015,
            Delving Deep into Rectifiers); ``orthogonal`` (Saxe, McClelland & Ganguli 2014, Exact solutions to the
            nonlinear dynamics of learning in deep linear neural networks).
    """
    draw = _INITIALISERS[name]
    for module in model.modules():
        if isinstance(module, nn.Embedding | nn.EmbeddingBag):
            continue
        gates = next((count for kind, count in _GATES.items() if isinstance(module, kind)), 1)
        for key, parameter in module.named_parameters(recurse=False):
            if "bias" in key:
                parameter.zero_()
                if isinstance(module, nn.LSTM) and key.startswith("bias_ih"):
                    parameter.chunk(gates)[_FORGET].fill_(1.0)
            elif parameter.dim() >= 2 and parameter.numel():
                for gate in parameter.chunk(gates):
                    draw(gate)
