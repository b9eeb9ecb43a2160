"""The two networks take the steps of the paper, and learn to make what the data holds."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from dlcluster.errors import ComponentError, DataError
from dlcluster.models.catalog import Shapes, make_model
from dlcluster.models.gan import GAN
from dlcluster.models.gan_params import GanParams
from dlcluster.spec.training import Optimizer, Training


def job(**optimizer: Any) -> Training:
    return Training(optimizer=Optimizer(**optimizer))


def make(weights: dict[str, Tensor], latent: Tensor) -> Tensor:
    hidden = F.leaky_relu(latent @ weights["generator.0.weight"].T + weights["generator.0.bias"], 0.01)
    return torch.tanh(hidden @ weights["generator.2.weight"].T + weights["generator.2.bias"])


def score(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    hidden = F.leaky_relu(x @ weights["discriminator.1.weight"].T + weights["discriminator.1.bias"], 0.01)
    return hidden @ weights["discriminator.3.weight"].T + weights["discriminator.3.bias"]


def adam(weights: dict[str, Tensor], loss: Tensor, network: str, rate: float) -> dict[str, Tensor]:
    """Adam's first step: along the gradient's sign, but for epsilon."""
    names = [name for name in weights if name.startswith(network)]
    gradients = torch.autograd.grad(loss, [weights[name] for name in names])
    moved = {name: weights[name] - rate * g / (g.abs() + 1e-8) for name, g in zip(names, gradients, strict=True)}
    return {name: moved.get(name, value).detach().requires_grad_() for name, value in weights.items()}


def test_a_step_is_that_of_the_paper() -> None:
    torch.manual_seed(0)
    model = GAN(latent_size=3, hidden_size=5, spectral_norm=False, ema_decay=0.0, input_shape=(2, 2))
    before = {name: value.detach().clone().requires_grad_() for name, value in model.named_parameters()}
    real, rate = torch.rand(6, 2, 2), 0.01
    torch.manual_seed(1)
    latent = torch.randn(6, 3)
    # the discriminator's cross-entropy first; then the generator's -log D against the new discriminator
    seen = F.logsigmoid(score(before, real.flatten(1) * 2 - 1)).mean()
    unmasked = F.logsigmoid(-score(before, make(before, latent))).mean()
    discriminator_loss = -(seen + unmasked) / 2
    halfway = adam(before, discriminator_loss, "discriminator", rate)
    generator_loss = -F.logsigmoid(score(halfway, make(halfway, latent))).mean()
    after = adam(halfway, generator_loss, "generator", rate)

    torch.manual_seed(1)
    losses = model.training_step(real, model.configure_optimizers(job(learning_rate=rate)))
    assert not any(loss.requires_grad for loss in losses.values())
    wanted = {"generator_loss": generator_loss.detach(), "discriminator_loss": discriminator_loss.detach()}
    torch.testing.assert_close(losses, wanted)
    named = {name: value.detach() for name, value in model.named_parameters()}
    torch.testing.assert_close(named, {name: value.detach() for name, value in after.items()}, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", ["dense", "convolutional"])
def test_it_samples_from_the_moving_average_of_its_generator(variant: str) -> None:
    torch.manual_seed(0)
    model = GAN(variant=variant, ema_decay=0.75, width=2, input_shape=(1, 8, 8))
    assert model.average is not None
    expected = copy.deepcopy(model.generator.state_dict())
    optimizers = model.configure_optimizers(job(learning_rate=0.05))
    # It begins short, as in tf.train.ExponentialMovingAverage; from the 27th step on it is as long as was asked for.
    for decay in [min(0.75, (1 + step) / (10 + step)) for step in range(40)]:
        model.training_step(torch.rand(5, 1, 8, 8), optimizers)
        for name, value in model.generator.state_dict().items():
            expected[name] = (
                decay * expected[name] + (1 - decay) * value if value.is_floating_point() else value.clone()
            )
    torch.testing.assert_close(dict(model.average.state_dict()), dict(expected))
    assert {name for name, value in model.named_parameters() if not value.requires_grad} == {
        f"average.{name}" for name, _ in model.average.named_parameters()
    }
    latent = torch.randn(4, 100, generator=torch.Generator().manual_seed(3))
    made = model.samples(4, torch.Generator().manual_seed(3))
    assert model.training
    torch.testing.assert_close(made, (model.average.eval()(latent) + 1) / 2)


@pytest.mark.parametrize("spectral_norm", [True, False])
def test_spectral_norm_bounds_the_discriminators_slope(spectral_norm: bool) -> None:
    torch.manual_seed(0)
    model = GAN(hidden_size=16, spectral_norm=spectral_norm, ema_decay=0.0, input_shape=(1, 4, 4))
    optimizers = model.configure_optimizers(job(learning_rate=0.05))
    for _ in range(50):
        model.training_step(torch.rand(8, 1, 4, 4), optimizers)
    model.eval()
    slopes = [torch.linalg.matrix_norm(model.discriminator[i].weight, 2).item() for i in (1, 3)]
    assert (max(slopes) < 1.1) is spectral_norm


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 64, 48), (1, 8, 12), (1, 4, 4), (1, 20, 28)])
def test_convolutions_reach_every_size_divisible_by_4(shape: tuple[int, ...]) -> None:
    model = make_model("gan", {"variant": "convolutional", "width": 4}, Shapes(shape, shape))
    assert isinstance(model, GAN)
    made = model.samples(3)
    assert made.shape == (3, *shape)
    assert ((made >= 0) & (made <= 1)).all()
    assert model.discriminator(made).shape == (3, 1)
    start = next(layer for layer in model.generator if isinstance(layer, torch.nn.Unflatten))
    assert all(2 <= side <= 14 for side in start.unflattened_size[1:])


def test_its_size_is_that_of_the_textbook() -> None:
    model = GAN(ema_decay=0.0, input_shape=(1, 28, 28))
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    assert sizes == {"generator": 101 * 128 + 129 * 784, "discriminator": 785 * 128 + 129}


def two_pictures(count: int) -> Tensor:
    """Noisy pictures of either of two: left half white, or upper half white."""
    left, upper = torch.zeros(8, 8), torch.zeros(8, 8)
    left[:, :4], upper[:4] = 1, 1
    which = torch.arange(count) % 2
    pictures = torch.where(which[:, None, None] == 0, left, upper)[:, None]
    return (pictures - 0.1 * torch.rand(count, 1, 8, 8)).clamp(0, 1)


@pytest.mark.parametrize("variant", ["dense", "convolutional"])
def test_it_learns_to_make_both_kinds_of_picture(variant: str) -> None:
    torch.manual_seed(0)
    data = two_pictures(512)
    model = GAN(variant=variant, latent_size=16, width=8, ema_decay=0.98, input_shape=(1, 8, 8))
    optimizers = model.configure_optimizers(job(learning_rate=2e-3, beta1=0.5))
    for step in range(400):
        chosen = torch.arange(step * 64, step * 64 + 64) % 512
        model.training_step((data[chosen], torch.empty(64, 0)), optimizers)
    left, upper = data[0::2].mean(0), data[1::2].mean(0)
    made = model.samples(500, torch.Generator().manual_seed(0))
    distances = torch.stack([(made - kind).square().mean((1, 2, 3)).sqrt() for kind in (left, upper)])
    near = distances < 0.25  # the two are 0.7 apart
    shares = near.double().mean(1)
    assert shares.min() > 0.2, shares
    assert shares.sum() > 0.8, shares


def test_the_same_noise_makes_the_same_samples_and_others_are_drawn_without() -> None:
    torch.manual_seed(0)
    model = GAN(input_shape=(2, 3)).eval()
    first, again = (model.samples(2500, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, again)
    assert not model.training
    assert model.samples(0).shape == (0, 2, 3)
    assert not torch.equal(model.samples(3), model.samples(3))
    stored = GAN(input_shape=(2, 3))
    stored.load_state_dict(model.state_dict())
    assert torch.equal(stored.samples(2500, torch.Generator().manual_seed(5)), first)


def test_what_is_frozen_stays_and_the_rest_moves() -> None:
    torch.manual_seed(0)
    model = GAN(input_shape=(4,))
    frozen = model.get_parameter("discriminator.1.bias").requires_grad_(False)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizers = model.configure_optimizers(job())
    model.training_step(torch.rand(8, 4), optimizers)
    assert not frozen.requires_grad
    still = {name for name, value in model.named_parameters() if torch.equal(value, before[name])}
    assert still == {"discriminator.1.bias"}


def test_a_batch_of_one_trains() -> None:
    for variant in ("dense", "convolutional"):
        model = GAN(variant=variant, width=2, input_shape=(1, 8, 8))
        losses = model.training_step(torch.rand(1, 1, 8, 8), model.configure_optimizers(job()))
        assert all(torch.isfinite(loss) for loss in losses.values())


def test_optimizers_are_set_as_the_job_says() -> None:
    model = GAN(input_shape=(4,))
    optimizers = model.configure_optimizers(
        job(name="adamw", learning_rate=3e-4, beta1=0.5, beta2=0.9, weight_decay=0.1)
    )
    assert {name: type(each) for name, each in optimizers.items()} == {
        "generator": torch.optim.AdamW,
        "discriminator": torch.optim.AdamW,
    }
    for each in optimizers.values():
        (group,) = each.param_groups
        assert (group["lr"], group["betas"], group["weight_decay"]) == (3e-4, (0.5, 0.9), 0.1)


def test_the_defaults_are_written_once() -> None:
    signature = inspect.signature(GAN).parameters
    assert GanParams().model_dump() == {
        name: each.default for name, each in signature.items() if name != "input_shape"
    }  # fmt: skip


def test_what_it_cannot_do_is_said_in_words() -> None:
    with pytest.raises(ComponentError) as caught:
        make_model("gan", {"variant": "convolutional"}, Shapes((1, 30, 28), (1, 30, 28)))
    assert str(caught.value) == (
        "model gan: convolutional makes pictures (channels, height, width) with sides divisible by 4, "
        "the data has (1, 30, 28)\nSet data.params.size, or model.params.variant: dense."
    )
    model = GAN(input_shape=(4,))
    with pytest.raises(ComponentError) as caught:
        model.configure_optimizers(job(name="sgd"))
    assert str(caught.value) == ("training.optimizer.name: a gan is trained with adam, not sgd\nWrite adam or adamw.")
    with pytest.raises(DataError) as caught_data:
        model.training_step(torch.tensor([[-0.42, 0, 1, 2.8]]), model.configure_optimizers(job()))
    assert str(caught_data.value) == (
        "a gan makes samples in [0, 1], the data is in [-0.42, 2.8]\nWrite data.params.scale: minmax."
    )
