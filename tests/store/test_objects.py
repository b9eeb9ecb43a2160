from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dlcluster.errors import ObjectNotFound, StoreError, UsageError
from dlcluster.store import Objects, open_objects
from tests.store import processes
from tests.store.helpers import contents


def test_what_is_put_is_got(objects: Objects) -> None:
    objects.put("a/b.json", b"first")
    objects.put("a/b.json", b"second")
    objects.put("a/empty", b"")
    assert contents(objects) == {"a/b.json": b"second", "a/empty": b""}


def test_a_missing_object_is_said_to_be_missing(objects: Objects) -> None:
    with pytest.raises(ObjectNotFound, match="a/b is not there"):
        objects.get("a/b")
    with pytest.raises(ObjectNotFound):
        objects.get_with_age("a/b")
    objects.put("a/b/c", b"")
    with pytest.raises(ObjectNotFound):
        objects.get("a/b")


def test_put_if_absent_is_won_once(objects: Objects) -> None:
    first = objects.put_if_absent("a", b"mine")
    again = objects.put_if_absent("a", b"mine")
    other = objects.put_if_absent("a", b"yours")
    assert (first, again, other, objects.get("a")) == (True, False, False, b"mine")


def test_age_is_by_the_stores_clock(objects: Objects) -> None:
    objects.put("a", b"x")
    data, age = objects.get_with_age("a")
    assert data == b"x"
    assert 0 <= age < 30


def test_listing_is_in_order_of_keys(objects: Objects) -> None:
    keys = ["t/a-b", "t/a.json", "t/a/1", "t/a/2/x", "t/b", "t2/z", "u"]
    for key in reversed(keys):
        objects.put(key, key.encode())
    infos = list(objects.list(""))
    assert [info.key for info in infos] == keys
    assert [info.size for info in infos] == [len(key) for key in keys]
    assert all(abs(datetime.now(UTC) - info.modified) < timedelta(minutes=1) for info in infos)
    assert [info.key for info in objects.list("t/")] == keys[:5]
    assert [info.key for info in objects.list("t/a")] == keys[:4]
    assert [info.key for info in objects.list("t/a/")] == keys[2:4]
    assert [info.key for info in objects.list("t/", start_after="t/a/1")] == keys[3:5]
    assert [info.key for info in objects.list("t/", start_after="t/a/2")] == keys[3:5]
    assert [info.key for info in objects.list("t/", start_after="t/a/2/x")] == keys[4:5]
    assert list(objects.list("nothing/")) == []


def test_folders_are_those_with_objects(objects: Objects) -> None:
    for key in ("runs/20261120-a/x/y", "runs/20261121-a/x", "runs/20261121-b/x", "runs/file", "other/x"):
        objects.put(key, b"")
    assert list(objects.list_folders("runs/")) == ["20261120-a", "20261121-a", "20261121-b"]
    assert list(objects.list_folders("runs/20261121")) == ["20261121-a", "20261121-b"]
    assert list(objects.list_folders("runs/", start_after="20261121-a")) == ["20261121-b"]
    assert list(objects.list_folders("runs/", start_after="20261121")) == ["20261121-a", "20261121-b"]
    assert list(objects.list_folders("")) == ["other", "runs"]
    objects.delete(["runs/20261121-a/x", "runs/20261121-b/x"])
    assert list(objects.list_folders("runs/")) == ["20261120-a"]


def test_listing_goes_beyond_a_page(objects: Objects) -> None:
    keys = [f"p/{number:04d}/x" for number in range(1005)]
    list(objects.map(lambda key: objects.put(key, b""), keys))
    assert [info.key for info in objects.list("p/")] == keys
    assert list(objects.list_folders("p/")) == [key[2:6] for key in keys]
    objects.delete(keys)
    assert list(objects.list("p/")) == []


def test_deleting_what_is_not_there_is_fine(objects: Objects) -> None:
    objects.put("a/b", b"")
    objects.delete(["a/b", "a/c", "d"])
    objects.delete([])
    assert contents(objects) == {}


