"""How long the command line takes, and how long from ``submit`` to the first epoch's row."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from dlcluster.data.catalog import DATASETS

BIN = Path(sys.executable).parent
ROUNDS = 3


def help_seconds() -> float:
    """Median seconds of ``dlcluster --help``, over ten calls."""
    times = []
    for _ in range(10):
        began = time.perf_counter()
        subprocess.run([BIN / "dlcluster", "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def heavy_imports() -> list[str]:
    """Which of torch and ray ``dlcluster --help`` imports; none, if all is well."""
    code = (
        "import sys; sys.argv = ['dlcluster', '--help']\n"
        "import io, contextlib\n"
        "from dlcluster.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit): main()\n"
        "print(' '.join(name for name in ('torch', 'ray') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.split()


def first_row_seconds(env: dict[str, str], folder: Path) -> float:
    """Seconds from ``dlcluster submit`` to the first epoch's row in the store, on a warm cluster."""
    store = folder / f"store-{time.time()}"
    began = time.time()
    command: list[str | Path] = [
        BIN / "dlcluster",
        "submit",
        "jobs/lstm.yaml",
        "--set",
        "training.epochs=3",
        "--storage",
        str(store),
        "-o",
        "json",
    ]
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        seen = None
        while seen is None and process.poll() is None:
            shards = list(store.glob("v1/live/*/*/epochs-*.parquet"))
            seen = min((shard.stat().st_mtime for shard in shards), default=None)
            time.sleep(0.01)
        process.wait()
    if seen is None:
        raise RuntimeError(f"no row was seen; exit code {process.returncode}")
    return seen - began


def guide_seconds(env: dict[str, str], folder: Path, address: str, *, tuned: bool) -> float:
    """Seconds from ``ray job submit`` of Ray's guide to its first report."""
    mark = folder / f"mark-{time.time()}"
    extra = ["env", "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S=0.1"] if tuned else []
    script = Path(__file__).parent / "ray_guide.py"
    began = time.time()
    subprocess.run(
        [
            BIN / "ray", "job", "submit", "--address", address, "--", *extra, sys.executable, str(script),
            str(DATASETS["co2"].file), str(folder / "guide"), str(mark),
        ],
        env=env, check=True, capture_output=True,
    )  # fmt: skip
    return float(mark.read_text()) - began


def measure(folder: Path) -> None:
    """Prints all figures."""
    print(f"dlcluster --help: {help_seconds():.2f} s (under 0.5), imports of torch or ray: {heavy_imports() or 'none'}")
    env = {**os.environ, "DLCLUSTER_HOME": str(folder / "home"), "HOME": str(folder)}
    env.pop("DLCLUSTER_ADDRESS", None)
    up = subprocess.run([BIN / "dlcluster", "cluster", "up"], env=env, check=True, capture_output=True, text=True)
    address = up.stdout.split()[-1]
    try:
        ray_env = {**env, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "home" / "token")}
        first_row_seconds(env, folder)  # the first job of a cluster also warms files and caches
        ours, plain, tuned = [], [], []
        for _ in range(ROUNDS):
            ours.append(first_row_seconds(env, folder))
            plain.append(guide_seconds(ray_env, folder, address, tuned=False))
            tuned.append(guide_seconds(ray_env, folder, address, tuned=True))
    finally:
        subprocess.run([BIN / "dlcluster", "cluster", "down"], env=env, check=True, capture_output=True)
    mine, best = statistics.median(ours), min(statistics.median(plain), statistics.median(tuned))
    print(f"submit to first row, warm cluster, median of {ROUNDS}: {mine:.2f} s")
    print(
        f"  TorchTrainer as in Ray's guide: {statistics.median(plain):.2f} s; tuned: {statistics.median(tuned):.2f} s"
    )
    print(f"  ratio to the better: {mine / best:.2f} (at most 0.40)")
