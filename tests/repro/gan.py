"""Judges what a GAN makes: which digits, how sure a classifier is of them, and whether any is a copy."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dlcluster.api import load
from dlcluster.data.load import load_data
from dlcluster.store.objects import open_objects
from dlcluster.training.reload import load_model
from tests.repro.run import ROOT, STORE, data_path

SAMPLES = 10_000
COPY_RMS = 0.02
"""A sample is a copy when its pixels differ by less than this on average (root mean square, pixels in [0, 1])."""


@dataclass(frozen=True)
class Judged:
    """What the judge says of `SAMPLES` samples.

    Attributes:
        digits: How many of the ten are among them.
        rarest: Share of the rarest.
        confident: Share judged with a confidence above 0.9.
        copies: How many are copies of training pictures.
        nearest: The smallest distance to a training picture, root mean square.
    """

    digits: int
    rarest: float
    confident: float
    copies: int
    nearest: float


@torch.no_grad()
def judge_samples(gan_run: str, judge_run: str) -> Judged:
    """Makes samples with one stored model and has another classify them.

    Args:
        gan_run: Run id of the GAN.
        judge_run: Run id of the classifier.
    """
    objects = open_objects(STORE)
    gan, judge = load_model(objects, gan_run), load_model(objects, judge_run)
    made: Tensor = gan.model.samples(SAMPLES, generator=torch.Generator().manual_seed(1))  # type: ignore[operator]
    chances = torch.cat([judge.model(part).softmax(dim=1) for part in torch.split(made, 500)])
    counts = chances.argmax(dim=1).bincount(minlength=10)
    spec = load(
        ROOT / "jobs" / "mnist-cnn.yaml",
        overrides=[f"data.path={data_path('mnist')}", "data.name=null", "data.format=idx", "data.task=classification"],
        folder=ROOT,
    )
    train = load_data(spec.data).splits["train"]
    pictures = train.gather(torch.arange(len(train)))[0].flatten(1)
    nearest = _nearest(made.flatten(1), pictures)
    return Judged(
        digits=int((counts > 0).sum()),
        rarest=float(counts.min() / SAMPLES),
        confident=float((chances.max(dim=1).values > 0.9).double().mean()),
        copies=int((nearest < COPY_RMS).sum()),
        nearest=float(nearest.min()),
    )


def _nearest(samples: Tensor, pictures: Tensor) -> Tensor:
    """Root mean square distance of each sample to the nearest picture, ``(samples,)``."""
    best = torch.full((len(samples),), float("inf"))
    for part in torch.split(pictures, 10_000):
        for i, own in enumerate(torch.split(samples, 1_000)):
            span = slice(i * 1_000, i * 1_000 + len(own))
            best[span] = torch.minimum(best[span], torch.cdist(own, part).min(dim=1).values)
    return best.div(samples.shape[1] ** 0.5)
