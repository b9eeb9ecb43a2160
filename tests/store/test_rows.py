"""The row rule, against a reference that says it row by row."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dlcluster.store.rows import coalesce, last_of_each, split_live
from dlcluster.store.schema import concat, rows_to_table
from tests.conftest import FUZZ

Rows = list[dict[str, Any]]


def reference(epochs: Rows, attempts: Rows) -> tuple[Rows, Rows]:
    """STORE.md, "Rows", as slow and plain as it can be said."""
    starts: dict[tuple[str, int, int], int] = {}
    for row in sorted(attempts, key=lambda row: row["seq"]):
        starts[row["trial_id"], row["fence"], row["attempt"]] = row["start_epoch"]
    for row in epochs:
        key = (row["trial_id"], row["fence"], row["attempt"])
        if not any((one["trial_id"], one["fence"], one["attempt"]) == key for one in attempts):
            starts[key] = min(starts.get(key, row["epoch"]), row["epoch"])

    latest: dict[tuple[str, int, int, int], dict[str, Any]] = {}
    for row in sorted(epochs, key=lambda row: row["seq"]):  # sent twice: the highest seq
        latest[row["trial_id"], row["fence"], row["attempt"], row["epoch"]] = row

    def owner(row: dict[str, Any]) -> tuple[str, int, int] | None:
        """Who did the work: the latest attempt, up to the row's own, that starts at or below it."""
        own = (row["trial_id"], row["fence"], row["attempt"])
        return max(
            (one for one, start in starts.items() if one[0] == own[0] and one <= own and start <= row["epoch"]),
            default=None,
        )

    live: Rows = []
    superseded: Rows = []
    told: dict[tuple[str, int, tuple[str, int, int] | None], Rows] = {}
    for row in latest.values():
        told.setdefault((row["trial_id"], row["epoch"], owner(row)), []).append(row)
    for (trial, epoch, did), same in told.items():
        did_it = [row for row in same if (trial, row["fence"], row["attempt"]) == did]
        kept = min(did_it or same, key=lambda row: (row["fence"], row["attempt"]))
        own = (trial, kept["fence"], kept["attempt"])
        later = any(one[0] == trial and one > own and start <= epoch for one, start in starts.items())
        (superseded if later else live).append(kept)
    order = ("trial_id", "fence", "attempt", "epoch", "seq")
    return (
        sorted(live, key=lambda row: [row[name] for name in order]),
        sorted(superseded, key=lambda row: [row[name] for name in order]),
    )


def told(table: Any) -> Rows:
    return [{name: value for name, value in row.items() if value is not None} for row in table.to_pylist()]


trials = st.sampled_from(["a", "b"])
small = st.integers(1, 3)
whose = {"trial_id": trials, "fence": small, "attempt": small}
epoch_rows = st.fixed_dictionaries({**whose, "epoch": st.integers(1, 5)})
attempt_rows = st.fixed_dictionaries({**whose, "start_epoch": st.integers(1, 5)})


def numbered(rows: Rows) -> Rows:
    return [{**row, "seq": number} for number, row in enumerate(rows)]


@settings(deadline=None, max_examples=150 * FUZZ)
@given(st.lists(epoch_rows, max_size=25), st.lists(attempt_rows, max_size=8), st.randoms())
def test_the_rule_is_the_reference(epochs: Rows, attempts: Rows, random: Any) -> None:
    epochs, attempts = numbered(epochs), numbered(attempts)
    expected = reference(epochs, attempts)
    random.shuffle(epochs)
    random.shuffle(attempts)
    live, superseded = split_live(rows_to_table("epochs", epochs), rows_to_table("attempts", attempts))
    assert (told(live), told(superseded)) == expected


@settings(deadline=None, max_examples=150 * FUZZ)
@given(st.lists(epoch_rows, max_size=25), st.lists(attempt_rows, max_size=8))
def test_exactly_one_live_row_per_run_trial_and_epoch(epochs: Rows, attempts: Rows) -> None:
    table = rows_to_table("epochs", numbered(epochs))
    live, superseded = split_live(table, rows_to_table("attempts", numbered(attempts)))
    keys = [(row["trial_id"], row["epoch"]) for row in live.to_pylist()]
    assert len(set(keys)) == len(keys)
    thrown = {(row["trial_id"], row["epoch"]) for row in superseded.to_pylist()}
    assert set(keys) | thrown == {(row["trial_id"], row["epoch"]) for row in epochs}


