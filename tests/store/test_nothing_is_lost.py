"""The ten sentences of STORE.md, "Nothing is lost", as far as the store can keep them alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from secrets import token_hex
from typing import Any

import pytest

from dlcluster.errors import Superseded
from dlcluster.store import (
    Commit,
    Objects,
    Outcome,
    RunWriter,
    clean,
    newest_checkpoint,
    open_objects,
    put_checkpoint,
    read_commits,
    seal,
    view,
)
from dlcluster.store.read import files, table
from tests.store import processes
from tests.store.helpers import (
    RUN,
    T0,
    Crash,
    Crashing,
    attempt_row,
    claimed,
    contents,
    copied,
    epoch_row,
    fence,
    outcome,
    trial_row,
    write,
)

TABLES = ("runs", "trials", "attempts", "epochs", "epochs_superseded", "system", "artifacts", "environments")


def everything(objects: Objects, ignoring: tuple[str, ...] = ()) -> dict[str, list[dict[str, Any]]]:
    return {
        name: [
            {column: value for column, value in row.items() if column not in ignoring}
            for row in table(objects, name, RUN).to_pylist()
        ]
        for name in TABLES
    }


def live_epochs(objects: Objects) -> list[tuple[int, int, int]]:
    return [(row["fence"], row["attempt"], row["epoch"]) for row in table(objects, "epochs", RUN).to_pylist()]


def superseded_epochs(objects: Objects) -> list[tuple[int, int, int]]:
    rows = table(objects, "epochs_superseded", RUN).to_pylist()
    return [(row["fence"], row["attempt"], row["epoch"]) for row in rows]


@pytest.fixture
def interrupted(objects: Objects) -> Objects:
    """Claim 1 was sealed as stopped, claim 2 lost its driver, claim 3 did the rest and is to be sealed."""
    claimed(objects, 1)
    write(objects, [attempt_row(1, 1), *(epoch_row(epoch) for epoch in range(1, 5)), trial_row("STOPPED")], 1)
    seal(objects, fence(1), outcome("STOPPED"))
    claimed(objects, 2)
    write(objects, [attempt_row(1, 4), *(epoch_row(epoch) for epoch in range(4, 9)), trial_row("RUNNING")], 2)
    claimed(objects, 3)
    rows = [attempt_row(1, 7), epoch_row(7), epoch_row(8), trial_row(test_loss=0.5)]
    rows += [("system", {"trial_id": "t1", "rank": rank}) for rank in range(3)]
    rows += [
        ("artifacts", {"name": "report", "kind": "html"}),
        ("environments", {"environment_id": "e", "host": "h"}),
    ]
    write(objects, rows, 3)
    return objects


# 1. Every row acknowledged to a worker is in the sealed tables.


def test_every_row_acknowledged_to_a_worker_is_in_the_sealed_tables(objects: Objects) -> None:
    """Even one that a zombie's writer acknowledges while a later claim seals."""
    claimed(objects, 1)
    writer = RunWriter(objects, RUN, 1, flush_seconds=0.001)
    acknowledged, begun, tick = 0, threading.Event(), threading.Event()

    def zombie() -> None:
        nonlocal acknowledged
        epoch = 1
        while True:
            ack = writer.push("w", epoch, [epoch_row(epoch)], flush=True)
            acknowledged = ack.flushed
            if acknowledged > 20:
                begun.set()
            if ack.superseded:
                return
            epoch += 1
            tick.wait(0.001)

    thread = threading.Thread(target=zombie, daemon=True)
    thread.start()
    assert begun.wait(30)
    claimed(objects, 2)
    seal(objects, fence(2), outcome("FAILED"))
    thread.join(30)
    assert not thread.is_alive()
    with pytest.raises(Superseded):
        writer.close(30)
    found = {epoch for _, _, epoch in live_epochs(objects) + superseded_epochs(objects)}
    assert set(range(1, acknowledged + 1)) <= found


def test_every_row_acknowledged_before_a_kill_is_in_the_sealed_tables(objects: Objects) -> None:
    claimed(objects, 1)
    ours, theirs = processes.SPAWN.Pipe()
    process = processes.SPAWN.Process(target=processes.write_for_ever, args=(theirs, objects.uri, RUN))
    process.start()
    theirs.close()
    acknowledged = 0
    while acknowledged < 60:
        acknowledged = ours.recv()
    process.kill()
    process.join()
    while ours.poll():
        try:
            acknowledged = ours.recv()
        except EOFError:
            break
    ours.close()
    claimed(objects, 2)
    seal(objects, fence(2), outcome("FAILED"))
    epochs = [epoch for _, _, epoch in live_epochs(objects)]
    assert epochs == list(range(1, len(epochs) + 1))
    assert len(epochs) >= acknowledged


