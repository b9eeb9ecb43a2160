"""What reading data must not load, and a copy out of Arrow that needs none of it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from dlcluster.data.columns import floats

CODE = """
import sys
from dlcluster.data.load import load_data
from dlcluster.spec.data import Data
load_data(Data(name="co2", params={"window": 4, "horizon": 1, "missing": "interpolate"}))
heavy = {"pandas", "scipy", "sklearn", "torchmetrics", "kornia", "torch._dynamo", "torch._inductor"}
print(sorted(heavy & {*sys.modules}))
"""


def test_a_series_is_read_without_pandas_or_the_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32(), pa.int16(), pa.uint64(), pa.decimal128(21, 2)])
def test_numbers_are_copied_as_arrow_would(kind: pa.DataType) -> None:
    whole = pa.array([1, None, 3, 4, None, 6, 7, 8, 9, None, 11], pa.int64()).cast(kind)
    for column in (
        pa.chunked_array([whole]),
        pa.chunked_array([whole[3:], whole[:0], whole[1:2], whole[2:9]]),
        pa.chunked_array([], type=kind),
    ):
        expected = np.array(column.cast(pa.float64()).to_numpy(), dtype=np.float64)
        np.testing.assert_array_equal(floats(column), expected)
