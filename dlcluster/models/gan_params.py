"""What a generative adversarial network can be told, known without importing torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dlcluster.models.params import Params


class GanParams(Params):
    """Parameters of a generative adversarial network, as a job file's ``model.params`` gives them."""

    variant: Literal["dense", "convolutional"] = Field(
        "dense", description="Dense layers, or convolutions for pictures with sides divisible by 4"
    )
    latent_size: int = Field(100, ge=1, description="Numbers a sample is made from")
    hidden_size: int = Field(128, ge=1, description="Units of the hidden layer; for dense")
    width: int = Field(
        16, ge=1, description="Channels at half the picture's size, doubled at each halving; for convolutional"
    )
    spectral_norm: bool = Field(True, description="Bound how steep the discriminator can be, so that it teaches evenly")
    ema_decay: float = Field(
        0.999, ge=0.0, lt=1.0, description="Sample from a moving average of the generator's weights; 0 is none"
    )
