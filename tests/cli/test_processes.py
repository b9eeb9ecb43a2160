"""The command as a process: what it does when interrupted, debugged, piped and cut off."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.cli.conftest import DLCLUSTER, JOBS, RUN_ID, Made, Run, end, start
from tests.cli.terminal import read_all, read_until

ENDLESS = (str(JOBS / "lstm.yaml"), "--set", "training.epochs=100000", "--set", "model.params.hidden_size=8")


def until(stream: IO[str] | None, words: str) -> str:
    """Reads lines until one has these words."""
    assert stream is not None
    seen = ""
    for line in stream:
        seen += line
        if words in line:
            return line
    raise AssertionError(f"{words!r} never came: {seen}")


@pytest.fixture
def going(folder: Path, tmp_path: Path) -> Iterator[tuple[str, str, subprocess.Popen[str]]]:
    """A run under way: its store, its id and its process."""
    store = str(tmp_path / "store")
    with start(folder, "submit", *ENDLESS, "--local", "--storage", store) as running:
        found = RUN_ID.search(until(running.stderr, " in this process"))
        assert found is not None
        until(running.stderr, "epoch 2/")
        try:
            yield store, found[0], running
        finally:
            running.kill()


def test_a_run_under_way_is_followed_left_and_stopped(
    going: tuple[str, str, subprocess.Popen[str]], folder: Path, process: Run, here: Run
) -> None:
    store, run, running = going
    at = ("--storage", store)
    with start(folder, "logs", "latest", "-f", *at) as following:
        assert until(following.stdout, "epoch 1/").startswith("epoch 1/100000  train_loss ")
        until(following.stdout, "epoch 3/")
        following.send_signal(signal.SIGINT)
        left = end(following)
    assert left.code == 130
    assert left.err == (
        f"\nthe run goes on; come back with: dlcluster logs {run} -f --storage {store}\n"
        f"or end it with: dlcluster stop {run} --storage {store}\n"
    )
    assert running.poll() is None

    (row,) = json.loads(here("list", *at, "-o", "json").out)
    assert (row["state"], row["partial"], row["duration_seconds"]) == ("RUNNING", True, None)
    shown = here("show", run[:15], *at).out.splitlines()
    assert shown[0] == f"{run}  RUNNING"
    assert {line.split()[0] for line in shown[1:] if line.startswith("  ")} >= {"took", "heartbeat", "epochs"}
    partial = here("results", run, *at)
    assert partial.out.startswith(f"{run}  RUNNING\n")
    assert f"next: dlcluster logs {run} -f --storage {store}\n" in partial.err

    with start(folder, "logs", run, "-f", *at) as following:
        until(following.stdout, "epoch 3/")
        stopped = process("stop", run, "--reason", "wrong data", *at)
        followed = end(following)
    assert (stopped.code, stopped.out) == (0, "")
    assert stopped.err.startswith(f"{run} STOPPED: stopped by ")
    assert stopped.err.endswith(": wrong data\n")
    assert (followed.code, followed.err) == (6, stopped.err)
    submitted = end(running)
    assert submitted.code == 6
    assert submitted.out.startswith(f"{run}  STOPPED: stopped by ")
    assert [line for line in submitted.err.splitlines() if line.startswith("stopping: stopped by ")]
    epochs = json.loads(here("results", run, "--epochs", *at, "-o", "json").out)
    assert [row["epoch"] for row in epochs] == list(range(1, len(epochs) + 1))


def test_ctrl_c_stops_a_run_in_this_process(going: tuple[str, str, subprocess.Popen[str]], here: Run) -> None:
    store, run, running = going
    running.send_signal(signal.SIGINT)
    ended = end(running)
    assert ended.code == 6
    assert ended.out.startswith(f"{run}  STOPPED: stopped by Ctrl-C\n")
    assert "Traceback" not in ended.err
    assert f"{run}  STOPPED" in here("list", "--storage", store).out


FOLLOW = """
import sys
from dlcluster.cli.app import guarded
from dlcluster.cli.follow import follow_epochs
from dlcluster.cli.runs import find_run
sys.exit(guarded(lambda: follow_epochs(find_run("latest", sys.argv[1])).exit_code))
"""


def test_epochs_are_followed_in_a_pipe_and_on_a_terminal(
    going: tuple[str, str, subprocess.Popen[str]], here: Run
) -> None:
    store, run, _ = going
    command = [sys.executable, "-W", "error", "-c", FOLLOW, store]
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    with (
        subprocess.Popen(command, stderr=theirs, stdout=subprocess.DEVNULL, env=env) as on_terminal,
        subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as in_pipe,
    ):
        os.close(theirs)
        assert until(in_pipe.stderr, "run ") == f"run {run}\n"
        assert until(in_pipe.stderr, "epoch").split() == ["epoch", "train_loss", "validation_loss", "samples/s", "ETA"]
        assert until(in_pipe.stderr, "/100000").split()[0] == "1/100000"
        drawn = read_until(ours, " 2/100000 ")
        assert "━" in drawn  # the bar is below the lines
        on_terminal.send_signal(signal.SIGINT)
        assert "the run goes on; come back with: dlcluster logs" in read_all(ours)
        assert on_terminal.wait(60) == 130
        assert here("stop", run, "--storage", store).code == 0
        ended = end(in_pipe)
    assert (ended.code, ended.out) == (6, "")
    assert "━" not in ended.err
    assert "\x1b" not in ended.err


def test_a_second_ctrl_c_ends_it_at_once_and_says_what_is_left(folder: Path, tmp_path: Path) -> None:
    arguments = ("submit", "job.yaml", "--local", "--set", "model.name=mine:Hangs", "--storage", str(tmp_path))
    with start(folder, *arguments) as running:
        until(running.stderr, "an epoch without an end")
        running.send_signal(signal.SIGINT)
        until(running.stderr, "stopping: stopped by Ctrl-C")
        running.send_signal(signal.SIGINT)
        ended = end(running)
    assert (ended.code, ended.out) == (130, "")
    assert ended.err == ("\ncut short: what it wrote is kept, but it is not sealed; do that with: dlcluster stop RUN\n")


def test_a_breakpoint_in_a_users_model_works(folder: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    arguments = ["submit", "job.yaml", "--local", "--set", "model.name=mine:Stops", "--storage", str(tmp_path)]
    env = {**os.environ, "NO_COLOR": "1", "TERM": "dumb"}
    with subprocess.Popen(
        [DLCLUSTER, *arguments], cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, env=env
    ) as running:
        os.close(theirs)
        assert "mine.py(" in read_until(ours, "(Pdb) ")
        os.write(ours, b"p tuple(x.shape)\n")
        assert "(2, 1)" in read_until(ours, "(Pdb) ")
        os.write(ours, b"continue\n")
        rest = read_all(ours)
        assert running.wait(60) == 0
    assert "epoch 2/2" in rest
    assert "  SUCCEEDED\r\n" in rest


def test_what_a_users_model_prints_is_no_data(folder: Path, tmp_path: Path, process: Run) -> None:
    ended = process(
        "submit", "job.yaml", "--local", "--set", "model.name=mine:Prints", "--storage", str(tmp_path), "-o", "json"
    )
    assert ended.code == 0
    assert json.loads(ended.out)["state"] == "SUCCEEDED"
    assert "a word from forward\n" in ended.err


def test_a_limit_has_an_exit_code_of_its_own(folder: Path, tmp_path: Path, process: Run) -> None:
    limit = ("--set", "limits.max_duration=1s")
    ended = process("submit", *ENDLESS, *limit, "--local", "--storage", str(tmp_path))
    assert ended.code == 4
    assert "  STOPPED: limits.max_duration of 1 s reached\n" in ended.out


def test_a_run_outlives_those_who_listen_to_it(folder: Path, tmp_path: Path, here: Run) -> None:
    arguments = ("submit", "job.yaml", "--local", "--set", "model.name=mine:Prints", "--storage", str(tmp_path))
    with start(folder, *arguments) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        running.stderr.close()
        assert running.wait(60) == 0
    (row,) = json.loads(here("list", "--storage", str(tmp_path), "-o", "json").out)
    assert (row["state"], row["num_epochs"]) == ("SUCCEEDED", 2)


@pytest.mark.parametrize("line", ["schema", "results latest -o json", "list", "logs latest", "--help"])
def test_a_reader_may_leave_early(line: str, made: Made, folder: Path) -> None:
    with start(folder, *line.split(), env={"DLCLUSTER_STORAGE": made.uri}) as running:
        assert running.stdout is not None
        running.stdout.close()
        assert running.stderr is not None
        said = running.stderr.read()
        assert running.wait(60) == 0
    assert said == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_said(made: Made, folder: Path) -> None:
    with Path("/dev/full").open("w") as full:
        ended = end(start(folder, "list", "--storage", made.uri, stdout=full))
    assert (ended.code, ended.err) == (1, "error: the output cannot be written: No space left on device\n")


def test_a_closed_stdout_is_no_fault(made: Made, folder: Path) -> None:
    line = f"exec {DLCLUSTER} list --storage {made.uri} >&-"
    done = subprocess.run(["/bin/sh", "-c", line], stderr=subprocess.PIPE, cwd=folder, check=True)
    assert done.stderr == b""


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp437"])
def test_a_locale_that_lacks_a_character_costs_only_that(encoding: str, made: Made, folder: Path) -> None:
    command = [DLCLUSTER, "show", made.nan, "--storage", made.uri]
    env = {**os.environ, "PYTHONIOENCODING": encoding, "LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, env=env, check=True)
    # Click takes an ASCII stream for a mistake, and writes UTF-8 to it.
    told = "größe → 3".encode(encoding if encoding != "ascii" else "utf-8", "backslashreplace")
    assert b"  about      " + told + b"\n" in done.stdout


def test_exit_code_and_streams_of_the_real_command(made: Made, process: Run) -> None:
    listed = process("list", "--storage", made.uri)
    assert (listed.code, listed.err) == (0, "")
    assert len(listed.out.splitlines()) == 5
    wrong = process("list", "--limit", "none")
    assert (wrong.code, wrong.out) == (2, "")
    assert wrong.err == (
        "error: Invalid value for '--limit': 'none' is not a valid integer range.\ntry: dlcluster list --help\n"
    )
