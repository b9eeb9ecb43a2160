"""The LSTM is torch's own with a head, and a misfit is said in words."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dlcluster.errors import ComponentError
from dlcluster.models.catalog import Shapes, make_model
from dlcluster.models.named import look_up
from dlcluster.models.recurrent import LSTM


@pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (2, False), (1, True), (2, True)])
def test_it_predicts_from_the_last_hidden_state(layers: int, bidirectional: bool) -> None:
    model = LSTM(
        hidden_size=5, num_layers=layers, bidirectional=bidirectional, input_shape=(7, 3), output_shape=(4, 2)
    ).eval()
    x = torch.randn(6, 7, 3)
    outputs, _ = model.lstm(x)  # (batch, window, directions * hidden)
    last = outputs[:, -1, :5]
    if bidirectional:
        last = torch.cat([last, outputs[:, 0, 5:]], dim=1)  # the backward direction ends at the first step
    expected = model.head(last).reshape(6, 4, 2)
    torch.testing.assert_close(model(x), expected)


def test_its_size_is_that_of_the_textbook() -> None:
    model = make_model("lstm", {"hidden_size": 50}, Shapes((10, 1), (1, 1)))
    # four gates of (inputs + hidden + two biases) times 50, and a head of 50 + 1
    assert sum(parameter.numel() for parameter in model.parameters()) == 4 * 50 * (1 + 50 + 2) + 51


def test_a_model_that_cannot_be_made_says_why() -> None:
    with pytest.raises(ComponentError) as caught:
        make_model("lstm", {"hidden_size": 4}, Shapes((3,), (1,)))
    assert "lstm reads series (window, channels), " in str(caught.value)
    assert "the data has (3,), the shape of tables" in str(caught.value)


def test_names_are_looked_up_without_an_import(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text("raise RuntimeError('imported')\nclass Net: ...\nOTHER = 1\n")
    (tmp_path / "broken.py").write_text("class Net:\n  def\n")
    (tmp_path / "star.py").write_text("from nets import *\n")
    assert look_up("nets:Net", tmp_path) is None
    assert look_up("nets:OTHER", tmp_path) is None
    assert look_up("star:Anything", tmp_path) is None
    assert look_up("json:dumps", tmp_path) is None
    assert look_up("nets:Nett", tmp_path) == "nets has no 'Nett'; did you mean Net? (there is: Net, OTHER)"
    assert (
        look_up("net:Net", tmp_path)
        == "no module 'net' in the folder you submit from; did you mean nets? (there is: broken, nets, star)"
    )
    assert look_up("broken:Net", tmp_path) == "broken.py:2 is not valid Python: invalid syntax"
    assert look_up("nets:", tmp_path) == "must look like package.module:thing (got 'nets:')"
