"""Every family reads what the catalogue says it reads, has the textbook's size, and refuses the rest in words."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlcluster.errors import ComponentError
from dlcluster.models.catalog import MODELS, Reads, Shapes, make_model, reads_of

SERIES = Shapes((12, 3), (4, 3))
SHAPES: dict[Reads, list[Shapes]] = {
    "tables": [Shapes((13,), (3,), num_classes=3), Shapes((5,), ()), Shapes((5,), (2,))],
    "series": [SERIES, Shapes((12, 3), (4, 1)), Shapes((12, 3), (5,), num_classes=5)],
    "pictures": [Shapes((1, 28, 28), (10,), num_classes=10), Shapes((3, 14, 20), ())],
    "texts": [Shapes((9,), (2,), num_classes=2, num_tokens=30), Shapes((2,), (), num_tokens=30)],
    "running text": [Shapes((8,), (8, 11), num_tokens=11)],
    "other arrays": [Shapes((2, 3, 4, 5), (2,)), Shapes((), ())],
}
PREDICTING = [entry for entry in MODELS.values() if not entry.generates]


def sample(shapes: Shapes, batch: int = 4) -> Tensor:
    if shapes.num_tokens is None:
        return torch.randn(batch, *shapes.input_shape)
    return torch.randint(1, shapes.num_tokens, (batch, *shapes.input_shape))


def size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def made(name: str, shapes: Shapes, **params: Any) -> nn.Module:
    torch.manual_seed(0)
    return make_model(name, params, shapes)


CASES = [
    pytest.param(entry.name, shapes, id=f"{entry.name}-{kind}-{number}")
    for entry in PREDICTING
    for kind in entry.reads
    for number, shapes in enumerate(SHAPES[kind])
    if not (entry.name == "persistence" and shapes != SERIES)
]


@pytest.mark.parametrize(("name", "shapes"), CASES)
def test_it_predicts_the_shape_asked_for_and_learns_from_every_parameter(name: str, shapes: Shapes) -> None:
    model, x = made(name, shapes), sample(shapes)
    prediction = model(x)
    assert prediction.shape == (4, *shapes.output_shape)
    if name != "persistence":
        prediction.square().sum().backward()
        assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(("name", "shapes"), CASES)
def test_a_sample_is_predicted_the_same_in_any_batch(name: str, shapes: Shapes) -> None:
    model, x = made(name, shapes).eval(), sample(shapes)
    torch.testing.assert_close(model(x[2:3]), model(x)[2:3], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "kind"), [(entry.name, kind) for entry in PREDICTING for kind in SHAPES if kind not in entry.reads]
)
def test_what_it_cannot_read_is_refused(name: str, kind: Reads) -> None:
    shapes = SHAPES[kind][0]
    shown = f"{shapes.input_shape} to {shapes.output_shape}" if kind == "running text" else str(shapes.input_shape)
    with pytest.raises(ComponentError) as caught:
        made(name, shapes)
    assert caught.value.message.startswith(f"model {name} reads ")
    assert caught.value.message.endswith(f"; the data has {shown}, the shape of {kind}")
    assert caught.value.hint is not None
    fitting = caught.value.hint.removeprefix(f"For {kind}, model.name: ").removesuffix(".")
    assert {word for part in fitting.split(" or ") for word in part.split(", ")} == {
        entry.name for entry in PREDICTING if kind in entry.reads
    }


def test_the_words_of_a_refusal() -> None:
    with pytest.raises(ComponentError) as caught:
        made("lstm", SHAPES["tables"][0])
    assert str(caught.value) == (
        "model lstm reads series (window, channels), pictures (channels, height, width), texts (tokens,) and running "
        "text (block,) to the next tokens (block, num_tokens); the data has (13,), the shape of tables\n"
        "For tables, model.name: mlp."
    )


def test_shapes_tell_what_is_read() -> None:
    for kind, all_shapes in SHAPES.items():
        assert [reads_of(shapes) for shapes in all_shapes] == [kind] * len(all_shapes)


@pytest.mark.parametrize("entry", PREDICTING, ids=lambda entry: entry.name)
def test_its_typical_data_is_some_it_reads(entry: Any) -> None:
    assert reads_of(entry.typical) in entry.reads
    assert made(entry.name, entry.typical)(sample(entry.typical)).shape == (4, *entry.typical.output_shape)


@pytest.mark.parametrize("entry", PREDICTING, ids=lambda entry: entry.name)
def test_what_the_class_has_by_itself_is_what_the_catalogue_says(entry: Any) -> None:
    from dlcluster.models.catalog import model_class

    torch.manual_seed(0)
    tokens = {} if entry.typical.num_tokens is None else {"num_tokens": entry.typical.num_tokens}
    bare = model_class(entry.name)(
        input_shape=entry.typical.input_shape, output_shape=entry.typical.output_shape, **tokens
    )
    ours = made(entry.name, entry.typical)
    assert str(bare) == str(ours)
    torch.testing.assert_close(bare.state_dict(), ours.state_dict(), atol=0, rtol=0)


# Sizes, each by the formula of its layers.


def dense(*sizes: int) -> int:
    return sum((before + 1) * after for before, after in pairwise(sizes))


def test_sizes_of_multilayer_perceptrons() -> None:
    assert size(made("mlp", SHAPES["tables"][0])) == dense(13, 64, 64, 3)
    assert size(made("mlp", SERIES, hidden=[])) == dense(12 * 3, 4 * 3)
    assert size(made("mlp", SERIES, hidden=[], channel_independent=True)) == dense(12, 4)
    assert size(made("mlp", SHAPES["texts"][0], hidden=[7])) == 30 * 64 + dense(64, 7, 2)
    assert size(made("mlp", Shapes((13,), (3,)), hidden=[8], batch_norm=True)) == dense(13, 8, 3) + 2 * 8


def test_sizes_of_convolutional_networks() -> None:
    mnist = SHAPES["pictures"][0]
    assert size(made("cnn", mnist)) == (9 + 1) * 32 + (9 * 32 + 1) * 64 + dense(5 * 5 * 64, 64, 10) == 121_930
    # Chollet's net for cats and dogs, which has one output where this has two classes: 3,453,121 there
    cats = made("cnn", Shapes((3, 150, 150), (2,)), filters=[32, 64, 128, 128], dense=[512])
    blocks = (9 * 3 + 1) * 32 + (9 * 32 + 1) * 64 + (9 * 64 + 1) * 128 + (9 * 128 + 1) * 128
    assert size(cats) == blocks + dense(7 * 7 * 128, 512, 2) == 3_453_121 + 513
    assert size(made("cnn", mnist, padding="same")) == 320 + 18_496 + dense(7 * 7 * 64, 64, 10)
    assert size(made("cnn", mnist, pool=1, dense=[])) == 320 + 18_496 + dense(24 * 24 * 64, 10)
    assert size(made("cnn", SERIES, filters=[6], kernel_size=5, batch_norm=True)) == (
        (5 * 3 + 1) * 6 + 2 * 6 + dense(4 * 6, 64, 4 * 3)
    )


def test_sizes_of_networks_over_texts() -> None:
    text = Shapes((56,), (2,), num_tokens=1000)
    assert size(made("text_cnn", text)) == 128_000 + sum((128 * width + 1) * 100 for width in (3, 4, 5)) + dense(300, 2)
    lstm = 4 * 50 * (64 + 50 + 2)
    assert size(made("lstm", text)) == 64_000 + lstm + dense(50, 2)
    assert size(made("lstm", text, bidirectional=True)) == 64_000 + 2 * lstm + dense(100, 2)


@pytest.mark.parametrize(("name", "gates"), [("rnn", 1), ("lstm", 4), ("gru", 3)])
def test_sizes_of_recurrent_networks(name: str, gates: int) -> None:
    first, second = gates * 50 * (3 + 50 + 2), gates * 50 * (50 + 50 + 2)
    assert size(made(name, SERIES)) == first + dense(50, 12)
    assert size(made(name, SERIES, num_layers=2)) == first + second + dense(50, 12)
    assert size(made(name, SERIES, channel_independent=True)) == gates * 50 * (1 + 50 + 2) + dense(50, 4)
    assert size(made(name, SHAPES["pictures"][1])) == gates * 50 * (3 * 20 + 50 + 2) + dense(50, 1)
    assert size(made(name, SHAPES["running text"][0])) == 11 * 64 + gates * 50 * (64 + 50 + 2) + dense(50, 11)


def test_sizes_of_transformers() -> None:
    def block(embed: int, feedforward: int) -> int:
        return 4 * embed * (embed + 1) + dense(embed, feedforward, embed) + 4 * embed

    steps, norm = 12 * 32, 2 * 32
    assert size(made("transformer", SERIES)) == dense(3, 32) + steps + block(32, 32) + norm + dense(12 * 32, 12)
    assert size(made("transformer", SERIES, positions="sinusoidal")) == size(made("transformer", SERIES)) - steps
    small_gpt = {"embed_size": 128, "num_heads": 4, "feedforward_size": 512, "num_layers": 4}
    gpt = made("transformer", Shapes((64,), (64, 65), num_tokens=65), **small_gpt)
    assert size(gpt) == 65 * 128 + 64 * 128 + 4 * block(128, 512) + 2 * 128 + dense(128, 65)


# Single families.


def test_a_perceptron_is_its_layers() -> None:
    model = made("mlp", Shapes((2, 3), (4, 2)), hidden=[5], activation="tanh", dropout=0.5, batch_norm=True)
    first, norm, last = nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 8)
    reference = nn.Sequential(nn.Flatten(), first, norm, nn.Tanh(), nn.Dropout(0.5), last, nn.Unflatten(1, (4, 2)))
    for mine, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        theirs.data = mine.data
    x = torch.randn(7, 2, 3)
    for each in (model, reference):
        torch.manual_seed(1)
        each.train()
    torch.manual_seed(1)
    trained = model(x)
    torch.manual_seed(1)
    torch.testing.assert_close(trained, reference(x), atol=0, rtol=0)
    torch.testing.assert_close(model.eval()(x), reference.eval()(x), atol=0, rtol=0)


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "leaky_relu", "gelu"])
def test_each_activation_is_torchs(activation: str) -> None:
    model = made("mlp", Shapes((3,), (2,)), hidden=[4], activation=activation)
    first, _, last = model.layers  # type: ignore[misc]
    x = torch.randn(5, 3)
    function = getattr(nn.functional, activation, None) or getattr(torch, activation)
    torch.testing.assert_close(model(x), last(function(first(x))))


def test_without_hidden_layers_and_channel_independent_it_is_nlinear() -> None:
    """Zeng's model, but for the last value, which the data subtracts: one linear layer over time for every channel."""
    model = made("mlp", Shapes((336, 7), (96, 7)), hidden=[], channel_independent=True)
    (layer,) = model.layers  # type: ignore[misc]
    x = torch.randn(5, 336, 7)
    torch.testing.assert_close(model(x), layer(x.transpose(1, 2)).transpose(1, 2))


