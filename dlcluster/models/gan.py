"""Generative adversarial networks: a generator and a discriminator trained against each other."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as spectrally_normalised

from dlcluster.errors import ComponentError, DataError

SAMPLES_AT_ONCE = 1000
"""Samples are made in parts of this many, so that any number of them fits into memory."""
RANGE_SLACK = 1e-3
"""Data may leave [0, 1] by this much, as scaled and turned pictures do."""


class GAN(nn.Module):
    """A generator makes samples out of noise, a discriminator tells them from real ones.

    The discriminator minimises binary cross-entropy; the generator maximises the log-probability that its
    samples are taken for real (the paper's non-saturating loss). Samples are in [0, 1], as pictures are with
    ``data.params.scale: minmax``; inside, both networks see [-1, 1].

    Source: Goodfellow et al. 2014, Generative Adversarial Nets. ``convolutional`` is Radford, Metz & Chintala
    2016, Unsupervised Representation Learning with Deep Convolutional GANs, without batch normalisation in the
    discriminator. ``spectral_norm`` is Miyato et al. 2018, Spectral Normalization for GANs; ``ema_decay`` is
    Yazici et al. 2019, The Unusual Effectiveness of Averaging in GAN Training.

    Args:
        variant: ``dense``: one hidden layer each, for samples of any shape; ``convolutional``: for pictures.
        latent_size: Numbers a sample is made from.
        hidden_size: Units of the hidden layer, for ``dense``.
        width: Channels at half the picture's size, doubled at each halving, for ``convolutional``.
        spectral_norm: Whether the largest singular value of the discriminator's weights is kept at 1.
        ema_decay: Share of the moving average of the generator's weights kept at each step, less in the first
            steps; 0 for no average.
        input_shape: Of one sample; ``(channels, height, width)`` for ``convolutional``.

    Raises:
        ComponentError: When ``convolutional`` cannot make samples of that shape.
    """

    steps: Tensor

    def __init__(
        self,
        *,
        variant: str = "dense",
        latent_size: int = 100,
        hidden_size: int = 128,
        width: int = 16,
        spectral_norm: bool = True,
        ema_decay: float = 0.999,
        input_shape: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.latent_size, self.input_shape = latent_size, tuple(input_shape)
        self.ema_decay, self._range_checked = ema_decay, False
        if variant == "convolutional":
            self.generator = convolutional_generator(latent_size, width, self.input_shape)
            self.discriminator = convolutional_discriminator(width, self.input_shape)
        else:
            self.generator = dense_generator(latent_size, hidden_size, self.input_shape)
            self.discriminator = dense_discriminator(hidden_size, self.input_shape)
        if spectral_norm:
            for layer in self.discriminator:
                if isinstance(layer, nn.Linear | nn.Conv2d):
                    spectrally_normalised(layer)
        self.average = copy.deepcopy(self.generator).requires_grad_(False) if ema_decay else None
        # A tensor, so that it is stored with the weights and no step waits for the device.
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, latent: Tensor) -> Tensor:
        """Makes samples out of noise.

        Args:
            latent: Standard normal numbers, ``(batch, latent_size)``.

        Returns:
            ``(batch, *input_shape)`` in [0, 1].
        """
        return (cast(Tensor, self._sampler(latent)) + 1) / 2

    @property
    def _sampler(self) -> nn.Module:
        return self.generator if self.average is None else self.average

    @torch.no_grad()
    def samples(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Makes samples in evaluation mode; the mode it was in is put back.

        Args:
            count: How many.
            generator: Source of the noise, so that the same samples can be made again; torch's own by default.

        Returns:
            ``(count, *input_shape)`` in [0, 1], where the model is.
        """
        training, device = self.training, next(self.generator.parameters()).device
        self.eval()
        # One draw for all: a sample does not depend on the size of the parts.
        latent = torch.randn(count, self.latent_size, generator=generator, device=_place(generator, device))
        parts = [self(part.to(device)) for part in torch.split(latent, SAMPLES_AT_ONCE)]
        self.train(training)
        return torch.cat(parts) if parts else torch.empty(0, *self.input_shape, device=device)

    def configure_optimizers(self, training: Any) -> dict[str, torch.optim.Optimizer]:
        """Makes one optimizer for each network, with the job's learning rate, decays and weight decay.

        Args:
            training: The job's ``training`` section.

        Raises:
            ComponentError: When the job asks for another optimizer than Adam.
        """
        spec = training.optimizer
        if spec.name not in ("adam", "adamw"):
            raise ComponentError(
                f"training.optimizer.name: a gan is trained with adam, not {spec.name}", hint="Write adam or adamw."
            )
        make = torch.optim.AdamW if spec.name == "adamw" else torch.optim.Adam
        return {
            name: make(
                network.parameters(),
                lr=spec.learning_rate,
                betas=(spec.beta1, spec.beta2),
                weight_decay=spec.weight_decay,
                fused=True,
            )
            for name, network in (("generator", self.generator), ("discriminator", self.discriminator))
        }

    def training_step(
        self, batch: Tensor | Sequence[Tensor], optimizers: Mapping[str, torch.optim.Optimizer]
    ) -> dict[str, Tensor]:
        """Trains the discriminator, then the generator, on one batch.

        Args:
            batch: Real samples ``(batch, *input_shape)`` in [0, 1], or a pair that begins with them.
            optimizers: From `configure_optimizers`.

        Returns:
            ``discriminator_loss``: mean over real and made samples; ``generator_loss``: mean over made samples.

        Raises:
            DataError: When the first batch is not in [0, 1].
        """
        real = batch if isinstance(batch, Tensor) else batch[0]
        self._check_range(real)
        # Made once for both networks, as in the paper: the generator's step judges the same samples again.
        latent = torch.randn(len(real), self.latent_size, device=real.device)
        made = cast(Tensor, self.generator(latent))

        optimizers["discriminator"].zero_grad(set_to_none=True)
        # One pass for both halves: the discriminator has no batch statistics that would mix them.
        scores = self.discriminator(torch.cat([real * 2 - 1, made.detach()]))
        wanted = torch.zeros_like(scores)
        wanted[: len(real)] = 1
        discriminator_loss = F.binary_cross_entropy_with_logits(scores, wanted)
        discriminator_loss.backward()  # type: ignore[no-untyped-call]
        optimizers["discriminator"].step()

        optimizers["generator"].zero_grad(set_to_none=True)
        with _still(self.discriminator):
            scores = self.discriminator(made)
            generator_loss = F.binary_cross_entropy_with_logits(scores, torch.ones_like(scores))
            generator_loss.backward()  # type: ignore[no-untyped-call]
        optimizers["generator"].step()
        self._move_average()
        return {"generator_loss": generator_loss.detach(), "discriminator_loss": discriminator_loss.detach()}

    @torch.no_grad()
    def _move_average(self) -> None:
        if self.average is None:
            return
        # The first weights are noise: the average forgets them fast, and is long only when there is much to average.
        decay = ((1 + self.steps) / (10 + self.steps)).clamp(max=self.ema_decay)
        self.steps += 1
        for own, current in zip(self.average.state_dict().values(), self.generator.state_dict().values(), strict=True):
            # Batch statistics too: the latest would be those of other weights. A count of batches is no average.
            if own.is_floating_point():
                own.lerp_(current, (1 - decay).to(own.dtype))
            else:
                own.copy_(current)

    def _check_range(self, real: Tensor) -> None:
        if self._range_checked:  # once is enough, and each time would wait for the device
            return
        low, high = real.min().item(), real.max().item()
        if low < -RANGE_SLACK or high > 1 + RANGE_SLACK:
            raise DataError(
                f"a gan makes samples in [0, 1], the data is in [{low:.3g}, {high:.3g}]",
                hint="Write data.params.scale: minmax.",
            )
        self._range_checked = True


def dense_generator(latent_size: int, hidden_size: int, shape: tuple[int, ...]) -> nn.Sequential:
    """Noise ``(batch, latent_size)`` to samples ``(batch, *shape)`` in [-1, 1], with one hidden layer."""
    return nn.Sequential(
        nn.Linear(latent_size, hidden_size),
        nn.LeakyReLU(),
        nn.Linear(hidden_size, math.prod(shape)),
        nn.Tanh(),
        nn.Unflatten(1, shape),
    )


def dense_discriminator(hidden_size: int, shape: tuple[int, ...]) -> nn.Sequential:
    """Samples ``(batch, *shape)`` to scores ``(batch, 1)``, with one hidden layer."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(math.prod(shape), hidden_size), nn.LeakyReLU(), nn.Linear(hidden_size, 1)
    )


def convolutional_generator(latent_size: int, width: int, shape: tuple[int, ...]) -> nn.Sequential:
    """Noise ``(batch, latent_size)`` to pictures ``(batch, *shape)`` in [-1, 1], doubled in size stage by stage."""
    sizes = _stages(shape)
    channels = [shape[0], *(width * 2**stage for stage in range(len(sizes)))]
    layers: list[nn.Module] = [
        nn.Linear(latent_size, channels[-1] * math.prod(sizes[-1]), bias=False),
        nn.Unflatten(1, (channels[-1], *sizes[-1])),
    ]
    for stage in reversed(range(len(sizes))):
        layers += [nn.BatchNorm2d(channels[stage + 1]), nn.ReLU()]
        # The kernel is a multiple of the stride, so that no checkerboard is drawn.
        layers.append(nn.ConvTranspose2d(channels[stage + 1], channels[stage], 4, 2, 1, bias=stage == 0))
    return _begun(nn.Sequential(*layers, nn.Tanh()))


def convolutional_discriminator(width: int, shape: tuple[int, ...]) -> nn.Sequential:
    """Pictures ``(batch, *shape)`` to scores ``(batch, 1)``, halved in size stage by stage."""
    sizes = _stages(shape)
    channels = [shape[0], *(width * 2**stage for stage in range(len(sizes)))]
    layers: list[nn.Module] = []
    for stage in range(len(sizes)):
        layers += [nn.Conv2d(channels[stage], channels[stage + 1], 4, 2, 1), nn.LeakyReLU(0.2)]
    return _begun(nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * math.prod(sizes[-1]), 1)))


def _stages(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Heights and widths on the way down: halved while both are even and at least 4 are left."""
    if len(shape) != 3 or shape[1] % 4 or shape[2] % 4:
        raise ComponentError(
            f"model gan: convolutional makes pictures (channels, height, width) with sides divisible by 4, "
            f"the data has {shape}",
            hint="Set data.params.size, or model.params.variant: dense.",
        )
    return list(_halves(shape[1], shape[2]))


def _halves(height: int, width: int) -> Iterator[tuple[int, int]]:
    height, width = height // 2, width // 2
    yield height, width
    if height % 2 == 0 and width % 2 == 0 and min(height, width) >= 8:
        yield from _halves(height, width)


def _begun(network: nn.Sequential) -> nn.Sequential:
    """Draws the weights a DCGAN begins with: normal, deviation 0.02."""
    for layer in network:
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
    return network


@contextlib.contextmanager
def _still(network: nn.Module) -> Iterator[None]:
    """Spares the gradients of a network that is only passed through; frozen parameters stay frozen after it."""
    moving = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in moving:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in moving:
            parameter.requires_grad_(True)


def _place(generator: torch.Generator | None, device: torch.device) -> torch.device:
    return device if generator is None else generator.device
