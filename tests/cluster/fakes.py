"""A small Ray dashboard: the part of the REST API that is used, answering as Ray 2.60 was seen to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TRACEBACK = 'Traceback (most recent call last):\n  File "job_head.py", line 1, in submit_job\n    raise {0}\n{0}\n.\n'


@dataclass
class FakeDashboard:
    """What the fake holds and was asked.

    Attributes:
        token: The token it wants, or None.
        jobs: Submission id -> its JSON.
        packages: Name -> bytes.
        asked: Method and path of each request.
        answers: Method and path -> (status, body, headers) instead of the usual answer.
        hang_up_after: Paths whose POST is carried out and then left without an answer.
    """

    token: str | None = None
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    packages: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    answers: dict[str, tuple[int, str, dict[str, str]]] = field(default_factory=dict)
    hang_up_after: set[str] = field(default_factory=set)
    address: str = ""

    def answer(self, method: str, path: str, body: bytes, auth: str | None) -> tuple[int, str, dict[str, str]]:
        self.asked.append(f"{method} {path}")
        if self.token is not None and auth != f"Bearer {self.token}":
            missing = auth is None
            return (401, "Unauthorized: Missing authentication token", {}) if missing else (403, "Forbidden", {})
        if found := self.answers.get(f"{method} {path}"):
            return found
        parts = path.strip("/").split("/")
        match method, parts:
            case "GET", ["api", "version"]:
                return 200, json.dumps({"version": "4", "ray_version": "2.60.0"}), {}
            case "GET", ["api", "packages", "gcs", name]:
                there = name in self.packages
                return (200, "", {}) if there else (404, f"Package gcs://{name} does not exist", {})
            case "PUT", ["api", "packages", "gcs", name]:
                self.packages[name] = body
                return 200, "", {}
            case "POST", ["api", "jobs"]:
                return self.submit(json.loads(body))
            case _, ["api", "jobs", job, *rest]:
                return self.about(method, job, rest)
        return 404, "404: Not Found", {}

    def submit(self, request: dict[str, Any]) -> tuple[int, str, dict[str, str]]:
        job = request["submission_id"]
        if job in self.jobs:
            error = f"ValueError: Job with submission_id {job} already exists. Please use a different submission_id."
            return 500, TRACEBACK.format(error), {}
        self.jobs[job] = {**request, "status": "PENDING", "start_time": 1795234857971, "logs": "", "type": "SUBMISSION"}
        return 200, json.dumps({"job_id": job, "submission_id": job}), {}

    def about(self, method: str, job: str, rest: list[str]) -> tuple[int, str, dict[str, str]]:
        if job not in self.jobs:
            return 404, f"Job {job} does not exist", {}
        known = self.jobs[job]
        match method, rest:
            case "GET", []:
                return 200, json.dumps(known), {}
            case "GET", ["logs"]:
                return 200, json.dumps({"logs": known["logs"]}), {}
            case "POST", ["stop"]:
                running = known["status"] in ("PENDING", "RUNNING")
                known["status"] = "STOPPED" if running else known["status"]
                return 200, json.dumps({"stopped": running}), {}
        return 405, "405: Method Not Allowed", {}


@contextmanager
def serve(fake: FakeDashboard) -> Iterator[FakeDashboard]:
    """Serves a fake on a free port of 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, text, headers = fake.answer(self.command, self.path, body, self.headers.get("Authorization"))
            if self.command == "POST" and self.path in fake.hang_up_after:
                return
            self.send_response(status)
            for name, value in {"Content-Length": str(len(text.encode())), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_PUT = do_POST = handle_any  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    fake.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