# 2. Exactly one live row per (run, trial, epoch). (As a property: test_rows.py.)


def test_exactly_one_live_row_per_run_trial_and_epoch(interrupted: Objects) -> None:
    before = live_epochs(interrupted)
    seal(interrupted, fence(3), outcome())
    assert before == live_epochs(interrupted) == [
        (1, 1, 1), (1, 1, 2), (1, 1, 3), (2, 1, 4), (2, 1, 5), (2, 1, 6), (3, 1, 7), (3, 1, 8),
    ]  # fmt: skip


def test_a_history_written_again_is_kept_once(objects: Objects) -> None:
    claimed(objects, 1)
    write(objects, [attempt_row(1, 1), epoch_row(1), epoch_row(2)], 1)  # epochs 3 and 4 died unflushed
    claimed(objects, 2)
    history = [epoch_row(epoch, 1, fence=1) for epoch in range(1, 5)]
    write(objects, [attempt_row(1, 5), *history, epoch_row(5), trial_row()], 2)
    seal(objects, fence(2), outcome())
    assert live_epochs(objects) == [(1, 1, 1), (1, 1, 2), (1, 1, 3), (1, 1, 4), (2, 1, 5)]
    assert superseded_epochs(objects) == []


# 3. A sealed run is seen whole or not at all.


