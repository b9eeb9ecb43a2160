from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest

from dlcluster.errors import ObjectNotFound, RunNotFound, StoreError
from dlcluster.store import (
    LogCursor,
    ObjectInfo,
    Objects,
    RunState,
    RunView,
    RunWriter,
    newest,
    open_objects,
    open_store,
    read_logs,
    resolve,
    seal,
    view,
    write_state,
)
from dlcluster.store.read import files, table
from tests.store.helpers import (
    JOB,
    RUN,
    T0,
    Crashing,
    attempt_row,
    claimed,
    epoch_row,
    fence,
    outcome,
    trial_row,
    until,
    write,
)

OTHER = "20261121-100000-gru-0001"


def sealed(objects: Objects, run_id: str = RUN, *, epochs: int = 3, **more: Any) -> RunView:
    claimed(objects, 1, run_id)
    rows = [attempt_row(), *(epoch_row(epoch) for epoch in range(1, epochs + 1)), trial_row()]
    write(objects, rows, 1, run_id)
    seal(objects, fence(1, run_id), outcome(**more))
    return view(objects, run_id)


def running(objects: Objects, n: int = 1, run_id: str = RUN, **state: Any) -> None:
    told = RunState.model_validate({"state": "RUNNING", "owner": "driver", **state})
    write_state(objects, run_id, n, told)


def aged(objects: Objects, n: int, seconds: float) -> Objects:
    """The same store, where the state of a claim was written some time ago."""

    class Aged(Crashing):
        def get_with_age(self, key: str) -> tuple[bytes, float]:
            data, age = super().get_with_age(key)
            return data, age + (seconds if f"/f{n}/" in key else 0)

    return Aged(objects, -1, after=False)


def test_a_run_that_nobody_made_is_not_found(objects: Objects) -> None:
    with pytest.raises(RunNotFound, match=f"there is no run {RUN} in"):
        view(objects, RUN)
    assert newest(objects) == []
    assert table(objects, "epochs").num_rows == table(objects, "runs", RUN).num_rows == 0
    assert files(objects, "epochs") == files(objects, "epochs", RUN) == []
    assert read_logs(objects, RUN) == ([], LogCursor())


def test_a_claimed_run_is_pending(objects: Objects) -> None:
    claimed(objects)
    found = view(objects, RUN)
    assert (found.state, found.reason, found.exit_code, found.sealed, found.age) == (
        "PENDING",
        None,
        None,
        False,
        None,
    )
    assert (found.fence, found.progress) == (fence(), None)
    assert {name: value for name, value in found.run.items() if value is not None} == {
        "run_id": RUN,
        "name": "lstm-co2",
        "kind": "train",
        "state": "PENDING",
        "description": "weekly CO2",
        "labels": {"team": "climate"},
        "submitted_at": T0,
        "submitted_by": "ada@host",
        "num_trials_expected": 1,
        "num_workers": 2,
        "gpus_per_worker": 1.0,
        "spec": json.dumps(JOB, sort_keys=True, separators=(",", ":")),
        "spec_sha256": found.run["spec_sha256"],
        "code_sha256": "ab" * 32,
        "fence": 1,
        "submission_id": RUN,
        "dlcluster_version": found.run["dlcluster_version"],
    }


def test_a_client_that_waits_is_not_lost(objects: Objects) -> None:
    claimed(objects)
    running(objects, state="PENDING", owner="client")
    found = view(aged(objects, 1, 9999), RUN)
    assert (found.state, found.exit_code) == ("PENDING", None)


def test_a_run_under_way_shows_its_progress(objects: Objects) -> None:
    claimed(objects)
    running(objects, epoch=4, num_epochs=20, best=0.25, metric="validation_loss", attempt=1)
    found = view(objects, RUN)
    assert (found.state, found.exit_code, found.partial) == ("RUNNING", None, True)
    assert found.progress is not None
    assert (found.progress.epoch, found.progress.num_epochs) == (4, 20)
    assert (found.run["best_value"], found.run["metric"], found.run["num_epochs"]) == (
        0.25,
        "validation_loss",
        4,
    )
    assert found.age is not None
    assert 0 <= found.age < 30


