"""Two stores for every test: a folder and S3 (moto's server, in this process)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex

import pytest

from dlcluster.store import Objects, open_objects

BUCKET = "results"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The server and boto3 warn about their own insides; ours stay errors.
    for item in items:
        if "tests/store/" in item.path.as_posix():
            item.add_marker(pytest.mark.filterwarnings("ignore:::(moto|boto3|botocore|werkzeug|flask|responses)"))


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line per request costs more than the request
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch, f"http://{host}:{port}")
        import boto3

        boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket=BUCKET)
    yield f"http://{host}:{port}"
    server.stop()


def set_environment(patch: pytest.MonkeyPatch, endpoint: str) -> None:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        patch.delenv(name, raising=False)
    patch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    patch.setenv("AWS_ACCESS_KEY_ID", "test")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "testing-secret")
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    patch.setenv("AWS_CONFIG_FILE", "/dev/null")
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")


@pytest.fixture
def s3(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty store on S3, and the environment to reach it with."""
    set_environment(monkeypatch, s3_endpoint)
    return f"s3://{BUCKET}/team/{token_hex(4)}"


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "results")


@pytest.fixture(params=["folder", "s3"])
def uri(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def objects(uri: str) -> Objects:
    return open_objects(uri)
