"""How fast files are read, beside the library that does nothing else."""

from __future__ import annotations

import gzip
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

from dlcluster.data.idx import read_idx
from dlcluster.data.locate import find_one
from dlcluster.data.read import read_table

ROUNDS = 5


def _compare(what: str, most: float, ours: Callable[[], Any], theirs: Callable[[], Any]) -> None:
    pairs = []
    for number in range(ROUNDS + 1):
        times = []
        for each in (ours, theirs):
            began = time.perf_counter()
            each()
            times.append(time.perf_counter() - began)
        if number:  # the first warms the page cache
            pairs.append(times)
    ratio = statistics.median(mine / bare for mine, bare in pairs)
    mine, bare = (statistics.median(each) for each in zip(*pairs, strict=True))
    print(f"  {what:22} {mine:.2f} s / {bare:.2f} s  ratio {ratio:.2f} (at most {most})", flush=True)


def measure() -> None:
    """Prints a ratio for each format."""
    print(f"reading, median of {ROUNDS} interleaved rounds, ours / the bare library")
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = pa.table({f"c{i}": rng.normal(size=500_000) for i in range(10)})
        csv.write_csv(table, folder / "t.csv")
        parquet.write_table(table, folder / "t.parquet")
        _compare(
            "CSV, 5 M values", 1.2, lambda: read_table(str(folder / "t.csv")), lambda: csv.read_csv(folder / "t.csv")
        )
        _compare(
            "Parquet, 5 M values", 1.2, lambda: read_table(str(folder / "t.parquet")),
            lambda: parquet.read_table(folder / "t.parquet"),
        )  # fmt: skip
        pixels = rng.integers(0, 256, (60_000, 28, 28), dtype=np.uint8)
        pixels[:, :, :20] = 0  # compresses about as well as handwritten digits
        idx = folder / "train-images-idx3-ubyte.gz"
        idx.write_bytes(
            gzip.compress(bytes([0, 0, 8, 3]) + np.array(pixels.shape, ">i4").tobytes() + pixels.tobytes(), 6)
        )

        def bare() -> Any:
            with gzip.open(idx) as stream:
                return np.frombuffer(stream.read(), np.uint8, offset=16).reshape(60_000, 28, 28)

        _compare("IDX, 60,000 pictures", 1.5, lambda: read_idx(find_one(str(idx))), bare)