def test_a_lost_driver_is_shown_as_failed(objects: Objects) -> None:
    claimed(objects)
    running(objects)
    found = view(aged(objects, 1, 75), RUN)
    words = f"driver lost (no heartbeat for 75 s); dlcluster resume {RUN}"
    assert (found.state, found.reason, found.exit_code, found.sealed) == ("FAILED", words, 1, False)
    assert (found.run["state"], found.run["reason"], found.run["exit_code"]) == ("FAILED", words, 1)


def test_a_driver_lost_before_it_sealed_is_shown_as_failed(objects: Objects) -> None:
    claimed(objects)
    running(objects, state="SUCCEEDED")
    assert (view(objects, RUN).state, view(objects, RUN).exit_code) == ("SUCCEEDED", None)
    found = view(aged(objects, 1, 90), RUN)
    assert (found.state, found.exit_code) == ("FAILED", 1)
    assert str(found.reason).startswith("driver lost before the run was sealed as SUCCEEDED (no heartbeat for 90 s)")


def test_a_sealed_run_has_its_row(objects: Objects) -> None:
    told: dict[str, Any] = {
        "metric": "validation_loss",
        "mode": "min",
        "best_trial_id": "t1",
        "best_value": 0.5,
        "gpu_seconds": 20.0,
    }
    found = sealed(objects, **told)
    assert (found.state, found.exit_code, found.sealed, found.partial) == ("SUCCEEDED", 0, True, False)
    assert found.fence == fence()
    shown = {name: found.run[name] for name in found.run if name.startswith("num_trials") or name in told}
    assert shown == told | {
        "num_trials_expected": 1,
        "num_trials_succeeded": 1,
        "num_trials_failed": 0,
        "num_trials_stopped": 0,
    }
    assert (found.run["num_epochs"], found.run["num_attempts"], found.run["duration_seconds"]) == (
        3,
        1,
        600.0,
    )
    assert (found.run["started_at"], found.run["ended_at"]) == (T0, T0 + timedelta(minutes=10))
    row = table(objects, "runs", RUN).to_pylist()[0]
    assert row == found.run | {"labels": [("team", "climate")]}
    parquet = pd.read_parquet(files(objects, "runs", RUN)[0], storage_options=None) if objects.is_local else None
    assert parquet is None or parquet["best_value"].tolist() == [0.5]


def test_a_resumed_run_adds_up(objects: Objects) -> None:
    sealed(
        objects,
        state="STOPPED",
        best_trial_id="t1",
        best_value=0.5,
        metric="validation_loss",
        gpu_seconds=5.0,
    )
    claimed(objects, 2)
    running(objects, 2, epoch=4)
    found = view(objects, RUN)
    assert (found.state, found.sealed, found.partial, found.exit_code) == ("RUNNING", False, True, None)
    assert (found.run["num_epochs"], found.run["best_value"], found.run["ended_at"]) == (3, 0.5, None)
    assert found.run["fence"] == 2
    write(objects, [attempt_row(1, 4), epoch_row(4), trial_row()], 2)
    assert table(objects, "epochs", RUN, ["epoch"])["epoch"].to_pylist() == [1, 2, 3, 4]
    later = T0 + timedelta(hours=3)
    seal(objects, fence(2), outcome(started_at=later, ended_at=later + timedelta(minutes=5), gpu_seconds=2.5))
    row = view(objects, RUN).run
    assert (row["gpu_seconds"], row["duration_seconds"], row["num_epochs"], row["num_attempts"]) == (
        7.5,
        900.0,
        4,
        2,
    )
    assert (row["started_at"], row["best_value"], row["best_trial_id"]) == (T0, 0.5, "t1")


