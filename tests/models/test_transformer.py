"""The transformer is torch's encoder layer with weights of the same names' meaning, and a language model looks back."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlcluster.models.catalog import Shapes, make_model
from dlcluster.models.transformer import Block, sinusoids

SERIES = Shapes((12, 3), (4, 3))
LANGUAGE = Shapes((16,), (16, 11), num_tokens=11)


def made(shapes: Shapes, **params: Any) -> Any:
    torch.manual_seed(0)
    return make_model("transformer", params, shapes).eval()


def torchs(block: Any, heads: int) -> nn.TransformerEncoderLayer:
    """torch's own layer with the weights of ours."""
    size, feedforward = block.attention.out.in_features, block.feedforward[0].out_features
    layer = nn.TransformerEncoderLayer(
        size, heads, feedforward, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    attention = layer.self_attn
    assert attention.in_proj_weight is not None
    pairs = {
        attention.in_proj_weight: block.attention.qkv.weight,
        attention.in_proj_bias: block.attention.qkv.bias,
        **dict(zip(attention.out_proj.parameters(), block.attention.out.parameters(), strict=True)),
        **dict(zip(layer.linear1.parameters(), block.feedforward[0].parameters(), strict=True)),
        **dict(zip(layer.linear2.parameters(), block.feedforward[2].parameters(), strict=True)),
        **dict(zip(layer.norm1.parameters(), block.attention_norm.parameters(), strict=True)),
        **dict(zip(layer.norm2.parameters(), block.feedforward_norm.parameters(), strict=True)),
    }
    for theirs, mine in pairs.items():
        theirs.data = mine.data
    return layer.eval()


def shaken(model: nn.Module) -> None:
    """Norms and biases begin as 1 and 0, which would hide that one is not used."""
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)


@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize("causal", [False, True])
def test_a_block_is_torchs_encoder_layer(heads: int, causal: bool) -> None:
    torch.manual_seed(0)
    block = Block(8, heads, 20, 0.0, causal=causal)
    shaken(block)
    reference, x = torchs(block, heads), torch.randn(3, 6, 8)
    mask = nn.Transformer.generate_square_subsequent_mask(6) if causal else None
    with torch.enable_grad():  # with gradients torch takes no short cut of its own
        torch.testing.assert_close(block(x, None), reference(x, src_mask=mask, is_causal=causal))


def test_a_block_leaves_out_padding_as_torchs_does() -> None:
    torch.manual_seed(0)
    block, x = Block(8, 2, 20, 0.0, causal=False), torch.randn(3, 6, 8)
    shaken(block)
    real = torch.arange(6) < torch.tensor([6, 2, 4])[:, None]
    expected = torchs(block, 2)(x, src_key_padding_mask=~real)
    torch.testing.assert_close(block(x, real[:, None, None])[real], expected[real])


def encoded(model: Any, steps: Tensor, heads: int) -> Tensor:
    """The blocks by torch's layers."""
    for block in model.blocks:
        steps = torchs(block, heads)(steps)
    normed: Tensor = model.norm(steps)
    return normed


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
def test_a_series_is_predicted_from_all_its_steps(positions: str) -> None:
    model = made(SERIES, num_layers=2, positions=positions)
    shaken(model)
    places = model.positions.weight if positions == "learned" else sinusoids(12, 32)
    x = torch.randn(5, 12, 3)
    steps = encoded(model, model.embedding(x) + places, 2)
    torch.testing.assert_close(model(x), model.head(steps.flatten(1)).view(5, 4, 3))


def test_a_picture_is_predicted_from_the_mean_of_its_rows() -> None:
    model = made(Shapes((3, 5, 4), (10,)))
    shaken(model)
    x = torch.randn(2, 3, 5, 4)
    rows = torch.stack([x[:, :, row].flatten(1) for row in range(5)], dim=1)
    steps = encoded(model, model.embedding(rows) + model.positions.weight, 2)
    torch.testing.assert_close(model(x), model.head(steps.mean(dim=1)))


