from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from dlcluster.errors import StoreError, Superseded
from dlcluster.store import Ack, Objects, RunWriter, Sender, open_objects, read_logs
from dlcluster.store.read import table
from dlcluster.store.schema import Row
from tests.store.helpers import (
    RUN,
    Crashing,
    attempt_row,
    claimed,
    contents,
    epoch_row,
    sender_to,
    until,
    write,
)


def epochs_of(objects: Objects) -> list[tuple[int, int]]:
    return [(row["epoch"], row["seq"]) for row in table(objects, "epochs", RUN).to_pylist()]


class BrokenError(Exception):
    """What carries a push failed."""


class Away(Crashing):
    """A store that can be taken away."""

    def __init__(self, real: Objects) -> None:
        super().__init__(real, -1, after=False)
        self.away = False

    def put(self, key: str, data: bytes) -> None:
        if self.away:
            raise StoreError("the store is away")
        super().put(key, data)


@pytest.fixture
def writer(objects: Objects) -> Iterator[RunWriter]:
    writer = RunWriter(objects, RUN, 1, flush_seconds=60)
    yield writer
    writer.close(30)


def test_the_first_row_is_durable_at_once(objects: Objects, writer: RunWriter) -> None:
    writer.push("w", 1, [epoch_row(1)])
    until(lambda: writer.push("w", 2, []).flushed == 1)
    assert epochs_of(objects) == [(1, 1)]
    assert writer.push("w", 2, [epoch_row(2)]) == Ack(1, {}, writer.id)
    assert writer.progress().waiting == 1


def test_logs_wait_for_a_moment_and_do_not_hold_back_rows(objects: Objects, writer: RunWriter) -> None:
    writer.push("w", 1, [("log", {"stream": "driver", "text": "hello"})])
    assert writer.progress().waiting == 1
    until(lambda: writer.push("w", 2, []).flushed == 1)
    writer.push("w", 2, [epoch_row(1)])
    until(lambda: writer.push("w", 3, []).flushed == 2)
    assert read_logs(objects, RUN)[0] == ["hello"]


def test_enough_rows_or_a_wish_flush(objects: Objects) -> None:
    writer = RunWriter(objects, RUN, 1, flush_seconds=60, flush_rows=10)
    writer.push("w", 1, [epoch_row(1)])
    until(lambda: writer.push("w", 2, []).flushed == 1)
    writer.push("w", 2, [epoch_row(epoch) for epoch in range(2, 12)])
    until(lambda: writer.push("w", 12, []).flushed == 11)
    writer.push("w", 12, [epoch_row(12)], flush=True)
    until(lambda: writer.push("w", 13, []).flushed == 12)
    writer.close(30)
    assert epochs_of(objects) == [(epoch, epoch) for epoch in range(1, 13)]


def test_pushes_may_be_repeated_overlap_and_come_late(objects: Objects, writer: RunWriter) -> None:
    rows = [epoch_row(epoch) for epoch in range(1, 9)]
    writer.push("w", 1, rows[:3])
    writer.push("w", 1, rows[:3])
    writer.push("w", 2, rows[1:5])
    assert writer.push("w", 7, rows[6:]).flushed < 6
    writer.push("w", 1, rows, flush=True)
    until(lambda: writer.push("w", 9, []).flushed == 8)
    assert sorted(epoch for epoch, _ in epochs_of(objects)) == list(range(1, 9))
    assert writer.progress().counts == {"epochs": 8}


def test_progress_tells_the_latest_epoch(writer: RunWriter) -> None:
    assert writer.progress().latest is None
    writer.push("w", 1, [attempt_row(), epoch_row(1), epoch_row(2)])
    progress = writer.progress()
    assert progress.latest == epoch_row(2)[1]
    assert (progress.counts, progress.store_error, progress.since) == (
        {"attempts": 1, "epochs": 2},
        None,
        None,
    )


def test_control_reaches_the_workers(writer: RunWriter) -> None:
    sender = sender_to(writer)
    writer.set_control({"stop": "limit"})
    sender.send(*epoch_row(1))
    until(lambda: sender.control == {"stop": "limit"})
    writer.set_control({"stop": "user"})
    until(lambda: sender.control == {"stop": "user"})
    sender.close(30)


def test_a_store_that_is_away_loses_nothing(folder: str) -> None:
    objects = Away(open_objects(folder))
    writer = RunWriter(objects, RUN, 1, flush_seconds=0.01)
    sender = sender_to(writer)
    objects.away = True
    for epoch in range(1, 30):
        sender.send(*epoch_row(epoch))
    until(lambda: writer.progress().store_error is not None)
    progress = writer.progress()
    assert progress.store_error == "the store is away"
    assert progress.since is not None
    with pytest.raises(StoreError, match=r"29 rows of worker-0-.* were not written within 0.1 s"):
        sender.close(0.1)
    objects.away = False
    writer.close(30)
    assert writer.progress().store_error is None
    assert epochs_of(objects) == [(epoch, epoch) for epoch in range(1, 30)]