def test_newest_shows_the_newest_first(objects: Objects) -> None:
    sealed(objects)
    claimed(objects, 1, OTHER)
    running(objects, 1, OTHER)
    sealed(objects, "20261120-100000-mlp-0001")
    claimed(objects, 2, "20261120-100000-mlp-0001")
    objects.put("open/20261122-100000-never-0001.1", b"")  # a marker whose claim was never made
    objects.put(f"open/{RUN}.1", b"")  # one that was left after its commit
    found = [(run.run_id, run.state, run.sealed) for run in newest(objects)]
    assert found == [
        (OTHER, "RUNNING", False),
        (RUN, "SUCCEEDED", True),
        ("20261120-100000-mlp-0001", "PENDING", False),
    ]
    assert [run.run_id for run in newest(objects, 1)] == [OTHER]
    assert [run.run_id for run in open_store(objects.uri).runs(2)] == [OTHER, RUN]


def commits_of_many(count: int, per_day: int) -> dict[str, bytes]:
    now = datetime.now(UTC)
    made = {}
    for number in range(count):
        at = now - timedelta(days=number / per_day)
        run_id = f"{at:%Y%m%d-%H%M%S}-many-{number % 65536:04x}"
        run = {"run_id": run_id, "state": "SUCCEEDED", "exit_code": 0, "submitted_at": at.isoformat()}
        commit = {"run_id": run_id, "n": 1, "sealed_at": at.isoformat(), "files": [], "run": run}
        made[f"commits/{run_id}/1.json"] = json.dumps(commit).encode()
    return made


def test_the_newest_of_ten_thousand_cost_about_a_request_each(folder: str) -> None:
    made = commits_of_many(10_000, per_day=500)
    for key, data in made.items():
        path = Path(folder) / "v1" / key
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
    objects = open_objects(folder)
    found = newest(objects, 100)
    assert [run.run_id for run in found] == sorted((key.split("/")[1] for key in made), reverse=True)[:100]
    assert objects.requests <= 104


def test_the_newest_on_s3_cost_about_a_request_each(s3: str) -> None:
    objects = open_objects(s3)
    made = commits_of_many(300, per_day=150)
    list(objects.map(lambda item: objects.put(*item), made.items()))
    objects.requests = 0
    found = newest(objects, 20)
    assert [run.run_id for run in found] == sorted((key.split("/")[1] for key in made), reverse=True)[:20]
    assert objects.requests <= 24


def test_refs_are_resolved(objects: Objects) -> None:
    with pytest.raises(RunNotFound, match=r"there is no run in .* yet"):
        resolve(objects, "latest")
    for run_id in (RUN, OTHER, "20261120-093000-lstm-co2-0000"):
        claimed(objects, 1, run_id)
    objects.put("runs/20261123-093000-no-claim-0000/f1/state.json", b"{}")
    refs = ["latest", RUN, "20261120", "20261121-09"]
    assert [resolve(objects, ref) for ref in refs] == [OTHER, RUN, "20261120-093000-lstm-co2-0000", RUN]
    with pytest.raises(RunNotFound, match=r"2 runs in .* begin with '20261121'"):
        resolve(objects, "20261121")
    with pytest.raises(RunNotFound) as near:
        resolve(objects, RUN[:-4] + "7f3b")
    assert RUN in str(near.value.hint)
    with pytest.raises(RunNotFound) as named:
        resolve(objects, "gru")
    assert OTHER in str(named.value.hint)
    for ref in ("../x", "", "a/b"):
        with pytest.raises(RunNotFound, match="is no run id"):
            resolve(objects, ref)


