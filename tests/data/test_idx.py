"""IDX files: every type of number, plain and compressed, and what is wrong with a broken one in words."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlcluster.data.idx import read_idx
from dlcluster.data.locate import find_one
from dlcluster.errors import DataError

MNIST = Path(__file__).parents[3] / "shared" / "data" / "mnist"
TYPES = {"u1": 0x08, "i1": 0x09, ">i2": 0x0B, ">i4": 0x0C, ">f4": 0x0D, ">f8": 0x0E}


def idx(values: Any, kind: str = "u1") -> bytes:
    array = np.asarray(values).astype(kind)
    return bytes([0, 0, TYPES[kind], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("compressed", [False, True])
def test_every_type_of_number_is_read_in_this_machines_order(tmp_path: Path, kind: str, compressed: bool) -> None:
    values = np.arange(24).reshape(2, 3, 4) - (0 if kind == "u1" else 12)
    content = idx(values, kind)
    (tmp_path / "a.idx").write_bytes(gzip.compress(content) if compressed else content)
    got = read_idx(find_one(str(tmp_path / "a.idx")))
    assert got.dtype == np.dtype(kind).newbyteorder("=")
    assert got.tolist() == values.tolist()


BROKEN: dict[str, tuple[bytes, str]] = {
    "not idx": (
        b"\x89PNG\r\n",
        "is no IDX file: it begins with 89 50 4e 47, not with 00 00 and the type of its numbers (08, 09, 0b to 0e)",
    ),
    "empty": (
        b"",
        "is no IDX file: it begins with nothing, not with 00 00 and the type of its numbers (08, 09, 0b to 0e)",
    ),
    "no such type": (
        b"\0\0\x0a\x01" + bytes(8),
        "is no IDX file: it begins with 00 00 0a 01, not with 00 00 and the type of its numbers (08, 09, 0b to 0e)",
    ),
    "header cut": (idx(np.zeros((2, 3, 4)))[:9], "is cut short within its header (9 of 16 bytes)"),
    "numbers cut": (idx(np.zeros((2, 3, 4)))[:-1], "is cut short: 23 bytes of numbers, but 2 x 3 x 4 uint8 are 24"),
    "wide numbers cut": (
        idx([1, 2], ">i4")[:-1],
        "is cut short: 7 bytes of numbers, but 2 int32 are 8",
    ),
    "bytes after it": (
        idx([1, 2]) + b"xyz",
        "is longer than it says: 5 bytes of numbers, but 2 uint8 are 2",
    ),
    "gzip cut": (
        gzip.compress(idx(np.arange(200)))[:-30],
        "is a damaged gzip file: Compressed file ended before the end-of-stream marker was reached",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_in_words(tmp_path: Path, name: str) -> None:
    content, words = BROKEN[name]
    path = tmp_path / "a-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(DataError) as raised:
        read_idx(find_one(str(path)))
    assert str(raised.value) == f"data.path: {path}: {words}"


@pytest.mark.skipif(not MNIST.is_dir(), reason="needs a copy of MNIST in ../shared/data/mnist")
def test_mnist_has_the_pictures_it_is_known_for() -> None:
    images = read_idx(find_one(str(MNIST / "t10k-images-idx3-ubyte.gz")))
    labels = read_idx(find_one(str(MNIST / "t10k-labels-idx1-ubyte.gz")))
    assert (images.shape, images.dtype, labels.shape) == ((10_000, 28, 28), np.uint8, (10_000,))
    assert labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert images.mean() / 255 == pytest.approx(0.1325, abs=5e-5)
