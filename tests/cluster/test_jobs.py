"""Ray Jobs over HTTP, against a small server that answers as Ray does - or as everything else does."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dlcluster.cluster.jobs import JobInfo, Jobs, Target, find_cluster
from dlcluster.cluster.rest import request
from dlcluster.errors import ClusterError, ExitCode, UsageError
from tests.cluster.fakes import TRACEBACK, FakeDashboard, serve

NO_RAY = "The dashboard's port is 8265 by default (6379 is the GCS, 10001 the Ray client)."


@pytest.fixture
def ray() -> Iterator[FakeDashboard]:
    with serve(FakeDashboard(token="s3cret")) as fake:
        yield fake


@pytest.fixture
def jobs(ray: FakeDashboard) -> Jobs:
    return Jobs(ray.address, "s3cret")


@contextmanager
def listening(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that is no web server: ``talk`` gets each connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    talk(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def error_of(call: Callable[[], object]) -> ClusterError:
    with pytest.raises(ClusterError) as caught:
        call()
    assert caught.value.exit_code == ExitCode.UNREACHABLE
    assert "s3cret" not in str(caught.value)
    return caught.value


def test_a_job_from_its_package_to_its_end(ray: FakeDashboard, jobs: Jobs) -> None:
    assert jobs.version() == "2.60.0"
    assert not jobs.package_exists("_ray_pkg_1.zip")
    jobs.upload("_ray_pkg_1.zip", b"zip")
    assert jobs.package_exists("_ray_pkg_1.zip")
    environment = {"working_dir": "gcs://_ray_pkg_1.zip"}
    assert jobs.submit("python -m x", "run-1", environment, {"name": "x"}) == "run-1"
    started = datetime(2026, 11, 21, 4, 20, 57, 971000, tzinfo=UTC)
    pending = JobInfo("run-1", "PENDING", None, None, None, "python -m x", {"name": "x"}, started, None)
    assert (jobs.info("run-1"), pending.ended) == (pending, False)
    assert ray.jobs["run-1"]["runtime_env"] == environment
    ray.jobs["run-1"].update(
        {"status": "FAILED", "message": "no", "error_type": "JOB_ENTRYPOINT_COMMAND_ERROR", "driver_exit_code": 2},
        end_time=1795234858971,
        logs="line\n",
    )
    ended = jobs.info("run-1")
    assert ended == JobInfo(
        *("run-1", "FAILED", "no", "JOB_ENTRYPOINT_COMMAND_ERROR", 2, "python -m x", {"name": "x"}, started),
        started.replace(second=58),
    )
    assert ended.ended
    assert jobs.logs("run-1") == "line\n"


def test_an_upload_that_is_there_is_not_sent_again(ray: FakeDashboard, jobs: Jobs) -> None:
    jobs.upload("p.zip", b"first")
    jobs.upload("p.zip", b"second")
    assert ray.packages == {"p.zip": b"first"}
    assert ray.asked == ["GET /api/packages/gcs/p.zip", "PUT /api/packages/gcs/p.zip", "GET /api/packages/gcs/p.zip"]


def test_stopping(ray: FakeDashboard, jobs: Jobs) -> None:
    jobs.submit("x", "run-1")
    assert [jobs.stop("run-1"), jobs.stop("run-1"), jobs.stop("unknown")] == [True, False, False]
    assert ray.jobs["run-1"]["status"] == "STOPPED"


def test_an_unknown_job_is_no_error(jobs: Jobs) -> None:
    assert (jobs.info("unknown"), jobs.logs("unknown")) == (None, "")


def test_an_id_cannot_leave_its_place_in_the_path(ray: FakeDashboard, jobs: Jobs) -> None:
    assert jobs.info("../../nodes?x=1") is None
    assert ray.asked == ["GET /api/jobs/..%2F..%2Fnodes%3Fx%3D1"]


def test_a_secret_lies_under_a_random_key(ray: FakeDashboard, jobs: Jobs) -> None:
    keys = [jobs.put_secret(b"one"), jobs.put_secret(b"one")]
    assert all(re.fullmatch(r"gcs://_ray_pkg_[0-9a-f]{32}\.zip", key) for key in keys)
    assert ray.packages == {key.removeprefix("gcs://"): b"one" for key in keys}
    assert len(set(keys)) == 2


def test_a_secret_that_cannot_be_stored_is_not_quoted() -> None:
    class Full(FakeDashboard):
        def answer(self, method: str, path: str, body: bytes, auth: str | None) -> tuple[int, str, dict[str, str]]:
            return 500, TRACEBACK.format(f"RuntimeError: Package data (0.0MiB): {body[:15]!r}..."), {}

    with serve(Full()) as full:
        error = error_of(lambda: Jobs(full.address, None).put_secret(b"hunter2"))
        assert str(error) == f"{full.address} could not store the job's secrets (500)."


def test_a_second_job_of_the_same_id_is_refused(ray: FakeDashboard, jobs: Jobs) -> None:
    jobs.submit("x", "run-1")
    assert str(error_of(lambda: jobs.submit("x", "run-1"))) == f"{ray.address} already has a job run-1."


def test_a_submission_whose_answer_is_lost_was_taken(ray: FakeDashboard, jobs: Jobs) -> None:
    ray.hang_up_after = {"/api/jobs/"}
    assert jobs.submit("x", "run-1") == "run-1"
    assert [*ray.jobs] == ["run-1"]
    assert ray.asked == ["POST /api/jobs/", "GET /api/jobs/run-1"]


def test_a_wrong_token(ray: FakeDashboard) -> None:
    wrong = Jobs(ray.address, "other")
    calls: list[Callable[[], object]] = [wrong.version, lambda: wrong.info("x"), lambda: wrong.submit("x", "y")]
    for call in [*calls, lambda: wrong.upload("p.zip", b"x" * (20 << 20)), lambda: wrong.put_secret(b"x")]:
        error = error_of(call)
        assert error.message == f"{ray.address} refuses the token (403)."
        assert "other'" not in str(error)
    assert (ray.jobs, ray.packages) == ({}, {})


def test_no_token_where_one_is_wanted(ray: FakeDashboard) -> None:
    error = error_of(Jobs(ray.address, None).version)
    assert error.message == (
        f"{ray.address} wants a token, and none was found "
        "(looked at RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token)."
    )


def test_nothing_listens() -> None:
    with socket.socket() as bound:  # bound, not listening: nobody else gets the port
        bound.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{bound.getsockname()[1]}"
        error = error_of(Jobs(address, None).version)
        assert error.message == f"Nothing listens at {address} (connection refused)."
        assert "dlcluster cluster status" in (error.hint or "")
        assert error_of(lambda: Jobs(address, None).submit("x", "y")).message == error.message


def test_another_web_server_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.chdir(tmp_path)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_address[1]}"
        found = Jobs(address, None)
        calls: list[Callable[[], object]] = [found.version, lambda: found.info("x"), lambda: found.stop("x")]
        for call in [*calls, lambda: found.package_exists("p"), lambda: found.put_secret(b"x")]:
            error = error_of(call)
            assert (error.message, error.hint) == (f"What listens at {address} is not a Ray dashboard.", NO_RAY)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("body", ["<html>hello</html>", "[]", "{}", '"2.60.0"', ""])
def test_a_web_server_that_says_yes_to_everything(body: str) -> None:
    class Yes(FakeDashboard):
        def answer(self, method: str, path: str, body_: bytes, auth: str | None) -> tuple[int, str, dict[str, str]]:
            return 200, body, {}

    with serve(Yes()) as fake:
        found = Jobs(fake.address, None)
        for call in (found.version, lambda: found.info("x")):
            assert error_of(call).message == f"What listens at {fake.address} is not a Ray dashboard."


def test_what_does_not_speak_http() -> None:
    with listening(lambda connection: connection.sendall(b"220 mail.example.com ESMTP\r\n")) as address:
        error = error_of(lambda: request("GET", address, "/"))
    assert error.message == f"What listens at {address} is not a Ray dashboard (it does not speak HTTP)."


def test_a_server_that_hangs_up() -> None:
    with listening(lambda connection: None) as address:
        assert error_of(lambda: request("GET", address, "/")).message == f"{address} broke off the connection."


def test_a_server_that_never_answers() -> None:
    def listen_only(connection: socket.socket) -> None:
        while connection.recv(4096):
            pass

    with listening(listen_only) as address:
        error = error_of(lambda: request("GET", address, "/", timeout=0.1))
    assert error.message == f"{address} did not answer within 0.1 s."


def test_plain_http_is_no_tls(ray: FakeDashboard) -> None:
    address = ray.address.replace("http:", "https:")
    assert error_of(lambda: request("GET", address, "/")).message == f"{address} does not speak TLS."


def test_an_unknown_host() -> None:
    address = "https://no-such-host.invalid:8265"
    assert error_of(Jobs(address, None).version).message == f"The host name in {address} is not known."


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (500, TRACEBACK.format("RuntimeError: out of ids"), "{} failed with 500: RuntimeError: out of ids"),
        (400, TRACEBACK.format("TypeError: entrypoint"), "{} refused with 400: TypeError: entrypoint"),
        (503, "", "{} failed with 503: it gave no reason"),
        (502, "<html>\n<h1>Bad Gateway</h1>\n</html>", "{} failed with 502: it sent a web page"),
        (405, "no", "What listens at {} is not a Ray dashboard."),
    ],
)
def test_a_refusal_is_told_in_its_last_words(
    ray: FakeDashboard, jobs: Jobs, status: int, body: str, message: str
) -> None:
    ray.answers["POST /api/jobs/"] = (status, body, {})
    assert error_of(lambda: jobs.submit("x", "y")).message == message.format(ray.address)


def test_a_redirect_is_not_followed_with_the_token(ray: FakeDashboard, jobs: Jobs) -> None:
    with serve(FakeDashboard()) as other:
        ray.answers["GET /api/version"] = (302, "", {"Location": f"{other.address}/login?back=x"})
        error = error_of(jobs.version)
        assert error.message == (
            f"{ray.address} sends us on to {other.address}/login; that is not followed, the token is for one address."
        )
        assert other.asked == []


def test_plain_http_to_another_machine_needs_a_token() -> None:
    with pytest.raises(UsageError) as caught:
        Jobs("gpu7:8265", None)
    assert caught.value.message == (
        "http://gpu7:8265 is on another machine, over plain http, and there is no token for it (looked at "
        "RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token): anybody there could run code as you."
    )
    allowed = [
        Jobs("gpu7", "token"),
        Jobs("gpu7", None, insecure=True),
        Jobs("https://gpu7", None),
        Jobs("localhost", None),
    ]
    assert [found.address for found in allowed] == [
        *("http://gpu7:8265", "http://gpu7:8265", "https://gpu7", "http://localhost:8265")
    ]


def test_a_named_cluster_is_used_before_the_one_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DLCLUSTER_HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_TOKEN", "abc")
    assert find_cluster("gpu7") == Target("http://gpu7:8265", "abc", is_local=False, python="python")
    monkeypatch.setenv("DLCLUSTER_ADDRESS", "https://gpu8")
    monkeypatch.setenv("DLCLUSTER_PYTHON", "/opt/venv/bin/python")
    assert find_cluster(None) == Target("https://gpu8", "abc", is_local=False, python="/opt/venv/bin/python")
    assert find_cluster("gpu7").address == "http://gpu7:8265"


def test_no_cluster_here_and_none_to_be_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DLCLUSTER_HOME", str(tmp_path))
    error = error_of(lambda: find_cluster(None, start=False))
    assert (error.message, error.hint) == (
        "No cluster runs on this machine.",
        "Start it with: dlcluster cluster up - or name another one with --address.",
    )