def test_closing_a_writer_whose_store_is_away_says_what_is_lost(folder: str) -> None:
    objects = Away(open_objects(folder))
    objects.away = True
    writer = RunWriter(objects, RUN, 1)
    writer.push("w", 1, [epoch_row(1), epoch_row(2)])
    with pytest.raises(StoreError, match=f"2 rows of run {RUN} were not written within 0.3 s: the store is away"):
        writer.close(0.3)
    writer.push("w", 3, [epoch_row(3)])
    assert writer.progress().waiting == 2


def test_a_row_that_does_not_fit_is_kept_in_a_log(objects: Objects, writer: RunWriter) -> None:
    rows: list[Row] = [epoch_row(1), epoch_row(2, train_loss="high"), epoch_row(3), ("nothing", {"a": 1})]
    writer.push("w", 1, rows, flush=True)
    until(lambda: writer.push("w", 5, []).flushed == 4)
    assert [epoch for epoch, _ in epochs_of(objects)] == [1, 3]
    lines, _ = read_logs(objects, RUN, stream="rejected")
    assert [line.split(":")[0] for line in lines] == [
        "the column 'train_loss' of 'epochs' is double",
        "there is no table 'nothing'",
    ]


def test_shards_merge_by_ten(objects: Objects) -> None:
    writer = RunWriter(objects, RUN, 1)
    for epoch in range(1, 124):
        writer.push("w", epoch, [epoch_row(epoch)], flush=True)
        until(lambda epoch=epoch: writer.push("w", epoch + 1, []).flushed == epoch)  # type: ignore[misc]
    writer.close(30)
    shards = [key.rpartition("/")[2] for key in contents(objects, f"live/{RUN}/") if key.endswith(".parquet")]
    assert shards == [
        f"epochs-{first:012d}-{last:012d}.parquet"
        for first, last in ((1, 100), (101, 110), (111, 120), (121, 121), (122, 122), (123, 123))
    ]
    assert epochs_of(objects) == [(epoch, epoch) for epoch in range(1, 124)]


def test_a_history_row_keeps_the_claim_that_computed_it(objects: Objects) -> None:
    rows = [attempt_row(1, 3), epoch_row(1, 1, fence=1), epoch_row(2, 2, fence=1), epoch_row(3, 1, fence=2)]
    write(objects, [*rows, epoch_row(4, 1, fence=3)], 2)
    found = table(objects, "epochs", RUN).to_pylist()
    assert [(row["fence"], row["attempt"], row["epoch"]) for row in found] == [
        (1, 1, 1),
        (1, 2, 2),
        (2, 1, 3),
        (2, 1, 4),
    ]