def crashes(objects: Objects, action: Callable[[Objects], object]) -> list[Objects]:
    """The stores that an action leaves when it is killed before or after each of its writes."""
    counted = Crashing(copied(objects, open_objects(f"{objects.uri}/{token_hex(4)}")), -1, after=False)
    action(counted)
    points = [(at, after) for at in range(1, counted.writes + 1) for after in (False, True)]
    if not objects.is_local:  # each costs a hundred requests; on a folder all are taken
        points = [points[len(points) // 2], *points[-3:-1]]
    left = []
    for at, after in points:
        store = copied(objects, open_objects(f"{objects.uri}/{token_hex(4)}"))
        with pytest.raises(Crash):
            action(Crashing(store, at, after=after))
        left.append(store)
    return left


def test_a_sealed_run_is_seen_whole_or_not_at_all(interrupted: Objects) -> None:
    before = everything(interrupted)
    stopped = files(interrupted, "epochs", RUN)
    sealed = []
    for store in crashes(interrupted, lambda objects: seal(objects, fence(3), outcome())):
        known = view(store, RUN)
        sealed.append(known.sealed)
        names = [path.removeprefix(store.uri) for path in files(store, "epochs", RUN)]
        if known.sealed:
            assert (known.state, known.run["num_epochs"], known.partial) == ("SUCCEEDED", 8, False)
            assert names == [f"/v1/tables/epochs/date=2026-11-21/{RUN}-f3.parquet"]
            assert everything(store)["trials"][0]["test_loss"] == 0.5
        else:
            assert (known.state, known.exit_code, known.partial) == ("PENDING", None, True)
            assert names == [path.removeprefix(interrupted.uri) for path in stopped]
            assert everything(store) == before
    assert sealed == sorted(sealed)
    assert set(sealed) == {False, True}


# 4. A seal repeated, raced or killed anywhere gives the same content.


def test_a_seal_killed_anywhere_and_repeated_gives_the_same_content(interrupted: Objects) -> None:
    whole = copied(interrupted, open_objects(f"{interrupted.uri}/whole"))
    commit = seal(whole, fence(3), outcome())
    assert seal(whole, fence(3), outcome("FAILED")) == commit  # the first one counts
    committed = {file.key: file.sha256 for file in commit.files}
    for store in crashes(interrupted, lambda objects: seal(objects, fence(3), outcome())):
        again = seal(store, fence(3), outcome())
        assert {file.key: file.sha256 for file in again.files} == committed
        assert again.run == commit.run
        assert everything(store) == everything(whole)
        assert set(contents(store, "tables/")) == set(contents(whole, "tables/"))
        assert list(store.list("open/")) == []
        assert [(one.n, one.tombstone) for one in read_commits(store, RUN)] == [
            (1, False),
            (2, True),
            (3, False),
        ]


def test_a_seal_repeated_with_another_outcome_leaves_no_rivals_files(interrupted: Objects) -> None:
    later = outcome(ended_at=T0 + timedelta(hours=1))
    for store in crashes(interrupted, lambda objects: seal(objects, fence(3), outcome())):
        commit = seal(store, fence(3), later)
        assert commit.run is not None
        assert table(store, "runs", RUN).to_pylist()[0]["ended_at"] == commit.run["ended_at"]
        assert {key for key in contents(store, "tables/") if "-f3" in key} == {file.key for file in commit.files}
        assert everything(store)["epochs"] == everything(interrupted)["epochs"]


def test_raced_seals_give_one_commit(interrupted: Objects) -> None:
    ends = [outcome(ended_at=T0 + timedelta(minutes=10 + racer)) for racer in range(3)]
    answers = processes.race(
        processes.seal_claim,
        [(interrupted.uri, fence(3).model_dump_json(), end.model_dump_json()) for end in ends],
    )
    assert len(set(answers)) == 1
    commit = Commit.model_validate_json(answers[0])
    assert {key for key in contents(interrupted, "tables/") if "-f3" in key} == {file.key for file in commit.files}
    assert view(interrupted, RUN).run == commit.run


def test_a_raced_seal_of_an_earlier_claim_is_in_or_refused(interrupted: Objects) -> None:
    calls = [(interrupted.uri, fence(n).model_dump_json(), outcome().model_dump_json()) for n in (2, 3, 2, 3)]
    answers = processes.race(processes.seal_claim, calls)
    assert answers[1] == answers[3]
    tombstone = read_commits(interrupted, RUN)[1].tombstone
    assert {answer == "superseded" for answer in answers[0::2]} == {tombstone}
    assert Commit.model_validate_json(answers[1]).n == 3
    assert len(live_epochs(interrupted)) == 8


def test_a_zombies_commit_is_refused(interrupted: Objects) -> None:
    seal(interrupted, fence(3), outcome())
    before = contents(interrupted)
    with pytest.raises(Superseded, match=r"claim 2 of run .* cannot be sealed"):
        seal(interrupted, fence(2), outcome())
    assert contents(interrupted) == before


# 5. A committed object never changes; one that a later commit replaces goes only after it.


def test_a_committed_object_never_changes(interrupted: Objects) -> None:
    first = {file.key: interrupted.get(file.key) for file in read_commits(interrupted, RUN)[0].files}

    def seal_and_clean(objects: Objects) -> None:
        seal(objects, fence(3), outcome())
        clean(objects, RUN, age_seconds=0)

    for store in crashes(interrupted, seal_and_clean):
        there = contents(store, "tables/")
        if not view(store, RUN).sealed:
            assert {key: there[key] for key in first} == first
        else:
            newest = {file.key: file.sha256 for file in read_commits(store, RUN)[-1].files}
            assert set(newest) <= set(there)
            assert len(live_epochs(store)) == 8


def test_cleaning_waits_an_hour_and_takes_only_what_was_replaced(interrupted: Objects) -> None:
    seal(interrupted, fence(3), outcome())
    before, shown = contents(interrupted), everything(interrupted)
    assert clean(interrupted, RUN) == []
    assert contents(interrupted) == before
    deleted = clean(interrupted, RUN, age_seconds=0)
    assert all(key.startswith((f"live/{RUN}/", "tables/")) for key in deleted)
    assert list(interrupted.list("live/")) == []
    assert not any("-f1." in info.key for info in interrupted.list("tables/"))
    assert everything(interrupted) == shown
    assert clean(interrupted, RUN, age_seconds=0) == []


# 6. Work thrown away by a restore is kept, apart.


def test_work_thrown_away_by_a_restore_is_kept_apart(interrupted: Objects) -> None:
    before = superseded_epochs(interrupted)
    seal(interrupted, fence(3), outcome())
    assert before == superseded_epochs(interrupted) == [(1, 1, 4), (2, 1, 7), (2, 1, 8)]


# 7. Every attempt has an end and a cause.


def test_every_attempt_has_an_end_and_a_cause(objects: Objects) -> None:
    claimed(objects, 1)
    write(objects, [attempt_row(1, 1), epoch_row(1), ("attempts", {"trial_id": "t1", "attempt": 2})], 1)
    claimed(objects, 2)
    rows = [attempt_row(1, 2), epoch_row(2), attempt_row(2, 3), epoch_row(3, 2), epoch_row(9, 7, trial="t2")]
    end = {
        "trial_id": "t1",
        "attempt": 1,
        "ended_at": T0 + timedelta(seconds=5),
        "state": "FAILED",
        "cause": "oom",
    }
    write(objects, [*rows, ("attempts", end)], 2)
    told = outcome("STOPPED", reason="by ada")
    seal(objects, fence(2), told)
    columns = [
        "trial_id",
        "fence",
        "attempt",
        "start_epoch",
        "state",
        "cause",
        "ended_at",
        "duration_seconds",
    ]
    found = [tuple(row.values()) for row in table(objects, "attempts", RUN, columns).to_pylist()]
    at, after = T0 + timedelta(seconds=1), told.ended_at
    assert found == [
        ("t1", 1, 1, 1, "FAILED", "driver_lost", at, 1.0),
        ("t1", 1, 2, None, "FAILED", "driver_lost", after, None),
        ("t1", 2, 1, 2, "FAILED", "oom", T0 + timedelta(seconds=5), 5.0),
        ("t1", 2, 2, 3, "STOPPED", "stopped", after, 600.0),
        ("t2", 2, 7, 9, "STOPPED", "stopped", after, None),
    ]


# 8. SUCCEEDED needs trials expected = trials ended.


@pytest.mark.parametrize(
    ("states", "reason"),
    [
        (["SUCCEEDED", "SUCCEEDED"], None),
        (["SUCCEEDED"], "1 of 2 trials succeeded"),
        (["SUCCEEDED", "RUNNING"], "1 of 2 trials succeeded"),
        (["SUCCEEDED", "FAILED"], "1 of 2 trials succeeded"),
        ([], "0 of 2 trials succeeded"),
    ],
)
def test_succeeded_needs_trials_expected_to_be_trials_ended(
    objects: Objects, states: list[str], reason: str | None
) -> None:
    claimed(objects, trials=2)
    write(objects, [trial_row(state, trial=f"t{number}") for number, state in enumerate(states)])
    seal(objects, fence(trials=2), outcome())
    known = view(objects, RUN)
    expected = ("FAILED", 1, reason) if reason else ("SUCCEEDED", 0, None)
    assert (known.state, known.exit_code, known.reason) == expected
    states_in_table = table(objects, "trials", RUN, ["state"])["state"].to_pylist()
    assert states_in_table == [state if state != "RUNNING" else "FAILED" for state in states]


# 9. Restore uses only checkpoints whose manifest and hashes match. (More: test_checkpoints.py.)


def test_restore_uses_only_checkpoints_whose_manifest_and_hashes_match(objects: Objects) -> None:
    for epoch in (1, 2, 3):
        put_checkpoint(objects, RUN, "t1", f"f1-a1-e{epoch}-s0", {"state": b"%d" % epoch}, {})
    objects.put(f"checkpoints/{RUN}/t1/f1-a1-e3-s0/state", b"other")
    objects.delete([f"checkpoints/{RUN}/t1/f1-a1-e2-s0/MANIFEST.json"])
    found = newest_checkpoint(objects, RUN, "t1")
    assert found is not None
    assert (found.name, found.load(), len(found.skipped)) == ("f1-a1-e1-s0", {"state": b"1"}, 1)


# 10. Losing the head loses at most what no checkpoint and no flush holds.


def test_losing_the_head_loses_at_most_what_no_checkpoint_and_no_flush_holds(objects: Objects) -> None:
    """Epochs 1-3 were flushed, the checkpoint's history holds 1-5, the head died in epoch 7."""
    claimed(objects, 1)
    write(objects, [attempt_row(1, 1), *(epoch_row(epoch) for epoch in (1, 2, 3))], 1)
    lost = RunWriter(Crashing(objects, 1, after=False), RUN, 1)  # never gets a write through
    claimed(objects, 2)
    history = [epoch_row(epoch, 1, fence=1) for epoch in range(1, 6)]
    write(objects, [attempt_row(1, 6, restored_from="f1-a1-e5-s0"), *history, epoch_row(6), trial_row()], 2)
    seal(objects, fence(2), outcome())
    assert live_epochs(objects) == [*((1, 1, epoch) for epoch in range(1, 6)), (2, 1, 6)]
    attempts = table(objects, "attempts", RUN, ["fence", "cause", "restored_from"]).to_pylist()
    assert attempts == [
        {"fence": 1, "cause": "driver_lost", "restored_from": None},
        {"fence": 2, "cause": "succeeded", "restored_from": "f1-a1-e5-s0"},
    ]
    lost.close(1)


def test_an_outcome_survives_its_way_to_another_process() -> None:
    told = outcome("FAILED", reason="out of memory", best_value=0.25, gpu_seconds=3.5)
    assert Outcome.model_validate_json(told.model_dump_json()) == told
