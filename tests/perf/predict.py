"""How fast a stored model predicts: ``predict --local`` beside a bare forward, and beside one that reads and writes.

``python -m tests.perf.predict``: a million rows of twenty numbers in Parquet, an MLP of 64 and 64, one thread each.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from pyarrow import parquet

import dlcluster
from dlcluster.data.predictions import OutFolder
from dlcluster.driver.predict_here import HereRunner
from dlcluster.training.reload import load_model

ROWS = 1_000_000
FEATURES = 20
BATCH = 1024
ROUNDS = 5


class _Quiet:
    """What a runner tells of its progress, kept from nobody."""

    stop = None

    def set(self, *_: object, **__: object) -> None: ...

    def say(self, line: str) -> None: ...


def _forward(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return torch.cat([model(part) for part in x.split(BATCH)])  # type: ignore[no-untyped-call]


def _bare(model: torch.nn.Module, data: Path, out: Path) -> None:
    """Reads the Parquet, forwards it as it is, and writes it with its predictions: no preparation, no classes."""
    table = parquet.read_table(data, use_threads=False)
    x = torch.from_numpy(np.stack([column.to_numpy() for column in table.columns], axis=1).astype("f4"))
    best = _forward(model, x).argmax(dim=1)
    parquet.write_table(table.append_column("prediction", pa.array(best.numpy())), out, compression="zstd")


def measure() -> None:
    """Prints rows per second and both ratios."""
    from dlcluster.data.lines import How
    from dlcluster.data.pieces import files_of, plan
    from dlcluster.driver.predict import Progress
    from dlcluster.driver.predictor import Work

    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(prefix="dlc-perf-") as name:
        folder = Path(name)
        columns: dict[str, Any] = {f"c{i}": generator.normal(size=ROWS).astype("f4") for i in range(FEATURES)}
        data = folder / "data.parquet"
        parquet.write_table(pa.table(columns), data, row_group_size=100_000)
        some = pa.table({**{key: value[:1000] for key, value in columns.items()}, "y": ["no", "yes"] * 500})
        parquet.write_table(some, folder / "train.parquet")
        job = {
            "version": 1,
            "name": "perf",
            "model": {"name": "mlp", "params": {"hidden": [64, 64]}},
            "data": {"path": str(folder / "train.parquet"), "task": "classification", "params": {"target": "y"}},
            "training": {"epochs": 1},
        }
        run = dlcluster.submit(job, storage=str(folder / "results"), local=True)
        stored = load_model(run.objects, run.run_id)
        x = torch.from_numpy(np.stack(list(columns.values()), axis=1))
        found, format_ = files_of(str(data), None, "table")
        how, runner, claim = How(format_), HereRunner(gpu=False), _Quiet()

        def ours(number: int) -> None:
            """All between the first heartbeat and the seal."""
            out = OutFolder(str(folder / f"out{number}"), "perf")
            schema, pieces = plan(runner.scan(found, how), how)
            out.clear()
            work = Work(run.objects.uri, run.run_id, "table", str(data), how, schema, out, BATCH, 1)
            ended = runner.run(work, pieces, Progress(claim, ROWS))  # type: ignore[arg-type]
            assert ended.state == "SUCCEEDED", ended.reason

        times: list[list[float]] = []
        for number in range(ROUNDS + 1):
            each = []
            for work_ in (
                lambda: ours(number),  # noqa: B023 - called in this round
                lambda: _forward(stored.model, x),
                lambda: _bare(stored.model, data, folder / "bare.parquet"),
            ):
                began = time.perf_counter()
                work_()
                each.append(time.perf_counter() - began)
            if number:  # the first warms the page cache
                times.append(each)
        mine, forward, bare = (statistics.median(each) for each in zip(*times, strict=True))
        to_forward = statistics.median(each[1] / each[0] for each in times)
        to_bare = statistics.median(each[2] / each[0] for each in times)
        print(f"predict, {ROWS:,} rows of {FEATURES}, MLP of 64 and 64, median of {ROUNDS} interleaved rounds")
        print(f"  ours, in this process   {ROWS / mine:12,.0f} rows/s")
        print(f"  a forward, nothing else {ROWS / forward:12,.0f} rows/s  ours is {to_forward:.2f} of it (0.9 wanted)")
        print(f"  read, forward, write    {ROWS / bare:12,.0f} rows/s  ours is {to_bare:.2f} of it", flush=True)


if __name__ == "__main__":
    measure()