def test_tables_of_all_runs_are_read_at_once(objects: Objects) -> None:
    sealed(objects)
    claimed(objects, 1, OTHER)
    write(objects, [attempt_row(), epoch_row(1)], 1, OTHER)
    sealed(objects, "20261120-100000-mlp-0001", epochs=1)
    claimed(objects, 2, "20261120-100000-mlp-0001")
    write(objects, [attempt_row(1, 2), epoch_row(2)], 2, "20261120-100000-mlp-0001")
    store = open_store(objects.uri)
    found = store.table("epochs", columns=["run_id", "epoch"]).to_pylist()
    assert [(row["run_id"], row["epoch"]) for row in found] == [
        ("20261120-100000-mlp-0001", 1),
        ("20261120-100000-mlp-0001", 2),
        *((RUN, epoch) for epoch in (1, 2, 3)),
        (OTHER, 1),
    ]
    states = store.table("runs", columns=["run_id", "state"]).to_pylist()
    assert [row["state"] for row in states] == ["PENDING", "SUCCEEDED", "PENDING"]
    assert store.table("trials", "latest").num_rows == 0
    assert store.table("epochs", "20261121-093000", ["epoch"])["epoch"].to_pylist() == [1, 2, 3]
    assert len(store.files("epochs")) == 2
    assert store.files("epochs", RUN) == [objects.locate(f"tables/epochs/date=2026-11-21/{RUN}-f1.parquet")]
    assert store.run("latest").run_id == OTHER


def test_unknown_tables_and_columns_are_refused(objects: Objects) -> None:
    with pytest.raises(ValueError, match="there is no table 'epoch'"):
        table(objects, "epoch")
    with pytest.raises(ValueError, match="there is no table 'epoch'"):
        files(objects, "epoch")
    with pytest.raises(ValueError, match="the table 'epochs' has no column loss"):
        table(objects, "epochs", columns=["loss"])


def test_pandas_and_duckdb_read_the_files(folder: str) -> None:
    objects = open_objects(folder)
    sealed(objects)
    paths = files(objects, "epochs")
    frame = pd.concat(pd.read_parquet(path) for path in paths)
    assert frame[["epoch", "train_loss"]].to_numpy().tolist() == [[e, 1.0 / e + 0.001] for e in (1, 2, 3)]
    assert str(frame["reported_at"].dtype) == "datetime64[us, UTC]"
    query = "select epoch, metrics['mae'], train_loss from read_parquet(?) order by epoch"
    assert duckdb.execute(query, [paths]).fetchall() == [(e, float(e), 1.0 / e + 0.001) for e in (1, 2, 3)]


def test_pandas_and_duckdb_read_the_files_on_s3(s3: str) -> None:
    objects = open_objects(s3)
    sealed(objects)
    (uri,) = files(objects, "epochs")
    filesystem, _ = objects.filesystem()
    frame = pd.read_parquet(uri.removeprefix("s3://"), filesystem=filesystem)
    assert frame["epoch"].tolist() == [1, 2, 3]
    found = duckdb.from_arrow(table(objects, "epochs")).aggregate("sum(epoch), count(*)").fetchall()
    assert found == [(6, 3)]


