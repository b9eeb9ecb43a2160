"""Code packages: what travelled with a job, by its hash."""

from __future__ import annotations

import hashlib
import re

from dlcluster.errors import StoreError
from dlcluster.store import keys
from dlcluster.store.objects import Objects
from dlcluster.store.probe import prepare


def put_code(objects: Objects, sha256: str, data: bytes) -> None:
    """Keep a package; one that is there already stays.

    Raises:
        StoreError: The hash is not the data's.
    """
    prepare(objects)
    _check(sha256, data, "what was given")
    objects.put_if_absent(keys.code(sha256), data)


def get_code(objects: Objects, sha256: str) -> bytes:
    """Read a package.

    Raises:
        ObjectNotFound: There is none of that hash.
        StoreError: It is damaged.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise StoreError(f"{sha256!r} is no sha256")
    data = objects.get(keys.code(sha256))
    _check(sha256, data, objects.locate(keys.code(sha256)))
    return data


def _check(sha256: str, data: bytes, what: str) -> None:
    if hashlib.sha256(data).hexdigest() != sha256:
        raise StoreError(f"the code package {sha256[:12]} is damaged: {what} has another hash")
