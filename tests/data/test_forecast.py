"""A series becomes windows: filled, scaled and cut without one split seeing another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch

from dlcluster.data.batches import WindowSamples, epoch_order, rank_slice
from dlcluster.data.load import data_fingerprint, load_data
from dlcluster.data.prepared import Prepared
from dlcluster.errors import DataError
from dlcluster.spec import job_from_dict
from dlcluster.spec.data import Data

SPLIT = {"train": 0.6, "validation": 0.2, "test": 0.2}


def data(**section: Any) -> Data:
    job = {
        "version": 1,
        "name": "x",
        "model": {"name": "lstm"},
        "data": {"task": "forecast", "split": SPLIT, **section},
    }
    return job_from_dict(job).data


def windows(prepared: Prepared, split: str) -> list[list[float]]:
    samples = prepared.splits[split]
    x, y = samples.gather(torch.arange(len(samples)))
    return torch.cat([x[..., 0], y[..., 0]], dim=1).tolist()


@pytest.fixture
def csv(tmp_path: Path) -> Any:
    def write(name: str = "series.csv", **columns: Any) -> str:
        path = tmp_path / name
        table = pa.table(columns)
        if name.endswith(".csv"):
            pyarrow.csv.write_csv(table, path)
        else:
            pyarrow.parquet.write_table(table, path)
        return str(path)

    return write


def test_co2_is_the_file_that_statsmodels_keeps() -> None:
    from importlib.util import find_spec

    spec = find_spec("statsmodels")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    theirs = Path(spec.submodule_search_locations[0]) / "datasets/co2/co2.csv"
    ours = data(name="co2", params={"window": 8, "missing": "interpolate"})
    from dlcluster.data.catalog import DATASETS

    assert DATASETS["co2"].file.read_bytes() == theirs.read_bytes()
    table = pyarrow.csv.read_csv(theirs)
    assert (table.num_rows, table["co2"].null_count) == (2284, 59)
    # 0.6, 0.2 and 0.2 of 2,284 weeks, each split minus the 8 + 1 - 1 windows that would cross its end
    assert {name: len(part) for name, part in load_data(ours).splits.items()} == {
        "train": 1370 - 8,
        "validation": 457 - 8,
        "test": 457 - 8,
    }


def test_no_window_crosses_a_split(csv: Any) -> None:
    path = csv(value=np.arange(50.0))
    prepared = load_data(data(path=path, params={"window": 4, "horizon": 2, "scale": "none"}))
    for split, first, last in (("train", 0, 29), ("validation", 30, 39), ("test", 40, 49)):
        expected = [[float(start + i) for i in range(6)] for start in range(first, last - 4)]
        assert windows(prepared, split) == expected


def test_scaling_is_fitted_on_train_alone(csv: Any) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(5.0, 3.0, 100)
    params = {"window": 3, "horizon": 1}
    one = load_data(data(path=csv(value=values), params=params))
    values[60:] *= 100
    other = load_data(data(path=csv(name="other.csv", value=values), params=params))
    assert one.preparation == other.preparation
    assert one.preparation.config()["shift"] == [pytest.approx(values[:60].mean())]
    assert one.preparation.config()["scale"] == [pytest.approx(values[:60].std())]
    assert one.unit_scale is not None
    assert one.unit_scale.tolist() == [pytest.approx(values[:60].std(), rel=1e-6)]


@pytest.mark.parametrize(
    ("rule", "filled"),
    [
        ("interpolate", [1.0, 2.0, 3.0, 4.0, 5.0, 5.0]),
        ("forward_fill", [1.0, 2.0, 2.0, 2.0, 5.0, 5.0]),
        ("mean", [1.0, 2.0, 8 / 3, 8 / 3, 5.0, 8 / 3]),
    ],
)
def test_missing_values_are_filled_within_their_split(csv: Any, rule: str, filled: list[float]) -> None:
    # The sixth value is the last of train; what follows it is another split's and must not be looked at.
    path = csv(value=[1.0, 2.0, None, None, 5.0, None, 100.0, 100.0, 100.0, 100.0])
    params = {"window": 1, "horizon": 1, "scale": "none", "missing": rule}
    prepared = load_data(data(path=path, params=params))
    train = windows(prepared, "train")
    assert [row[0] for row in train] + [train[-1][1]] == pytest.approx(filled)


def test_interpolation_is_that_of_pandas(csv: Any) -> None:
    import pandas as pd

    rng = np.random.default_rng(1)
    values = rng.normal(size=200)
    values[rng.choice(200, 40, replace=False)] = np.nan
    params = {"window": 1, "horizon": 1, "scale": "none", "missing": "interpolate"}
    prepared = load_data(data(path=csv(value=pa.array(values, from_pandas=True)), params=params))
    train = windows(prepared, "train")
    reference = pd.Series(values[:120]).interpolate(limit_direction="both").to_numpy()
    np.testing.assert_allclose([row[0] for row in train] + [train[-1][1]], reference, rtol=1e-6)


def test_centering_takes_each_windows_last_value_off() -> None:
    series = torch.arange(12.0).reshape(-1, 1) ** 2
    samples = WindowSamples(series, window=3, horizon=2, targets=[0], center_last=True)
    x, y = samples.gather(torch.tensor([2]))
    assert x[..., 0].tolist() == [[4.0 - 16, 9.0 - 16, 0.0]]
    assert y[..., 0].tolist() == [[25.0 - 16, 36.0 - 16]]
    assert series[:, 0].tolist() == [float(i * i) for i in range(12)]  # gathered copies are changed, never the series


def test_windows_written_out_are_those_cut_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    from dlcluster.data import batches

    series = torch.randn(60, 3)
    for center in (False, True):
        cut: dict[str, Any] = {"window": 5, "horizon": 2, "targets": [2, 0], "center_last": center}
        written = batches.window_samples(series, **cut)
        monkeypatch.setattr(batches, "WRITTEN_OUT_BYTES", 0)
        on_demand = batches.window_samples(series, **cut)
        monkeypatch.undo()
        assert (type(written), type(on_demand)) == (batches.TensorSamples, WindowSamples)
        index = torch.tensor([7, 0, 53])
        for ours, theirs in zip(written.gather(index), on_demand.gather(index), strict=True):
            assert torch.equal(ours, theirs)


def test_columns_targets_and_files_of_both_kinds(csv: Any) -> None:
    columns = {
        "day": [f"2026-01-{i:02d}" for i in range(1, 31)],
        "a": np.arange(30.0),
        "b": np.arange(30) * 10,
    }
    params = {"window": 2, "horizon": 1, "target": ["b"], "scale": "none"}
    from_csv = load_data(data(path=csv(**columns), params=params))
    from_parquet = load_data(data(path=csv(name="s.parquet", **columns), params=params))
    for prepared in (from_csv, from_parquet):
        assert (prepared.input_shape, prepared.output_shape) == ((2, 2), (1, 1))
        assert prepared.preparation.config()["columns"] == ["a", "b"]
        x, y = prepared.splits["train"].gather(torch.tensor([0]))
        assert (x.tolist(), y.tolist()) == ([[[0.0, 0.0], [1.0, 10.0]]], [[[20.0]]])
        assert prepared.baseline is not None
        assert prepared.baseline(x).tolist() == [[[10.0]]]


@pytest.mark.parametrize(
    ("columns", "section", "message"),
    [
        (
            {"v": [1.0, None, *range(18)]},
            {"params": {"window": 2}},
            "data: column 'v' lacks 1 of its 20 values (the first at row 2)\n"
            "Say how to fill them: data.params.missing: interpolate | forward_fill | mean",
        ),
        (
            {"v": range(20)},
            {"params": {"window": 4}},
            "data.split.validation: 4 steps are fewer than one window of 4 and its horizon of 1 (5 steps; the series "
            "has 20)\nMake the window or the horizon shorter, or this split larger.",
        ),
        (
            {"v": range(20), "w": ["a"] * 20},
            {"params": {"window": 2}},
            "data.path: {path}: column 'w' holds string, not numbers (such as 'a')\n"
            "Name the numeric columns in data.params.columns (there is: v, w).",
        ),
        (
            {"value": range(20)},
            {"params": {"window": 2, "target": ["valeu"]}},
            "data.params.target: no column 'valeu' (there is: value)",
        ),
        (
            {"value": range(20)},
            {"params": {"window": 2, "columns": ["valeu"]}},
            "data.params.columns: {path} has no column 'valeu'; did you mean value? (there is: value)",
        ),
        (
            {"t": [*range(10), *range(10)], "v": range(20)},
            {"params": {"window": 2, "time_column": "t"}},
            "data.path: {path}: rows are not in the order of column 't'\nSort the file by time.",
        ),
        (
            {"v": [float("inf"), *range(19)]},
            {"params": {"window": 2}},
            "data: column 'v' is infinite at row 1",
        ),
    ],
)
def test_data_that_cannot_be_used_is_refused_in_words(csv: Any, columns: Any, section: Any, message: str) -> None:
    path = csv(**{name: list(values) for name, values in columns.items()})
    with pytest.raises(DataError) as caught:
        load_data(data(path=path, **section))
    assert str(caught.value) == message.replace("{path}", path)


def test_a_file_that_is_not_there_names_a_near_one(csv: Any) -> None:
    path = csv(name="prices.csv", v=[1.0])
    wrong = path.replace("prices", "price")
    with pytest.raises(DataError) as caught:
        load_data(data(path=wrong, params={"window": 2}))
    assert str(caught.value) == f"data.path: {wrong}: no such file; did you mean prices.csv? (there is: prices.csv)"


def test_a_fingerprint_follows_the_bytes(csv: Any) -> None:
    path = csv(v=[1.0, 2.0])
    first = data_fingerprint(data(path=path))
    csv(v=[1.0, 2.0])
    assert data_fingerprint(data(path=path)) == first
    csv(v=[1.0, 2.5])
    assert data_fingerprint(data(path=path)) != first


def test_an_epochs_order_is_a_permutation_of_seed_and_epoch() -> None:
    order = epoch_order(100, seed=3, epoch=2)
    assert sorted(order.tolist()) == list(range(100))
    assert torch.equal(order, epoch_order(100, seed=3, epoch=2))
    assert not torch.equal(order, epoch_order(100, seed=3, epoch=3))
    assert not torch.equal(order, epoch_order(100, seed=4, epoch=2))


@pytest.mark.parametrize("size", [0, 1, 2, 7, 32])
@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_rank_slices_cover_a_batch_once(size: int, world: int) -> None:
    parts = [list(range(size))[rank_slice(size, rank=rank, world=world)] for rank in range(world)]
    assert [i for part in parts for i in part] == list(range(size))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_file_in_object_storage_is_read_like_a_local_one(
    csv: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3
    from moto.server import ThreadedMotoServer

    path = csv(day=[f"2026-01-{i:02d}" for i in range(1, 31)], v=[float(i * i) for i in range(30)])
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "testing-secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="team")
        client.upload_file(path, "team", "data/series.csv")
        params = {"window": 3, "horizon": 1}
        remote, here = (data(path=place, params=params) for place in ("s3://team/data/series.csv", path))
        assert windows(load_data(remote), "train") == windows(load_data(here), "train")
        assert data_fingerprint(remote).startswith("size:")
        missing = data(path="s3://team/data/none.csv", params=params)
        with pytest.raises(DataError, match=r"none\.csv: no such file \(as seen from the machine that trains\)"):
            load_data(missing)
    finally:
        server.stop()