def test_some_columns_of_a_large_file_are_read_alone(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed(objects)
    whole = table(objects, "epochs", RUN)
    monkeypatch.setattr("dlcluster.store.tables._LARGE", 0)
    assert table(objects, "epochs", RUN, ["metrics", "epoch"]).equals(whole.select(["metrics", "epoch"]))
    shutil.rmtree(Path(objects.uri) / "v1" / "tables") if objects.is_local else objects.delete(
        info.key for info in objects.list("tables/")
    )
    with pytest.raises(StoreError, match=f"run {RUN} cannot be read whole: .* is not there"):
        table(objects, "epochs", RUN, ["epoch"])


class Merging(Crashing):
    """A store whose shards merge between a reader's listing and its reading, so many times."""

    def __init__(self, real: Objects, times: int) -> None:
        super().__init__(real, -1, after=False)
        self.times = times

    def get(self, key: str) -> bytes:
        if key.startswith("live/") and self.times > 0:
            self.times -= 1
            raise ObjectNotFound(f"{key} is not there")
        return super().get(key)


def test_readers_begin_again_when_something_has_gone(objects: Objects) -> None:
    claimed(objects)
    write(objects, [attempt_row(), epoch_row(1)])
    assert table(Merging(objects, 4), "epochs", RUN).num_rows == 1
    with pytest.raises(StoreError, match="cannot be read whole"):
        table(Merging(objects, 5), "epochs", RUN)


class Torn(Crashing):
    """A listing that shows neither the shards nor what they became."""

    def __init__(self, real: Objects, hidden: str) -> None:
        super().__init__(real, -1, after=False)
        self.hidden = hidden

    def list(self, prefix: str, *, start_after: str = "") -> Iterator[ObjectInfo]:
        found = super().list(prefix, start_after=start_after)
        return (info for info in found if not info.key.endswith(self.hidden))


def test_a_listing_in_the_midst_of_a_merge_is_not_taken_for_the_truth(objects: Objects) -> None:
    writer = RunWriter(objects, RUN, 1, flush_seconds=0)
    for epoch in (1, 2, 3):
        writer.push("w", epoch, [epoch_row(epoch)], flush=True)
        until(lambda: writer.progress().waiting == 0)
    writer.close()
    torn = Torn(objects, "epochs-000000000002-000000000002.parquet")
    with pytest.raises(StoreError, match="rows 2 to 2 of epochs, claim 1, are not there"):
        table(torn, "epochs", RUN)


def test_readers_see_every_acknowledged_row_while_shards_merge(objects: Objects) -> None:
    claimed(objects)
    writer = RunWriter(objects, RUN, 1, flush_seconds=0.0)
    seen: list[tuple[int, int]] = []
    done = threading.Event()
    flushed = 0

    def read() -> None:
        while not done.is_set():
            least = flushed
            epochs = table(objects, "epochs", RUN, ["epoch"])["epoch"].to_pylist()
            assert epochs == list(range(1, len(epochs) + 1))
            seen.append((least, len(epochs)))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    for epoch in range(1, 45):
        until(lambda epoch=epoch: writer.push("w", epoch, []).flushed == epoch - 1)  # type: ignore[misc]
        flushed = epoch - 1
        writer.push("w", epoch, [epoch_row(epoch)], flush=True)
    done.set()
    reader.join(30)
    writer.close()
    assert seen
    assert all(least <= found for least, found in seen)


def test_logs_are_read_from_where_the_last_reading_ended(objects: Objects) -> None:
    claimed(objects)
    write(
        objects,
        [("log", {"stream": "driver", "text": "one\ntwo\n"}), ("log", {"stream": "worker-0", "text": "w"})],
    )
    lines, cursor = read_logs(objects, RUN)
    assert lines == ["one", "two", "w"]
    assert read_logs(objects, RUN, after=cursor) == ([], cursor)
    write(objects, [("log", {"stream": "driver", "text": "three"})])
    claimed(objects, 2)
    write(objects, [("log", {"stream": "driver", "text": ""}), ("log", {"stream": "driver-2", "text": "x"})], 2)
    more, cursor = read_logs(objects, RUN, after=cursor)
    assert more == ["three", "", "x"]
    assert read_logs(objects, RUN, after=cursor) == ([], cursor)
    driver, cursor = read_logs(objects, RUN, stream="driver")
    assert driver == ["one", "two", "three", ""]
    assert read_logs(objects, RUN, stream="driver", after=cursor) == ([], cursor)


def test_a_damaged_sealed_file_is_not_sealed_again(objects: Objects) -> None:
    sealed(objects, state="STOPPED")
    claimed(objects, 2)
    objects.put(f"tables/trials/date=2026-11-21/{RUN}-f1.parquet", b"other")
    with pytest.raises(StoreError, match="is damaged: its content is not what was committed"):
        seal(objects, fence(2), outcome())


def test_a_store_can_be_read_where_it_cannot_be_written(folder: str) -> None:
    sealed(open_objects(folder))
    assert sys.platform == "linux"
    for path, _, _ in os.walk(folder):
        Path(path).chmod(0o555)
    store = open_store(folder)
    assert [run.state for run in store.runs()] == ["SUCCEEDED"]
    assert store.table("epochs").num_rows == 3
    for path, _, _ in os.walk(folder):
        Path(path).chmod(0o755)
