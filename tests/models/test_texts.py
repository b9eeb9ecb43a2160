"""What reads texts looks at real tokens alone: padding at the end changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from dlcluster.models.catalog import MODELS, Shapes, make_model

READERS = [entry.name for entry in MODELS.values() if "texts" in entry.reads]
TOKENS = 30


def made(name: str, length: int, **params: Any) -> Any:
    torch.manual_seed(0)
    return make_model(name, params, Shapes((length,), (2,), num_tokens=TOKENS)).eval()


def texts(length: int) -> Tensor:
    """Texts of 1 to ``length`` tokens, padded."""
    torch.manual_seed(1)
    tokens = torch.randint(1, TOKENS, (length, length))
    return tokens.tril()


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_more_padding_changes_no_prediction(name: str, bidirectional: bool) -> None:
    two_ways = name in ("rnn", "lstm", "gru")
    if bidirectional and not two_ways:
        return
    params: dict[str, Any] = {"bidirectional": bidirectional} if two_ways else {}
    params |= {"positions": "sinusoidal"} if name == "transformer" else {}  # the same weights for any length
    short, long = made(name, 8, **params), made(name, 15, **params)
    long.load_state_dict(short.state_dict())
    torch.testing.assert_close(long(F.pad(texts(8), (0, 7))), short(texts(8)))


@pytest.mark.parametrize("name", READERS)
def test_each_real_token_counts_and_padding_learns_nothing(name: str) -> None:
    model, x = made(name, 8), texts(8)
    prediction = model(x)
    for place in range(8):
        changed = x.clone()
        changed[:, place] = torch.where(x[:, place] > 0, x[:, place] % (TOKENS - 1) + 1, 0)
        if name == "text_cnn":  # the strongest answer may be another token's; with all filters some change
            changed_rows = (model(changed) != prediction).any(dim=1)[2:]
            assert changed_rows[max(place - 2, 0) :].all()
        else:
            assert (model(changed) != prediction).any(dim=1).tolist() == [row >= place for row in range(8)]
    prediction.sum().backward()
    gradient = model.embedding.weight.grad
    assert not gradient[0].any()
    assert gradient[[token for token in range(1, TOKENS) if token in x]].any(dim=1).all()


@pytest.mark.parametrize("name", READERS)
def test_embeddings_begin_small_and_padding_as_zeros(name: str) -> None:
    weight = made(name, 8).embedding.weight
    assert not weight[0].any()
    assert 0.24 < weight[1:].abs().max() <= 0.25


@pytest.mark.parametrize("name", READERS)
def test_a_text_without_a_token_is_predicted_too(name: str) -> None:
    prediction = made(name, 8)(torch.zeros(2, 8, dtype=torch.int64))
    assert prediction.isfinite().all()


def test_a_text_cnn_is_kims() -> None:
    """On texts without padding: convolution, ReLU, the maximum over time, side by side, a linear layer."""
    model = made("text_cnn", 12, widths=[2, 5], filters=7, embedding_size=6)
    x = torch.randint(1, TOKENS, (4, 12))
    embedded = model.embedding(x)
    pooled = []
    for convolution in model.convolutions:
        (width,) = convolution.kernel_size
        windows = embedded.unfold(1, width, 1).flatten(2)  # (batch, places, embedding * width)
        pooled.append((windows @ convolution.weight.flatten(1).T + convolution.bias).relu().amax(dim=1))
    torch.testing.assert_close(model(x), model.head(torch.cat(pooled, dim=1)))


@pytest.mark.parametrize("length", [1, 2, 4])
def test_texts_shorter_than_a_filter_are_seen_once(length: int) -> None:
    model = made("text_cnn", length)
    x = torch.randint(1, TOKENS, (3, length))
    embedded = F.pad(model.embedding(x), (0, 0, 0, 5 - length)).transpose(1, 2)
    pooled = [
        convolution(embedded)[:, :, : max(1, length - convolution.kernel_size[0] + 1)].amax(dim=2).relu()
        for convolution in model.convolutions
    ]
    torch.testing.assert_close(model(x), model.head(torch.cat(pooled, dim=1)))


def test_a_perceptron_reads_the_mean_of_a_texts_tokens() -> None:
    model = made("mlp", 8)
    bag = nn.EmbeddingBag(TOKENS, 64, mode="mean", padding_idx=0)
    bag.weight.data = model.embedding.weight.data
    x = texts(8)
    torch.testing.assert_close(model(x), model.layers(bag(x)))
