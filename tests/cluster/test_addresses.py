"""Addresses and tokens: what a user writes, and what it becomes."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlcluster.cluster.rest import is_loopback, normalize_address
from dlcluster.cluster.tokens import find_token
from dlcluster.errors import UsageError


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("host:8265", "http://host:8265"),
        ("host", "http://host:8265"),
        ("http://host:8265/", "http://host:8265"),
        ("HTTP://Host:80//", "http://host:80"),
        ("https://ray.example.com", "https://ray.example.com"),
        ("https://example.com/ray/", "https://example.com/ray"),
        (" 10.0.0.7:9000 ", "http://10.0.0.7:9000"),
        ("[::1]:8265", "http://[::1]:8265"),
        ("[fd00::2]", "http://[fd00::2]:8265"),
        ("http://[::1]/", "http://[::1]"),
    ],
)
def test_an_address_becomes_the_dashboards_url(written: str, meant: str) -> None:
    assert normalize_address(written) == meant
    assert normalize_address(meant) == meant


@pytest.mark.parametrize(
    ("written", "message", "hint"),
    [
        (
            "ray://head:10001",
            "ray://head:10001 is a Ray Client address; jobs are sent to the dashboard.",
            "Give http://head:8265 instead (the port of the cluster's dashboard).",
        ),
        ("", "'' is not an address.", "Give the dashboard's address, as in http://127.0.0.1:8265."),
        (
            "s3://bucket",
            "'s3://bucket': s3:// is not http:// or https://.",
            "Give the dashboard's address, as in http://127.0.0.1:8265.",
        ),
        (
            "http://me:hunter2@host:8265",
            "The address holds a user name or password, which would be written into the store.",
            "Leave it out of the address and set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH.",
        ),
        (
            "http://host/?token=x",
            "'http://host/?token=x' is not a dashboard's address.",
            "Give the dashboard's address, as in http://127.0.0.1:8265, without ? and #.",
        ),
    ],
)
def test_what_is_no_address_is_refused_with_the_right_form(written: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        normalize_address(written)
    assert (caught.value.message, caught.value.hint) == (message, hint)


@pytest.mark.parametrize("written", ["host:eight", "host:99999", "a b", "host\r\nX: y", "http://", "[::1", "\x00"])
def test_garbage_is_refused(written: str) -> None:
    with pytest.raises(UsageError, match="is not a"):
        normalize_address(written)


@pytest.mark.parametrize(
    ("url", "stays"),
    [
        ("http://127.0.0.1:8265", True),
        ("http://127.8.8.8", True),
        ("http://localhost:1", True),
        ("https://[::1]:8265", True),
        ("http://127.0.0.1.example.com", False),
        ("http://localhost.example.com", False),
        ("http://0.0.0.0:8265", False),
        ("http://192.0.2.2:8265", False),
    ],
)
def test_loopback_is_judged_by_its_spelling(url: str, stays: bool) -> None:
    assert is_loopback(url) is stays


def test_tokens_are_found_where_ray_looks_for_them_in_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_token() is None
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text("default\n")
    assert find_token() == "default"
    (tmp_path / "named").write_text(" named\n")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "~/named")
    assert find_token() == "named"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "variable")
    assert find_token() == "variable"


@pytest.mark.parametrize("content", [b"", b"\n", b"two words", b"line\nline", b"\xff\xfe", "tökén".encode()])
def test_a_file_that_holds_no_token_is_named_and_its_content_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    with pytest.raises(UsageError) as caught:
        find_token()
    assert caught.value.message == (
        f"RAY_AUTH_TOKEN_PATH ({path}) does not hold a token: one word of printable ASCII is needed."
    )


def test_a_named_token_file_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(UsageError) as caught:
        find_token()
    assert caught.value.message == (
        f"The token in RAY_AUTH_TOKEN_PATH ({tmp_path / 'none'}) cannot be read: No such file or directory."
    )
