"""Predictions on a real Ray cluster: the bare model's, in the order of the data, whatever dies on the way."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import csv, parquet

import dlcluster
from dlcluster import api
from dlcluster.cluster import local
from dlcluster.errors import ExitCode, RunEnded
from dlcluster.results.summary import attempt_rows
from dlcluster.store.read import read_logs
from tests.driver.test_predict import bare, rows, same, written

pytestmark = pytest.mark.ray

OWN = """
import os, time
from pathlib import Path
import torch

class Net(torch.nn.Module):
    def __init__(self, input_shape, output_shape):
        super().__init__()
        self.layer = torch.nn.Linear(input_shape[0], output_shape[0])

    def forward(self, x):
        once, wait = os.environ.get("DIES_ONCE"), os.environ.get("WAITS")
        if once and len(x) == 7 and not Path(once).exists():
            Path(once).touch()
            os._exit(1)
        if wait and len(x) == 7 and not Path(wait).exists():
            Path(wait).touch()
            time.sleep(300)
        if len(x) == 7:
            print("seven rows", os.environ.get("PASSWORD"))
        return self.layer(x)
"""


@pytest.fixture(scope="module")
def trained(cluster: local.Cluster, tmp_path_factory: pytest.TempPathFactory) -> dlcluster.Run:
    """A run of a user's own model, trained on the cluster."""
    folder = tmp_path_factory.mktemp("trained")
    csv.write_csv(rows(200), folder / "train.csv")
    (folder / "net_that_left.py").write_text(OWN)
    data = {"path": "train.csv", "task": "classification", "params": {"target": "kind"}}
    model = {"name": "net_that_left:Net"}
    job = {"version": 1, "name": "own", "model": model, "data": data, "training": {"epochs": 1}}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run = dlcluster.submit(job)
    run.wait(120)
    return run


def parts(folder: Path, count: int) -> pa.Table:
    """Parquet files of a hundred rows, the last of seven."""
    new = rows((count - 1) * 100 + 7, 1).drop_columns(["kind"])
    (folder / "new").mkdir()
    for part in range(count):
        parquet.write_table(new.slice(part * 100, 100), folder / f"new/{part}.parquet")
    return new


def job_of(run: dlcluster.Run, out: str, **more: object) -> dict[str, object]:
    predict = {"run": run.run_id, "data": "new", "out": out}
    storage = {"path": run.objects.uri}
    return {"version": 1, "name": "p", "kind": "predict", "predict": predict, "storage": storage, **more}


def test_a_users_own_model_on_two_workers_of_which_one_dies(
    trained: dlcluster.Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = parts(folder, 5)
    monkeypatch.syspath_prepend(Path(trained.objects.uri).parent)
    expected = bare(trained, new)
    monkeypatch.setenv("PASSWORD", "correct horse")
    more = {"resources": {"num_workers": 2}, "env": {"DIES_ONCE": str(folder / "died")}, "secrets": ["PASSWORD"]}
    run = dlcluster.submit(job_of(trained, "out", **more))
    view = run.wait(120)
    assert (view.state, view.reason) == ("SUCCEEDED", f"407 rows in {folder}/out")
    same(written(folder / "out"), new, expected)
    names = sorted(path.name for path in (folder / "out").iterdir())
    assert names == ["_SUCCESS", *(f"part-{number:06d}-{run.run_id}.parquet" for number in range(5))]
    assert (folder / "out/_SUCCESS").read_text() == f"{run.run_id}\n"
    first, second = attempt_rows(run.objects, run.run_id)
    assert (first["state"], first["cause"], second["state"]) == ("FAILED", "infrastructure", "SUCCEEDED")
    lines = read_logs(run.objects, run.run_id)[0]
    assert f"predicting 407 rows of 5 files, in 5 pieces, into {folder}/out" in lines
    assert "seven rows ***" in lines
    assert not [line for line in lines if line.startswith((":", "seven rows c"))]


def test_bad_rows_end_a_run_and_a_stop_leaves_nothing_half(trained: dlcluster.Run, folder: Path) -> None:
    new = parts(folder, 3)
    gap = new.slice(200, 7).set_column(0, "a", pa.array([1.0, None, 2.0, 3.0, 4.0, 5.0, 6.0]))
    parquet.write_table(gap, folder / "new/2.parquet")
    bad = dlcluster.submit(job_of(trained, "bad"))
    with pytest.raises(RunEnded) as caught:
        bad.wait(120)
    assert caught.value.exit_code == ExitCode.USAGE
    assert str(caught.value).startswith(
        f"FAILED: {folder}/new/2.parquet: data: column 'a' lacks 1 of its 7 values (the first at row 2)"
    )
    assert not (folder / "bad/_SUCCESS").exists()
    parquet.write_table(new.slice(200, 7), folder / "new/2.parquet")
    waiting = folder / "waiting"
    run = dlcluster.submit(job_of(trained, "out", env={"WAITS": str(waiting)}))
    for _ in run.follow(logs=True):
        if waiting.exists():
            break
    view = run.stop("enough")
    assert (view.state, view.exit_code, view.sealed) == ("STOPPED", ExitCode.STOPPED, True)
    whole = sorted(path.name for path in (folder / "out").glob("*.parquet"))
    assert whole == [f"part-{number:06d}-{run.run_id}.parquet" for number in range(2)]
    run.resume()
    assert run.wait(120).reason == f"207 rows in {folder}/out"
    assert written(folder / "out").select(new.column_names).equals(new)
    assert [row["state"] for row in attempt_rows(run.objects, run.run_id)] == ["STOPPED", "SUCCEEDED"]
    # In this process, the code comes out of the store as well.
    alone = api.predict(trained.run_id, data="new", out="alone", storage=trained.objects.uri, local=True)
    assert alone.state == "SUCCEEDED", alone.view.reason
    assert written(folder / "alone").equals(written(folder / "out"))


def test_a_csv_of_more_than_one_piece_is_read_as_one(trained: dlcluster.Run, folder: Path) -> None:
    # Numbers that have a point only after 70 MB, and the model's columns behind a long one.
    some = "x" * 300
    lines = [f"{some},{i if i < 220_000 else 0.5},{i % 5},red\n" for i in range(250_000)]
    (folder / "new").write_text("note,a,b,colour\n" + "".join(lines))
    job = job_of(trained, "out", resources={"num_workers": 2})
    run = dlcluster.submit({**job, "predict": {**job["predict"], "format": "csv"}})  # type: ignore[dict-item]
    assert run.wait(120).reason == f"250,000 rows in {folder}/out"
    found = written(folder / "out")
    assert len(list((folder / "out").glob("*.parquet"))) == 2
    expected = pa.array([float(i) if i < 220_000 else 0.5 for i in range(250_000)])
    assert found["a"].combine_chunks().equals(expected)
    assert found["b"].combine_chunks().equals(pa.array([i % 5 for i in range(250_000)]))
