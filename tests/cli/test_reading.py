"""What is said of runs that have ended: list, show, results and logs, in every form."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Made, Run, plainly


def parsed(text: str) -> Any:
    """Strictly: NaN and Infinity are no JSON."""

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_list(made: Made, here: Run) -> None:
    ended = here("list", "--storage", made.uri)
    assert (ended.code, ended.err) == (0, "")
    lines = plainly(ended.out, made).splitlines()
    assert lines[0] == "run_id  state  epochs  best  submitted  took  reason"
    assert sorted(lines[1:]) == [
        "<failed>  FAILED  0/2  <age>  <took>  mine.py:22: ValueError: größe → 3",
        "<nan>  FAILED  1/3  <age>  <took>  train_loss is nan after epoch 1 (step 48, learning rate <x>); try a "
        "smaller training.optimizer.learning_rate or training.gradient_clip",
        "<succeeded>  SUCCEEDED  3/3  <x>  <age>  <took>",
        "<wide>  FAILED  0/2  <age>  <took>  model mine:Wide predicts shape (2, 2) for x (2, 1), but the data needs "
        "(2, 1) (y is (2, 1))",
    ]


def test_list_is_in_columns_newest_first(made: Made, here: Run) -> None:
    header, *rows = here("list", "--storage", made.uri).out.splitlines()
    at = header.index("state")
    assert {row[at - 2 : at] for row in rows} == {"  "}
    assert {row[at:].split()[0] for row in rows} == {"SUCCEEDED", "FAILED"}
    ends = {re.match(r"\S+ +\S+ +\d+/\d+", row).end() for row in rows}  # type: ignore[union-attr]
    assert ends == {header.index("epochs") + len("epochs")}  # numbers end where their header does
    ids = [row.split()[0] for row in rows]
    assert ids == sorted(made.runs, reverse=True)
    newest = here("list", "--storage", made.uri, "--limit", "2").out.splitlines()[1:]
    assert [row.split()[0] for row in newest] == ids[:2]


FIELDS = [
    "run_id", "state", "reason", "kind", "num_epochs", "metric", "best_value", "submitted_at", "duration_seconds",
    "submitted_by", "partial",
]  # fmt: skip


def test_list_as_json_and_csv_say_the_same(made: Made, here: Run) -> None:
    rows = parsed(here("list", "--storage", made.uri, "-o", "json").out)
    assert [list(row) for row in rows] == [FIELDS] * 4
    assert {row["run_id"]: (row["state"], row["num_epochs"], row["partial"]) for row in rows} == {
        made.succeeded: ("SUCCEEDED", 3, False),
        made.failed: ("FAILED", 0, False),
        made.wide: ("FAILED", 0, False),
        made.nan: ("FAILED", 1, False),
    }
    read = list(csv.DictReader(io.StringIO(here("list", "--storage", made.uri, "-o", "csv").out)))
    assert read == [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows]


def test_show(made: Made, here: Run) -> None:
    ended = here("show", made.succeeded, "--storage", made.uri)
    assert ended.code == 0
    assert plainly(ended.out, made).replace(hostname(ended.out), "<host>") == (
        "<succeeded>  SUCCEEDED\n"
        "  about  weekly CO2 at Mauna Loa, half a year ahead\n"
        "  labels  team: climate\n"
        "  job  lstm on co2\n"
        "  submitted  <then> by <me>\n"
        "  took  <took>\n"
        "  epochs  3 of 3\n"
        "  best  validation_loss <x>\n"
        "  store  <store>\n"
        "\n"
        "attempt  from epoch  state  cause  took  where\n"
        "1.1  1  SUCCEEDED  succeeded  <took>  <host> cpu\n"
    )
    assert plainly(ended.err, made) == (
        "\n"
        "its job file: dlcluster show <succeeded> -o json --storage <store>\n"
        "how well it did: dlcluster results <succeeded> --storage <store>\n"
    )


def hostname(shown: str) -> str:
    return shown.splitlines()[-1].split()[-2]


def test_show_names_the_warnings_and_the_reason(made: Made, here: Run) -> None:
    lines = plainly(here("show", made.wide, "--storage", made.uri).out, made).splitlines()
    assert lines[:4] == [
        "<wide>  FAILED",
        "  reason  model mine:Wide predicts shape (2, 2) for x (2, 1), but the data needs (2, 1) (y is (2, 1))",
        "  warning  limits.gpu_hours is ignored: resources.gpus_per_worker is 0",
        "  job  mine:Wide on mine:points",
    ]


def test_show_as_json_has_the_job_and_every_attempt(made: Made, here: Run) -> None:
    shown = parsed(here("show", made.nan, "--storage", made.uri, "-o", "json").out)
    assert {"spec"} & shown.keys() == set()
    assert (shown["run_id"], shown["state"], shown["exit_code"], shown["warnings"]) == (made.nan, "FAILED", 1, [])
    assert shown["job"]["training"]["epochs"] == 3
    assert shown["job"]["description"] == shown["description"] == "größe → 3"
    assert [(row["attempt"], row["state"], row["cause"]) for row in shown["attempts"]] == [(1, "FAILED", "nan_loss")]
    (row,) = csv.DictReader(io.StringIO(here("show", made.nan, "--storage", made.uri, "-o", "csv").out))
    assert list(row) == FIELDS
    assert row["run_id"] == made.nan


RESULTS = """\
<succeeded>  SUCCEEDED