@pytest.mark.parametrize("name", ["mlp", "rnn", "lstm", "gru", "transformer"])
def test_channel_independent_is_one_network_for_every_channel(name: str) -> None:
    model = made(name, Shapes((12, 3), (4, 3)), channel_independent=True).eval()
    single = made(name, Shapes((12, 1), (4, 1))).eval()
    single.load_state_dict(model.state_dict())
    x = torch.randn(5, 12, 3)
    apart = torch.cat([single(x[:, :, [channel]]) for channel in range(3)], dim=2)
    torch.testing.assert_close(model(x), apart)


@pytest.mark.parametrize("name", ["mlp", "lstm", "transformer"])
@pytest.mark.parametrize("shapes", [Shapes((12, 3), (4, 1)), Shapes((12, 3), (3,)), Shapes((3, 8, 8), (8, 8))])
def test_channel_independent_needs_the_same_channels_out_as_in(name: str, shapes: Shapes) -> None:
    with pytest.raises(ComponentError) as caught:
        made(name, shapes, channel_independent=True)
    assert str(caught.value) == (
        "model.params.channel_independent: needs a series (window, channels) that predicts every channel it reads, "
        f"(horizon, channels); the data has {shapes.input_shape} to {shapes.output_shape}\n"
        "Leave channel_independent out, or let data.params.target be all columns."
    )


