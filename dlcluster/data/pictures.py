"""Reads samples and their classes or targets into memory: IDX, npz, or a folder for each class."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dlcluster.data.idx import read_idx
from dlcluster.data.kinds import format_of
from dlcluster.data.locate import File, find, find_one
from dlcluster.data.params import ImageParams
from dlcluster.data.picture_arrays import Array, Pictures, as_pictures, as_targets
from dlcluster.data.picture_folders import FOLDER_SPLITS, read_folder
from dlcluster.data.source import Source
from dlcluster.errors import DataError
from dlcluster.models.named import near

_IDX_SPLITS = {**FOLDER_SPLITS, "t10k": "test"}


def read_pictures(source: Source, params: ImageParams, *, labelled: bool) -> tuple[dict[str, Pictures], list[str]]:
    """Reads all pictures of a job.

    Args:
        source: Files of format ``idx``, ``npz`` or ``images``.
        params: Sizes, channels, names of arrays, and what to do with files that are no pictures.
        labelled: Whether each needs a class or a target.

    Returns:
        By split: ``train`` is what is to be dealt, others have files of their own. And lines for the log.

    Raises:
        DataError: When they cannot be read, or not be used as the job asks.
    """
    notes: list[str] = []
    read = _READERS[str(source.format)]
    found = read(source.path, params, labelled, notes)
    for name, path in source.files.items():
        theirs = read(path, params, labelled, notes)
        if len(theirs) > 1:
            raise DataError(f"data.split.files.{name}: {path}: holds several splits ({', '.join(theirs)}); name one")
        if name in found:
            notes.append(f"{found[name].shown} is left out: data.split.files.{name} is there")
        found[name] = next(iter(theirs.values()))
    return found, notes


def _read_idx_files(path: str, params: ImageParams, labelled: bool, notes: list[str]) -> dict[str, Pictures]:
    """Reads pairs of an images file and a labels file, by their names as MNIST has them."""
    files = find(path)
    single = len(files) == 1 and "images" in files[0].name
    pairs: dict[str, dict[str, File]] = {"images": {}, "labels": {}}
    for file in sorted(files, key=lambda file: file.name.endswith(".gz")):  # of two copies, the one not compressed
        role = next((role for role in pairs if role in file.name), None)
        if role is None or (format_of(file.name) != "idx" and not single):
            continue
        before = re.split(r"[^a-z0-9]+", file.name.partition(role)[0].lower())
        split = next((_IDX_SPLITS[word] for word in before if word in _IDX_SPLITS), "train")
        earlier = pairs[role].setdefault(split, file)
        if earlier.relative.removesuffix(".gz") != file.relative.removesuffix(".gz"):
            raise DataError(f"data.path: {earlier.shown} and {file.shown} both hold the {role} of {split}; name one")
    if not pairs["images"]:
        names = ", ".join(file.name for file in files[:5]) or "nothing"
        raise DataError(
            f"data.path: {path}: no IDX file of pictures (there is: {names})",
            hint="They are called like train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz.",
        )
    found = {}
    for split, images in pairs["images"].items():
        labels = None
        if labelled:
            labels = _labels_beside(images) if single else pairs["labels"].get(split)
            if labels is None:
                raise DataError(f"data.path: {images.shown}: no file of labels for it ({_labels_name(images.shown)})")
        x = as_pictures(read_idx(images), images.shown, params)
        y = None if labels is None else as_targets(read_idx(labels), len(x), labels.shown)
        found[split] = Pictures(x, y, images.shown)
    return _dealt(found, path)


def _labels_beside(images: File) -> File:
    return find_one(_labels_name(images.shown))


def _labels_name(images: str) -> str:
    folder, slash, name = images.rpartition("/")
    return folder + slash + name.replace("images", "labels").replace("idx3", "idx1")


def _dealt(found: dict[str, Pictures], path: str) -> dict[str, Pictures]:
    """Makes what is there alone the part that is dealt; else there must be one to train on."""
    if len(found) == 1:
        return {"train": next(iter(found.values()))}
    if "train" not in found:
        raise DataError(f"data.path: {path}: holds {' and '.join(sorted(found))}, but nothing to train on")
    return found


def _read_npz(path: str, params: ImageParams, labelled: bool, notes: list[str]) -> dict[str, Pictures]:
    """Reads arrays by name, whole or with ``_train`` and ``_test`` after it."""
    file = find_one(path)
    try:
        arrays = np.load(io.BytesIO(file.read()), allow_pickle=False)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"data.path: {file.shown}: is no npz file as numpy.savez writes it") from error
    if isinstance(arrays, np.ndarray):
        raise DataError(
            f"data.path: {file.shown}: is one array, not an npz file", hint="Write it with numpy.savez(path, x=x, y=y)."
        )
    endings = {FOLDER_SPLITS[word]: f"_{word}" for word in FOLDER_SPLITS if f"{params.x}_{word}" in arrays.files}
    endings = endings or {"train": ""}
    found = {}
    for split, ending in endings.items():
        x = _array(arrays, params.x + ending, "x", file.shown)
        x = as_pictures(x, f"{file.shown}: array {params.x + ending}", params)
        y = None
        if labelled:
            y = _array(arrays, params.y + ending, "y", file.shown)
            y = as_targets(y, len(x), f"{file.shown}: array {params.y + ending}")
        found[split] = Pictures(x, y, f"{file.shown}: array {params.x + ending}")
    return _dealt(found, path)


def _array(arrays: Any, name: str, key: str, shown: str) -> Array:
    if name not in arrays.files:
        raise DataError(f"data.params.{key}: {shown} has no array {name!r}; {near(name, arrays.files)}")
    try:
        return arrays[name]  # type: ignore[no-any-return]
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"data.path: {shown}: array {name!r} is damaged: {error}") from error
    except ValueError as error:
        raise DataError(
            f"data.path: {shown}: array {name!r} holds Python objects, not numbers",
            hint="Write it as numbers, or as text of a fixed length: numpy.asarray(names, dtype=str).",
        ) from error


_READERS: Mapping[str, Callable[[str, ImageParams, bool, list[str]], dict[str, Pictures]]] = {
    "idx": _read_idx_files,
    "npz": _read_npz,
    "images": read_folder,
}
