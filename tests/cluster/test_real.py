"""The cluster on this machine and Ray Jobs, for real: one cluster for the module, in a home of its own."""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from dlcluster.cluster import local
from dlcluster.cluster.jobs import JobInfo, Jobs, Target, find_cluster
from dlcluster.cluster.package import build_package
from dlcluster.errors import ClusterError

pytestmark = pytest.mark.ray

# Reads the secret, deletes it, runs an actor; says each on a line.
DRIVER = """
import os, sys
import ray
from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get
import dlcluster, mine
ray.init(log_to_driver=False)
key = sys.argv[1]
print("secret", _internal_kv_get(key), _internal_kv_del(key), _internal_kv_get(key))
@ray.remote
class Actor:
    def value(self):
        import mine
        return mine.VALUE
print("actor", ray.get(Actor.remote().value.remote()), mine.VALUE)
print("package", os.path.dirname(dlcluster.__file__) == os.path.join(os.getcwd(), "dlcluster"))
print("python", sys.executable)
"""
# Needs a moment to put its affairs in order when it is asked to stop.
STOPPED = """
import pathlib, signal, sys, time
def stop(*_):
    time.sleep(0.5)
    pathlib.Path(sys.argv[1]).write_text("in order")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
pathlib.Path(sys.argv[2]).write_text("")
time.sleep(60)
"""


def until(what: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def alive(processes: list[psutil.Process]) -> list[str]:
    left = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                left.append(f"{process.pid} {process.name()}")
    return left


def tree(cluster: local.Cluster) -> list[psutil.Process]:
    """The head and all that came from it, found by parentage: another way than the one that is tested."""
    head = psutil.Process(cluster.pid)
    return [head, *head.children(recursive=True)]


def marked(cluster: local.Cluster) -> list[psutil.Process]:
    """All that carry the cluster's mark, read from the system's own files."""
    mark = b"\0DLCLUSTER_CLUSTER=" + cluster.cluster_id.encode() + b"\0"
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(OSError, psutil.Error):
            if mark in b"\0" + Path(f"/proc/{pid}/environ").read_bytes():
                found.append(psutil.Process(pid))
    return found


def listeners(cluster: local.Cluster) -> list[tuple[str, int, str]]:
    """Address, port and process of every listening socket of the cluster."""
    found = []
    for process in marked(cluster):
        with contextlib.suppress(psutil.Error):  # it ended meanwhile
            for connection in process.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN:
                    found.append((connection.laddr.ip.removeprefix("::ffff:"), connection.laddr.port, process.name()))
    return found


@pytest.fixture(scope="module")
def strangers() -> Iterator[list[int]]:
    """Somebody else on Ray's usual ports; where they are taken already, somebody else is there anyway."""
    with contextlib.ExitStack() as stack:
        for port in (6379, 8265, 10001):
            with contextlib.suppress(OSError):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
        yield [6379, 8265, 10001]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, strangers: list[int]) -> Iterator[local.Cluster]:
    folder = tmp_path_factory.mktemp("real")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        patch.setenv("DLCLUSTER_HOME", str(folder / "state"))
        patch.setenv("RAY_ADDRESS", "10.1.2.3:6379")  # of a shell set up for another cluster
        patch.setenv("RAY_AUTH_TOKEN", "another-clusters-token")
        started = local.up(num_cpus=2)
        try:
            yield started
        finally:
            local.down()
            assert alive(marked(started)) == []
            assert not started.temp_dir.exists()


@pytest.fixture(scope="module")
def jobs(cluster: local.Cluster) -> Jobs:
    target = find_cluster(None, start=False)
    return Jobs(target.address, target.token)


def ended(jobs: Jobs, submission_id: str) -> JobInfo:
    def info() -> JobInfo:
        found = jobs.info(submission_id)
        assert found is not None
        return found

    until(lambda: info().ended)
    return info()


def test_it_takes_other_ports_than_the_strangers(cluster: local.Cluster, strangers: list[int]) -> None:
    ours = {port for _, port, _ in listeners(cluster)}
    assert ours.isdisjoint(strangers)
    assert int(cluster.address.rpartition(":")[2]) in ours


def test_it_is_found_and_not_started_again(cluster: local.Cluster) -> None:
    said: list[str] = []
    assert local.up(say=said.append, num_cpus=3) == cluster
    assert said == ["The running cluster offers CPUs: 2, not 3 (dlcluster cluster down, then up, changes that)."]
    assert (local.running(), local.status().state) == (cluster, "up")
    assert (cluster.num_cpus, cluster.num_gpus, cluster.ray_version[:5]) == (2, 0, "2.60.")
    token = cluster.token_path.read_text()
    expected = Target(cluster.address, token, is_local=True, python=sys.executable)
    named = cluster.address.removeprefix("http://").replace("127.0.0.1", "localhost")
    assert [find_cluster(None), find_cluster(named), find_cluster(f"{cluster.address}/")] == [expected] * 3


def test_its_files_are_for_this_user_only(cluster: local.Cluster) -> None:
    home = cluster.token_path.parent
    paths = [home, *home.iterdir(), cluster.temp_dir]
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in paths}
    assert modes == {
        "state": 0o700,
        "cluster.json": 0o600,
        "cluster.log": 0o600,
        "lock": 0o600,
        "token": 0o600,
        cluster.temp_dir.name: 0o700,
    }
    token = cluster.token_path.read_text()
    assert len(bytes.fromhex(token)) == 32
    assert not any(token in " ".join(process.cmdline()) for process in marked(cluster))


