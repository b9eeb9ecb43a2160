"""What goes wrong is said in words, with what to do instead, and by an exit code; never by a traceback."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dlcluster.cli.app import guarded
from tests.cli.conftest import JOBS, RUN_ID, Ended, Made, Run, plainly

LSTM = str(JOBS / "lstm.yaml")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("submti", "No such command 'submti'. Did you mean 'submit'?\ntry: dlcluster --help"),
        ("cluster strat", "No such command 'strat'.*\ntry: dlcluster cluster --help"),
        ("submit", "Missing argument 'FILE'.\ntry: dlcluster submit --help"),
        ("show", "Missing argument 'RUN'.\ntry: dlcluster show --help"),
        ("list --outptu json", "No such option '--outptu'. Did you mean '--output'?\ntry: dlcluster list --help"),
        ("list --limit 0", "Invalid value for '--limit': 0 is not in the range x>=1.\ntry: dlcluster list --help"),
        (
            "list -o xml",
            "Invalid value for '-o' / '--output': 'xml' is not one of 'table', 'json', 'csv'.\n"
            "try: dlcluster list --help",
        ),
        (
            "submit job.yaml --local --detach",
            "--local runs the job here; it does not go with --detach\ntry: dlcluster submit --help",
        ),
        (
            "submit job.yaml --local --address http://x",
            "--local runs the job here; it does not go with --address\ntry: dlcluster submit --help",
        ),
        ("submit nowhere.yaml", "nowhere.yaml: is not there"),
        ("validate .", ".: is a folder, not a file"),
        ("list --storage gs://bucket", None),
    ],
)
def test_a_wrong_command_line(line: str, said: str | None, here: Run) -> None:
    ended = here(*line.split())
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: ")
    if said is not None:
        expected = f"error: {said}\n"
        first, star, last = expected.partition("*")
        assert ended.err == expected if not star else ended.err.startswith(first) and ended.err.endswith(last)


def test_every_fault_of_a_job_file_is_listed(here: Run) -> None:
    ended = here("submit", LSTM, "--local", "--set", "training.epoch=3", "--set", "model.name=lstn")
    assert (ended.code, ended.out) == (2, "")
    first, second = sorted(ended.err.splitlines())
    assert first.startswith("error: --set model.name=lstn: model.name: ")
    assert "lstm" in first
    assert second == "error: --set training.epoch=3: training.epoch: unknown key: did you mean training.epochs?"


def test_faults_are_found_before_a_run_is_made(here: Run, tmp_path: Path) -> None:
    store = tmp_path / "store"
    unset = here("submit", LSTM, "--local", "--storage", str(store), "--set", "secrets=[NOBODY_SETS_THIS]")
    assert unset == Ended(
        2,
        "",
        "error: secrets: NOBODY_SETS_THIS not set in your environment\nSet it first: export NOBODY_SETS_THIS=...\n",
    )
    assert here("submit", "job.yaml", "--local", "--storage", str(store), "--set", "model.name=mine:Lime").code == 2
    assert not store.exists()


def test_a_run_that_is_not_there_is_answered_with_near_ones(made: Made, here: Run) -> None:
    wrong = made.succeeded[:-1] + ("0" if made.succeeded[-1] != "0" else "1")
    for verb in ("show", "logs", "results", "stop", "resume"):
        ended = here(verb, wrong, "--storage", made.uri)
        assert (ended.code, ended.out) == (2, "")
        first, second = plainly(ended.err, made).splitlines()
        assert first == f"error: there is no run '{wrong}' in <store>"
        assert second.startswith("did you mean <succeeded>")


def test_a_word_of_a_run_finds_it_in_words(made: Made, here: Run) -> None:
    ended = here("show", "lstm", "--storage", made.uri)
    assert ended.code == 2
    assert set(RUN_ID.findall(ended.err)) == {made.succeeded, made.nan}


def test_a_beginning_of_several_runs_is_refused_and_of_one_is_enough(made: Made, here: Run) -> None:
    several = here("show", made.succeeded[:8], "--storage", made.uri)
    assert (several.code, several.out) == (2, "")
    assert several.err.startswith(f"error: 4 runs in {made.uri} begin with '{made.succeeded[:8]}'\n")
    one = made.succeeded[:-1]
    assert here("show", one, "--storage", made.uri).out == here("show", made.succeeded, "--storage", made.uri).out
    assert here("show", "latest", "--storage", made.uri).out.startswith(f"{max(made.runs)}  ")


@pytest.mark.parametrize("run", ["../x", "a/b", "/etc", ""])
def test_what_is_no_run_id_is_no_path_either(run: str, made: Made, here: Run) -> None:
    ended = here("show", run, "--storage", made.uri)
    assert (ended.code, ended.out) == (2, "")
    assert len(ended.err.splitlines()) == 2


def test_an_empty_store(here: Run, tmp_path: Path) -> None:
    store = ("--storage", str(tmp_path / "none"))
    words = f"no runs in {tmp_path}/none yet; try: dlcluster submit jobs/lstm.yaml\n"
    assert here("list", *store) == Ended(0, "", words)
    assert here("list", *store, "-o", "json") == Ended(0, "[]\n", "")
    assert here("list", *store, "-o", "csv").out.startswith("run_id,state,")
    latest = f"error: there is no run in {tmp_path}/none yet\ntry: dlcluster submit jobs/lstm.yaml\n"
    assert here("show", "latest", *store) == Ended(2, "", latest)
    assert not (tmp_path / "none").exists()


def test_a_store_that_cannot_be_written_is_unreachable(here: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    ended = here("submit", "job.yaml", "--local", "--storage", str(tmp_path / "file"))
    assert (ended.code, ended.out) == (3, "")
    assert ended.err.startswith(f"error: the store {tmp_path}/file")


def test_the_store_is_that_of_the_option_or_the_environment_or_results(
    made: Made, here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no runs in " in here("list").err
    monkeypatch.setenv("DLCLUSTER_STORAGE", made.uri)
    assert made.succeeded in here("list").out
    assert "no runs in /nowhere yet" in here("list", "--storage", "/nowhere").err
    # What to type next names the store only where it must be named.
    assert here("results", made.succeeded).err == (
        f"\nnext: dlcluster show {made.succeeded}\n      dlcluster results {made.succeeded} --epochs\n"
    )


def test_runs_that_have_ended_are_neither_stopped_nor_resumed(made: Made, here: Run) -> None:
    stopped = here("stop", made.succeeded, "--storage", made.uri)
    assert stopped == Ended(0, "", f"{made.succeeded} has ended already: SUCCEEDED\n")
    resumed = here("resume", made.succeeded, "--storage", made.uri)
    assert (resumed.code, resumed.out) == (2, "")
    assert resumed.err.startswith("error: ")
    of_local = here("resume", made.failed, "--storage", made.uri)
    assert (of_local.code, of_local.out) == (2, "")
    assert "--local" in of_local.err


def test_no_cluster(here: Run) -> None:
    assert here("cluster", "status") == Ended(
        3, "", "no cluster of dlcluster runs on this machine; submit starts one\n"
    )
    assert here("cluster", "status", "-o", "json") == Ended(3, "[]\n", "")
    assert here("cluster", "down") == Ended(0, "", "no cluster of dlcluster runs on this machine\n")


def test_validate_fills_in_defaults(here: Run) -> None:
    ended = here("validate", "job.yaml", "--set", "limits.gpu_hours=1")
    assert ended.code == 0
    assert ended.out.startswith("version: 1\nname: mine\nkind: train\n")
    assert ended.err == ("warning: limits.gpu_hours is ignored: resources.gpus_per_worker is 0\njob.yaml is fine\n")


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_what_validate_prints_is_a_job_file(form: str, here: Run, tmp_path: Path) -> None:
    first = here("validate", "job.yaml", "-o", form)
    (tmp_path / "again.yaml").write_text(first.out)
    assert here("validate", str(tmp_path / "again.yaml"), "-o", form).out == first.out


def test_schema_is_json(here: Run) -> None:
    import json

    assert json.loads(here("schema").out)["type"] == "object"


def test_a_fault_of_ours_is_called_one(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks() -> None:
        raise KeyError("no such thing")

    assert guarded(breaks) == 1
    assert capsys.readouterr() == (
        "",
        "error: this is a fault of dlcluster: KeyError: 'no such thing'\n"
        "Run it again with DLCLUSTER_DEBUG=1 and send us what it prints.\n",
    )
    monkeypatch.setenv("DLCLUSTER_DEBUG", "1")
    with pytest.raises(KeyError):
        guarded(breaks)


def test_words_from_elsewhere_cannot_steer_the_terminal(here: Run) -> None:
    ended = here("show", "\x1b[2J\u202ex", "--storage", os.devnull + "\x1b[31m")
    assert ended.code == 2
    assert "\x1b" not in ended.err
    assert "\u202e" not in ended.err
