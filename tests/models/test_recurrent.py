"""Recurrent networks are torch's own with a head, whatever they read."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlcluster.errors import ComponentError
from dlcluster.models.catalog import Shapes, make_model

CELLS: dict[str, type[nn.RNN | nn.LSTM | nn.GRU]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
names = pytest.mark.parametrize("name", CELLS)


def made(name: str, shapes: Shapes, **params: Any) -> Any:
    torch.manual_seed(0)
    return make_model(name, params, shapes).eval()


def last_state(cell: Any, steps: Tensor) -> Tensor:
    """Both directions' last layer after all steps, by the documented layout of h_n."""
    _, state = cell(steps)
    hidden = state[0] if isinstance(state, tuple) else state
    directions = 2 if cell.bidirectional else 1
    by_layer = hidden.view(cell.num_layers, directions, len(steps), cell.hidden_size)
    last: Tensor = by_layer[-1].transpose(0, 1).flatten(1)
    return last


@names
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_series_is_torchs_last_state_and_a_head(name: str, layers: int, bidirectional: bool) -> None:
    params = {"hidden_size": 5, "num_layers": layers, "bidirectional": bidirectional}
    model = made(name, Shapes((7, 3), (4, 2)), **params)
    cell = CELLS[name](3, 5, layers, batch_first=True, bidirectional=bidirectional)
    cell.load_state_dict(getattr(model, name).state_dict())
    x = torch.randn(6, 7, 3)
    torch.testing.assert_close(model(x), model.head(last_state(cell, x)).view(6, 4, 2))


def test_the_weights_of_earlier_lstms_still_fit() -> None:
    keys = ["lstm.weight_ih_l0", "lstm.weight_hh_l0", "lstm.bias_ih_l0", "lstm.bias_hh_l0", "head.weight", "head.bias"]
    model = made("lstm", Shapes((7, 3), (4, 2)))
    assert list(model.state_dict()) == keys
    torch.manual_seed(0)
    drawn = [*nn.LSTM(3, 50, batch_first=True).parameters(), *nn.Linear(50, 8).parameters()]  # in this order
    for mine, theirs in zip(model.parameters(), drawn, strict=True):
        torch.testing.assert_close(mine, theirs, atol=0, rtol=0)


@names
def test_a_picture_is_read_row_by_row(name: str) -> None:
    model = made(name, Shapes((3, 5, 4), (10,)))
    x = torch.randn(2, 3, 5, 4)
    rows = torch.stack([x[:, :, row].flatten(1) for row in range(5)], dim=1)  # (2, 5, 12)
    torch.testing.assert_close(model(x), model.head(last_state(getattr(model, name), rows)))


@names
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_text_is_read_to_its_last_real_token(name: str, layers: int, bidirectional: bool) -> None:
    model = made(name, Shapes((9,), (2,), num_tokens=20), num_layers=layers, bidirectional=bidirectional)
    texts = [torch.randint(1, 20, (length,)) for length in (9, 1, 4, 8)]
    padded = nn.utils.rnn.pad_sequence(texts, batch_first=True)
    alone = [last_state(getattr(model, name), model.embedding(text[None])) for text in texts]
    torch.testing.assert_close(model(padded), model.head(torch.cat(alone)))


@names
def test_in_running_text_every_token_predicts_from_what_came_before(name: str) -> None:
    model = made(name, Shapes((8,), (8, 11), num_tokens=11), num_layers=2)
    x = torch.randint(0, 11, (3, 8))
    prediction = model(x)
    states, _ = getattr(model, name)(model.embedding(x))
    torch.testing.assert_close(prediction, model.head(states))
    for place in range(8):
        changed = x.clone()
        changed[:, place] = (x[:, place] + 1) % 11
        differs = (model(changed) != prediction).any(dim=2).any(dim=0)
        assert differs.tolist() == [later >= place for later in range(8)]
    torch.testing.assert_close(model(x[:, :5]), prediction[:, :5])  # a shorter block, as when text is made


@names
def test_token_0_is_padding_in_texts_but_a_token_in_running_text(name: str) -> None:
    text = made(name, Shapes((8,), (2,), num_tokens=11))
    running = made(name, Shapes((8,), (8, 11), num_tokens=11))
    assert not text.embedding.weight[0].any()
    assert running.embedding.weight[0].any()


@names
def test_a_language_model_reads_in_one_direction(name: str) -> None:
    with pytest.raises(ComponentError) as caught:
        made(name, Shapes((8,), (8, 11), num_tokens=11), bidirectional=True)
    assert str(caught.value) == (
        "model.params.bidirectional: a language model must not read what it predicts\nLeave bidirectional out."
    )


@names
def test_dropout_is_between_layers_and_before_the_head(name: str) -> None:
    one, two = (made(name, Shapes((7, 3), (2,)), num_layers=layers, dropout=0.5) for layers in (1, 2))
    assert (getattr(one, name).dropout, getattr(two, name).dropout, one.dropout.p) == (0.0, 0.5, 0.5)
    x = torch.randn(2, 7, 3)
    one.train()
    torch.manual_seed(1)
    dropped = one(x)
    torch.manual_seed(1)
    torch.testing.assert_close(dropped, one.head(nn.functional.dropout(last_state(getattr(one, name), x), 0.5)))
