from __future__ import annotations

from secrets import token_hex

import pytest

from dlcluster.errors import StoreError
from dlcluster.store import Objects, checkpoint_name, newest_checkpoint, open_objects, prune, put_checkpoint
from tests.store.helpers import RUN, Crash, Crashing, contents


def names(objects: Objects) -> list[str]:
    return list(objects.list_folders(f"checkpoints/{RUN}/t1/"))


def save(objects: Objects, *number: int) -> str:
    name = checkpoint_name(*number)
    put_checkpoint(objects, RUN, "t1", name, {"model": name.encode(), "state": b"s"}, {"epoch": number[2]})
    return name


def test_a_checkpoint_is_read_as_it_was_written(objects: Objects) -> None:
    assert newest_checkpoint(objects, RUN, "t1") is None
    save(objects, 1, 2, 3, 40)
    found = newest_checkpoint(objects, RUN, "t1")
    assert found is not None
    assert found.load() == {"model": b"f1-a2-e3-s40", "state": b"s"}
    assert (found.name, found.meta, found.skipped) == ("f1-a2-e3-s40", {"epoch": 3}, ())
    assert (found.fence, found.attempt, found.epoch, found.step) == (1, 2, 3, 40)
    assert found.uri == objects.locate(f"checkpoints/{RUN}/t1/f1-a2-e3-s40")


def test_the_newest_is_of_the_highest_claim_then_attempt_epoch_and_step(objects: Objects) -> None:
    order = [(1, 1, 9, 90), (1, 2, 3, 30), (1, 10, 2, 20), (2, 1, 1, 9), (2, 1, 1, 10), (2, 1, 2, 0)]
    found = []
    for number in order:
        save(objects, *number)
        newest = newest_checkpoint(objects, RUN, "t1")
        found.append(newest.name if newest else None)
    assert found == [checkpoint_name(*number) for number in order]


def test_a_broken_checkpoint_is_skipped_and_named(objects: Objects) -> None:
    for number in ((1, 1, 1, 0), (1, 1, 2, 0), (1, 1, 3, 0), (1, 1, 4, 0), (2, 1, 5, 0)):
        save(objects, *number)
    base = f"checkpoints/{RUN}/t1"
    objects.put(f"{base}/f2-a1-e5-s0/model", b"flipped")
    objects.delete([f"{base}/f1-a1-e4-s0/state"])
    objects.put(f"{base}/f1-a1-e3-s0/MANIFEST.json", b"{}")
    objects.put(f"{base}/f1-a1-e2-s0/MANIFEST.json", b'{"files": {"../model": {"sha256": ""}}}')
    objects.put(f"{base}/other/MANIFEST.json", b"{}")
    with pytest.raises(StoreError, match="cannot be a file of a checkpoint"):
        newest_checkpoint(objects, RUN, "t1")
    objects.delete([f"{base}/f1-a1-e2-s0/MANIFEST.json"])
    found = newest_checkpoint(objects, RUN, "t1")
    assert found is not None
    assert found.name == "f1-a1-e1-s0"
    assert [reason.partition(":")[0] for reason in found.skipped] == [
        "f2-a1-e5-s0",
        "f1-a1-e4-s0",
        "f1-a1-e3-s0",
    ]
    assert found.skipped[0] == "f2-a1-e5-s0: model is not what its manifest says"


def test_a_save_killed_anywhere_leaves_the_one_before(objects: Objects) -> None:
    for at in (1, 2, 3):
        for after in (False, True):
            store = open_objects(f"{objects.uri}/{token_hex(4)}")
            before, now = save(store, 1, 1, 1, 0), (1, 1, 2, 0)
            with pytest.raises(Crash):
                save(Crashing(store, at, after=after), *now)
            found = newest_checkpoint(store, RUN, "t1")
            assert found is not None
            assert found.name == (checkpoint_name(*now) if (at, after) == (3, True) else before)
            assert save(store, *now) == checkpoint_name(*now)
            again = newest_checkpoint(store, RUN, "t1")
            assert again is not None
            assert (again.name, again.skipped) == (checkpoint_name(*now), ())


def test_a_whole_checkpoint_is_not_written_again(objects: Objects) -> None:
    name = save(objects, 1, 1, 1, 0)
    before = contents(objects)
    put_checkpoint(objects, RUN, "t1", name, {"model": b"other"}, {})
    assert contents(objects) == before


def test_pruning_keeps_what_is_named_and_other_claims(objects: Objects) -> None:
    saved = [
        save(objects, *number) for number in ((1, 1, 1, 0), (2, 1, 1, 0), (2, 1, 2, 0), (2, 1, 3, 0), (21, 1, 1, 0))
    ]
    prune(objects, RUN, "t1", 2, keep=[saved[2]])
    assert names(objects) == [saved[0], saved[2], saved[4]]


def test_a_killed_pruning_leaves_no_checkpoint_that_looks_whole(objects: Objects) -> None:
    for at in range(1, 7):
        store = open_objects(f"{objects.uri}/{token_hex(4)}")
        for epoch in (1, 2, 3):
            save(store, 1, 1, epoch, 0)
        with pytest.raises(Crash):
            prune(Crashing(store, at, after=True), RUN, "t1", 1, keep=["f1-a1-e1-s0"])
        found = newest_checkpoint(store, RUN, "t1")
        assert found is not None
        assert found.skipped == ()


@pytest.mark.parametrize("name", ["", "../f1-a1-e1-s0", "latest", "f1-a1-e1"])
def test_names_stay_in_their_prefix(objects: Objects, name: str) -> None:
    with pytest.raises(StoreError, match="names no checkpoint"):
        put_checkpoint(objects, RUN, "t1", name, {"a": b""}, {})
    for run_id, trial_id in (("..", "t1"), (RUN, "../t1"), (RUN, "a/b")):
        with pytest.raises(StoreError, match="cannot be a"):
            put_checkpoint(objects, run_id, trial_id, "f1-a1-e1-s0", {"a": b""}, {})
        with pytest.raises(StoreError, match="cannot be a"):
            newest_checkpoint(objects, run_id, trial_id)
    for file in ("../a", "MANIFEST.json", ""):
        with pytest.raises(StoreError):
            put_checkpoint(objects, RUN, "t1", "f1-a1-e1-s0", {file: b""}, {})
    assert contents(objects) == {}
