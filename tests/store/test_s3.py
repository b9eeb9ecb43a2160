"""What only S3 does: answers that get lost, lesser stores, refusals."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dlcluster.errors import ObjectNotFound, StoreError
from dlcluster.store import open_objects, prepare
from dlcluster.store.s3 import S3Objects
from tests.store.helpers import contents
from tests.store.proxy import Proxy, running


@pytest.fixture
def proxy(s3: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with running(s3_endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        yield proxy


def test_a_lost_answer_does_not_lose_the_race(proxy: Proxy, s3: str) -> None:
    objects = open_objects(s3)
    proxy.faults = ["lose"]
    assert objects.put_if_absent("a", b"mine")
    assert proxy.seen == ["PUT lose", "PUT", "HEAD"]
    assert not open_objects(s3).put_if_absent("a", b"mine")


def test_a_lost_answer_does_not_win_a_lost_race(proxy: Proxy, s3: str) -> None:
    open_objects(s3).put_if_absent("a", b"theirs")
    proxy.faults = ["lose"]
    assert not open_objects(s3).put_if_absent("a", b"mine")
    assert contents(open_objects(s3)) == {"a": b"theirs"}


def test_a_conflict_is_tried_again(proxy: Proxy, s3: str) -> None:
    proxy.faults = ["conflict", "conflict"]
    assert open_objects(s3).put_if_absent("a", b"mine")
    assert proxy.seen == ["PUT conflict", "PUT conflict", "PUT"]


def test_a_store_without_conditions_is_refused(proxy: Proxy, s3: str) -> None:
    proxy.faults = ["refuse"] * 100
    with pytest.raises(StoreError, match="cannot create an object only if it is absent"):
        prepare(open_objects(s3))
    assert not list(open_objects(s3).list(""))


def test_a_store_that_ignores_conditions_is_refused(proxy: Proxy, s3: str) -> None:
    proxy.faults = ["ignore"]
    with pytest.raises(StoreError, match=r"let 8 of 8 writers create one object"):
        prepare(open_objects(s3))
    assert not list(open_objects(s3).list(""))


def test_large_objects_go_in_parts(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(S3Objects, "large", 1 << 20)
    objects = open_objects(s3)
    data = bytes(range(256)) * 4 * (10 << 10)
    objects.put("large", data)
    assert objects.get("large") == data


def test_no_bucket_is_said_in_words(s3: str) -> None:
    for call in (
        lambda: open_objects("s3://absent/x").get("a"),
        lambda: list(open_objects("s3://absent/x").list("")),
    ):
        with pytest.raises(StoreError, match="the store s3://absent/x: there is no such bucket") as error:
            call()
        assert not isinstance(error.value, ObjectNotFound)


def test_no_credentials_are_said_in_words(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreError, match="no credentials for S3"):
        open_objects(s3).get("a")
    with pytest.raises(StoreError, match="no credentials for S3"):
        open_objects(s3).filesystem()


def test_an_unknown_profile_is_said_in_words(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "absent")
    with pytest.raises(StoreError, match="ProfileNotFound"):
        open_objects(s3)


def test_an_endpoint_that_is_down_is_said_in_words(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with running("http://127.0.0.1:9") as proxy:
        endpoint = proxy.endpoint
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    monkeypatch.setattr("dlcluster.store.s3._ATTEMPTS", 1)
    with pytest.raises(StoreError, match=f"does not answer at {endpoint}: EndpointConnectionError") as error:
        open_objects(s3).get("a")
    assert "testing-secret" not in str(error.value)


def test_an_endpoint_that_is_no_address_is_said_in_words(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "not an address")
    with pytest.raises(StoreError, match="does not answer at not an address"):
        open_objects(s3)
