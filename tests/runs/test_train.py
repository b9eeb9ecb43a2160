"""Jobs on a real Ray cluster, from submit to Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import dlcluster
from dlcluster.cluster.local import Cluster, token
from dlcluster.cluster.rest import request
from dlcluster.errors import ExitCode, RunEnded, UsageError
from dlcluster.results.summary import attempt_rows, epoch_rows, trial_rows
from dlcluster.store.read import read_logs
from tests.runs.conftest import Submit, first_epoch, losses

pytestmark = pytest.mark.ray


def ended(run: dlcluster.Run) -> RunEnded:
    with pytest.raises(RunEnded) as caught:
        run.wait(120)
    return caught.value


def test_a_run_ends_as_parquet_that_any_tool_reads(submit: Submit) -> None:
    import duckdb
    import pandas as pd

    run = submit("jobs/lstm.yaml", "training.epochs=4")
    view = run.wait(120)
    assert (view.state, view.exit_code, view.sealed, view.partial) == ("SUCCEEDED", 0, True, False)
    (path,) = dlcluster.open().files("epochs", run=run.run_id)
    by_pandas = pd.read_parquet(path)
    assert by_pandas["epoch"].tolist() == [1, 2, 3, 4]
    found = duckdb.sql(f"SELECT epoch, step, train_loss, validation_loss FROM '{path}' ORDER BY epoch")
    assert found is not None
    assert found.fetchall() == losses(run)
    # Without Ray the same job gives the same rows, bit by bit.
    alone = submit("jobs/lstm.yaml", "training.epochs=4", local=True)
    assert losses(alone) == losses(run)
    (trial,), (other,) = trial_rows(run.objects, run.run_id), trial_rows(alone.objects, alone.run_id)
    assert trial["trial_id"] == other["trial_id"]
    assert trial["metrics"] == other["metrics"]
    assert trial["metrics"].keys() == trial["baseline"].keys()


def test_two_workers_give_the_curve_of_one(submit: Submit) -> None:
    # 1,521 windows in batches of 33: uneven slices in each, and a last batch of 3.
    shared = ("training.epochs=5", "training.global_batch_size=33")
    one, two = submit("jobs/lstm.yaml", *shared), submit("jobs/lstm.yaml", *shared, "resources.num_workers=2")
    one.wait(120)
    two.wait(180)
    for ours, theirs in zip(losses(two), losses(one), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    assert [row["num_samples"] for row in epoch_rows(two.objects, two.run_id)] == [1522] * 5
    (attempt,) = attempt_rows(two.objects, two.run_id)
    assert (attempt["num_workers"], attempt["start_epoch"]) == (2, 1)


def test_your_own_model_data_loss_and_metric(submit: Submit) -> None:
    run = submit("jobs/own.yaml", "training.epochs=3")
    run.wait(120)
    (trial,) = trial_rows(run.objects, run.run_id)
    names = ("loss", "mae", "mape", "mse", "r2", "rmse", "worst_error")
    assert set(trial["metrics"]) == {f"test_{name}" for name in names}
    assert trial["metrics"]["test_mae"] < trial["baseline"]["test_mae"]


def test_a_stopped_run_is_sealed_with_its_rows_and_can_go_on(submit: Submit) -> None:
    undisturbed = submit("jobs/lstm.yaml", "training.epochs=40")
    undisturbed.wait(120)
    run = submit("jobs/lstm.yaml", "training.epochs=40")
    first_epoch(run, 3)
    view = run.stop("enough")
    assert (view.state, view.exit_code, view.sealed) == ("STOPPED", ExitCode.STOPPED, True)
    assert view.reason is not None
    assert view.reason.endswith(": enough")
    done = losses(run)
    assert 3 <= len(done) < 40
    assert done == losses(undisturbed)[: len(done)]
    run.resume()
    assert run.wait(120).state == "SUCCEEDED"
    assert losses(run) == losses(undisturbed)
    first, second = attempt_rows(run.objects, run.run_id)
    assert (first["fence"], first["state"], second["fence"], second["state"]) == (1, "STOPPED", 2, "SUCCEEDED")
    assert second["start_epoch"] == len(done) + 1


BAD = """
import torch
class Raises(torch.nn.Module):
    def __init__(self, output_shape):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.calls = 0
        self.output_shape = output_shape
    def forward(self, x):
        self.calls += 1
        if self.training and self.calls > 5:
            raise KeyError("no such thing")
        return self.layer(x)[:, :1].expand(-1, *self.output_shape)
class WrongShape(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 3)
    def forward(self, x):
        return self.layer(x)
class Exits(torch.nn.Module):
    def __init__(self):
        raise SystemExit(3)