test  model  persistence  model / it
loss  <x>  <x>  <x>
mae  <x>  <x>  <x>
mse  <x>  <x>  <x>
r2  <x>  -<x>
rmse  <x>  <x>  <x>
scaled_mae  <x>  <x>  <x>
scaled_rmse  <x>  <x>  <x>

epochs  3 of 3; the last with train_loss <x>, validation_loss <x>; the best validation_loss was <x>
model  <store>/v1/models/<succeeded>/f1/<trial>
trials.parquet  <store>/v1/tables/trials/date=<day>/<succeeded>-f1.parquet
attempts.parquet <store>/v1/tables/attempts/date=<day>/<succeeded>-f1.parquet
epochs.parquet  <store>/v1/tables/epochs/date=<day>/<succeeded>-f1.parquet
"""
NEXT = """
next: dlcluster show <succeeded> --storage <store>
      dlcluster results <succeeded> --epochs --storage <store>
"""


def test_results(made: Made, here: Run) -> None:
    ended = here("results", made.succeeded, "--storage", made.uri)
    assert (ended.code, plainly(ended.out, made), plainly(ended.err, made)) == (0, RESULTS, NEXT)
    # What submit ends with is what results says.
    submitted = made.ended["succeeded"]
    assert (submitted.code, submitted.out) == (0, ended.out)
    first, *epochs = plainly(submitted.err.removesuffix(ended.err), made).splitlines()
    assert first == "run <succeeded> in this process"
    assert epochs == [f"epoch {n}/3  train_loss <x>  validation_loss <x>  <n> samples/s" for n in (1, 2, 3)]


def test_results_of_a_failed_run_say_how_far_it_came_and_where_to_look(made: Made, here: Run) -> None:
    ended = here("results", made.nan, "--storage", made.uri)
    assert ended.code == 0
    assert plainly(ended.out, made).splitlines()[:3] == [
        "<nan>  FAILED: train_loss is nan after epoch 1 (step 48, learning rate <x>); try a smaller "
        "training.optimizer.learning_rate or training.gradient_clip",
        "",
        "epochs  1 of 3; the last with train_loss nan, validation_loss nan",
    ]
    assert plainly(ended.err, made) == (
        "\nnext: dlcluster logs <nan> --storage <store>\n"
        "      dlcluster show <nan> --storage <store>\n"
        "      dlcluster results <nan> --epochs --storage <store>\n"
    )
    without_epochs = here("results", made.failed, "--storage", made.uri)
    assert "epochs           0 of 2\n" in without_epochs.out
    assert "--epochs" not in without_epochs.err


def test_results_as_json(made: Made, here: Run) -> None:
    document = parsed(here("results", made.succeeded, "--storage", made.uri, "-o", "json").out)
    assert list(document) == ["run_id", "name", "state", "reason", "partial", "trials", "epochs", "files"]
    (trial,) = document["trials"]
    assert trial["params"]["model"] == {
        "name": "lstm",
        "params": {"hidden_size": 50, "num_layers": 1, "dropout": 0.0},
        "init": None,
        "init_from": None,
        "freeze": [],
    }
    assert trial["baseline_name"] == "persistence"
    assert trial["metrics"].keys() == trial["baseline"].keys()
    assert [row["epoch"] for row in document["epochs"]] == [1, 2, 3]
    assert all(Path(path).is_file() for paths in document["files"].values() for path in paths)


def test_results_as_csv_have_a_column_for_each_metric(made: Made, here: Run) -> None:
    (row,) = csv.DictReader(io.StringIO(here("results", made.succeeded, "--storage", made.uri, "-o", "csv").out))
    (trial,) = parsed(here("results", made.succeeded, "--storage", made.uri, "-o", "json").out)["trials"]
    assert float(row["test_rmse"]) == trial["metrics"]["test_rmse"]
    assert float(row["baseline_test_rmse"]) == trial["baseline"]["test_rmse"]
    assert json.loads(row["params"]) == trial["params"]
    assert {"metrics", "baseline"} & row.keys() == set()


def test_epochs(made: Made, here: Run) -> None:
    ended = here("results", made.succeeded, "--epochs", "--storage", made.uri)
    lines = plainly(ended.out, made).splitlines()
    assert lines[0].split() == [
        "epoch", "step", "train_loss", "validation_loss", "learning_rate", "took", "samples/s", "validation_mae",
        "validation_rmse", "validation_scaled_mae", "validation_scaled_rmse",
    ]  # fmt: skip
    assert [line.split()[:2] for line in lines[1:]] == [["1", "48"], ["2", "96"], ["3", "144"]]
    assert (ended.code, ended.err) == (0, "")


def test_no_epochs_are_said_in_every_form(made: Made, here: Run) -> None:
    arguments = ("results", made.failed, "--epochs", "--storage", made.uri)
    ended = here(*arguments)
    assert (ended.code, ended.out, plainly(ended.err, made)) == (0, "", "<failed> has no epochs yet\n")
    assert parsed(here(*arguments, "-o", "json").out) == []
    only_header = here(*arguments, "-o", "csv").out
    assert only_header.startswith("run_id,trial_id,")
    assert only_header.count("\n") == 1


def test_a_nan_is_null_in_json_and_nothing_in_csv(made: Made, here: Run) -> None:
    arguments = ("results", made.nan, "--epochs", "--storage", made.uri)
    (row,) = parsed(here(*arguments, "-o", "json").out)
    assert (row["epoch"], row["train_loss"], row["validation_loss"]) == (1, None, None)
    assert set(row["metrics"].values()) == {None}
    (cells,) = csv.DictReader(io.StringIO(here(*arguments, "-o", "csv").out))
    assert (cells["epoch"], cells["train_loss"], cells["validation_mae"]) == ("1", "", "")
    assert here(*arguments).out.splitlines()[1].split()[2:4] == ["nan", "nan"]


def test_logs(made: Made, here: Run) -> None:
    ended = here("logs", made.succeeded, "--storage", made.uri)
    assert (ended.code, ended.err) == (0, "")
    epochs = [f"epoch {n}/3  train_loss <x>  validation_loss <x>  <n> samples/s" for n in (1, 2, 3)]
    assert plainly(ended.out, made).splitlines() == [*epochs, "SUCCEEDED"]


def test_logs_of_an_ended_run_followed_end_with_its_exit_code(made: Made, here: Run) -> None:
    for run, code, words in (
        (made.succeeded, 0, "SUCCEEDED"),
        (made.failed, 1, "FAILED: mine.py:22: ValueError: größe → 3"),
    ):
        followed, printed = here("logs", run, "-f", "--storage", made.uri), here("logs", run, "--storage", made.uri)
        assert (followed.code, followed.out, followed.err) == (code, printed.out, f"{run} {words}\n")


def test_a_traceback_is_in_the_log_and_nowhere_else(made: Made, here: Run) -> None:
    submitted = made.ended["failed"]
    assert submitted.code == 1
    assert submitted.out.startswith(f"{made.failed}  FAILED: mine.py:22: ValueError: größe → 3\n")
    assert "Traceback" not in submitted.out + submitted.err
    logged = here("logs", made.failed, "--storage", made.uri).out
    assert "Traceback (most recent call last):" in logged
    assert 'raise ValueError("größe → 3")' in logged


def test_a_model_that_does_not_fit_is_a_fault_of_the_job(made: Made) -> None:
    submitted = made.ended["wide"]
    assert submitted.code == 2
    assert plainly(submitted.err, made).startswith(
        "warning: limits.gpu_hours is ignored: resources.gpus_per_worker is 0\nrun <wide> in this process\n"
    )


def test_a_loss_that_is_nan_fails_the_run(made: Made) -> None:
    assert made.ended["nan"].code == 1


def test_pandas_and_duckdb_read_each_epoch_once_from_the_folder(made: Made, here: Run) -> None:
    import duckdb
    import pandas as pd

    told = parsed(here("results", made.succeeded, "--epochs", "--storage", made.uri, "-o", "json").out)
    folder = Path(made.uri) / "v1/tables/epochs"
    frame = pd.read_parquet(folder)
    by_pandas = frame[frame["run_id"] == made.succeeded].sort_values("epoch").to_dict("records")
    assert [comparable(row) for row in by_pandas] == [comparable(row) for row in told]
    query = duckdb.execute(
        # As microseconds: DuckDB hands out times with a zone by pytz only.
        f"SELECT * REPLACE (epoch_us(reported_at) AS reported_at) FROM read_parquet('{folder}/**/*.parquet') "
        "WHERE run_id = ? ORDER BY epoch",
        [made.succeeded],
    )
    names = [column[0] for column in query.description or ()]
    by_duckdb = [dict(zip(names, row, strict=True)) for row in query.fetchall()]
    assert [comparable(row) for row in by_duckdb] == [comparable(row) for row in told]
    assert [row["epoch"] for row in told] == [1, 2, 3]


def comparable(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row whoever read it: the folder's own column left out, a map as a dictionary, times in microseconds."""
    at = row["reported_at"]
    if isinstance(at, str):
        at = datetime.fromisoformat(at)
    return {
        **{name: value for name, value in row.items() if name != "date"},
        "metrics": dict(row["metrics"]),
        "reported_at": at if isinstance(at, int) else round(at.timestamp() * 1e6),
    }


@pytest.mark.parametrize("verb", ["models", "datasets"])
def test_what_a_job_file_can_name(verb: str, here: Run) -> None:
    ended = here(verb)
    rows = parsed(here(verb, "-o", "json").out)
    read = list(csv.DictReader(io.StringIO(here(verb, "-o", "csv").out)))
    assert (ended.code, ended.err) == (0, "")
    assert [line.split()[0] for line in ended.out.splitlines()[1:]] == [row["name"] for row in rows]
    assert [list(row) for row in read] == [list(row) for row in rows]


def test_models_have_their_defaults(here: Run) -> None:
    (lstm,) = [row for row in parsed(here("models", "-o", "json").out) if row["name"] == "lstm"]
    assert lstm["params"] == {
        "hidden_size": 50, "num_layers": 1, "dropout": 0.0, "bidirectional": False, "embedding_size": 64,
        "channel_independent": False,
    }  # fmt: skip
    assert "hidden_size=50, num_layers=1, dropout=0.0, bidirectional=False" in here("models").out
