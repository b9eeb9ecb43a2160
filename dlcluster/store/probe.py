"""First use of a store: does it keep the one promise that everything rests on?"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from secrets import token_hex
from threading import Barrier

from dlcluster.errors import ObjectNotFound, StoreError
from dlcluster.store import keys
from dlcluster.store.objects import Objects

FORMAT = 1
_RACERS = 8
_ROUNDS = 3  # a store whose check and write are two steps may have one winner by luck


def prepare(objects: Objects) -> None:
    """Make sure that this process may write the store; the first use of all races a probe key.

    Raises:
        StoreError: The store was written by a newer dlcluster, or lets several writers win.
    """
    if objects.writable:
        return
    try:
        data = objects.get(keys.STORE)
    except ObjectNotFound:
        race(objects)
        stamp = {"format": FORMAT, "created_at": datetime.now(UTC).isoformat()}
        objects.put_if_absent(keys.STORE, json.dumps(stamp).encode())
        data = objects.get(keys.STORE)
    try:
        found = int(json.loads(data)["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{objects.locate(keys.STORE)} is damaged; it should say the store's format") from error
    if found > FORMAT:
        raise StoreError(
            f"the store {objects.uri} has format {found} of a newer dlcluster; this one writes {FORMAT}",
            hint="upgrade dlcluster, or use another --storage; reading still works",
        )
    objects.writable = True


def race(objects: Objects) -> None:
    """Let eight threads put one key if it is absent: one may win, and its bytes must be the ones read.

    Raises:
        StoreError: The store fails the race.
    """
    with ThreadPoolExecutor(_RACERS) as pool:
        for _ in range(_ROUNDS):
            key = f"probe/{token_hex(8)}"
            start = Barrier(_RACERS)
            bodies = [f"{racer} {token_hex(16)}".encode() for racer in range(_RACERS)]

            def put(body: bytes, key: str = key, start: Barrier = start) -> bool:
                start.wait(timeout=60)
                return objects.put_if_absent(key, body)

            try:
                won = [body for body, first in zip(bodies, pool.map(put, bodies), strict=True) if first]
                if len(won) != 1:
                    raise StoreError(
                        f"the store {objects.uri} let {len(won)} of {_RACERS} writers create one object,"
                        " so two drivers could overwrite each other's results",
                        hint="use a folder, AWS S3 or Ceph; it must honour If-None-Match: * atomically",
                    )
                if objects.get(key) != won[0] or objects.put_if_absent(key, won[0]):
                    raise StoreError(f"the store {objects.uri} does not keep what its first writer put")
            finally:
                objects.delete([key])
