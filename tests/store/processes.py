"""What other processes do in the store's tests; they are started afresh (spawn) and import this."""

from __future__ import annotations

import hashlib
import multiprocessing
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from dlcluster.errors import Superseded
from dlcluster.store import Fence, Outcome, RunWriter, open_objects, seal
from tests.store.helpers import epoch_row

SPAWN = multiprocessing.get_context("spawn")


def race(target: Callable[..., None], calls: list[tuple[Any, ...]]) -> list[Any]:
    """Run ``target(connection, *call)`` in a process each, let all go at once, return what each sent."""
    started = []
    for call in calls:
        ours, theirs = SPAWN.Pipe()
        process = SPAWN.Process(target=target, args=(theirs, *call))
        process.start()
        theirs.close()
        started.append((process, ours))
    for _, ours in started:
        assert ours.recv() == "ready"
    for _, ours in started:
        ours.send("go")
    answers = [ours.recv() for _, ours in started]
    for process, ours in started:
        process.join(60)
        ours.close()
    return answers


def _at_once(pipe: Connection) -> None:
    pipe.send("ready")
    pipe.recv()


def put_if_absent(pipe: Connection, uri: str, keys: list[str], body: bytes) -> None:
    objects = open_objects(uri)
    list(objects.list("x/"))  # connected
    _at_once(pipe)
    pipe.send([key for key in keys if objects.put_if_absent(key, body)])


def seal_claim(pipe: Connection, uri: str, fence: str, outcome: str) -> None:
    import pyarrow.parquet  # noqa: F401 - before the race, not in it

    objects = open_objects(uri)
    claim, end = Fence.model_validate_json(fence), Outcome.model_validate_json(outcome)
    _at_once(pipe)
    try:
        pipe.send(seal(objects, claim, end).model_dump_json())
    except Superseded:
        pipe.send("superseded")


def put_for_ever(pipe: Connection, uri: str) -> None:
    """Put large objects whose names say their hash until killed."""
    objects = open_objects(uri)
    number = 0
    while True:
        data = hashlib.sha256(str(number).encode()).digest() * 32_768  # a megabyte
        objects.put_if_absent(f"x/{hashlib.sha256(data).hexdigest()}", data)
        objects.put("y/overwritten", data)
        number += 1
        pipe.send(number)


def write_for_ever(pipe: Connection, uri: str, run_id: str) -> None:
    """Report epochs until killed; tell the highest that was acknowledged."""
    writer = RunWriter(open_objects(uri), run_id, 1, flush_seconds=0.01)
    epoch, told, tick = 0, 0, threading.Event()
    while True:
        epoch += 1
        ack = writer.push("worker-0", epoch, [epoch_row(epoch)], flush=True)
        while epoch - ack.flushed > 50:
            tick.wait(0.002)
            ack = writer.push("worker-0", epoch + 1, [])
        if ack.flushed > told:
            told = ack.flushed
            pipe.send(told)
