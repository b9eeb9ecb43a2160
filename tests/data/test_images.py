"""Pictures from IDX, npz and folders: read, dealt, scaled; and every bad input in one message."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import Tensor

from dlcluster.data.load import data_fingerprint, load_data, preparation_from
from dlcluster.data.prepared import Prepared
from dlcluster.errors import DataError
from dlcluster.spec import job_from_dict
from dlcluster.spec.data import Data
from tests.data.test_idx import MNIST, idx

ALL = {"train": 1.0, "validation": 0.0, "test": 0.0}
HALVES = {"train": 0.5, "validation": 0.0, "test": 0.5}
RNG = np.random.default_rng(0)


def data(path: object, **section: Any) -> Data:
    section = {"path": str(path), "task": "classification", **section}
    job = {
        "version": 1,
        "name": "x",
        "model": {"name": "lstm"},
        "data": section,
        "checkpoint": {"metric": "train_loss"},
    }
    return job_from_dict(job).data


def load(path: object, **section: Any) -> Prepared:
    return load_data(data(path, **section))


def whole(prepared: Prepared, split: str) -> tuple[Tensor, Tensor]:
    samples = prepared.splits[split]
    return samples.gather(torch.arange(len(samples)))


def refusal(path: object, **section: Any) -> str:
    with pytest.raises(DataError) as raised:
        load(path, **section)
    return str(raised.value).replace(str(path), "PATH")


def sizes(prepared: Prepared) -> dict[str, int]:
    return {name: len(samples) for name, samples in prepared.splits.items()}


def pixels(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def npz(path: Path, **arrays: Any) -> Path:
    made: dict[str, Any] = {name: np.asarray(values) for name, values in arrays.items()}
    np.savez(path, **made)
    return path


def png(path: Path, picture: np.ndarray[Any, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)
    return path


def folder(root: Path, classes: Mapping[str, int], shape: tuple[int, ...] = (6, 5)) -> Path:
    for name, count in classes.items():
        for number in range(count):
            png(root / name / f"{number}.png", pixels(*shape))
    return root


# IDX


@pytest.fixture
def mnist_like(tmp_path: Path) -> Path:
    """A folder as MNIST's, 40 pictures to train on and 10 to test on; the first pixel is a picture's number."""
    for split, count in (("train", 40), ("t10k", 10)):
        x = pixels(count, 4, 3)
        x[:, 0, 0] = np.arange(count)
        (tmp_path / f"{split}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(x)))
        (tmp_path / f"{split}-labels-idx1-ubyte").write_bytes(idx(np.arange(count) % 5))
    return tmp_path


def test_a_folder_of_idx_files_has_its_own_test_split(mnist_like: Path) -> None:
    (mnist_like / "about-the-images.txt").write_text("no IDX file")
    prepared = load(mnist_like, format="idx", split={"train": 0.6, "validation": 0.15, "test": 0.25})
    assert sizes(prepared) == {"train": 32, "validation": 8, "test": 10}
    assert (prepared.input_shape, prepared.output_shape, prepared.num_classes) == ((1, 4, 3), (5,), 5)
    assert prepared.class_names == ("0", "1", "2", "3", "4")
    seen = []
    for split in ("train", "validation"):
        x, y = whole(prepared, split)
        number = (x[:, 0, 0, 0] * 255).round().long()
        assert torch.equal(y, number % 5)
        seen += number.tolist()
    assert sorted(seen) == list(range(40))
    x, y = whole(prepared, "test")
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
    assert (x[:, 0, 0, 0] * 255).round().tolist() == list(range(10))
    assert y.tolist() == [0, 1, 2, 3, 4] * 2


def test_one_idx_file_finds_its_labels_beside_it(mnist_like: Path) -> None:
    (mnist_like / "train-labels-idx1-ubyte").rename(mnist_like / "train-labels-idx1-ubyte.gz")
    prepared = load(mnist_like / "train-images-idx3-ubyte.gz", split=HALVES)
    assert sizes(prepared) == {"train": 20, "validation": 0, "test": 20}


def test_a_file_for_a_split_is_taken_instead_of_the_folders_own(mnist_like: Path) -> None:
    (mnist_like / "own-images.idx").write_bytes(idx(pixels(3, 4, 3)))
    (mnist_like / "own-labels.idx").write_bytes(idx([4, 3, 2]))
    images = mnist_like / "t10k-images-idx3-ubyte.gz"
    prepared = load(mnist_like / "t*", format="idx", split={"files": {"test": str(mnist_like / "own-images.idx")}})
    assert whole(prepared, "test")[1].tolist() == [4, 3, 2]
    assert prepared.notes == (f"{images} is left out: data.split.files.test is there",)


def test_folds_are_dealt_from_train_and_leave_the_test_files_out(mnist_like: Path) -> None:
    prepared = load(mnist_like, format="idx", split={"folds": 2, "fold": 1, "stratify": True})
    assert sizes(prepared)["test"] == 20
    assert torch.bincount(whole(prepared, "test")[1]).tolist() == [4] * 5
    shown = mnist_like / "t10k-images-idx3-ubyte.gz"
    assert prepared.notes == (f"{shown} is left out: data.split.folds tests on a part of train",)


def test_of_two_copies_of_a_file_one_is_read(mnist_like: Path) -> None:
    packed = mnist_like / "train-images-idx3-ubyte.gz"
    (mnist_like / "train-images-idx3-ubyte").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.write_bytes(b"not read")
    assert sizes(load(mnist_like, format="idx", split={"train": 0.5, "validation": 0.5, "test": 0}))["train"] == 20


def test_idx_files_that_do_not_fit_are_refused(mnist_like: Path) -> None:
    labels = mnist_like / "train-labels-idx1-ubyte"
    labels.write_bytes(idx(np.zeros(39)))
    words = "data.path: PATH/train-labels-idx1-ubyte: has shape (39,), but there are 40 samples"
    assert refusal(mnist_like, format="idx") == words
    labels.unlink()
    assert refusal(mnist_like, format="idx") == (
        "data.path: PATH/train-images-idx3-ubyte.gz: no file of labels for it (PATH/train-labels-idx1-ubyte.gz)"
    )
    (mnist_like / "test-images-idx3-ubyte").write_bytes(b"")
    assert refusal(mnist_like, format="idx") == (
        "data.path: PATH/test-images-idx3-ubyte and PATH/t10k-images-idx3-ubyte.gz both hold the images of test; "
        "name one"
    )
    (mnist_like / "other").mkdir()
    (mnist_like / "other" / "a.idx").write_bytes(idx([1]))
    assert refusal(mnist_like / "other", format="idx") == (
        "data.path: PATH: no IDX file of pictures (there is: a.idx)\n"
        "They are called like train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz."
    )


@pytest.mark.skipif(not MNIST.is_dir(), reason="needs a copy of MNIST in ../shared/data/mnist")
def test_mnist_is_read_as_it_is_known() -> None:
    prepared = load(MNIST, format="idx", split={"train": 5 / 6, "validation": 1 / 6, "test": 0})
    assert sizes(prepared) == {"train": 50_000, "validation": 10_000, "test": 10_000}
    parts = {name: whole(prepared, name) for name in prepared.splits}
    counts = torch.bincount(torch.cat([parts["train"][1], parts["validation"][1]])).tolist()
    assert counts == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert torch.bincount(parts["test"][1]).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    x = torch.cat([parts["train"][0], parts["validation"][0]])
    assert float(x.mean()) == pytest.approx(0.1307, abs=2e-4)
    assert float(x.std()) == pytest.approx(0.3081, abs=2e-4)
    samples: Any = prepared.splits["train"]
    assert samples.x.element_size() * samples.x.numel() == 50_000 * 784


# npz


@pytest.mark.parametrize(
    ("shape", "read"),
    [
        ((8, 6, 5), (1, 6, 5)),
        ((8, 6, 5, 1), (1, 6, 5)),
        ((8, 6, 5, 3), (3, 6, 5)),
        ((8, 1, 6, 5), (1, 6, 5)),
        ((8, 3, 6, 5), (3, 6, 5)),
    ],
)
def test_every_order_of_dimensions_becomes_one(tmp_path: Path, shape: tuple[int, ...], read: tuple[int, ...]) -> None:
    x = pixels(*shape)
    prepared = load(npz(tmp_path / "a.npz", x=x, y=[0, 1] * 4), split={**HALVES, "by": "time"})
    assert prepared.input_shape == read
    moved = x.transpose(0, 3, 1, 2) if len(shape) == 4 and shape[-1] in (1, 3) else x.reshape(8, *read)
    torch.testing.assert_close(whole(prepared, "train")[0], torch.from_numpy(moved[:4] / 255).float())
    torch.testing.assert_close(whole(prepared, "test")[0], torch.from_numpy(moved[4:] / 255).float())


def test_arrays_by_split_are_taken_as_they_are(tmp_path: Path) -> None:
    x, y = pixels(10, 2, 2), np.arange(10)[:, None] % 2
    path = npz(tmp_path / "a.npz", p_train=x[:5], q_train=y[:5], p_val=x[5:7], q_val=y[5:7], p_test=x[7:], q_test=y[7:])
    prepared = load(path, params={"x": "p", "y": "q"})
    assert sizes(prepared) == {"train": 5, "validation": 2, "test": 3}
    for name, part in (("train", slice(5)), ("validation", slice(5, 7)), ("test", slice(7, 10))):
        got = whole(prepared, name)
        assert (got[0][:, 0] * 255).round().tolist() == x[part].tolist()
        assert got[1].tolist() == y[part, 0].tolist()


def test_classes_may_be_any_numbers_or_names(tmp_path: Path) -> None:
    x = pixels(6, 2, 2)
    for y, names in (([7, -1, 30] * 2, ("-1", "7", "30")), (["no", "yes", "maybe"] * 2, ("maybe", "no", "yes"))):
        prepared = load(npz(tmp_path / "a.npz", x=x, y=y), split=ALL)
        assert prepared.class_names == names
        assert [names[i] for i in whole(prepared, "train")[1]] == [str(value) for value in y]
        assert prepared.preparation is not None
        out = prepared.preparation.outputs(torch.tensor([[0.0, 9.0, 0.0]]), pa.table({}))
        assert out["prediction"].tolist() == [sorted(set(y))[1]]  # type: ignore[type-var]
        assert out["confidence"].tolist() == pytest.approx([1 / (1 + 2 * np.exp(-9))])


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("scale", ["minmax", "standard", "none"])
def test_plain_features_are_scaled_one_by_one_by_train(tmp_path: Path, task: str, scale: str) -> None:
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    x = RNG.normal(3, 5, (20, 4)) * [1, 10, 100, 0]
    y = np.arange(20) % 2 if task == "classification" else RNG.normal(size=20)
    path = npz(tmp_path / "a.npz", x=x, y=y)
    prepared = load(path, task=task, params={"scale": scale}, split={**HALVES, "by": "time"})
    reference = {"minmax": MinMaxScaler(), "standard": StandardScaler()}.get(scale)
    expected = x.astype(np.float32) if reference is None else reference.fit(x[:10]).transform(x)
    for split, part in (("train", slice(10)), ("test", slice(10, 20))):
        torch.testing.assert_close(whole(prepared, split)[0], torch.from_numpy(expected[part]).float())
    assert prepared.input_shape == (4,)
    if task == "regression":
        assert prepared.output_shape == (1,)
        torch.testing.assert_close(whole(prepared, "test")[1], torch.from_numpy(y[10:, None]).float())
        assert prepared.baseline is not None
        assert prepared.baseline_name == "mean of train"
        torch.testing.assert_close(prepared.baseline(torch.zeros(3, 4)), torch.full((3, 1), y[:10].mean()).float())


@pytest.mark.parametrize("scale", ["minmax", "standard", "none"])
@pytest.mark.parametrize("kind", ["uint8", "float64"])
def test_pictures_are_scaled_by_train_alone(tmp_path: Path, scale: str, kind: str) -> None:
    x = pixels(8, 5, 4, 3).astype(kind)
    x[4:] //= 2  # test is darker: if it were fitted on, the figures would be others
    x[..., 2] //= 3
    if kind == "float64":
        x = x / 50 - 1
    path = npz(tmp_path / "a.npz", x=x, y=[0, 1] * 4)
    prepared = load(path, params={"scale": scale}, split={**HALVES, "by": "time"})
    train = x[:4].astype(np.float64)
    if scale == "standard":
        expected = (x - train.mean((0, 1, 2))) / train.std((0, 1, 2))
    elif scale == "none":
        expected = x.astype(np.float64)
    else:
        expected = x / 255 if kind == "uint8" else (x - train.min()) / (train.max() - train.min())
    for split, part in (("train", slice(4)), ("test", slice(4, 8))):
        torch.testing.assert_close(
            whole(prepared, split)[0], torch.from_numpy(expected[part].transpose(0, 3, 1, 2)).float()
        )
    assert type(prepared.splits["train"]).__name__ == ("PictureSamples" if kind == "uint8" else "TensorSamples")


def test_size_and_channels_are_those_of_pillow(tmp_path: Path) -> None:
    x = pixels(6, 20, 30, 3)
    path = npz(tmp_path / "a.npz", x=x, y=[0, 1] * 3)
    prepared = load(path, params={"size": [7, 9], "channels": 1}, split={**HALVES, "by": "time"})
    expected = [
        np.asarray(Image.fromarray(one).convert("L").resize((9, 7), Image.Resampling.BILINEAR)) for one in x[:3]
    ]
    got = (whole(prepared, "train")[0] * 255).round()
    assert prepared.input_shape == (1, 7, 9)
    assert float((got[:, 0] - torch.from_numpy(np.stack(expected)).float()).abs().max()) <= 1
    grey = npz(tmp_path / "b.npz", x=x[..., 0], y=[0, 1] * 3)
    coloured = whole(load(grey, params={"channels": 3}, split={**HALVES, "by": "time"}), "train")[0]
    assert (coloured * 255).round().tolist() == x[:3, :, :, :1].repeat(3, 3).transpose(0, 3, 1, 2).tolist()


X8 = pixels(8, 4, 4)
Y8 = np.arange(8) % 2
BAD_NPZ: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no x": (
        {"xs": X8, "y": Y8},
        {},
        "data.params.x: PATH has no array 'x'; did you mean xs? (there is: xs, y)",
    ),
    "no y": ({"x": X8}, {}, "data.params.y: PATH has no array 'y'; there is: x"),
    "objects": (
        {"x": X8, "y": np.array([None] * 8)},
        {},
        "data.path: PATH: array 'y' holds Python objects, not numbers\n"
        "Write it as numbers, or as text of a fixed length: numpy.asarray(names, dtype=str).",
    ),
    "lengths": ({"x": X8, "y": Y8[:7]}, {}, "data.path: PATH: array y: has shape (7,), but there are 8 samples"),
    "one dimension": (
        {"x": np.arange(8), "y": Y8},
        {},
        "data.path: PATH: array x: has shape (8,)\n"
        "Pictures are (n, height, width), (n, height, width, channels) or (n, channels, height, width).",
    ),
    "no channels": (
        {"x": pixels(8, 4, 4, 4), "y": Y8},
        {},
        "data.path: PATH: array x: shape (8, 4, 4, 4) does not say which dimension is the channels: neither can be\n"
        "Grey pictures have 1 channel, or none: (n, height, width); colour has 3.",
    ),
    "two channels": (
        {"x": pixels(8, 3, 4, 1), "y": Y8},
        {},
        "data.path: PATH: array x: shape (8, 3, 4, 1) does not say which dimension is the channels: both could be\n"
        "Grey pictures have 1 channel, or none: (n, height, width); colour has 3.",
    ),
    "text": (
        {"x": np.full((8, 2, 2), "a"), "y": Y8},
        {},
        "data.path: PATH: array x: holds <U1, not numbers",
    ),
    "nan": (
        {"x": np.where(np.arange(8)[:, None, None] == 2, np.nan, X8), "y": Y8},
        {},
        "data.path: PATH: array x: holds NaN or infinity, first in sample 3",
    ),
    "fractions": (
        {"x": X8, "y": Y8 / 2},
        {},
        "data: the classes of PATH: array x must be whole numbers or names, one a sample (got float64 (8,))",
    ),
    "one-hot": (
        {"x": X8, "y": np.eye(2, dtype=int)[Y8]},
        {},
        "data: the classes of PATH: array x must be whole numbers or names, one a sample (got int64 (8, 2))",
    ),
    "names to a regression": (
        {"x": X8, "y": Y8.astype(str)},
        {"task": "regression"},
        "data: the targets of PATH: array x must be numbers, and finite (got <U21)",
    ),
    "one class": (
        {"x": X8, "y": Y8 * 0 + 3},
        {},
        "data: all 6 samples of train are of class 3: there is nothing to tell apart",
    ),
    "class in test only": (
        {"x": X8, "y": [0, 1, 0, 1, 0, 1, 0, 9]},
        {"split": {**HALVES, "by": "time"}},
        "data: class 9 stands only in test, never in train\n"
        "data.split.stratify: true gives each split its share of each class.",
    ),
    "class in given test only": (
        {"x_train": X8, "y_train": Y8, "x_test": X8, "y_test": Y8 + 1},
        {},
        "data: class 2 stands only in test, never in train\nLeave its samples out of test, or add some to train.",
    ),
    "other shape in test": (
        {"x_train": X8, "y_train": Y8, "x_test": pixels(8, 5, 4), "y_test": Y8},
        {},
        "data: samples of test (PATH: array x_test) are (1, 5, 4) uint8, those of train (PATH: array x_train) are "
        "(1, 4, 4) uint8",
    ),
    "nothing to train on": (
        {"x_validation": X8, "y_validation": Y8, "x_test": X8, "y_test": Y8},
        {},
        "data.path: PATH: holds test and validation, but nothing to train on",
    ),
    "augmented features": (
        {"x": X8.reshape(8, 16), "y": Y8},
        {"params": {"augment": {"flip": True}}},
        "data.params.augment: needs pictures; PATH: array x has plain features, 16 a sample",
    ),
    "resized features": (
        {"x": X8.reshape(8, 16), "y": Y8},
        {"params": {"size": [2, 2]}},
        "data.params.size: needs pictures; PATH: array x has plain features, 16 a sample",
    ),
}


@pytest.mark.parametrize("name", BAD_NPZ)
def test_an_npz_that_does_not_fit_is_refused(tmp_path: Path, name: str) -> None:
    arrays, section, words = BAD_NPZ[name]
    assert refusal(npz(tmp_path / "a.npz", **arrays), **section) == words


def test_what_is_no_npz_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(b"hello")
    assert refusal(path) == "data.path: PATH: is no npz file as numpy.savez writes it"
    content = io.BytesIO()
    np.save(content, X8)
    path.write_bytes(content.getvalue())
    assert refusal(path) == (
        "data.path: PATH: is one array, not an npz file\nWrite it with numpy.savez(path, x=x, y=y)."
    )
    np.savez_compressed(path, x=X8, y=Y8)
    broken = bytearray(path.read_bytes())
    broken[60:120] = bytes(60)
    path.write_bytes(broken)
    assert refusal(path).startswith("data.path: PATH: array 'x' is damaged: ")


def test_a_regression_takes_arrays_only(mnist_like: Path) -> None:
    assert refusal(mnist_like, format="idx", task="regression") == (
        "data.format: task regression does not take idx\nSay what the files are: data.format: csv | parquet | npz."
    )


# Folders


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    root = folder(tmp_path, {"dog": 4, "cat": 6, ".hidden": 1})
    prepared = load(root, format="images", split={**HALVES, "stratify": True})
    assert prepared.class_names == ("cat", "dog")
    x, y = whole(prepared, "train")
    assert torch.bincount(y).tolist() == [3, 2]
    originals = {
        name: [np.asarray(Image.open(path)).tolist() for path in (root / name).iterdir()] for name in ("cat", "dog")
    }
    for picture, label in zip((x * 255).round()[:, 0].tolist(), y.tolist(), strict=True):
        assert picture in originals[("cat", "dog")[label]]


def test_a_folder_for_each_split(tmp_path: Path) -> None:
    folder(tmp_path / "train", {"a": 6, "b": 6})
    folder(tmp_path / "val", {"a": 1, "b": 2})
    folder(tmp_path / "test", {"a": 2, "b": 3})
    prepared = load(tmp_path, format="images")
    assert sizes(prepared) == {"train": 12, "validation": 3, "test": 5}
    assert whole(prepared, "test")[1].tolist() == [0, 0, 1, 1, 1]
    split = {"files": {"test": str(tmp_path / "test")}, "train": 0.5, "validation": 0.5, "test": 0.0}
    prepared = load(tmp_path / "train", format="images", split=split)
    assert sizes(prepared) == {"train": 6, "validation": 6, "test": 5}
    split = {"files": {"test": str(tmp_path)}}
    assert refusal(tmp_path / "train", format="images", split=split) == (
        f"data.split.files.test: {tmp_path}: holds several splits (train, test, validation); name one"
    )


def test_mixed_pictures_need_a_size_and_a_number_of_channels(tmp_path: Path) -> None:
    png(tmp_path / "a" / "1.png", pixels(6, 5))
    wide = png(tmp_path / "a" / "2.png", pixels(6, 8))
    png(tmp_path / "b" / "1.png", pixels(6, 5))
    assert refusal(tmp_path, format="images") == (
        "data.params.size: PATH/a/1.png is 6 x 5 pixels (height x width), PATH/a/2.png is 6 x 8\n"
        "Say what all are resized to: data.params.size: [6, 5]"
    )
    png(wide, pixels(6, 5, 3))
    assert refusal(tmp_path, format="images") == (
        "data.params.channels: PATH/a/1.png is grey, PATH/a/2.png is in colour\n"
        "Say what all become: data.params.channels: 1 (grey) or 3 (colour)"
    )
    picture = pixels(40, 31, 3)
    png(wide, picture)
    x, _ = whole(load(tmp_path, format="images", params={"size": [6, 5], "channels": 1}, split=ALL), "train")
    expected = np.asarray(Image.fromarray(picture).convert("L").resize((5, 6), Image.Resampling.BILINEAR))
    assert (x[1, 0] * 255).round().tolist() == expected.tolist()


def test_files_that_are_no_pictures_are_named_and_refused_or_skipped(tmp_path: Path) -> None:
    folder(tmp_path, {"a": 3, "b": 3})
    (tmp_path / "b" / "notes.txt").write_text("hello")
    (tmp_path / "b" / "none.png").write_bytes(b"")
    (tmp_path / "README.md").write_text("hello")
    cut = tmp_path / "a" / "cut.png"
    cut.write_bytes(png(tmp_path / "a" / "cut.png", pixels(60, 50)).read_bytes()[:-200])
    first = "PATH/README.md (in no class's folder), PATH/a/cut.png (damaged: "
    message = refusal(tmp_path, format="images")
    assert message.startswith(f"data.path: 4 of 10 files are no pictures to train on: {first}")
    assert message.endswith(
        "), PATH/b/none.png (an empty file), ...\nRemove them, or leave them out: data.params.bad_files: skip"
    )
    prepared = load(tmp_path, format="images", params={"bad_files": "skip"}, split=HALVES)
    assert sizes(prepared) == {"train": 3, "validation": 0, "test": 3}
    (note,) = prepared.notes
    assert note.replace(str(tmp_path), "PATH").startswith(f"skipped 4 of 10 files that are no pictures: {first}")


def test_a_class_without_a_picture_is_refused(tmp_path: Path) -> None:
    folder(tmp_path, {"a": 3, "b": 3})
    words = "data.path: folder PATH/c has no picture, and each folder is a class\nPut pictures into it, or remove it."
    (tmp_path / "c").mkdir()
    assert refusal(tmp_path, format="images") == words
    (tmp_path / "c" / "x.png").write_bytes(b"hello")
    assert refusal(tmp_path, format="images", params={"bad_files": "skip"}) == words
    assert sizes(load(tmp_path / "[ab]" / "*.png", format="images", split=HALVES))["train"] == 3


@pytest.mark.parametrize(
    ("mode", "channels"),
    [("1", 1), ("L", 1), ("LA", 1), ("I;16", 1), ("P", 3), ("RGB", 3), ("RGBA", 3), ("CMYK", 3), ("YCbCr", 3)],
)
def test_pictures_of_every_kind_become_bytes(tmp_path: Path, mode: str, channels: int) -> None:
    ramp = np.linspace(0, 255, 96).astype(np.uint8).reshape(2, 2, 24)
    for name, grey in zip("ab", ramp, strict=True):
        image = Image.fromarray(np.stack([grey] * 3, axis=-1))
        if mode == "I;16":
            image = Image.fromarray(grey.astype(np.uint16) * 257)
        else:
            image = image.convert("L") if mode in ("1", "LA") else image
            image = image.quantize(64) if mode == "P" else image.convert(mode)
        (tmp_path / name).mkdir()
        image.save(tmp_path / name / ("0.tif" if mode in ("CMYK", "YCbCr") else "0.png"))
    prepared = load(tmp_path, format="images", task="generation", split=ALL)
    x, _ = whole(prepared, "train")
    assert x.shape == (2, channels, 2, 24)
    expected = (ramp >= 128) * 255 if mode == "1" else ramp
    if mode != "1":  # which is dithered
        assert (x * 255 - torch.from_numpy(expected)[:, None]).abs().max() <= 4
    else:
        assert set(x.flatten().tolist()) == {0.0, 1.0}


def test_a_picture_is_turned_upright(tmp_path: Path) -> None:
    picture = pixels(8, 5)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise
    for name in "ab":
        (tmp_path / name).mkdir()
        Image.fromarray(picture).save(tmp_path / name / "0.png", exif=exif)
    prepared = load(tmp_path, format="images", task="generation", split=ALL)
    assert (whole(prepared, "train")[0][0, 0] * 255).round().tolist() == np.rot90(picture, -1).tolist()


# Tasks, baselines, preparation


def test_generation_needs_no_classes(mnist_like: Path) -> None:
    for labels in mnist_like.glob("*labels*"):
        labels.unlink()
    prepared = load(mnist_like, format="idx", task="generation", split={"train": 0.5, "validation": 0.5, "test": 0})
    assert sizes(prepared) == {"train": 20, "validation": 20, "test": 10}
    assert (prepared.input_shape, prepared.output_shape) == ((1, 4, 3), (1, 4, 3))
    assert (prepared.num_classes, prepared.class_names, prepared.baseline) == (None, None, None)
    x, y = whole(prepared, "train")
    assert torch.equal(y, torch.zeros(20, dtype=torch.int64))
    assert prepared.preparation is not None
    out = prepared.preparation.outputs(x, pa.table({}))
    assert out["pixels"].dtype == np.uint8
    assert torch.equal(torch.from_numpy(out["pixels"]) / 255, x)
    out = prepared.preparation.outputs(torch.tensor([-1.0, 0.5019, 9.0]).view(1, 1, 1, 3), pa.table({}))
    assert out["pixels"].flatten().tolist() == [0, 128, 255]


def test_generation_takes_a_folder_without_classes(tmp_path: Path) -> None:
    folder(tmp_path, {"train": 4, "test": 2})
    assert sizes(load(tmp_path, format="images", task="generation", split=HALVES)) == {
        "train": 4,
        "validation": 0,
        "test": 2,
    }
    assert sizes(load(tmp_path / "train", format="images", task="generation", split=HALVES))["train"] == 2


def test_the_baseline_is_the_best_that_does_not_look(tmp_path: Path) -> None:
    from sklearn.dummy import DummyClassifier
    from sklearn.metrics import log_loss

    y = np.array([0, 1, 1, 2] * 6)
    prepared = load(npz(tmp_path / "a.npz", x=pixels(24, 2, 2), y=y), split={**HALVES, "by": "time"})
    assert prepared.baseline is not None
    logits = prepared.baseline(torch.zeros(12, 1, 2, 2))
    dummy = DummyClassifier(strategy="prior").fit(y[:12, None], y[:12])
    assert logits.argmax(1).tolist() == dummy.predict(y[12:, None]).tolist() == [1] * 12
    assert prepared.baseline_name == "most frequent class of train"
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(y[12:]))
    assert float(loss) == pytest.approx(log_loss(y[12:], dummy.predict_proba(y[12:, None])))


def test_only_train_is_augmented(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", x=X8, y=Y8)
    assert load(path).augment is None
    prepared = load(path, params={"augment": {"rotation": 30.0, "flip": True}})
    assert prepared.augment is not None
    x, _ = whole(prepared, "train")
    assert not torch.equal(prepared.augment(x), x)
    torch.testing.assert_close(whole(prepared, "test")[0], whole(load(path), "test")[0])


@pytest.fixture
def stored(tmp_path: Path) -> Any:
    """From a job's section to its data and the preparation as it comes back from the store."""

    def make(path: Path, **section: Any) -> tuple[Prepared, Any]:
        prepared = load(path, **section)
        assert prepared.preparation is not None
        config = json.loads(json.dumps(prepared.preparation.config()))
        again = preparation_from("images", config)
        assert again == prepared.preparation
        return prepared, again

    return make


