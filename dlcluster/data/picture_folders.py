"""Reads a folder of picture files: a folder for each class, or for each split with those."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dlcluster.data.locate import File, find
from dlcluster.data.params import ImageParams
from dlcluster.data.picture_arrays import Array, Pictures
from dlcluster.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

FOLDER_SPLITS = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}
"""What people call the parts of a data set, and which split each is."""
_GREY = ("1", "L", "LA", "La")
_THREADS = 8


class NoPictureError(Exception):
    """Bytes that cannot be decoded as a picture; its text says why."""


@dataclass(frozen=True)
class _Entry:
    """A file, and what its place in the folder says."""

    file: File
    split: str
    label: str
    root: str


def read_folder(path: str, params: ImageParams, labelled: bool, notes: list[str]) -> dict[str, Pictures]:
    """Reads the picture files of a folder or glob.

    Args:
        path: ``root/class/*``, or ``root/train/class/*`` and ``root/test/class/*``; without classes one level less.
        params: Size, channels, and what to do with files that are no pictures.
        labelled: Whether each file must lie in a folder, its class.
        notes: Takes a line for the log.

    Raises:
        DataError: When there is none, they differ in size, a class has none, or a file is no picture.
    """
    entries = _entries(find(path), labelled)
    x, kept = _decoded(entries, params, labelled, notes)
    if labelled:
        _refuse_empty(path, entries, kept)
    found = {}
    for split in dict.fromkeys(entry.split for entry in kept):
        places = [i for i, entry in enumerate(kept) if entry.split == split]  # one after the other
        labels = np.array([kept[i].label for i in places]) if labelled else None
        shown = path if all(entry.split == split for entry in kept) else f"{path.rstrip('/')}: {split}"
        found[split] = Pictures(x[places[0] : places[-1] + 1], labels, shown)
    return found


def _entries(files: list[File], labelled: bool) -> list[_Entry]:
    """Tells split and class of each file by its place; train comes first."""
    parts = [file.relative.split("/") for file in files]
    tops = {part[0] for part in parts if len(part) > 1}
    deep = any(len(part) > (2 if labelled else 1) for part in parts)
    if not ("train" in tops and tops <= set(FOLDER_SPLITS) and deep):
        return [_Entry(file, "train", _first(part), _root(file, part)) for file, part in zip(files, parts, strict=True)]
    entries = [
        _Entry(file, FOLDER_SPLITS.get(part[0], "train"), _first(part[1:]), _root(file, part[1:]))
        for file, part in zip(files, parts, strict=True)
    ]
    return sorted(entries, key=lambda entry: (entry.split != "train", entry.split, entry.file.relative))


def _first(parts: Sequence[str]) -> str:
    """The class: the first folder, or nothing where a file lies in none."""
    return parts[0] if len(parts) > 1 else ""


def _root(file: File, parts: Sequence[str]) -> str:
    return file.inner[: len(file.inner) - len("/".join(parts)) - 1]


def _decoded(
    entries: list[_Entry], params: ImageParams, labelled: bool, notes: list[str]
) -> tuple[Array, list[_Entry]]:
    """Decodes files side by side into one array, and tells which of them are in it."""

    def one(entry: _Entry) -> Array | str:
        if labelled and not entry.label:
            return "in no class's folder"
        try:
            return decode(entry.file.read(), params.size, params.channels)
        except NoPictureError as error:
            return str(error)

    pixels, kept, bad = np.empty(0, np.uint8), list[_Entry](), list[str]()
    with ThreadPoolExecutor(_THREADS) as pool:
        for entry, picture in zip(entries, pool.map(one, entries), strict=True):
            if isinstance(picture, str):
                bad.append(f"{entry.file.shown} ({picture})")
                continue
            if not kept:
                pixels = np.empty((len(entries), *picture.shape), np.uint8)
            elif picture.shape != pixels.shape[1:]:
                _refuse_shape(kept[0].file.shown, pixels.shape[1:], entry.file.shown, picture.shape)
            pixels[len(kept)] = picture
            kept.append(entry)
    if bad:
        shown = ", ".join(bad[:3]) + (", ..." if len(bad) > 3 else "")
        if params.bad_files == "refuse" or not kept:
            raise DataError(
                f"data.path: {len(bad)} of {len(entries)} files are no pictures to train on: {shown}",
                hint="Remove them, or leave them out: data.params.bad_files: skip",
            )
        notes.append(f"skipped {len(bad)} of {len(entries)} files that are no pictures: {shown}")
    return pixels[: len(kept)], kept


def _refuse_shape(first: str, expected: tuple[int, ...], other: str, got: tuple[int, ...]) -> None:
    if got[0] != expected[0]:
        words = {1: "grey", 3: "in colour"}
        raise DataError(
            f"data.params.channels: {first} is {words[expected[0]]}, {other} is {words[got[0]]}",
            hint="Say what all become: data.params.channels: 1 (grey) or 3 (colour)",
        )
    raise DataError(
        f"data.params.size: {first} is {expected[1]} x {expected[2]} pixels (height x width), "
        f"{other} is {got[1]} x {got[2]}",
        hint=f"Say what all are resized to: data.params.size: [{expected[1]}, {expected[2]}]",
    )


def _refuse_empty(path: str, entries: list[_Entry], kept: list[_Entry]) -> None:
    """Refuses a class's folder without a picture: it is more often a mistake than a class."""
    from pyarrow import fs

    full = {(entry.root, entry.label) for entry in kept}
    there = {(entry.root, entry.label) for entry in entries if entry.label}
    if not any(sign in path for sign in "*?["):  # a glob leaves folders out on purpose
        for root, file in {entry.root: entry.file for entry in entries}.items():
            infos = file.filesystem.get_file_info(fs.FileSelector(root))
            there |= {(root, info.base_name) for info in infos if info.type == fs.FileType.Directory}
    empty = sorted(f"{root}/{name}" for root, name in there - full if not name.startswith((".", "_")))
    if empty:
        raise DataError(
            f"data.path: folder {empty[0]} has no picture, and each folder is a class",
            hint="Put pictures into it, or remove it.",
        )


def decode(content: bytes, size: list[int] | None = None, channels: int | None = None) -> Array:
    """Decodes a picture file, upright as its EXIF says.

    Args:
        content: The file's bytes.
        size: ``[height, width]`` it is resized to, with antialiasing; None as it is.
        channels: 1 or 3; None as it is. Transparency is dropped.

    Returns:
        ``(channels, height, width)`` uint8.

    Raises:
        NoPictureError: When it cannot be decoded.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as opened:
            image = _plain(ImageOps.exif_transpose(opened), channels)
    except UnidentifiedImageError as error:
        raise NoPictureError("no picture" if content else "an empty file") from error
    except Image.DecompressionBombError as error:
        raise NoPictureError("too large") from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        raise NoPictureError(f"damaged: {error}") from error
    if size is not None and image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _plain(image: Image.Image, channels: int | None) -> Image.Image:
    """Makes a picture of any kind one byte of grey or three of colour a pixel."""
    from PIL import Image

    if image.mode == "F":
        raise NoPictureError("floating-point pixels; use npz")
    if image.mode.startswith("I"):  # 16 bits a pixel: Pillow's own conversion would cut them off at 255
        image = Image.fromarray((np.asarray(image) // 256).clip(0, 255).astype(np.uint8))
    grey = image.mode in _GREY if channels is None else channels == 1
    return image.convert("L" if grey else "RGB")
