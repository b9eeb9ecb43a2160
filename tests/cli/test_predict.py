"""``predict`` at the command line: what it says, what it prints, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pyarrow import parquet

from dlcluster.errors import ExitCode
from tests.cli.conftest import Ended, Made, Run

TABLE = "a,b,kind\n" + "".join(f"{i % 7},{i % 5},{'yes' if i % 7 > i % 5 else 'no'}\n" for i in range(100))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with one run, of a classifier."""
    import dlcluster

    folder = tmp_path_factory.mktemp("predict")
    (folder / "train.csv").write_text(TABLE)
    data = {"path": str(folder / "train.csv"), "task": "classification", "params": {"target": "kind"}}
    job = {"version": 1, "name": "kinds", "model": {"name": "mlp"}, "data": data, "training": {"epochs": 1}}
    return dlcluster.submit(job, storage=str(folder / "store"), local=True).objects.uri


@pytest.fixture
def predict(store: str, here: Run, tmp_path: Path) -> Run:
    (tmp_path / "new.csv").write_text(TABLE)

    def run(*more: str, data: str = "new.csv") -> Ended:
        words = ("predict", "latest", "--data", str(tmp_path / data), "--out", str(tmp_path / "out"))
        return here(*words, "--storage", store, "--local", *more)

    return run


def test_what_it_prints(predict: Run, here: Run, store: str, tmp_path: Path) -> None:
    ended = predict()
    run_id, model = ended.out.split()[0], json.loads(here("list", "--storage", store, "-o", "json").out)[-1]["run_id"]
    assert (ended.code, ended.out) == (
        0,
        f"{run_id}  SUCCEEDED: 100 rows in {tmp_path}/out\n\n"
        f"model of  {model}\ndata      {tmp_path}/new.csv\nout       {tmp_path}/out\n",
    )
    assert ended.err == (
        f"run {run_id} in this process\n"
        f"predicting 100 rows of 1 file, in 1 piece, into {tmp_path}/out\n"
        f"\nnext: dlcluster show {run_id} --storage {store}\n"
    )
    (path,) = (tmp_path / "out").glob("*.parquet")
    assert parquet.read_schema(path).names == ["a", "b", "kind", "prediction", "confidence"]
    # What is there already is not overwritten, whatever wrote it.
    again = predict()
    assert (again.code, again.out) == (ExitCode.USAGE, "")
    assert again.err == (
        f"error: predict.out: {tmp_path}/out already holds _SUCCESS and 1 more\n"
        "Nothing is overwritten: name a folder that is not there yet, or empty it first.\n"
    )


def test_a_run_that_predicted_is_listed_shown_and_logged(predict: Run, here: Run, store: str, tmp_path: Path) -> None:
    document = json.loads(predict("-o", "json", "--batch-size", "7").out)
    run_id = document["run_id"]
    assert document == {
        "run_id": run_id,
        "name": "predict-kinds",
        "state": "SUCCEEDED",
        "reason": f"100 rows in {tmp_path}/out",
        "model": document["model"],
        "data": f"{tmp_path}/new.csv",
        "out": f"{tmp_path}/out",
    }
    listed = {row["run_id"]: row["kind"] for row in json.loads(here("list", "--storage", store, "-o", "json").out)}
    assert (listed[run_id], listed[document["model"]]) == ("predict", "train")
    shown = here("show", run_id, "--storage", store)
    assert f"job        {document['model']} predicts {tmp_path}/new.csv into {tmp_path}/out\n" in shown.out
    assert json.loads(here("show", run_id, "--storage", store, "-o", "json").out)["job"]["predict"]["batch_size"] == 7
    assert here("results", run_id, "--storage", store, "-o", "json").out == json.dumps(document, indent=2) + "\n"
    logged = here("logs", run_id, "--storage", store).out.splitlines()
    assert logged[-1] == f"SUCCEEDED: 100 rows in {tmp_path}/out"
    assert here("results", run_id, "--storage", store, "-o", "csv").out.splitlines()[0] == (
        "run_id,name,state,reason,model,data,out"
    )


def test_a_file_of_this_kind_is_submitted_as_any(here: Run, store: str, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text(TABLE)
    (tmp_path / "p.yaml").write_text(
        f"version: 1\nname: p\nkind: predict\npredict: {{run: latest, data: {tmp_path}/new.csv, out: {tmp_path}/out}}\n"
    )
    ended = here("submit", str(tmp_path / "p.yaml"), "--storage", store, "--local", "--set", "predict.batch_size=9")
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[0].endswith(f"  SUCCEEDED: 100 rows in {tmp_path}/out")
    checked = here("validate", str(tmp_path / "p.yaml"), "-o", "json")
    assert json.loads(checked.out)["predict"]["batch_size"] == 1024


@pytest.mark.parametrize(
    ("more", "data", "words"),
    [
        (("--detach",), "new.csv", "error: --local predicts here; it does not go with --detach\n"),
        (("--address", "http://x"), "new.csv", "error: --local predicts here; it does not go with --address\n"),
        (("--batch-size", "0"), "new.csv", "error: Invalid value for '--batch-size': 0 is not in the range x>=1.\n"),
        (("--num-workers", "2"), "new.csv", "error: --local runs one worker in this process\n"),
    ],
)
def test_options_that_do_not_go(more: tuple[str, ...], data: str, words: str, predict: Run) -> None:
    ended = predict(*more, data=data)
    assert (ended.code, ended.out, ended.err[: len(words)]) == (ExitCode.USAGE, "", words)


def test_what_is_missing(here: Run, store: str, made: Made) -> None:
    ended = here("predict", "latest", "--out", "x")
    assert (ended.code, ended.err) == (
        ExitCode.USAGE, "error: Missing option '--data'.\ntry: dlcluster predict --help\n",
    )  # fmt: skip
    unknown = here("predict", "no-such-run", "--data", "x", "--out", "y", "--storage", store)
    assert (unknown.code, unknown.out) == (ExitCode.USAGE, "")
    assert unknown.err == f"error: there is no run 'no-such-run' in {store}\ntry: dlcluster list\n"
    failed = here("predict", made.failed, "--data", "x", "--out", "y", "--storage", made.uri)
    assert (failed.code, failed.err) == (
        ExitCode.USAGE,
        f"error: predict.run: {made.failed} has no model: it has not ended well, or not yet\n"
        f"try: dlcluster show {made.failed}\n",
    )


def test_data_that_does_not_fit_ends_the_run_with_its_words(predict: Run, tmp_path: Path) -> None:
    (tmp_path / "short.csv").write_text("a\n1\n")
    ended = predict(data="short.csv")
    words = f"{tmp_path}/short.csv: data: there is no column 'b' (which the model was trained on); there is: a"
    assert ended.code == ExitCode.USAGE
    assert ended.out.splitlines()[0].partition("  ")[2] == f"FAILED: {words}"
    assert not list((tmp_path / "out").glob("*"))
