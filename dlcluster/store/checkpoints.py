"""Checkpoints as bytes: whole or not there, verified before anything is restored from them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dlcluster.errors import ObjectNotFound, StoreError
from dlcluster.store import keys
from dlcluster.store.objects import Objects

MANIFEST = "MANIFEST.json"
_NAME = re.compile(r"f([0-9]+)-a([0-9]+)-e([0-9]+)-s([0-9]+)")


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint; its hashes were verified.

    Attributes:
        name: ``f<claim>-a<attempt>-e<epoch>-s<step>``.
        meta: What was given to ``put_checkpoint``.
        skipped: Newer ones that are broken, each with what is wrong.
    """

    run_id: str
    trial_id: str
    name: str
    fence: int
    attempt: int
    epoch: int
    step: int
    uri: str
    meta: dict[str, Any]
    skipped: tuple[str, ...] = ()
    _files: dict[str, bytes] = field(default_factory=dict, repr=False)

    def load(self) -> dict[str, bytes]:
        """The files by name."""
        return dict(self._files)


def checkpoint_name(fence: int, attempt: int, epoch: int, step: int) -> str:
    """Name a checkpoint.

    Args:
        fence: The claim that writes it.
        attempt: The attempt.
        epoch: Epochs done, or the one under way.
        step: Steps within the run, or the epoch; later ones are greater.
    """
    return f"f{fence}-a{attempt}-e{epoch}-s{step}"


def put_checkpoint(
    objects: Objects,
    run_id: str,
    trial_id: str,
    name: str,
    files: Mapping[str, bytes],
    meta: Mapping[str, Any],
) -> None:
    """Write a checkpoint: data first, its manifest last. One of that name that is whole already stays.

    Raises:
        StoreError: The store is away, or a name is no checkpoint's.
    """
    if not _NAME.fullmatch(name):
        raise StoreError(f"{name!r} names no checkpoint; see checkpoint_name()")
    folder = f"{_trial(run_id, trial_id)}{name}/"
    if any(file == MANIFEST for file in files):
        raise StoreError(f"a checkpoint's file cannot be called {MANIFEST}")
    if any(True for _ in objects.list(folder + MANIFEST)):
        return
    manifest = {
        "files": {
            file: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for file, data in files.items()
        },
        "meta": dict(meta),
    }
    text = json.dumps(manifest, indent=1, sort_keys=True).encode()  # before any write: it may not be JSON
    for file, data in files.items():
        objects.put(folder + keys.check_segment(file, "file of a checkpoint"), data)
    objects.put(folder + MANIFEST, text)


def newest_checkpoint(objects: Objects, run_id: str, trial_id: str) -> Checkpoint | None:
    """Read a trial's newest whole checkpoint: highest claim that has one, then attempt, epoch, step."""
    prefix = _trial(run_id, trial_id)
    found = []
    for info in objects.list(prefix):
        name, _, file = info.key[len(prefix) :].partition("/")
        match = _NAME.fullmatch(name)
        if match and file == MANIFEST:
            found.append((tuple(int(part) for part in match.groups()), name))
    skipped: list[str] = []
    for (fence, attempt, epoch, step), name in sorted(found, reverse=True):
        try:
            manifest, files = _verified(objects, prefix + name + "/")
        except (ObjectNotFound, _BrokenError) as error:
            skipped.append(f"{name}: {error}")
            continue
        return Checkpoint(
            run_id,
            trial_id,
            name,
            fence,
            attempt,
            epoch,
            step,
            uri=objects.locate(prefix + name),
            meta=manifest.get("meta", {}),
            skipped=tuple(skipped),
            _files=files,
        )
    return None


class _BrokenError(Exception):
    pass


def _verified(objects: Objects, folder: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    try:
        manifest: dict[str, Any] = json.loads(objects.get(folder + MANIFEST))
        listed = {
            keys.check_segment(file, "file of a checkpoint"): str(entry["sha256"])
            for file, entry in manifest["files"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _BrokenError(f"its manifest is damaged ({error})") from error
    files = {}
    for file, sha256 in listed.items():
        files[file] = objects.get(folder + file)
        if hashlib.sha256(files[file]).hexdigest() != sha256:
            raise _BrokenError(f"{file} is not what its manifest says")
    return manifest, files


def prune(objects: Objects, run_id: str, trial_id: str, fence: int, keep: Sequence[str]) -> None:
    """Delete the checkpoints of one claim, those under way too, except some.

    Args:
        objects: Where.
        run_id: Whose.
        trial_id: Whose.
        fence: The caller's claim; nobody deletes under another's.
        keep: Names that stay.
    """
    prefix = _trial(run_id, trial_id)
    manifests: list[str] = []
    data: list[str] = []
    for info in objects.list(f"{prefix}f{fence}-"):
        name, _, file = info.key[len(prefix) :].partition("/")
        if name not in keep:
            (manifests if file == MANIFEST else data).append(info.key)
    objects.delete(manifests)  # first: what has a manifest must be whole
    objects.delete(data)


def _trial(run_id: str, trial_id: str) -> str:
    keys.check_segment(run_id, "run id")
    return keys.checkpoints(run_id, keys.check_segment(trial_id, "trial id"))
