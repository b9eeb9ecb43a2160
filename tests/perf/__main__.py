"""``python -m tests.perf [startup|throughput]``: prints each figure with what it should be."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.perf import startup, throughput

if __name__ == "__main__":
    wanted = sys.argv[1:] or ["throughput", "startup"]
    if "throughput" in wanted:
        throughput.measure()
    if "startup" in wanted:
        with tempfile.TemporaryDirectory(prefix="dlc-perf-") as folder:
            startup.measure(Path(folder))