def test_a_text_is_predicted_from_the_mean_of_its_real_tokens() -> None:
    model = made(Shapes((9,), (2,), num_tokens=20), num_layers=2)
    shaken(model)
    texts = [torch.randint(1, 20, (length,)) for length in (9, 1, 4, 8)]
    expected = []
    for text in texts:
        steps = encoded(model, model.embedding(text[None]) + model.positions.weight[: len(text)], 2)
        expected.append(model.head(steps.mean(dim=1)))
    torch.testing.assert_close(model(nn.utils.rnn.pad_sequence(texts, batch_first=True)), torch.cat(expected))


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
def test_a_language_model_never_looks_ahead(positions: str) -> None:
    model = made(LANGUAGE, num_layers=2, positions=positions)
    shaken(model)
    x = torch.randint(0, 11, (3, 16))
    prediction = model(x)
    for place in range(16):
        changed = x.clone()
        changed[:, place] = (x[:, place] + 1) % 11
        differs = ((model(changed) - prediction).abs() > 1e-6).any(dim=2).any(dim=0)
        assert differs.tolist() == [later >= place for later in range(16)]
    torch.testing.assert_close(model(x[:, :5]), prediction[:, :5])  # a shorter block, as when text is made


def test_an_encoder_looks_both_ways_and_knows_the_order() -> None:
    model, x = made(SERIES), torch.randn(1, 12, 3)
    first = model.blocks[0](model.embedding(x), None)
    last_changed = x.clone()
    last_changed[:, -1] += 1
    assert (model.blocks[0](model.embedding(last_changed), None) - first).abs().amax(dim=2).gt(1e-6).all()
    text = made(Shapes((3,), (2,), num_tokens=9))
    assert not torch.allclose(text(torch.tensor([[1, 2, 3]])), text(torch.tensor([[3, 2, 1]])))


def test_sinusoids_are_vaswanis() -> None:
    steps, size = 7, 6
    expected = [
        [
            (math.sin if place % 2 == 0 else math.cos)(step / 10_000 ** (2 * (place // 2) / size))
            for place in range(size)
        ]
        for step in range(steps)
    ]
    torch.testing.assert_close(sinusoids(steps, size), torch.tensor(expected))
    torch.testing.assert_close(sinusoids(steps, 5), sinusoids(steps, 5)[:, :5])
    assert sinusoids(steps, 5).shape == (7, 5)
    assert "places" not in made(SERIES, positions="sinusoidal").state_dict()


def test_a_language_model_begins_as_gpt2() -> None:
    model = made(
        Shapes((64,), (64, 65), num_tokens=65), embed_size=128, num_heads=4, feedforward_size=512, num_layers=4
    )
    spread = {name: parameter.std().item() for name, parameter in model.named_parameters() if parameter.dim() == 2}
    adding = 0.02 / math.sqrt(2 * 4)
    for name, found in spread.items():
        expected = adding if name.endswith(("attention.out.weight", "feedforward.2.weight")) else 0.02
        assert found == pytest.approx(expected, rel=0.05), name
    assert not any(p.any() for name, p in model.named_parameters() if name.endswith("bias"))
    logits = model(torch.randint(0, 65, (8, 64)))
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), torch.randint(0, 65, (8 * 64,)))
    assert loss.item() == pytest.approx(math.log(65), abs=0.05)  # it begins by knowing nothing


def test_dropout_acts_in_training_alone() -> None:
    model, x = made(SERIES, dropout=0.5), torch.randn(2, 12, 3)
    torch.testing.assert_close(model(x), model(x), atol=0, rtol=0)
    torch.testing.assert_close(model(x), made(SERIES)(x), atol=0, rtol=0)
    model.train()
    assert not torch.equal(model(x), model(x))
    # of the attention weights alone
    attention = model.blocks[0].attention
    assert not torch.equal(attention(x @ torch.ones(3, 32), None), attention(x @ torch.ones(3, 32), None))
