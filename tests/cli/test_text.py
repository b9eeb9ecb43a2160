"""How values, times and columns are shown."""

from __future__ import annotations

import math
import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from dlcluster.cli.output import plain
from dlcluster.cli.text import clean, count, number, seconds, since, table, text
from tests.cli.terminal import read_all

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""), (0.0, "0ms"), (0.026, "26ms"), (0.949, "949ms"), (0.96, "1.0s"), (8.16, "8.2s"), (59.94, "59.9s"),
        (59.97, "1m00s"), (192, "3m12s"), (3599.6, "1h00m"), (7500, "2h05m"), (2 * 86400 - 1, "47h59m"),
        (2 * 86400, "2d00h"), (3 * 86400 + 4 * 3600, "3d04h"),
    ],
)  # fmt: skip
def test_seconds(value: float | None, shown: str) -> None:
    assert seconds(value) == shown


@pytest.mark.parametrize(
    ("ago", "shown"),
    [
        (timedelta(seconds=-3), "0s ago"), (timedelta(seconds=59), "59s ago"), (timedelta(seconds=60), "1m ago"),
        (timedelta(minutes=59, seconds=59), "59m ago"), (timedelta(hours=23), "23h ago"),
        (timedelta(hours=25), "1d ago"),
    ],
)  # fmt: skip
def test_since(ago: timedelta, shown: str) -> None:
    assert since(NOW - ago, NOW) == shown


def test_since_long_ago_is_a_day() -> None:
    assert since(NOW - timedelta(days=3), NOW) == (NOW - timedelta(days=3)).astimezone().strftime("%Y-%m-%d")
    assert since(None) == ""


def test_numbers() -> None:
    assert [number(value) for value in (None, 0.0858591, 123456.0, math.nan, 9.8e29)] == [
        "", "0.085859", "1.2346e+05", "nan", "9.8e+29",
    ]  # fmt: skip
    assert [count(value) for value in (None, 107005.5, 12)] == ["", "107,006", "12"]
    assert [text(value) for value in (None, 0, "a")] == ["", "0", "a"]


def test_what_json_cannot_say_is_null() -> None:
    value = {"at": NOW, "loss": math.nan, "more": [math.inf, {"a": (1, -math.inf)}]}
    assert plain(value) == {"at": "2026-11-21T09:30:00+00:00", "loss": None, "more": [None, {"a": [1, None]}]}


def test_control_characters_are_taken_out() -> None:
    assert clean("a\x1b[31mb\tc\nd\re\x9b\u202ef") == "a[31mb\tc\ndef"


def test_a_table_in_a_pipe_has_a_line_for_each_row() -> None:
    rows = [["a", "1", "one\nline  of words " + "and more " * 30], ["bcd", "20000", ""]]
    assert table(rows, ["name", "n", "words"], right=["n"]).splitlines() == [
        "name      n  words",
        "a         1  one line of words " + " ".join(["and more"] * 30),
        "bcd   20000",
    ]


TABLE = """
from dlcluster.cli.text import table
reason = "train_loss is nan after epoch 1; try a smaller learning rate"
rows = [["first-run", "FAILED", "1/3", reason], ["second-run", "SUCCEEDED", "3/3", ""]]
print(table(rows, ["run_id", "state", "epochs", "reason"], right=["epochs"]))
"""


def drawn(columns: int, env: Mapping[str, str]) -> list[str]:
    """What a terminal of that width is sent."""
    ours, theirs = pty.openpty()
    variables = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm", **env}
    with subprocess.Popen([sys.executable, "-c", TABLE], stdout=theirs, env=variables) as process:
        os.close(theirs)
        shown = read_all(ours)
    assert process.returncode == 0
    return shown.splitlines()


@pytest.mark.parametrize(
    ("columns", "lines"),
    [
        (
            100,
            [
                "run_id      state      epochs  reason",
                "first-run   FAILED        1/3  train_loss is nan after epoch 1; try a smaller learning rate",
                "second-run  SUCCEEDED     3/3",
            ],
        ),
        (
            70,
            [
                "run_id      state      epochs  reason",
                "first-run   FAILED        1/3  train_loss is nan after epoch 1; try a",
                "                               smaller learning rate",
                "second-run  SUCCEEDED     3/3",
            ],
        ),
        (
            40,
            [
                "run_id      state      epochs",
                "first-run   FAILED        1/3",
                "    train_loss is nan after epoch 1; try",
                "    a smaller learning rate",
                "second-run  SUCCEEDED     3/3",
            ],
        ),
    ],
)
def test_a_terminal_too_narrow_folds_the_words(columns: int, lines: list[str]) -> None:
    assert drawn(columns, {"NO_COLOR": "1"}) == lines


def test_states_have_colours_unless_these_are_not_wanted() -> None:
    coloured = drawn(100, {"NO_COLOR": ""})
    assert coloured[0] == "\x1b[1mrun_id      state      epochs  reason\x1b[0m"
    assert "\x1b[31mFAILED\x1b[0m" in coloured[1]
    assert "\x1b[32mSUCCEEDED\x1b[0m" in coloured[2]
    assert "\x1b" not in "".join(drawn(100, {"TERM": "dumb"}))
