"""Augmentation: what it may change, by how much, and that it repeats."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from dlcluster.data.augment import augmenter, warp
from dlcluster.data.params import Augment

ALL = Augment(rotation=20.0, shift=0.2, shear=10.0, zoom=0.2, flip=True)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def pictures(count: int = 16, channels: int = 3) -> Tensor:
    return torch.rand(count, channels, 9, 9)


def only(
    x: Tensor, *, rotation: float = 0, shift: tuple[float, float] = (0, 0), shear: float = 0, zoom: float = 1.0
) -> Tensor:
    count = len(x)
    return warp(
        x,
        rotation=torch.full((count,), float(rotation)),
        shift=torch.tensor(shift, dtype=torch.float32).expand(count, 2),
        shear=torch.tensor([shear, 0.0]).expand(count, 2),
        zoom=torch.full((count,), zoom),
    )


def test_the_same_seed_gives_the_same_pictures_and_another_gives_others() -> None:
    x, augment = pictures(), augmenter(ALL)
    first, second = augment(x), augment(x)
    torch.manual_seed(0)
    pictures()
    torch.testing.assert_close(augment(x), first, rtol=0, atol=0)
    assert not torch.equal(first, second)
    assert first.shape == x.shape
    assert not torch.equal(first[0], first[1])


def test_a_resumed_run_draws_on_where_it_stopped() -> None:
    x, augment = pictures(), augmenter(ALL)
    augment(x)
    state = torch.get_rng_state()
    expected = augment(x)
    torch.set_rng_state(state)
    assert torch.equal(augment(x), expected)


def test_nothing_asked_for_changes_nothing() -> None:
    x = pictures()
    assert torch.equal(augmenter(Augment())(x), x)
    torch.testing.assert_close(only(x), x, rtol=0, atol=1e-6)


def test_flip_mirrors_about_half_of_the_pictures_exactly() -> None:
    x = pictures(400)
    got = augmenter(Augment(flip=True))(x)
    mirrored = [torch.equal(a, b.flip(-1)) for a, b in zip(got, x, strict=True)]
    kept = [torch.equal(a, b) for a, b in zip(got, x, strict=True)]
    assert [a != b for a, b in zip(mirrored, kept, strict=True)] == [True] * 400
    assert 160 < sum(mirrored) < 240
    assert not torch.equal(augmenter(Augment(flip=True))(x), got)


@pytest.mark.parametrize(("degrees", "turns"), [(90, -1), (-90, 1), (180, 2)])
def test_rotation_turns_clockwise_about_the_middle(degrees: float, turns: int) -> None:
    x = pictures()
    torch.testing.assert_close(only(x, rotation=degrees), torch.rot90(x, turns, (2, 3)), rtol=0, atol=1e-4)


def test_shift_moves_right_and_down_and_repeats_the_edge() -> None:
    x = pictures()
    got = only(x, shift=(2 / 9, 1 / 9))
    torch.testing.assert_close(got[:, :, 1:, 2:], x[:, :, :-1, :-2], rtol=0, atol=1e-5)
    torch.testing.assert_close(got[:, :, 1:, 1], x[:, :, :-1, 0], rtol=0, atol=1e-5)
    torch.testing.assert_close(got[:, :, 0, 2:], x[:, :, 0, :-2], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("shear", "zoom", "rotation"), [(30.0, 1.0, 0.0), (0.0, 1.5, 0.0), (0.0, 0.8, 25.0), (15.0, 1.2, 40.0)]
)
def test_shear_zoom_and_rotation_are_those_of_scipy(shear: float, zoom: float, rotation: float) -> None:
    from scipy.ndimage import affine_transform

    x = pictures(1, 1)
    angle = np.deg2rad(rotation)
    # Forwards, on (x, y) with y down: shear along x, then turn clockwise, then grow.
    sheared = np.array([[1, -np.tan(np.deg2rad(shear))], [0, 1]])
    turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    backwards = np.linalg.inv(zoom * turned @ sheared)[::-1, ::-1]  # scipy wants output to input, on (row, column)
    middle = np.array([4.0, 4.0])
    expected = affine_transform(
        x[0, 0].numpy(), backwards, middle - backwards @ middle, order=1, mode="nearest", output=np.float64
    )
    got = only(x, shear=shear, zoom=zoom, rotation=rotation)[0, 0].double()
    torch.testing.assert_close(got, torch.from_numpy(expected), rtol=0, atol=1e-4)


def test_no_change_is_larger_than_asked_for() -> None:
    dot = torch.zeros(500, 1, 41, 41)
    dot[:, :, 20, 20] = 1.0
    place = torch.arange(41.0)

    def middles(x: Tensor) -> tuple[Tensor, Tensor]:
        mass = x.sum((1, 2, 3))
        return (x.sum((1, 3)) * place).sum(1) / mass - 20, (x.sum((1, 2)) * place).sum(1) / mass - 20

    for moved in middles(augmenter(Augment(shift=0.25))(dot)):
        assert 9.5 < float(moved.abs().max()) <= 41 * 0.25 + 0.5
        assert abs(float(moved.mean())) < 1.0
    turned = torch.zeros(500, 1, 41, 41)
    turned[:, :, 5, 20] = 1.0
    down, right = middles(augmenter(Augment(rotation=30.0))(turned))
    degrees = torch.rad2deg(torch.atan2(right, -down))
    assert 28 < float(degrees.abs().max()) < 31
    assert float(degrees.min()) < -25
    sizes = augmenter(Augment(zoom=0.2))(torch.nn.functional.pad(torch.ones(500, 1, 11, 11), (15, 15, 15, 15))).sum(
        (1, 2, 3)
    )
    assert 0.62 * 121 < float(sizes.min()) < 0.7 * 121
    assert 1.38 * 121 < float(sizes.max()) < 1.47 * 121
