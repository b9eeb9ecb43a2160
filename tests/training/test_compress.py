"""Pruning takes the smallest weights, eight bits keep the rest close by, and what both cost is told as it is."""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys
import zlib
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from dlcluster.errors import ComponentError
from dlcluster.models.recurrent import LSTM
from dlcluster.training.compress import (
    Comparison,
    Measured,
    compare,
    left_as_they_were,
    load_quantized,
    prune_magnitude,
    quantize_int8,
    stored_weights,
)
from dlcluster.training.export import same_bits


def make_mixed() -> nn.Sequential:
    """Every kind of layer, over texts of 12 tokens."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Embedding(20, 8),
        nn.Conv1d(12, 6, 3),
        nn.BatchNorm1d(6),
        nn.Flatten(),
        nn.Linear(36, 16),
        nn.ReLU(),
        nn.Linear(16, 3),
    )


def make_lstm() -> LSTM:
    return LSTM(hidden_size=6, num_layers=2, bidirectional=True, input_shape=(7, 3), output_shape=(4,))


TOKENS = torch.arange(60).reshape(5, 12) % 20
PRUNED = {"1.weight", "4.weight", "6.weight"}


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_the_smallest_weights_of_all_layers_together_become_zero(share: float) -> None:
    model = make_mixed()
    before = copy.deepcopy(model.state_dict())
    pruned = prune_magnitude(model, share)
    assert all(same_bits(value, before[name]) for name, value in model.state_dict().items())
    magnitudes = torch.cat([before[name].abs().flatten() for name in PRUNED]).sort().values
    cut = round(share * len(magnitudes))
    threshold = magnitudes[cut - 1] if cut else -1.0
    assert set(pruned.state_dict()) == set(before)
    for name, value in pruned.state_dict().items():
        kept = before[name]
        torch.testing.assert_close(value, torch.where(kept.abs() > threshold, kept, 0) if name in PRUNED else kept)
    assert [type(each) for each in pruned.parameters()] == [nn.Parameter] * len(list(model.parameters()))


def test_a_pruned_lstm_is_the_lstm_with_those_weights() -> None:
    torch.manual_seed(0)
    model, x = make_lstm().eval(), torch.randn(5, 7, 3)
    pruned = prune_magnitude(model, 0.5)
    weights = [value for name, value in pruned.named_parameters() if "weight" in name]
    assert len(weights) == 9  # two layers in both directions, of inputs and of states, and the head
    zeros, count = sum(int((value == 0).sum()) for value in weights), sum(value.numel() for value in weights)
    assert zeros == round(0.5 * count)
    assert not any((value == 0).any() for name, value in pruned.named_parameters() if "bias" in name)
    fresh = make_lstm().eval()
    fresh.load_state_dict(pruned.state_dict())
    assert torch.equal(pruned(x), fresh(x))
    assert not torch.equal(pruned(x), model(x))


def test_shared_weights_stay_shared_and_are_counted_once() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4, bias=False))
    model.get_submodule("1").register_parameter("weight", model.get_parameter("0.weight"))
    pruned = prune_magnitude(model, 0.25)
    first, second, third = (pruned.get_parameter(f"{number}.weight") for number in range(3))
    assert first is second
    assert int((first == 0).sum() + (third == 0).sum()) == 8


def test_a_weight_worked_out_from_another_is_pruned_there() -> None:
    pruned = prune_magnitude(nn.Sequential(spectral_norm(nn.Linear(8, 8))), 0.5)
    layer = pruned.get_submodule("0")
    assert isinstance(layer.weight, Tensor)
    assert int((layer.weight == 0).sum()) == 32


def test_attention_is_pruned_whole() -> None:
    pruned = prune_magnitude(nn.MultiheadAttention(8, 2), 0.5)
    zeros = {name: int((value == 0).sum()) for name, value in pruned.named_parameters() if "weight" in name}
    assert sum(zeros.values()) == (192 + 64) // 2
    assert all(zeros.values())


@pytest.mark.parametrize("activations", [False, True])
def test_eight_bits_are_within_half_a_step_of_each_weight(activations: bool) -> None:
    model = make_mixed().eval()
    before = copy.deepcopy(model.state_dict())
    small = quantize_int8(model, activations=activations)
    assert all(same_bits(value, before[name]) for name, value in model.state_dict().items())
    for name in ("4", "6"):
        weight, kept = before[f"{name}.weight"], dense_weight(small, name)
        step = weight.abs().amax(dim=1, keepdim=True) / 127.5
        assert ((kept - weight).abs() <= step * 0.51).all()
        assert all(len(row.unique()) > 8 for row in kept)
    assert left_as_they_were(small) == ["0 (Embedding)", "1 (Conv1d)"]
    others = {name: value for name, value in small.state_dict().items() if name not in ("4.weight", "6.weight")}
    assert all(same_bits(value, before[name]) for name, value in others.items())
    torch.testing.assert_close(small(TOKENS), model(TOKENS), rtol=0, atol=0.02)
    hidden = F.linear(model[:4](TOKENS), dense_weight(small, "4"), before["4.bias"]).relu()
    expected = F.linear(hidden, dense_weight(small, "6"), before["6.bias"])
    # The rounding of what the layers read comes on top.
    torch.testing.assert_close(small(TOKENS), expected, rtol=0, atol=0.02 if activations else 1e-5)


def dense_weight(model: nn.Module, name: str) -> Tensor:
    """A weight of 8 bits as the numbers it stands for."""
    weight: Any = model.get_parameter(f"{name}.weight")
    widened: Tensor = weight.dequantize()
    return widened


def test_an_lstm_keeps_its_32_bits_and_says_so() -> None:
    torch.manual_seed(0)
    model = make_lstm()
    small = quantize_int8(model)
    assert left_as_they_were(small) == ["lstm (LSTM)"]
    torch.testing.assert_close(small(torch.ones(2, 7, 3)), model.eval()(torch.ones(2, 7, 3)), rtol=0, atol=0.01)


@pytest.mark.parametrize("activations", [False, True])
def test_eight_bits_are_stored_and_read_again(activations: bool) -> None:
    small = quantize_int8(make_mixed(), activations=activations)
    stored = stored_weights(small)
    torch.manual_seed(9)
    again = load_quantized(make_mixed(), stored)
    assert not again.training
    assert torch.equal(again(TOKENS), small(TOKENS))
    assert left_as_they_were(again) == left_as_they_were(small)


def test_plain_weights_are_stored_as_safetensors() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model.get_submodule("1").register_parameter("weight", model.get_parameter("0.weight"))
    assert all(same_bits(value, model.state_dict()[name]) for name, value in load(stored_weights(model)).items())


def test_eight_bits_take_a_quarter_of_the_place_and_zeros_none_when_zipped() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 2)).eval()
    x = torch.randn(4, 256)

    def evaluate(each: nn.Module) -> dict[str, float]:
        assert not each.training
        return {"test_loss": each(x).square().mean().item()}

    model.train()
    pruned, small = prune_magnitude(model, 0.9), quantize_int8(model)
    size, zipped = len(save(model.state_dict())), len(zlib.compress(save(model.state_dict())))
    both = [compare(model, changed, evaluate, x) for changed in (pruned, small)]
    for changed, found, zeros in zip((pruned, small), both, (0.9, 0.0), strict=True):
        assert model.training
        model.eval()
        assert found.before.metrics == evaluate(model)
        assert found.after.metrics == evaluate(changed.eval())
        model.train()
        assert (found.before.zeros, found.before.stored_bytes, found.before.zipped_bytes) == (0.0, size, zipped)
        assert found.after.zeros == pytest.approx(zeros, abs=0.01)
        assert (found.before.batch_size, found.after.batch_size) == (4, 4)
        times = [found.before.one_milliseconds, found.before.batch_milliseconds, found.after.batch_milliseconds]
        assert all(0 < each < 1000 for each in times)
    pruned_cost, small_cost = (found.after for found in both)
    assert pruned_cost.stored_bytes == size
    assert pruned_cost.zipped_bytes < 0.25 * zipped
    assert 0.25 * size < small_cost.stored_bytes < 0.3 * size


def test_larger_batches_and_slower_models_take_longer() -> None:
    torch.manual_seed(0)
    slow, quick = (nn.Sequential(nn.Linear(64, size), nn.ReLU(), nn.Linear(size, 1)) for size in (4096, 1))
    found = compare(slow, quick, lambda _: {}, torch.randn(512, 64))
    assert found.before.batch_milliseconds > 3 * found.before.one_milliseconds
    assert found.before.batch_milliseconds > 3 * found.after.batch_milliseconds


def test_a_comparison_is_told_in_words() -> None:
    before = Measured({"test_accuracy": 0.9912, "test_loss": 0.031}, 0.0, 488_344, 443_517, 0.191, 4.46, 64)
    after = Measured({"test_accuracy": 0.9908, "test_loss": 0.0312}, 0.8, 488_344, 135_493, 0.1921, 4.5, 64)
    assert Comparison(before, after).words == [
        "test_accuracy 0.9912 -> 0.9908",
        "test_loss 0.031 -> 0.0312",
        "zero weights 0.0% -> 80.0%",
        "stored weights 488,344 -> 488,344 bytes, zipped 443,517 -> 135,493",
        "one sample 0.191 -> 0.192 ms, 64 samples 4.46 -> 4.5 ms",
    ]


def test_torchao_is_loaded_only_when_asked_for_and_without_a_word() -> None:
    script = (
        "import sys, torch, dlcluster.training.compress as compress\n"
        "assert 'torchao' not in sys.modules\n"
        "compress.prune_magnitude(torch.nn.Linear(2, 2), 0.5)\n"
        "assert 'torchao' not in sys.modules\n"
        "compress.quantize_int8(torch.nn.Linear(2, 2))\n"
        "assert 'torchao' in sys.modules\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_what_cannot_be_done_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def words(caught: pytest.ExceptionInfo[ComponentError]) -> str:
        return str(caught.value)

    with pytest.raises(ComponentError) as caught:
        prune_magnitude(make_mixed(), 1.0)
    assert words(caught) == "export.prune: must be a share from 0 to below 1 (got 1)"
    with pytest.raises(ComponentError) as caught:
        prune_magnitude(nn.Embedding(3, 3), 0.5)
    assert words(caught) == "export.prune: the model has no dense, convolutional or recurrent layers to prune"
    with pytest.raises(ComponentError) as caught:
        quantize_int8(nn.Conv1d(3, 3, 1))
    assert words(caught) == (
        "export.quantize: the model has no dense layers (nn.Linear), which alone are quantised\nRemove export.quantize."
    )
    with pytest.raises(ComponentError) as caught:
        load_quantized(nn.Linear(5, 5), stored_weights(quantize_int8(nn.Linear(5, 4))))
    assert words(caught).startswith("the quantised weights cannot be loaded: RuntimeError: Error(s) in loading")
    monkeypatch.setitem(sys.modules, "torchao", None)
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(ComponentError) as caught:
        quantize_int8(make_mixed())
    assert words(caught) == (
        "export.quantize: torchao cannot be imported: import of torchao.quantization halted; None in sys.modules\n"
        "Install it where the job runs (pip install torchao), or remove export.quantize."
    )


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("run",)


def test_nothing_but_tensors_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    buffer = io.BytesIO()
    torch.save({"weight": Evil()}, buffer)
    for data in (buffer.getvalue(), pickle.dumps(Evil())):
        with pytest.raises(ComponentError) as caught:
            load_quantized(nn.Linear(2, 2), data)
        assert str(caught.value).startswith("the quantised weights cannot be loaded: UnpicklingError: ")
    assert capsys.readouterr().out == ""
