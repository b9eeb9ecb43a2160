"""Runs a job of the repository the way a user does, and takes its test metrics from what it printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlcluster.results.summary import epoch_rows, trial_rows
from dlcluster.store import open_store
from dlcluster.store.objects import open_objects

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("DATA", ROOT.parent / "shared" / "data")).resolve()
"""Where the data sets lie; nothing of it is part of this repository."""
STORE = Path(os.environ.get("REPRO_STORE", ROOT / ".repro"))
PATHS = {
    "etth1": "ett/ETTh1.csv",
    "mnist": "mnist",
    "gan": "mnist",
    "shakespeare": "tinyshakespeare/input.txt",
    "rt-polarity": "rt-polarity/rt-polarity.*",
    "iris": "uci-small/iris.csv",
    "wine": "uci-small/wine.csv",
    "banknote": "uci-small/banknote_authentication.csv",
}


@dataclass(frozen=True)
class Done:
    """A run that succeeded.

    Attributes:
        run_id: Its id in `STORE`.
        trial: Its only trial as ``-o json`` prints it: metrics, baseline, model_uri and the rest.
        epochs: Its epochs.
    """

    run_id: str
    trial: dict[str, Any]
    epochs: list[dict[str, Any]]


def data_path(job: str) -> str | None:
    """The path of a job's data below `DATA`; None when it is not there."""
    found = next((path for name, path in PATHS.items() if job.startswith(name) or job.endswith(name)), None)
    if found is None or not any(DATA.glob(found)):
        return None
    return str(DATA / found)


def earlier_run(job: str) -> Done | None:
    """The newest run of a job in `STORE` that succeeded; None when there is none."""
    for view in open_store(STORE).runs():
        if view.run.get("name") == job and view.state == "SUCCEEDED":
            objects = open_objects(STORE)
            return Done(view.run_id, trial_rows(objects, view.run_id)[0], epoch_rows(objects, view.run_id))
    return None


def run_job(job: str, *overrides: str) -> Done:
    """Submits ``jobs/<job>.yaml`` to this process's machine and waits for it.

    Args:
        job: Name of the file.
        overrides: As ``--set`` takes them.

    Raises:
        RuntimeError: When it did not succeed, with what it said.
    """
    sets = [f"resources.cpus_per_worker={os.cpu_count() or 1}", *overrides]
    path = data_path(job)
    if path is not None:
        sets += [f"data.path={path}", "data.name=null"]
        if job.startswith("mnist") or job == "gan":
            sets += ["data.format=idx", f"data.task={'generation' if job == 'gan' else 'classification'}"]
    command = [
        str(Path(sys.executable).parent / "dlcluster"),
        "submit",
        str(ROOT / "jobs" / f"{job}.yaml"),
        "--local",
        "-o",
        "json",
    ]
    command += ["--storage", str(STORE), *(part for each in sets for part in ("--set", each))]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode:
        raise RuntimeError(f"{job}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    printed = json.loads(done.stdout)
    return Done(printed["run_id"], printed["trials"][0], printed["epochs"])
