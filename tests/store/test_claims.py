from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import ValidationError

from dlcluster.errors import ObjectNotFound, StoreError, Superseded
from dlcluster.store import (
    Fence,
    Objects,
    RunState,
    StopRequest,
    claim,
    get_code,
    is_lost,
    new_run_id,
    newest_fence,
    put_code,
    read_fence,
    read_state,
    request_stop,
    stop_requested,
    submission_id,
    write_state,
)
from tests.store.helpers import RUN, claimed, contents, fence

CODE = b"PK code"


def test_run_ids_sort_by_time() -> None:
    now = datetime(2026, 11, 21, 10, 30, tzinfo=timezone(timedelta(hours=1)))
    assert re.fullmatch(r"20261121-093000-lstm-co2-[0-9a-f]{4}", new_run_id("lstm-co2", now=now))


@pytest.mark.parametrize("name", ["", "../x", "a/b", "A", "-a", "a b"])
def test_run_ids_stay_in_their_prefix(name: str) -> None:
    with pytest.raises(StoreError, match="cannot name a run"):
        new_run_id(name, now=datetime.now(UTC))
    with pytest.raises(ValidationError):
        Fence.model_validate(fence().model_dump() | {"run_id": f"../{name}"})


def test_the_first_submission_has_the_runs_name() -> None:
    assert [submission_id(RUN, n) for n in (1, 2)] == [RUN, f"{RUN}.2"]


def test_a_claim_is_read_as_it_was_made(objects: Objects) -> None:
    made = claim(objects, fence())
    assert read_fence(objects, RUN, 1) == made == fence()
    assert list(contents(objects)) == [f"open/{RUN}.1", f"runs/{RUN}/fences/1.json", "store.json"]


def test_a_claim_is_made_once(objects: Objects) -> None:
    claimed(objects)
    with pytest.raises(Superseded, match="claim 1 was made by somebody else"):
        claim(objects, fence().model_copy(update={"created_by": "bob"}))
    assert read_fence(objects, RUN, 1).created_by == "ada@host"


def test_the_newest_claim_counts_as_a_number(objects: Objects) -> None:
    assert newest_fence(objects, RUN) == 0
    for n in (1, 2, 9, 10):
        claimed(objects, n)
    assert newest_fence(objects, RUN) == 10


def test_a_missing_or_damaged_claim_is_said_so(objects: Objects) -> None:
    with pytest.raises(ObjectNotFound, match=f"run {RUN} has no claim 3"):
        read_fence(objects, RUN, 3)
    objects.put(f"runs/{RUN}/fences/3.json", b"{}")
    with pytest.raises(StoreError, match="is not a claim"):
        read_fence(objects, RUN, 3)


def test_state_is_overwritten_by_its_owner(objects: Objects) -> None:
    assert read_state(objects, RUN, 1) is None
    for counter in (1, 2):
        state = RunState(state="RUNNING", owner="driver", counter=counter, epoch=3, num_epochs=20, best=0.5)
        write_state(objects, RUN, 1, state)
    found = read_state(objects, RUN, 1)
    assert found is not None
    assert found[0] == state
    assert 0 <= found[1] < 30


def test_a_damaged_state_is_said_so(objects: Objects) -> None:
    objects.put(f"runs/{RUN}/f1/state.json", b'{"state": "LOST"}')
    with pytest.raises(StoreError, match="is not a run's state"):
        read_state(objects, RUN, 1)


@pytest.mark.parametrize(
    ("state", "owner", "age", "lost"),
    [
        ("RUNNING", "driver", 61, True),
        ("RUNNING", "driver", 59, False),
        ("PENDING", "driver", 61, True),
        ("PENDING", "client", 9999, False),
        ("PENDING", "queue", 9999, False),
        ("SUCCEEDED", "driver", 9999, False),
    ],
)
def test_six_missed_heartbeats_are_a_loss(state: str, owner: str, age: float, lost: bool) -> None:
    assert is_lost(RunState.model_validate({"state": state, "owner": owner}), age) is lost


def test_a_stop_is_for_its_claim_and_earlier_ones(objects: Objects) -> None:
    assert stop_requested(objects, RUN, 1) is None
    request_stop(objects, RUN, 2, by="ada", reason="wrong data")
    request = stop_requested(objects, RUN, 2)
    assert request == StopRequest(n=2, by="ada", reason="wrong data", at=request.at if request else datetime.now(UTC))
    assert stop_requested(objects, RUN, 1) == request
    assert stop_requested(objects, RUN, 3) is None
    objects.put(f"runs/{RUN}/stop.json", b"[]")
    with pytest.raises(StoreError, match="is not a request to stop"):
        stop_requested(objects, RUN, 1)


def test_code_is_kept_by_its_hash(objects: Objects) -> None:
    sha256 = hashlib.sha256(CODE).hexdigest()
    put_code(objects, sha256, CODE)
    put_code(objects, sha256, CODE)
    assert get_code(objects, sha256) == CODE
    with pytest.raises(StoreError, match="is damaged"):
        put_code(objects, "ab" * 32, CODE)
    with pytest.raises(ObjectNotFound):
        get_code(objects, "ab" * 32)
    with pytest.raises(StoreError, match="is no sha256"):
        get_code(objects, "../x")
    objects.put(f"code/{sha256}.zip", b"other")
    with pytest.raises(StoreError, match="is damaged"):
        get_code(objects, sha256)
