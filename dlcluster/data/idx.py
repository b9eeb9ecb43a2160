"""Reads IDX files, the format of MNIST: what the numbers are, how many, then the numbers."""

from __future__ import annotations

import gzip
import math
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcluster.errors import DataError

if TYPE_CHECKING:
    from dlcluster.data.locate import File

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP = b"\x1f\x8b"


def read_idx(file: File) -> np.ndarray[Any, Any]:
    """Reads one IDX file, plain or compressed with gzip.

    Format: LeCun, Cortes & Burges, The MNIST database: two zero bytes, the type, the number of dimensions, the size
    of each as four bytes, then the numbers, all with the highest byte first.

    Returns:
        Its numbers in this machine's byte order; not writable where they lie in the bytes that were read.

    Raises:
        DataError: When it cannot be read, is no IDX file, or is longer or shorter than it says.
    """
    content = file.read()
    if content.startswith(_GZIP):
        try:
            content = gzip.decompress(content)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"data.path: {file.shown}: is a damaged gzip file: {error}") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES:
        begins = content[:4].hex(" ") or "nothing"
        raise DataError(
            f"data.path: {file.shown}: is no IDX file: it begins with {begins}, not with 00 00 and the type of its "
            f"numbers (08, 09, 0b to 0e)"
        )
    kind, dimensions = np.dtype(_TYPES[content[2]]), content[3]
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise DataError(f"data.path: {file.shown}: is cut short within its header ({len(content)} of {start} bytes)")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", dimensions, 4))
    needed, there = math.prod(shape) * kind.itemsize, len(content) - start
    if there != needed:
        wrong = "is cut short" if there < needed else "is longer than it says"
        raise DataError(
            f"data.path: {file.shown}: {wrong}: {there} bytes of numbers, but {' x '.join(map(str, shape))} "
            f"{kind.newbyteorder('=').name} are {needed}"
        )
    numbers = np.frombuffer(content, kind, math.prod(shape), start).reshape(shape)
    return numbers.astype(kind.newbyteorder("="), copy=False)