def test_a_stored_preparation_treats_later_pictures_alike(tmp_path: Path, stored: Any) -> None:
    folder(tmp_path / "train", {"a": 4, "b": 4}, (6, 5, 3))
    root = folder(tmp_path / "test", {"b": 4}, (6, 5, 3))
    prepared, preparation = stored(tmp_path, format="images", params={"scale": "standard"}, split=ALL)
    x, _ = whole(prepared, "test")
    files = sorted((root / "b").iterdir())
    torch.testing.assert_close(preparation.inputs(pa.table({"image": [file.read_bytes() for file in files]})), x)
    torch.testing.assert_close(preparation.inputs(pa.table({"path": [str(file) for file in files]})), x)
    lists = [np.asarray(Image.open(file)).transpose(2, 0, 1).ravel().tolist() for file in files]
    torch.testing.assert_close(preparation.inputs(pa.table({"pixels": lists})), x)


def test_a_stored_preparation_resizes_and_makes_grey(tmp_path: Path, stored: Any) -> None:
    root = folder(tmp_path / "all", {"a": 4, "b": 4}, (6, 5))
    _, preparation = stored(root, format="images", params={"size": [3, 4]}, split=HALVES)
    picture = pixels(20, 30, 3)
    path = png(tmp_path / "new.png", picture)
    expected = np.asarray(Image.fromarray(picture).convert("L").resize((4, 3), Image.Resampling.BILINEAR)) / 255
    torch.testing.assert_close(
        preparation.inputs(pa.table({"path": [str(path)]}))[0, 0], torch.from_numpy(expected).float()
    )