@pytest.mark.parametrize("key", ["../x", "/etc/x", "a/../../x", "a//b", "a\0b", "", ".hidden", "a/.tmp", "a\\b", "a/"])
def test_keys_stay_below_the_store(objects: Objects, key: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: objects.get(key),
        lambda: objects.get_with_age(key),
        lambda: objects.put(key, b""),
        lambda: objects.put_if_absent(key, b""),
        lambda: objects.delete([key]),
        lambda: objects.locate(key),
    ]
    for call in calls:
        with pytest.raises(StoreError, match="cannot be a key"):
            call()


def test_pyarrow_and_others_find_the_objects(objects: Objects) -> None:
    objects.put("tables/x", b"data")
    filesystem, base = objects.filesystem()
    with filesystem.open_input_stream(base + "tables/x") as file:
        assert file.read() == b"data"
    assert objects.locate("tables/x") == f"{objects.uri}/v1/tables/x"


def test_racing_processes_have_one_winner(objects: Objects) -> None:
    keys = [f"x/{number}" for number in range(25)]
    bodies = [f"process {number}".encode() for number in range(4)]
    won = processes.race(processes.put_if_absent, [(objects.uri, keys, body) for body in bodies])
    assert sorted(key for mine in won for key in mine) == sorted(keys)
    assert contents(objects) == {key: body for body, mine in zip(bodies, won, strict=True) for key in mine}


def test_a_killed_writer_leaves_nothing_half(folder: str) -> None:
    for _ in range(3):
        ours, theirs = processes.SPAWN.Pipe()
        process = processes.SPAWN.Process(target=processes.put_for_ever, args=(theirs, folder))
        process.start()
        theirs.close()
        while ours.recv() < 20:
            pass
        process.kill()
        process.join()
        ours.close()
    objects = open_objects(folder)
    whole = contents(objects, "x/")
    assert len(whole) >= 20
    assert {key: f"x/{hashlib.sha256(data).hexdigest()}" for key, data in whole.items()} == {key: key for key in whole}
    assert f"x/{hashlib.sha256(objects.get('y/overwritten')).hexdigest()}" in whole


def test_temporary_files_are_in_no_listing(folder: str) -> None:
    objects = open_objects(folder)
    objects.put("a/b", b"")
    (Path(folder) / "v1" / "a" / ".left-over.tmp").write_bytes(b"half")
    (Path(folder) / "v1" / "c").mkdir()
    (Path(folder) / "v1" / "c" / ".left-over.tmp").write_bytes(b"half")
    assert list(contents(objects)) == ["a/b"]
    assert list(objects.list_folders("")) == ["a"]


def test_addresses_are_made_canonical(tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = str(tmp_path / "results")
    given: list[str | Path] = [
        "results",
        "./results/",
        Path("results"),
        f"file://{folder}",
        "~/results",
        f"{folder}//",
    ]
    assert [open_objects(uri).uri for uri in given] == [folder] * 6
    assert [open_objects(uri).uri for uri in ("s3://b", "s3://b/", "s3://b//a/b/")] == [
        "s3://b",
        "s3://b",
        "s3://b/a/b",
    ]
    assert (open_objects("results").is_local, open_objects(s3).is_local) == (True, False)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("uri", ["", "gs://b/x", "https://host/x", "file://host/x", "s3://", "s3://key:secret@b/x"])
def test_other_addresses_are_refused(uri: str) -> None:
    with pytest.raises(UsageError) as error:
        open_objects(uri)
    assert "secret" not in str(error.value)


def test_a_folder_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"the store .*/file is a file\ngive a folder or s3://bucket/prefix"):
        open_objects(tmp_path / "file")
    with pytest.raises(StoreError, match=r"the store .*/file/below: Not a directory \(a\)"):
        open_objects(tmp_path / "file/below").put("a", b"")
