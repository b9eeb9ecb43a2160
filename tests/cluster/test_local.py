"""The cluster on this machine, as far as no Ray has to come up for it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dlcluster.cluster import local
from dlcluster.errors import ClusterError, ExitCode, UsageError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DLCLUSTER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def remember(home: Path, pid: int, temp_dir: Path) -> None:
    """A cluster.json such as a crash or a reboot leaves behind."""
    home.mkdir(mode=0o700, exist_ok=True)
    known = {
        "address": "http://127.0.0.1:8265",
        "pid": pid,
        "started_at": "2026-11-21T04:20:57Z",
        "token_path": str(home / "token"),
        "temp_dir": str(temp_dir),
        "python": sys.executable,
        "cluster_id": "0" * 32,
        "num_cpus": 2,
        "ray_version": "2.60.0",
    }
    (home / "cluster.json").write_text(json.dumps(known))


def test_nothing_was_ever_started(home: Path) -> None:
    assert local.running() is None
    assert local.status() == local.Status(state="down", cluster=None, log=home / "cluster.log")
    assert not local.down()
    assert not home.exists()


def test_a_recycled_pid_is_not_the_cluster_and_is_left_alone(home: Path, tmp_path: Path) -> None:
    stale = tmp_path / "dlc-stale"
    (stale / "r").mkdir(parents=True)
    with subprocess.Popen(["sleep", "60"]) as stranger:
        remember(home, stranger.pid, stale)
        assert local.running() is None
        assert local.status().state == "down"
        assert not local.down()
        assert stranger.poll() is None
        stranger.kill()
    assert (stale.exists(), (home / "cluster.json").exists()) == (False, False)


@pytest.mark.parametrize("pid", [1, os.getpid(), 2**22 + 1])
def test_other_pids_that_are_not_the_cluster(home: Path, tmp_path: Path, pid: int) -> None:
    remember(home, pid, tmp_path / "dlc-gone")
    assert (local.running(), local.down()) == (None, False)


def test_only_a_folder_of_ours_is_removed(home: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "dlc-link").symlink_to(tmp_path / "precious")
    for named in (tmp_path / "precious", tmp_path / "dlc-link"):
        remember(home, 1, named)
        local.down()
        assert named.exists()


@pytest.mark.parametrize("content", ["", '{"address": "htt', "[]", '{"pid": 1}'])
def test_a_damaged_record_is_no_cluster(home: Path, content: str) -> None:
    home.mkdir()
    (home / "cluster.json").write_text(content)
    assert (local.running(), local.status().state, local.down()) == (None, "down", False)


def test_a_home_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "home"
    monkeypatch.setenv("DLCLUSTER_HOME", str(folder))
    with pytest.raises(ClusterError) as caught:
        local.up()
    assert (caught.value.message, caught.value.hint, caught.value.exit_code) == (
        f"The cluster's state cannot be kept in {folder}: Not a directory.",
        "Set DLCLUSTER_HOME to a folder of yours that can be written.",
        ExitCode.UNREACHABLE,
    )


def test_without_dlcluster_home_the_state_is_kept_per_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DLCLUSTER_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    log = local.status().log
    assert (log.name, log.parent.parent) == ("cluster.log", tmp_path / ".dlcluster")


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (lambda: local.up(num_cpus=1.5), "num_cpus is 1.5; a cluster is started with a whole number."),
        (lambda: local.up(num_gpus=-1), "num_gpus is -1; a cluster is started with a whole number."),
    ],
)
def test_parts_of_a_cpu_are_not_offered(home: Path, start: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        start()
    assert caught.value.message == message
    assert not home.exists()


def test_a_ray_that_cannot_start_says_so_in_its_own_last_words(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLCLUSTER_OBJECT_STORE_MEMORY", "plenty")
    said: list[str] = []
    with pytest.raises(ClusterError) as caught:
        local.up(say=said.append)
    first, *rest = caught.value.message.splitlines()
    assert first == f"Ray could not be started (exit code 2). The end of {home / 'cluster.log'}:"
    assert rest[-1] == "  Error: Invalid value for '--object-store-memory': 'plenty' is not a valid integer."
    assert "Traceback" not in caught.value.message
    assert said == ["Starting a Ray cluster on this machine (a few seconds) ..."]
    assert sorted(path.name for path in home.iterdir()) == ["cluster.log", "lock", "token"]
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (home, home / "token", home / "cluster.log")}
    assert modes == {"home": 0o700, "token": 0o600, "cluster.log": 0o600}
    assert local.status().state == "down"
