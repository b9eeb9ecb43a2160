from __future__ import annotations

import json
import subprocess
import sys

import pytest

from dlcluster.errors import StoreError
from dlcluster.store import Objects, claim, open_objects, open_store, prepare
from tests.store.helpers import claimed, contents, fence


def test_first_use_leaves_the_format_and_nothing_else(objects: Objects) -> None:
    prepare(objects)
    assert list(contents(objects)) == ["store.json"]
    assert json.loads(objects.get("store.json"))["format"] == 1


def test_later_uses_do_not_race_again(objects: Objects) -> None:
    prepare(objects)
    stamp = objects.get("store.json")
    other = open_objects(objects.uri)
    prepare(other)
    prepare(other)
    assert (other.requests, other.get("store.json")) == (1, stamp)


def test_a_newer_store_is_refused_for_writing_only(objects: Objects) -> None:
    objects.put("store.json", b'{"format": 2, "created_at": "2030-01-01T00:00:00Z"}')
    with pytest.raises(StoreError, match="has format 2 of a newer dlcluster; this one writes 1"):
        claim(objects, fence())
    assert open_store(objects.uri).runs() == []


def test_a_damaged_stamp_is_refused(objects: Objects) -> None:
    objects.put("store.json", b"{")
    with pytest.raises(StoreError, match=r"store\.json is damaged"):
        prepare(objects)


def test_importing_the_store_loads_no_heavy_library() -> None:
    code = (
        "import sys, dlcluster.store;"
        "print([m for m in ('pyarrow', 'boto3', 'numpy', 'ray', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_listing_a_folder_loads_no_parquet(folder: str) -> None:
    claimed(open_objects(folder))
    code = (
        "import sys, dlcluster.store as s; store = s.open_store(sys.argv[1]); store.run('latest');"
        "print(len(store.runs()), [m for m in ('pyarrow', 'boto3', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1 []"
