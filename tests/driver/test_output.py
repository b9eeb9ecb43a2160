"""What workers print: whole lines to the log, secrets masked, nothing held back from the stream behind."""

from __future__ import annotations

import io

import pytest

from dlcluster.driver.actor import died_words
from dlcluster.driver.output import Tee, masked
from dlcluster.driver.retry import Budget
from dlcluster.spec.job import Retry


def test_lines_go_on_whole_and_masked() -> None:
    through, lines = io.StringIO(), list[str]()
    tee = Tee(through, lines.append, ["s3cret-value"])
    tee.write("epoch 1")
    assert lines == []
    tee.write(" done\nkey s3cret-value\n10 %\r50 %\r100 %\nrest")
    assert lines == ["epoch 1 done", "key ***", "100 %"]
    assert through.getvalue() == "epoch 1 done\nkey ***\n10 %\r50 %\r100 %\nrest"
    print("through print", file=tee)
    assert lines[-1] == "restthrough print"


def test_a_secret_that_arrives_in_pieces_is_masked_in_the_log() -> None:
    lines = list[str]()
    tee = Tee(io.StringIO(), lines.append, ["s3cret-value"])
    tee.write("key s3cret")
    tee.write("-value\n")
    assert lines == ["key ***"]


def test_short_values_and_longer_ones_that_hold_them() -> None:
    assert masked("abc abcdef abcdefgh", ["abc", "abcdef", "abcdefgh"]) == "abc *** ***"


@pytest.mark.parametrize(
    ("spec", "causes", "allowed"),
    [
        ({"max_failures": 2}, ["infrastructure"] * 3, [True, True, False]),
        ({"max_failures": 0}, ["infrastructure"], [False]),
        ({"max_failures": -1}, ["infrastructure"] * 4, [True] * 4),
        ({"max_failures": 0, "max_preemptions": 1}, ["preemption", "preemption"], [True, False]),
        ({"max_failures": 1}, ["preemption", "infrastructure", "infrastructure"], [True, True, False]),
        ({"max_failures": -1}, ["user_error", "bad_job", "nan_loss", "out_of_memory", None], [False] * 5),
    ],
)
def test_what_is_tried_again(spec: dict[str, int], causes: list[str | None], allowed: list[bool]) -> None:
    budget = Budget(Retry.model_validate(spec))
    assert [budget.allows(cause) for cause in causes] == allowed


def test_rays_paragraphs_become_a_sentence() -> None:
    long = (
        "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: "
        "Worker unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) ..."
    )
    assert died_words(RuntimeError(long)) == "its process ended without a word (killed, out of memory, or crashed)"
    assert died_words(RuntimeError("x Worker exit detail: The node died. More")) == "The node died."
    assert died_words(RuntimeError("\n\nplain words\nmore")) == "plain words"
