"""A store with a few runs that the real command made, and ways to call it: as a process, and right here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from dlcluster.cli import app

DLCLUSTER = str(Path(sys.executable).parent / "dlcluster")
JOBS = Path(__file__).parents[2] / "jobs"

MINE = """
import torch
from torch import nn

def points(samples=200):
    x = torch.linspace(-1, 1, samples)[:, None]
    return x.numpy(), (2 * x).numpy()

class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.layer(x)

class Raises(Line):
    def forward(self, x):
        if self.calls == 3:
            raise ValueError("größe → 3")
        return super().forward(x)

class Wide(Line):
    def forward(self, x):
        return super().forward(x).repeat(1, 2)

class Prints(Line):
    def forward(self, x):
        print("a word from forward")
        return super().forward(x)

class Hangs(Line):
    def forward(self, x):
        if self.calls == 2:
            print("an epoch without an end", flush=True)
            while True:  # in Python, where a signal is always heard
                pass
        return super().forward(x)

class Stops(Line):
    def forward(self, x):
        if not self.calls:
            breakpoint()
        return super().forward(x)
"""
JOB = """
version: 1
name: mine
model: {name: "mine:Line"}
data: {name: "mine:points", task: regression}
training: {epochs: 2}
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended: what a script sees of it."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder, with a model and a job of their own."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "mine.py").write_text(MINE)
    (folder / "job.yaml").write_text(JOB)
    return folder


def start(
    folder: Path,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    stdin: int | None = subprocess.DEVNULL,
    stdout: int | IO[str] = subprocess.PIPE,
    stderr: int | IO[str] = subprocess.PIPE,
) -> subprocess.Popen[str]:
    """Starts the command as a user's shell does."""
    return subprocess.Popen(
        [DLCLUSTER, *arguments],
        cwd=folder,
        env={**os.environ, **(env or {})},
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        text=True,
        encoding="utf-8",
    )


def end(process: subprocess.Popen[str]) -> Ended:
    """Waits for a command to end."""
    out, err = process.communicate(timeout=120)
    return Ended(process.returncode, out or "", err or "")


Run = Callable[..., Ended]


@pytest.fixture
def process(folder: Path) -> Run:
    """Runs the command as a process of its own."""
    return lambda *arguments, **options: end(start(folder, *arguments, **options))


@pytest.fixture
def here(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command in this process, by the same door less the exit."""
    monkeypatch.chdir(folder)

    def run(*arguments: str) -> Ended:
        code = app.guarded(lambda: app.run(list(arguments)))
        out, err = capsys.readouterr()
        return Ended(int(code), out, err)

    return run


@dataclass(frozen=True)
class Made:
    """The store that most tests read, oldest run first, and how each submit ended."""

    uri: str
    succeeded: str
    failed: str
    wide: str
    nan: str
    ended: Mapping[str, Ended]

    @property
    def runs(self) -> tuple[str, ...]:
        return self.succeeded, self.failed, self.wide, self.nan


RUN_ID = re.compile(r"\b\d{8}-\d{6}-[a-z0-9-]+-[0-9a-f]{4}\b")


@pytest.fixture(scope="session")
def made(folder: Path, tmp_path_factory: pytest.TempPathFactory, _own_home: Path) -> Made:
    """Four runs: one that succeeded, and three that failed in different ways."""
    uri = str(tmp_path_factory.mktemp("made") / "store")
    lstm = (str(JOBS / "lstm.yaml"), "--set", "training.epochs=3")
    sgd = ("--set", "training.optimizer={name: sgd, learning_rate: 1.0e+30}", "--set", "description=größe → 3")
    jobs = {
        "succeeded": lstm,
        "failed": ("job.yaml", "--set", "model.name=mine:Raises"),
        "wide": ("job.yaml", "--set", "model.name=mine:Wide", "--set", "limits.gpu_hours=1"),
        "nan": (*lstm, *sgd),
    }
    # Two at a time, in an order that their ids keep.
    ended: dict[str, Ended] = {}
    ids: dict[str, str] = {}
    for pair in (("succeeded", "failed"), ("wide", "nan")):
        started = {}
        for name in pair:
            started[name] = start(folder, "submit", *jobs[name], "--local", "--storage", uri)
        for name, running in started.items():
            ended[name] = end(running)
            found = RUN_ID.search(ended[name].out)
            assert found is not None, ended[name]
            ids[name] = found[0]
    return Made(uri, **ids, ended=ended)


def plainly(words: str, made: Made) -> str:
    """Replaces what is never the same twice: ids, folders, times and measurements; columns are two spaces apart."""
    for name in ("succeeded", "failed", "wide", "nan"):
        words = words.replace(getattr(made, name), f"<{name}>")
    words = words.replace(made.uri, "<store>")
    words = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d by \S+", "<then> by <me>", words)
    words = re.sub(r"date=\d{4}-\d\d-\d\d", "date=<day>", words)
    words = re.sub(r"f1/[0-9a-f]{12}\b", "f1/<trial>", words)
    words = re.sub(r"\b\d+[smhd] ago", "<age>", words)
    words = re.sub(r"(?<=\s)(\d+ms|\d+\.\ds|\d+m\d\ds)(?=\s)", "<took>", words)
    words = re.sub(r"(?<=\s)[\d,]+ samples/s", "<n> samples/s", words)
    words = re.sub(r"(?<![\w.\n])\d+\.\d+(e[+-]\d+)?(?![\w.])", "<x>", words)
    return re.sub(r"(?<=\S)   +", "  ", words)