def test_a_cnn_is_its_layers() -> None:
    """Against the same layers in torch's own order of axes, with gradients."""
    params = {"filters": [4, 6], "kernel_size": 3, "padding": "same", "dense": [5], "activation": "gelu"}
    model = made("cnn", Shapes((2, 9, 12), (3,)), **params, batch_norm=True).double()
    reference = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding="same"), nn.BatchNorm2d(4), nn.GELU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, padding="same"), nn.BatchNorm2d(6), nn.GELU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(2 * 3 * 6, 5), nn.GELU(), nn.Linear(5, 3),
    ).double()  # fmt: skip
    reference.load_state_dict({key.removeprefix("layers."): value for key, value in model.state_dict().items()})
    x = torch.randn(4, 2, 9, 12, dtype=torch.float64)
    mine, theirs = model(x), reference(x)
    torch.testing.assert_close(mine, theirs)
    for prediction in (mine, theirs):
        prediction.square().sum().backward()
    for own, other in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad)


def test_a_cnn_reads_a_series_along_its_window() -> None:
    model = made("cnn", Shapes((20, 3), (5,)), filters=[4], dense=[])
    convolution, _, _, _, last = model.layers  # type: ignore[misc]
    x = torch.randn(6, 20, 3)
    pooled = nn.functional.max_pool1d(convolution(x.transpose(1, 2)).relu(), 2)
    torch.testing.assert_close(model(x), last(pooled.flatten(1)))


