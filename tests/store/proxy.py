"""A real server between boto3 and the store that does what networks and lesser stores do."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_ERROR = b'<?xml version="1.0"?><Error><Code>%s</Code><Message>no</Message></Error>'


class Proxy(ThreadingHTTPServer):
    """Forwards requests; ``faults`` says what becomes of the next PUTs with a condition.

    ``lose``: it takes effect and the answer is lost. ``conflict``: 409. ``refuse``: 501, as a store without
    the feature. ``ignore``: the condition is dropped, as by a store that does not know it; stays for all.
    """

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urlsplit(upstream).netloc
        self.faults: list[str] = []
        self.seen: list[str] = []
        self.guard = threading.Lock()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = ""
        headers = {key: value for key, value in self.headers.items() if key.lower() != "expect"}
        with self.server.guard:
            if self.command == "PUT" and "If-None-Match" in self.headers and self.server.faults:
                fault = self.server.faults[0]
                if fault != "ignore":
                    self.server.faults.pop(0)
            self.server.seen.append(f"{self.command} {fault}".strip())
        if fault in ("conflict", "refuse"):
            code, name = (409, b"ConditionalRequestConflict") if fault == "conflict" else (501, b"NotImplemented")
            self._answer(code, {"Content-Type": "application/xml"}, _ERROR % name)
            return
        if fault == "ignore":
            headers = {key: value for key, value in headers.items() if key.lower() != "if-none-match"}
        connection = http.client.HTTPConnection(self.server.upstream, timeout=30)
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        if fault == "lose":
            self.close_connection = True
            return
        self._answer(answer.status, dict(answer.getheaders()), data)

    def _answer(self, status: int, headers: dict[str, str], data: bytes) -> None:
        self.send_response_only(status)
        for key, value in headers.items():
            if key.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(key, value)
        length = headers.get("Content-Length", str(len(data))) if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _forward  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def running(upstream: str) -> Iterator[Proxy]:
    proxy = Proxy(upstream)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()
