"""The machine and the versions a run was made with, as a row."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import socket
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import dlcluster


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _gpus() -> tuple[str | None, int, str | None]:
    """Name, number and driver of this machine's GPUs, without loading CUDA."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None, 0, None
    query = [tool, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None, 0, None
    lines = [line.split(",") for line in done.stdout.splitlines() if "," in line]
    return (lines[0][0].strip(), len(lines), lines[0][1].strip()) if lines else (None, 0, None)


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def environment_row() -> dict[str, Any]:
    """Describes this machine; its ``environment_id`` is the same wherever hardware and versions are."""
    gpu, num_gpus, gpu_driver = _gpus()
    row: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "num_cpus": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpu": gpu,
        "num_gpus": num_gpus,
        "gpu_driver": gpu_driver,
        "torch": _version("torch"),
        "ray": _version("ray"),
        "dlcluster": dlcluster.__version__,
    }
    digest = hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()[:12]
    return {**row, "environment_id": digest, "host": socket.gethostname()}