"""


def test_a_fault_in_a_users_code_is_not_tried_again(submit: Submit, folder: Path) -> None:
    (folder / "bad.py").write_text(BAD)
    run = submit("jobs/lstm.yaml", "model={name: 'bad:Raises'}")
    error = ended(run)
    assert (str(error), error.exit_code) == ("FAILED: bad.py:12: KeyError: 'no such thing'", ExitCode.FAILED)
    (attempt,) = attempt_rows(run.objects, run.run_id)
    assert (attempt["state"], attempt["cause"]) == ("FAILED", "user_error")
    lines, _ = read_logs(run.objects, run.run_id)
    assert any("Traceback" in line for line in lines)


def test_a_model_that_ends_the_process_is_a_fault_of_its_own(submit: Submit, folder: Path) -> None:
    (folder / "bad.py").write_text(BAD)
    error = ended(submit("jobs/lstm.yaml", "model={name: 'bad:Exits'}"))
    assert (str(error), error.exit_code) == ("FAILED: model bad:Exits() failed: SystemExit: 3", ExitCode.USAGE)


def test_a_model_that_does_not_fit_the_data_is_said_with_both_shapes(submit: Submit, folder: Path) -> None:
    (folder / "bad.py").write_text(BAD)
    error = ended(submit("jobs/lstm.yaml", "model={name: 'bad:WrongShape'}"))
    assert str(error) == (
        "FAILED: model bad:WrongShape predicts shape (2, 52, 3) for x (2, 52, 1), but the data needs (2, 26, 1) "
        "(y is (2, 26, 1))"
    )
    assert error.exit_code == ExitCode.USAGE


def test_arguments_that_a_model_does_not_take_are_found_before_a_worker_starts(submit: Submit, folder: Path) -> None:
    (folder / "bad.py").write_text(BAD)
    run = submit("jobs/lstm.yaml", "model={name: 'bad:WrongShape', params: {width: 3}}")
    error = ended(run)
    assert str(error).startswith("FAILED: model bad:WrongShape: got an unexpected keyword argument 'width'")
    assert error.exit_code == ExitCode.USAGE
    assert attempt_rows(run.objects, run.run_id) == []


PRINTS = """
import os, torch
class Prints(torch.nn.Module):
    def __init__(self, output_shape):
        super().__init__()
        print("token is", os.environ["MY_TOKEN"], "and plain is", os.environ["PLAIN"])
        self.layer, self.output_shape = torch.nn.Linear(1, 1), output_shape
    def forward(self, x):
        return self.layer(x[:, -1:]).expand(-1, *self.output_shape)
"""


def test_secrets_reach_the_worker_and_nothing_else(
    submit: Submit, folder: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "hunter2-7f3a9c"
    (folder / "prints.py").write_text(PRINTS)
    (folder / ".env").write_text(f"MY_TOKEN={secret}")
    settings = ("model={name: 'prints:Prints'}", "secrets=[MY_TOKEN]", "env={PLAIN: seen}", "training.epochs=1")
    with pytest.raises(UsageError, match="secrets: MY_TOKEN not set in your environment"):
        submit("jobs/lstm.yaml", *settings)
    monkeypatch.setenv("MY_TOKEN", secret)
    run = submit("jobs/lstm.yaml", *settings)
    run.wait(120)
    lines, _ = read_logs(run.objects, run.run_id)
    assert "token is *** and plain is seen" in lines
    for path in Path(run.objects.uri).rglob("*"):
        assert path.is_dir() or secret.encode() not in path.read_bytes(), path
    paths = ("/api/jobs/", f"/api/jobs/{run.run_id}", f"/api/jobs/{run.run_id}/logs", "/api/v0/runtime_envs")
    told = " ".join(request("GET", cluster.address, path, token=token(cluster)).text for path in paths)
    assert run.run_id in told
    assert secret not in told
    for log in Path(cluster.temp_dir).rglob("*"):
        assert not log.is_file() or secret.encode() not in log.read_bytes(), log


def test_a_limit_ends_a_run_with_what_it_has(submit: Submit) -> None:
    run = submit("jobs/lstm.yaml", "training.epochs=5000", "limits.max_duration=3s")
    error = ended(run)
    assert (str(error), error.exit_code) == ("STOPPED: limits.max_duration of 3 s reached", ExitCode.LIMIT)
    assert run.view.sealed
    assert len(losses(run)) > 1


def test_a_job_too_large_for_this_machine_is_refused_before_anything_is_sent(submit: Submit, folder: Path) -> None:
    with pytest.raises(UsageError) as caught:
        submit("jobs/lstm.yaml", "resources.num_workers=3")
    assert caught.value.message == ("resources: 3 workers with 1 CPUs each are 3; the cluster on this machine has 2")
    assert not (folder / "results").exists()


def test_jobs_wait_for_their_turn(submit: Submit) -> None:
    settings = ("training.epochs=3", "resources.cpus_per_worker=2")
    runs = [submit("jobs/lstm.yaml", *settings) for _ in range(3)]
    assert [run.wait(120).state for run in runs] == ["SUCCEEDED"] * 3
    assert losses(runs[0]) == losses(runs[1]) == losses(runs[2])


def test_a_run_in_object_storage(submit: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "testing-secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="team")
        run = submit("jobs/lstm.yaml", "training.epochs=3", storage="s3://team/results")
        assert run.wait(120).state == "SUCCEEDED"
        local = submit("jobs/lstm.yaml", "training.epochs=3", local=True)
        assert losses(run) == losses(local)
        store = dlcluster.open("s3://team/results")
        (path,) = store.files("epochs", run=run.run_id)
        assert path.startswith(f"s3://team/results/v1/tables/epochs/date={run.run_id[:4]}-")
        assert [view.run_id for view in store.runs(10)] == [run.run_id]
    finally:
        server.stop()


def test_python_submits_and_opens(submit: Submit) -> None:
    job: dict[str, Any] = {
        "version": 1,
        "name": "from-python",
        "model": {"name": "lstm", "params": {"hidden_size": 4}},
        "data": {"name": "co2", "params": {"window": 8, "missing": "interpolate"}},
        "training": {"epochs": 2},
    }
    run = dlcluster.submit(job)
    assert run.wait(120).state == "SUCCEEDED"
    table = dlcluster.open().table("epochs", run="latest")
    assert table["epoch"].to_pylist() == [1, 2]
    assert run.results["trials"][0]["state"] == "SUCCEEDED"
