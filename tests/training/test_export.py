"""A program does what its model does, for batches of any size; weights that were stored make the same model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn

from dlcluster.models.catalog import MODELS, Shapes, make_model
from dlcluster.models.recurrent import LSTM
from dlcluster.training.export import Exported, check_weights, export_program, same_bits

TEXTS = Shapes((12,), (2,), num_classes=2, num_tokens=50)
CASES: list[tuple[str, dict[str, Any], Shapes]] = [
    ("lstm", {"hidden_size": 5}, Shapes((10, 2), (4, 2))),
    ("lstm", {"hidden_size": 5, "dropout": 0.5, "bidirectional": True}, Shapes((10, 2), (4, 2))),
    ("gru", {}, TEXTS),
    ("mlp", {"batch_norm": True}, Shapes((13,), (3,), num_classes=3)),
    ("cnn", {"batch_norm": True, "dropout": 0.5}, Shapes((1, 12, 12), (10,), num_classes=10)),
    ("text_cnn", {"filters": 4}, TEXTS),
    ("transformer", {}, Shapes((12,), (12, 50), num_tokens=50)),
    ("gan", {"variant": "convolutional", "width": 2}, Shapes((1, 8, 8), (1, 8, 8))),
]


def batch_for(model: nn.Module, shapes: Shapes, size: int) -> Tensor:
    if shapes.num_tokens is not None:
        return torch.randint(1, shapes.num_tokens, (size, *shapes.input_shape))
    return torch.randn(size, *([model.latent_size] if hasattr(model, "latent_size") else shapes.input_shape))


@pytest.mark.parametrize(("name", "params", "shapes"), CASES, ids=[f"{case[0]}-{i}" for i, case in enumerate(CASES)])
def test_a_program_is_its_model_for_batches_of_any_size(
    name: str, params: dict[str, Any], shapes: Shapes, tmp_path: Path
) -> None:
    if name not in MODELS:
        pytest.skip(f"there is no {name} yet")
    torch.manual_seed(0)
    model = make_model(name, params, shapes)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    exported = export_program(model, batch_for(model, shapes, 1))
    assert exported.program is not None, exported.words
    assert exported.words == f"exported: {len(exported.program):,} bytes, outputs differ by at most 0"
    assert model.training
    assert all(same_bits(before[key], value) for key, value in model.state_dict().items())
    (tmp_path / "model.pt2").write_bytes(exported.program)
    program = torch.export.load(tmp_path / "model.pt2").module()
    model.eval()
    for size in (1, 2, 7):
        x = batch_for(model, shapes, size)
        with torch.no_grad():
            torch.testing.assert_close(program(x), model(x))


class Branch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Slice(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, : int(x.abs().sum()) % 4]


class Length(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / torch.ones(len(x), 1)


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


class Outside(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(x.numpy() * 2)


class Counter(nn.Module):
    """Does something else each time; a program has the first."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * 0.5**self.calls


class Noise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x)


VALUES = (
    "what its forward does depends on the values in a tensor (an if, a loop or a slice by them), "
    "which a program cannot follow; torch.where and torch.cond can"
)
SIZE = (
    "its forward takes the size of the batch for a fixed number (as len(x) does, where x.shape[0] does not), "
    "and a program is made for batches of any size"
)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Branch(), VALUES),
        (Slice(), VALUES),
        (Length(), SIZE),
        (Pair(), "its forward returns a tuple, not one tensor"),
        (Outside(), "RuntimeError: .numpy() is not supported for tensor subclasses."),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, nn.Module) else "",
)
def test_what_cannot_be_exported_is_said_in_words(
    model: nn.Module, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    exported = export_program(model, torch.randn(5, 4))
    assert exported == Exported(reason=reason)
    assert exported.words == f"not exported: {reason}"
    assert capfd.readouterr() == ("", "")


def test_a_program_that_does_something_else_is_not_kept() -> None:
    exported = export_program(Counter(), torch.ones(5, 4))
    assert exported.program is None
    assert exported.reason == "the program's outputs differ from the model's by up to 0.38"
    assert exported.max_difference == 0.375  # the third call against the first


def test_a_model_that_draws_numbers_is_compared_with_the_same_ones() -> None:
    state = torch.get_rng_state()
    assert export_program(Noise(), torch.ones(5, 4)).program is not None
    assert torch.equal(torch.get_rng_state(), state)


def make_lstm() -> LSTM:
    return LSTM(hidden_size=5, dropout=0.5, input_shape=(7, 3), output_shape=(4,))


def test_stored_weights_make_the_same_model() -> None:
    model, x = make_lstm(), torch.randn(6, 7, 3)
    model.head.bias.data[0] = float("nan")
    assert check_weights(model, make_lstm, save(model.state_dict()), x) is None
    assert model.training


def test_weights_that_are_not_the_models_are_named() -> None:
    model, x = make_lstm(), torch.randn(6, 7, 3)
    stored = save(model.state_dict())
    with torch.no_grad():
        model.head.bias[1] = torch.nextafter(model.head.bias[1], torch.tensor(9.0))
    assert check_weights(model, make_lstm, stored, x) == "the stored weights are others than the model's: head.bias"
    assert check_weights(model, lambda: nn.Linear(2, 1), save(nn.Linear(3, 1).state_dict()), x) == (
        "the stored weights do not fit the model: Error(s) in loading state_dict for Linear: size mismatch for "
        "weight: copying a param with shape torch.Size([1, 3]) from checkpoint, the shape in current model is "
        "torch.Size([1, 2])."
    )
    wrong = check_weights(model, make_lstm, stored[: len(stored) // 2], x)
    assert wrong is not None
    assert wrong.startswith("the stored weights cannot be read: ")  # the rest is in safetensors' words


class Scaled(nn.Module):
    """Keeps what it learnt where no state_dict sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(3, 2)
        self.scale = 1.0

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.dense(x) * self.scale
        return output


def test_numbers_kept_outside_the_weights_are_found() -> None:
    model, x = Scaled(), torch.randn(6, 3)
    assert check_weights(model, Scaled, save(model.state_dict()), x) is None
    model.scale = 2.0
    assert check_weights(model, Scaled, save(model.state_dict()), x) == (
        "the stored weights are the model's, but its output with them is another: it keeps numbers that are "
        "neither parameters nor buffers (use register_buffer)"
    )


def test_bits_are_compared_not_values() -> None:
    nan = torch.tensor([float("nan"), 1.0])
    assert same_bits(nan, nan.clone())
    assert same_bits(torch.tensor(3), torch.tensor(3))
    assert not same_bits(torch.tensor([0.0]), torch.tensor([-0.0]))
    assert not same_bits(torch.tensor([0.0]), torch.tensor([0], dtype=torch.int32))
    assert not same_bits(torch.zeros(2, 3), torch.zeros(3, 2))
    assert same_bits(torch.arange(6).reshape(2, 3).T, torch.arange(6).reshape(2, 3).T.contiguous())
