"""``python -m tests.perf [throughput|families|reading|predict|startup]``: prints each figure with what it should be."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.perf import families, predict, reading, startup, throughput

if __name__ == "__main__":
    wanted = sys.argv[1:] or ["throughput", "families", "reading", "predict", "startup"]
    if "throughput" in wanted:
        throughput.measure()
    if "families" in wanted:
        families.measure()
    if "reading" in wanted:
        reading.measure()
    if "predict" in wanted:
        predict.measure()
    if "startup" in wanted:
        with tempfile.TemporaryDirectory(prefix="dlc-perf-") as folder:
            startup.measure(Path(folder))