def test_a_stored_preparation_of_features_takes_numbers(tmp_path: Path, stored: Any) -> None:
    x = RNG.normal(size=(8, 3))
    prepared, preparation = stored(npz(tmp_path / "a.npz", x=x, y=Y8), split={**HALVES, "by": "time"})
    got = preparation.inputs(pa.table({"pixels": x[4:].tolist()}))
    torch.testing.assert_close(got, whole(prepared, "test")[0])
    with pytest.raises(DataError) as raised:
        preparation.inputs(pa.table({"image": [b""]}))
    assert str(raised.value) == "needs a column pixels; there is: image"


BAD_ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "no column": ({"y": [1]}, "needs a column image (bytes), path or pixels; there is: y"),
    "nothing": ({"image": [None]}, "column 'image': row 1 holds nothing, not the bytes of a picture file"),
    "text": ({"image": ["a"]}, "column 'image': row 1 holds str, not the bytes of a picture file"),
    "number": ({"path": [3]}, "column 'path': row 1 holds int, not the path of one"),
    "no picture": ({"image": [b"hello"]}, "column 'image': row 1 cannot be decoded: no picture"),
    "too few": ({"pixels": [[1, 2]]}, "column 'pixels': each row must be a list of 30 numbers, none missing"),
    "missing": ({"pixels": [[None] * 30]}, "column 'pixels': each row must be a list of 30 numbers, none missing"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_later_data_that_does_not_fit_is_refused(tmp_path: Path, stored: Any, name: str) -> None:
    columns, words = BAD_ROWS[name]
    _, preparation = stored(folder(tmp_path, {"a": 2, "b": 2}), format="images", split={**HALVES, "stratify": True})
    with pytest.raises(DataError) as raised:
        preparation.inputs(pa.table(columns))
    assert str(raised.value) == words


def test_a_later_picture_of_another_size_is_refused(tmp_path: Path, stored: Any) -> None:
    _, preparation = stored(
        folder(tmp_path / "all", {"a": 2, "b": 2}), format="images", split={**HALVES, "stratify": True}
    )
    with pytest.raises(DataError) as raised:
        preparation.inputs(pa.table({"path": [str(png(tmp_path / "new.png", pixels(9, 5)))]}))
    assert str(raised.value) == (
        "column 'path': row 1 is 9 x 5 pixels, the model was trained on 6 x 5\n"
        "A model trained with data.params.size takes pictures of any size."
    )


def test_samples_go_to_a_device_as_bytes(mnist_like: Path) -> None:
    samples = load(mnist_like, format="idx").splits["train"]
    index = torch.tensor([3, 3, 0])
    moved: Any = samples.to(torch.device("meta"))
    assert (moved.x.device.type, moved.x.dtype, len(moved)) == ("meta", torch.uint8, len(samples))
    x, y = samples.to(torch.device("cpu")).gather(index)
    torch.testing.assert_close((x, y), samples.gather(index), rtol=0, atol=0)
    assert torch.equal(x[0], x[1])


def test_the_fingerprint_changes_with_a_picture(tmp_path: Path) -> None:
    folder(tmp_path, {"a": 2, "b": 2})
    before = data_fingerprint(data(tmp_path, format="images"))
    assert data_fingerprint(data(tmp_path, format="images")) == before
    png(tmp_path / "b" / "1.png", pixels(6, 5))
    assert data_fingerprint(data(tmp_path, format="images")) != before