def test_logs_are_cut_at_their_limit(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlcluster.store.batch.LOG_LIMIT", 1 << 20)
    line = "x" * 99
    for _ in range(2):  # the second incarnation of the writer knows what the first wrote
        write(objects, [("log", {"stream": "w", "text": line})] * 12_000)
    lines, _ = read_logs(objects, RUN)
    assert lines[-1] == "[dlcluster] w exceeds 1 MiB: the rest is left out"
    assert "\n".join(lines[:-1]) == "\n".join([line] * 12_000)[: 1 << 20]


def test_a_writer_stops_when_a_later_claim_is_made(objects: Objects) -> None:
    claimed(objects, 1)
    writer = RunWriter(objects, RUN, 1, flush_seconds=0.01)
    sender = sender_to(writer)
    sender.send(*epoch_row(1))
    until(lambda: writer.progress().waiting == 0 and writer.progress().counts == {"epochs": 1})
    claimed(objects, 2)
    sender.send(*epoch_row(2))
    with pytest.raises(Superseded, match="a later claim owns run"):
        sender.close(30)
    with pytest.raises(Superseded, match="a later claim owns run"):
        writer.close(30)
    assert writer.progress().superseded


def test_unknown_columns_are_refused_where_they_are_sent(writer: RunWriter) -> None:
    sender = sender_to(writer)
    with pytest.raises(ValueError, match="the table 'epochs' has no column loss"):
        sender.send("epochs", {"loss": 1.0})
    sender.close(30)
    with pytest.raises(StoreError, match="sent after the sender was closed"):
        sender.send(*epoch_row(1))


def test_a_row_may_be_changed_after_it_was_sent(objects: Objects, writer: RunWriter) -> None:
    sender = sender_to(writer)
    table_name, row = epoch_row(1)
    sender.send(table_name, row)
    row["epoch"] = 99
    row["metrics"]["mae"] = 99.0
    sender.close(30)
    found = table(objects, "epochs", RUN, ["epoch", "metrics"]).to_pylist()
    assert found == [{"epoch": 1, "metrics": [("mae", 1.0)]}]


def test_sending_blocks_only_above_the_limit_and_says_so() -> None:
    said: list[str] = []
    let_go = threading.Event()

    def push(name: str, first: int, rows: list[Row], flush: bool) -> Ack:
        return Ack(first + len(rows) - 1 if let_go.is_set() else 0)

    def say(line: str) -> None:
        said.append(line)
        sender.log("worker-0", line)  # as the driver's do

    sender = Sender(push, "w", limit_bytes=100_000, interval=0.01, say=say)

    def work() -> None:
        for _ in range(200):
            sender.log("out", "x" * 1000)

    blocked = threading.Thread(target=work)
    blocked.start()
    until(lambda: len(said) == 1)
    assert said[0].startswith("training waits: ")
    assert blocked.is_alive()
    let_go.set()
    blocked.join(20)
    assert not blocked.is_alive()
    sender.close(20)
    assert said[1] == "training goes on: the store takes rows again"


def test_a_push_that_fails_is_tried_again_and_told_once(objects: Objects, writer: RunWriter) -> None:
    said: list[str] = []
    failures = iter([BrokenError("gone"), BrokenError("gone")])

    def push(name: str, first: int, rows: list[Row], flush: bool) -> Ack:
        ack = writer.push(name, first, rows, flush=flush)
        error = next(failures, None)
        if error is not None:  # it took effect and the answer is lost
            raise error
        return ack

    sender = Sender(push, "w", interval=0.01, say=said.append)
    for epoch in range(1, 11):
        sender.send(*epoch_row(epoch))
    sender.close(30)
    assert [epoch for epoch, _ in epochs_of(objects)] == list(range(1, 11))
    wait, again = (
        "rows wait, the run's writer does not answer: BrokenError: gone",
        "rows are being written again",
    )
    assert said == [wait, again]


def test_closing_with_a_writer_that_never_answers_does_not_hang() -> None:
    never = threading.Event()

    def push(name: str, first: int, rows: list[Row], flush: bool) -> Ack:
        never.wait(60)
        raise BrokenError

    sender = Sender(push, "w", interval=0.01)
    sender.send(*epoch_row(1))
    with pytest.raises(StoreError, match=r"1 rows of w-.* were not written within 0.2 s"):
        sender.close(0.2)
    never.set()


def test_two_senders_of_one_name_are_two(objects: Objects, writer: RunWriter) -> None:
    for epoch in (1, 2):
        sender = sender_to(writer)
        sender.send(*epoch_row(epoch))
        sender.close(30)
    assert [epoch for epoch, _ in epochs_of(objects)] == [1, 2]


@pytest.mark.parametrize("seed", range(4))
def test_any_interleaving_of_push_retries_gives_every_row_once(objects: Objects, seed: int) -> None:
    """Pushes are lost before and after they took effect, come late, and the writer is replaced."""
    import random

    chance = random.Random(seed)
    stores = [Away(open_objects(objects.uri))]
    writers = [RunWriter(stores[0], RUN, 1, flush_seconds=0.02)]
    late: list[tuple[str, int, list[Row]]] = []
    guard = threading.Lock()

    def push(name: str, first: int, rows: list[Row], flush: bool) -> Ack:
        with guard:
            luck = chance.random()
            if luck < 0.1:
                raise BrokenError("before")
            if luck < 0.2:
                late.append((name, first, rows))
                raise BrokenError("late")
            if late and luck < 0.4:
                writers[-1].push(*late.pop(chance.randrange(len(late))))
            if luck > 0.97 and len(writers) < 4:  # its process is gone, with what it had not flushed
                stores[-1].away = True
                with suppress(StoreError):
                    writers[-1].close(0)
                stores.append(Away(open_objects(objects.uri)))
                writers.append(RunWriter(stores[-1], RUN, 1, flush_seconds=0.02))
            ack = writers[-1].push(name, first, rows, flush=flush)
            if luck > 0.9:
                raise BrokenError("after")
            return ack

    senders = [Sender(push, f"w{number}", interval=0.001) for number in range(2)]
    expected: list[Any] = []
    for number in range(1, 151):
        for which, sender in enumerate(senders):
            sender.send("system", {"trial_id": f"t{which}", "rank": number})
            expected.append((f"t{which}", number))
    for sender in senders:
        sender.close(60)
    writers[-1].close(30)
    found = [(row["trial_id"], row["rank"]) for row in table(objects, "system", RUN).to_pylist()]
    assert sorted(found) == sorted(expected)