@settings(deadline=None, max_examples=100 * FUZZ)
@given(st.lists(epoch_rows, max_size=20), st.lists(attempt_rows, max_size=8))
def test_sealing_claim_by_claim_gives_what_sealing_at_once_gives(epochs: Rows, attempts: Rows) -> None:
    """A commit's rows may be split again with those of later claims: nothing it decided stands in the way."""
    first = {(row["trial_id"], row["fence"], row["attempt"]) for row in epochs}
    attempts = [
        *attempts,
        *({"trial_id": t, "fence": f, "attempt": a, "start_epoch": 1} for t, f, a in first),
    ]
    epochs, attempts = numbered(epochs), numbered(attempts)

    def up_to(fence: int, rows: Rows) -> Rows:
        return [row for row in rows if row["fence"] <= fence]

    whole = split_live(rows_to_table("epochs", epochs), rows_to_table("attempts", attempts))
    sealed = rows_to_table("epochs", [])
    for fence in (1, 2, 3):
        new = [row for row in epochs if row["fence"] == fence]
        so_far = concat("epochs", [sealed, rows_to_table("epochs", new)])
        live, superseded = split_live(so_far, rows_to_table("attempts", up_to(fence, attempts)))
        sealed = concat("epochs", [live, superseded])
    assert (told(live), told(superseded)) == (told(whole[0]), told(whole[1]))


def test_an_attempt_that_went_on_from_epoch_5_supersedes_what_came_after() -> None:
    epochs = [{"trial_id": "t", "fence": 1, "attempt": 1, "epoch": epoch, "seq": epoch} for epoch in range(1, 9)]
    epochs += [{"trial_id": "t", "fence": 1, "attempt": 2, "epoch": epoch, "seq": 4 + epoch} for epoch in (6, 7)]
    attempts = [
        {"trial_id": "t", "fence": 1, "attempt": 1, "start_epoch": 1, "seq": 1},
        {"trial_id": "t", "fence": 1, "attempt": 2, "start_epoch": 6, "seq": 2},
    ]
    live, superseded = split_live(rows_to_table("epochs", epochs), rows_to_table("attempts", attempts))
    assert [(row["attempt"], row["epoch"]) for row in live.to_pylist()] == [
        *((1, epoch) for epoch in range(1, 6)), (2, 6), (2, 7),
    ]  # fmt: skip
    assert [(row["attempt"], row["epoch"]) for row in superseded.to_pylist()] == [(1, 6), (1, 7), (1, 8)]


def test_a_zombie_loses_to_a_later_claim() -> None:
    epochs = [
        {"trial_id": "t", "fence": 2, "attempt": 1, "epoch": 4, "seq": 1},
        {"trial_id": "t", "fence": 1, "attempt": 2, "epoch": 4, "seq": 9},
        {"trial_id": "t", "fence": 1, "attempt": 2, "epoch": 3, "seq": 8},
    ]
    attempts = [
        {"trial_id": "t", "fence": 1, "attempt": 2, "start_epoch": 3, "seq": 5},
        {"trial_id": "t", "fence": 2, "attempt": 1, "start_epoch": 4, "seq": 1},
    ]
    live, superseded = split_live(rows_to_table("epochs", epochs), rows_to_table("attempts", attempts))
    assert [(row["fence"], row["epoch"]) for row in live.to_pylist()] == [(1, 3), (2, 4)]
    assert [(row["fence"], row["epoch"]) for row in superseded.to_pylist()] == [(1, 4)]


def test_rows_about_one_thing_become_one() -> None:
    rows: Rows = [
        {"trial_id": "b", "state": "RUNNING", "reason": None, "seed": 1, "note": "x"},
        {"trial_id": "a", "state": None, "reason": None, "seed": 2, "note": None},
        {"trial_id": "b", "state": "FAILED", "reason": "killed", "seed": None, "note": None},
        {"trial_id": "b", "state": "SUCCEEDED", "reason": None, "seed": None, "note": None},
    ]
    assert coalesce(rows, ["trial_id"], together=("reason",)) == [
        {"trial_id": "a", "state": None, "reason": None, "seed": 2, "note": None},
        {"trial_id": "b", "state": "SUCCEEDED", "reason": None, "seed": 1, "note": "x"},
    ]


def test_rows_sent_twice_are_kept_once() -> None:
    rows = [{"fence": 1, "seq": seq, "name": name} for seq, name in ((2, "b"), (1, "a"), (2, "b"), (3, "c"))]
    table = last_of_each(rows_to_table("artifacts", rows), ["fence", "seq"])
    assert [(row["seq"], row["name"]) for row in table.to_pylist()] == [(1, "a"), (2, "b"), (3, "c")]