def test_dropout_of_a_cnn_is_before_its_dense_layers() -> None:
    kinds = [type(layer).__name__ for layer in made("cnn", SHAPES["pictures"][0], dropout=0.5).layers]  # type: ignore
    assert kinds == ["Conv2d", "ReLU", "MaxPool2d"] * 2 + ["Flatten", "Dropout", "Linear", "ReLU", "Linear"]


@pytest.mark.parametrize(
    ("shapes", "params", "words"),
    [
        (
            Shapes((1, 8, 8), (10,)),
            {},
            "model cnn: block 2 (kernel_size 3, pool 2) leaves nothing of (1, 8, 8), which is 3 x 3 pixels before it",
        ),
        (
            Shapes((3, 4, 90), (10,)),
            {"kernel_size": 5},
            "model cnn: block 1 (kernel_size 5, pool 2) leaves nothing of (3, 4, 90)",
        ),
        (
            Shapes((12, 7), (3, 7)),
            {"filters": [4, 4, 4], "padding": "same", "pool": 3},
            "model cnn: block 3 (kernel_size 3, pool 3) leaves nothing of (12, 7), which is 1 steps before it",
        ),
    ],
)
def test_pictures_too_small_for_a_cnn(shapes: Shapes, params: dict[str, Any], words: str) -> None:
    with pytest.raises(ComponentError) as caught:
        made("cnn", shapes, **params)
    assert caught.value.message == words
    assert caught.value.hint == (
        "Take fewer filters (one number is one block), a smaller kernel_size or pool, or padding: same."
    )


@pytest.mark.parametrize("sides", [(7, 7), (8, 12), (13, 4)])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("kernel_size", "pool"), [(1, 1), (3, 1), (3, 2), (5, 3)])
def test_the_size_left_is_worked_out_as_torch_does(
    sides: tuple[int, int], padding: str, kernel_size: int, pool: int
) -> None:
    layers = [nn.Conv2d(1, 4, kernel_size, padding=padding), nn.MaxPool2d(pool)]
    try:
        left = nn.Sequential(*layers)(torch.zeros(1, 1, *sides)).shape[2:]
    except RuntimeError:  # torch refuses a kernel larger than the picture, and an empty result
        with pytest.raises(ComponentError, match="leaves nothing"):
            made("cnn", Shapes((1, *sides), (2,)), filters=[4], kernel_size=kernel_size, padding=padding, pool=pool)
        return
    model = made(
        "cnn", Shapes((1, *sides), (2,)), filters=[4], kernel_size=kernel_size, padding=padding, pool=pool, dense=[]
    )
    *_, last = model.layers  # type: ignore[misc]
    assert last.in_features == 4 * math.prod(left)
    assert model(torch.zeros(3, 1, *sides)).shape == (3, 2)


def test_persistence_repeats_the_last_value() -> None:
    model, x = made("persistence", SERIES), torch.arange(2 * 12 * 3.0).view(2, 12, 3)
    assert model(x).tolist() == [[[33.0, 34.0, 35.0]] * 4, [[69.0, 70.0, 71.0]] * 4]
    assert size(model) == 0


@pytest.mark.parametrize("output_shape", [(4, 1), (4, 5), (3,)])
def test_persistence_predicts_only_what_it_reads(output_shape: tuple[int, ...]) -> None:
    with pytest.raises(ComponentError) as caught:
        made("persistence", Shapes((12, 3), output_shape))
    assert str(caught.value) == (
        "model persistence predicts every channel it reads, (window, channels) to (horizon, channels); the data has "
        f"(12, 3) to {output_shape}\nLet data.params.columns and data.params.target be the same columns."
    )