def test_a_job_with_its_package_its_secret_and_an_actor(jobs: Jobs, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("VALUE = 7\n")
    (tmp_path / "drive.py").write_text(DRIVER)
    package = build_package(tmp_path)
    jobs.upload(package.name, package.data)
    assert jobs.package_exists(package.name)
    key = jobs.put_secret(b'{"A": 1}')
    command = shlex.join([sys.executable, "drive.py", key])
    jobs.submit(command, "job-1", {"working_dir": f"gcs://{package.name}"}, {"name": "first"})
    info = ended(jobs, "job-1")
    lines = jobs.logs("job-1").splitlines()
    assert info.status == "SUCCEEDED", lines
    assert (info.driver_exit_code, info.metadata["name"]) == (0, "first")
    told = [line for line in lines if line.split(" ")[0] in ("secret", "actor", "package", "python")]
    assert told == ["secret b'{\"A\": 1}' 1 None", "actor 7 7", "package True", f"python {sys.executable}"]
    assert jobs.stop("job-1") is False


def test_every_process_carries_the_mark_and_listens_on_loopback_alone(cluster: local.Cluster, jobs: Jobs) -> None:
    jobs.submit("exec sleep 60", "listening")
    until(lambda: (info := jobs.info("listening")) is not None and info.status == "RUNNING")
    processes = tree(cluster)
    carrying = marked(cluster)
    assert [name for process in processes if process not in carrying for name in alive([process])] == []
    found = listeners(cluster)
    assert {name for _, _, name in found} >= {"gcs_server", "raylet", "ray::DashboardAgent", "ray::JobSupervisor"}
    assert {address for address, _, _ in found} == {"127.0.0.1"}, found
    jobs.stop("listening")


def test_a_job_that_fails_tells_its_exit_code(jobs: Jobs) -> None:
    jobs.submit("echo to the log; exit 4", "job-2")
    info = ended(jobs, "job-2")
    assert (info.status, info.driver_exit_code, info.error_type) == ("FAILED", 4, "JOB_ENTRYPOINT_COMMAND_ERROR")
    assert "to the log" in jobs.logs("job-2").splitlines()
    with pytest.raises(ClusterError) as caught:
        jobs.submit("true", "job-2")
    assert caught.value.message == f"{jobs.address} already has a job job-2."


def test_a_job_that_is_stopped_is_given_time(jobs: Jobs, tmp_path: Path) -> None:
    (tmp_path / "stopped.py").write_text(STOPPED)
    done, ready = tmp_path / "done", tmp_path / "ready"
    jobs.submit(shlex.join([sys.executable, *map(str, (tmp_path / "stopped.py", done, ready))]), "job-3")
    until(ready.exists)
    assert jobs.stop("job-3")
    assert ended(jobs, "job-3").status == "STOPPED"
    assert done.read_text() == "in order"


def test_tokens_are_checked(cluster: local.Cluster) -> None:
    for token, words in ((None, "wants a token, and none was found"), ("0" * 64, "refuses the token (403).")):
        with pytest.raises(ClusterError) as caught:
            Jobs(cluster.address, token).version()
        assert words in caught.value.message
    assert (Jobs(cluster.address, cluster.token_path.read_text()).version()) == cluster.ray_version


def test_what_it_does_not_know_is_no_error(jobs: Jobs) -> None:
    assert (jobs.info("x"), jobs.stop("x"), jobs.logs("x"), jobs.package_exists("x.zip")) == (None, False, "", False)


UP = "from dlcluster.cluster.local import up; print(up(num_cpus=1).model_dump_json())"


def test_another_home_has_another_cluster_and_each_ends_alone(
    cluster: local.Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Started twice at the same moment, from a folder whose files must not be imported.
    (tmp_path / "click.py").write_text("raise SystemExit('the folder of the user was imported')")
    environment = {**os.environ, "DLCLUSTER_HOME": str(tmp_path / "other")}
    starts = [
        subprocess.Popen([sys.executable, "-P", "-c", UP], cwd=tmp_path, env=environment, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    outputs = [start.communicate(timeout=60)[0] for start in starts]
    assert [start.returncode for start in starts] == [0, 0]
    other, same = (local.Cluster.model_validate_json(output) for output in outputs)
    monkeypatch.setenv("DLCLUSTER_HOME", str(tmp_path / "other"))
    try:
        assert (other, local.running()) == (same, same)
        assert (other.cluster_id != cluster.cluster_id, other.address != cluster.address) == (True, True)
        target = find_cluster(None, start=False)
        jobs = Jobs(target.address, target.token)
        (tmp_path / "stopped.py").write_text(STOPPED)
        done, ready = tmp_path / "done", tmp_path / "ready"
        jobs.submit(shlex.join([sys.executable, *map(str, (tmp_path / "stopped.py", done, ready))]), "last")
        until(ready.exists)
        processes = tree(other)
    finally:
        ended = local.down()
    assert (ended, local.down(), local.running(), local.status().state) == (True, False, None, "down")
    assert done.read_text() == "in order"
    assert (alive(processes), alive(marked(other)), other.temp_dir.exists()) == ([], [], False)
    monkeypatch.undo()
    assert local.running() == cluster


def test_a_head_that_was_killed_is_noticed_and_swept_up(cluster: local.Cluster) -> None:
    # The last test of the module: it takes the cluster with it.
    processes = tree(cluster)
    processes[0].kill()
    until(lambda: local.living() is None)
    assert (local.running(), local.status().state) == (None, "down")
    local.down()
    assert (alive(processes), alive(marked(cluster)), cluster.temp_dir.exists()) == ([], [], False)
