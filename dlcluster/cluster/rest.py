"""One request to a Ray dashboard, and every way it can fail, in words.

Plain ``http.client``: no Ray import (a second of start-up), no proxy from the environment, no redirect
followed - the token goes to the address the user named and nowhere else.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import ipaddress
import json
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from dlcluster.errors import ClusterError, UsageError

DASHBOARD_PORT = 8265
_CONNECT_SECONDS = 5.0
# More than any answer we ask for; a server that never stops talking must not fill the memory.
_MAX_REPLY_BYTES = 256 << 20
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Reply:
    """What came back: any status, 4xx and 5xx too.

    Attributes:
        status: The HTTP status.
        body: The body as bytes.
        location: Where a redirect points to, if it is one.
    """

    status: int
    body: bytes
    location: str | None = None

    @property
    def text(self) -> str:
        """The body as text; bytes that are not UTF-8 are replaced."""
        return self.body.decode("utf-8", errors="replace")

    def json(self) -> Any:
        """The body decoded as JSON.

        Raises:
            ValueError: It is not JSON.
        """
        return json.loads(self.body)


def normalize_address(address: str) -> str:
    """Turns what a user writes for a cluster into its dashboard's URL.

    ``host:8265``, ``host`` and ``http://host:8265/`` all become ``http://host:8265``.

    Args:
        address: What ``--address`` or ``DLCLUSTER_ADDRESS`` holds.

    Returns:
        ``http[s]://host[:port][/path]`` without a trailing slash.

    Raises:
        UsageError: It is no dashboard address; the message shows the right form.
    """
    text = address.strip()
    form = f"Give the dashboard's address, as in http://127.0.0.1:{DASHBOARD_PORT}"
    if not text or re.search(r"[\s\x00-\x1f\x7f]", text):
        raise UsageError(f"{address!r} is not an address.", hint=f"{form}.")
    scheme, separator, _ = text.partition("://")
    try:
        parts = urlsplit(text if separator else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"{address!r} is not an address: {error}.", hint=f"{form}.") from None
    if separator and scheme.lower() == "ray":
        shown = f"[{host}]" if host and ":" in host else host or "127.0.0.1"
        raise UsageError(
            f"{address} is a Ray Client address; jobs are sent to the dashboard.",
            hint=f"Give http://{shown}:{DASHBOARD_PORT} instead (the port of the cluster's dashboard).",
        )
    if parts.scheme not in ("http", "https"):
        raise UsageError(f"{address!r}: {scheme}:// is not http:// or https://.", hint=f"{form}.")
    if parts.username is not None or parts.password is not None:
        # Not shown: the address lands in the store, a password must not.
        raise UsageError(
            "The address holds a user name or password, which would be written into the store.",
            hint="Leave it out of the address and set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH.",
        )
    if not host or parts.query or parts.fragment or "?" in text or "#" in text:
        raise UsageError(f"{address!r} is not a dashboard's address.", hint=f"{form}, without ? and #.")
    if port is None and not separator:
        port = DASHBOARD_PORT
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}"


def is_loopback(url: str) -> bool:
    """Whether a URL stays on this machine, judged by its spelling alone (names are not looked up)."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def request(
    method: str,
    url: str,
    path: str,
    *,
    token: str | None = None,
    body: bytes | Mapping[str, Any] | None = None,
    timeout: float = 30.0,
) -> Reply:
    """Sends one request and returns whatever status comes back.

    Args:
        method: ``GET``, ``POST`` or ``PUT``.
        url: A normalised address.
        path: What follows it, beginning with a slash.
        token: Ray's bearer token, if there is one.
        body: Bytes, or a mapping that is sent as JSON.
        timeout: Seconds for each step of sending and answering (connecting has 5 at most).

    Returns:
        The reply; judging its status is the caller's.

    Raises:
        ClusterError: Nothing answered, or what answered does not speak HTTP.
    """
    parts = urlsplit(url)
    headers = {"Accept": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    payload: bytes | None
    if isinstance(body, Mapping):
        payload, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
    else:
        payload = body
        if payload is not None:
            headers["Content-Type"] = "application/octet-stream"
    if payload is not None:
        headers["Content-Length"] = str(len(payload))
    connection = _connection(parts, min(timeout, _CONNECT_SECONDS))
    step_seconds = min(timeout, _CONNECT_SECONDS)
    try:
        connection.connect()
        step_seconds = timeout
        connection.sock.settimeout(timeout)
        # As a stream, so that the timeout holds for each block and not for a whole upload.
        stream = io.BytesIO(payload) if payload is not None else None
        # A refusal may come, and the connection close, before a large body is sent: its answer says why.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, f"{parts.path}{path}", body=stream, headers=headers)
        answer = connection.getresponse()
        data = answer.read(_MAX_REPLY_BYTES + 1)
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(url, error, step_seconds) from error
    finally:
        connection.close()
    if len(data) > _MAX_REPLY_BYTES:
        raise ClusterError(f"{url} answered {path} with more than {_MAX_REPLY_BYTES >> 20} MiB.")
    return Reply(answer.status, data, answer.getheader("Location"))


def _connection(parts: SplitResult, timeout: float) -> http.client.HTTPConnection:
    host = parts.hostname or ""
    if parts.scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, parts.port, timeout=timeout, context=context, blocksize=_BLOCK)
    return http.client.HTTPConnection(host, parts.port, timeout=timeout, blocksize=_BLOCK)


def _unreachable(url: str, error: Exception, seconds: float) -> ClusterError:
    """The error a user sees for a failure below HTTP."""
    hint = "Check the address; for a cluster on this machine: dlcluster cluster status."
    match error:
        case ConnectionRefusedError():
            message = f"Nothing listens at {url} (connection refused)."
        case socket.gaierror():
            message, hint = f"The host name in {url} is not known.", "Check its spelling, or the VPN."
        case ssl.SSLCertVerificationError():
            message = f"The certificate of {url} is not trusted: {error.verify_message}."
            hint = "Name your authority's certificate in SSL_CERT_FILE."
        case ssl.SSLError():
            message, hint = f"{url} does not speak TLS.", "Try http:// instead of https://."
        case TimeoutError():
            message = f"{url} did not answer within {seconds:g} s."
            hint = "Check the network, a firewall or an SSH tunnel."
        case http.client.RemoteDisconnected() | http.client.IncompleteRead() | ConnectionError():
            message = f"{url} broke off the connection."
        case http.client.HTTPException():
            message = f"What listens at {url} is not a Ray dashboard (it does not speak HTTP)."
        case _:
            message = f"{url} cannot be reached: {getattr(error, 'strerror', None) or error}."
    return ClusterError(message, hint=hint)
