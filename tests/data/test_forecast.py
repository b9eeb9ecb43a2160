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

    file = DATASETS["co2"].file
    assert file is not None
    assert file.read_bytes() == theirs.read_bytes()
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
    assert one.preparation is not None
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
        assert prepared.preparation is not None
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


ETT = Path("../shared/data/ett/ETTh1.csv")


@pytest.mark.skipif(not ETT.is_file(), reason="the ETT series is not here")
def test_persistence_on_ett_is_as_published() -> None:
    params = {"window": 96, "horizon": 96, "rows": 14400, "look_back": True}
    prepared = load_data(data(path=str(ETT), params=params))
    assert {name: len(part) for name, part in prepared.splits.items()} == {
        "train": 8640 - 192 + 1,
        "validation": 2880 - 96 + 1,
        "test": 2880 - 96 + 1,
    }
    assert prepared.baseline is not None
    x, y = prepared.splits["test"].gather(torch.arange(2785))
    errors = (prepared.baseline(x) - y).double()
    # Zeng et al. 2023, table 2, Repeat: whole batches of 32 only, so its last window is left out.
    published = errors[:2784]
    assert (round(published.square().mean().item(), 3), round(published.abs().mean().item(), 3)) == (1.295, 0.713)
    table = pyarrow.csv.read_csv(ETT).drop_columns(["date"])
    values = np.stack([column.to_numpy() for column in table.columns], axis=1)
    scaled = (values - values[:8640].mean(axis=0)) / values[:8640].std(axis=0)
    tested = scaled[11520 - 96 : 14400]
    reference = [np.square(tested[i + 96 : i + 192] - tested[i + 95]).mean() for i in range(2785)]
    assert errors.square().mean().item() == pytest.approx(np.mean(reference), rel=1e-5)


def test_looking_back_loses_no_target_and_changes_none(csv: Any) -> None:
    path = csv(value=np.arange(50.0))
    params = {"window": 4, "horizon": 2, "scale": "none", "look_back": True}
    prepared = load_data(data(path=path, params=params))
    for split, first, last in (("train", 0, 29), ("validation", 26, 39), ("test", 36, 49)):
        expected = [[float(start + i) for i in range(6)] for start in range(first, last - 4)]
        assert windows(prepared, split) == expected


def test_looking_back_passes_over_a_split_shorter_than_a_window(csv: Any) -> None:
    split = {"train": 0.6, "validation": 0.1, "test": 0.3}
    params = {"window": 4, "horizon": 1, "scale": "none", "look_back": True}
    prepared = load_data(data(path=csv(value=np.arange(20.0)), params=params, split=split))
    assert windows(prepared, "validation") == [[8.0, 9.0, 10.0, 11.0, 12.0], [9.0, 10.0, 11.0, 12.0, 13.0]]
    assert windows(prepared, "test")[0] == [10.0, 11.0, 12.0, 13.0, 14.0]


def test_only_so_many_rows_are_used(csv: Any) -> None:
    long, short = csv(v=[*range(20), 1e9, None]), csv(name="short.csv", v=range(20))
    params = {"window": 2, "horizon": 1}
    one, other = load_data(data(path=long, params={**params, "rows": 20})), load_data(data(path=short, params=params))
    for name in ("train", "validation", "test"):
        assert windows(one, name) == windows(other, name)
    with pytest.raises(DataError) as caught:
        load_data(data(path=short, params={**params, "rows": 21}))
    assert str(caught.value) == "data.params.rows: 21 rows are asked for, but there are 20"


@pytest.mark.parametrize("width", [2, 3, 4, 7])
@pytest.mark.parametrize("name", ["moving_average", "median"])
def test_smoothing_is_pandas_over_what_came_before(csv: Any, name: str, width: int) -> None:
    import pandas as pd

    values = np.random.default_rng(2).normal(size=(60, 2))
    params = {"window": 1, "horizon": 1, "scale": "none", "denoise": {"name": name, "width": width}}
    prepared = load_data(data(path=csv(a=values[:, 0], b=values[:, 1]), params=params))
    x, y = prepared.splits["test"].gather(torch.arange(11))
    tested = values[48:]
    before = pd.DataFrame(np.concatenate([tested[:1].repeat(width, axis=0), tested])).rolling(width)
    reference = (before.mean() if name == "moving_average" else before.apply(_scipys_median)).to_numpy()[width:]
    np.testing.assert_allclose(x[:, 0], reference[:-1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(y[:, 0], tested[1:], rtol=1e-6)  # what is predicted stays as it was measured


def _scipys_median(values: Any) -> float:
    return float(np.sort(values)[len(values) // 2])  # of an even number, the upper one


@pytest.mark.parametrize("name", ["moving_average", "median"])
@pytest.mark.parametrize("width", [2, 3, 4, 5])
def test_smoothing_looks_at_nothing_later(name: str, width: int) -> None:
    from dlcluster.data.params import Denoise
    from dlcluster.data.series import smooth

    values = np.random.default_rng(3).normal(size=(40, 2))
    how = Denoise.model_validate({"name": name, "width": width})
    smoothed = smooth(values, how)
    for step in range(40):
        changed = values.copy()
        changed[step:] += 1e6
        again = smooth(changed, how)
        assert np.array_equal(again[:step], smoothed[:step])
        assert not np.allclose(again[step : step + width], smoothed[step : step + width])


def test_smoothing_keeps_to_its_split_and_to_the_scale_of_what_was_measured(csv: Any) -> None:
    values = np.random.default_rng(4).normal(10, 5, 100)
    params = {"window": 3, "horizon": 1, "look_back": True}
    smoothed = {**params, "denoise": {"name": "moving_average", "width": 4}}
    plain, one = (load_data(data(path=csv(v=values), params=each)) for each in (params, smoothed))
    values[:60] = values[:60][::-1].copy()  # train with the same mean and deviation, in another order
    other = load_data(data(path=csv(name="other.csv", v=values), params=smoothed))
    assert windows(one, "validation")[3:] == windows(other, "validation")[3:]
    assert one.preparation is not None
    assert plain.preparation is not None
    for key in ("shift", "scale"):
        assert one.preparation.config()[key] == plain.preparation.config()[key]
    assert [row[3] for row in windows(one, "test")] == [row[3] for row in windows(plain, "test")]
    assert (plain.baseline_name, one.baseline_name) == (
        "persistence",
        "persistence of smoothed values",
    )


def test_windows_with_answers_of_their_own_are_the_same_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from dlcluster.data import batches

    series, answers = torch.randn(40, 3), torch.randn(40, 3)
    for center in (False, True):
        cut: dict[str, Any] = {"window": 5, "horizon": 2, "targets": [2, 0], "center_last": center, "answers": answers}
        written = batches.window_samples(series, **cut)
        monkeypatch.setattr(batches, "WRITTEN_OUT_BYTES", 0)
        on_demand = batches.window_samples(series, **cut).to(torch.device("cpu"))
        monkeypatch.undo()
        index = torch.tensor([7, 0, 33])
        last = series[index + 4][:, None] if center else torch.zeros(3, 1, 3)
        for samples in (written, on_demand):
            x, y = samples.gather(index)
            assert torch.equal(x, torch.stack([series[i : i + 5] for i in index.tolist()]) - last)
            ahead = torch.stack([answers[i + 5 : i + 7] for i in index.tolist()]) - last
            assert torch.equal(y, ahead[:, :, [2, 0]])


def test_validation_and_test_come_from_their_own_files(csv: Any) -> None:
    main = csv(day=[f"2026-01-{i:02d}" for i in range(1, 21)], a=np.arange(20.0), b=np.zeros(20))
    validation = csv(name="validation.parquet", b=np.zeros(4), a=[100.0, 101.0, None, 103.0])
    test = csv(name="test.csv", a=[200.0, 201.0, 202.0], b=[0.0, 1.0, 2.0])
    params = {"window": 2, "horizon": 1, "scale": "none", "missing": "interpolate"}
    split = {**SPLIT, "files": {"validation": validation, "test": test}}
    prepared = load_data(data(path=main, params=params, split=split))
    assert len(prepared.splits["train"]) == 18  # all of its own file
    assert windows(prepared, "validation") == [[100.0, 101.0, 102.0], [101.0, 102.0, 103.0]]
    assert windows(prepared, "test") == [[200.0, 201.0, 202.0]]
    back = load_data(data(path=main, params={**params, "look_back": True}, split=split))
    assert windows(back, "test")[0] == [102.0, 103.0, 200.0]
    csv(name="test.csv", a=[200.0, 201.0, 202.0])
    with pytest.raises(DataError) as caught:
        load_data(data(path=main, params=params, split=split))
    assert str(caught.value) == f"data.params.columns: {test} has no column 'b'; there is: a"
    csv(name="test.csv", a=[200.0, 201.0], b=[0.0, 1.0])
    with pytest.raises(DataError) as caught:
        load_data(data(path=main, params=params, split=split))
    assert str(caught.value).startswith("data.split.test: 2 steps are fewer than one window of 2 and its horizon of 1")
    del params["missing"]
    with pytest.raises(DataError) as caught:
        load_data(data(path=main, params=params, split=split))
    assert str(caught.value).startswith("data.split.files.validation: column 'a' lacks 1 of its 4 values")


def test_folds_roll_through_time_like_scikit_learns(csv: Any) -> None:
    from sklearn.model_selection import TimeSeriesSplit

    reference = [*TimeSeriesSplit(3).split(np.arange(40))]
    for fold, (train, test) in enumerate(reference):
        split = {"train": 0.8, "validation": 0.2, "test": 0.0, "folds": 3, "fold": fold}
        params = {"window": 1, "horizon": 1, "scale": "none"}
        prepared = load_data(data(path=csv(v=np.arange(40.0)), params=params, split=split))
        steps = {}
        for name in ("train", "validation", "test"):
            cut = windows(prepared, name)
            steps[name] = [row[0] for row in cut] + [cut[-1][1]]
        assert steps["train"] + steps["validation"] == train.tolist()
        assert len(steps["validation"]) == round(len(train) * 0.2)
        assert steps["test"] == test.tolist()


@pytest.mark.parametrize("center", [None, "last"])
@pytest.mark.parametrize("denoise", [None, {"name": "median", "width": 3}])
def test_later_steps_are_treated_as_train_was(csv: Any, center: Any, denoise: Any) -> None:
    import json

    from dlcluster.data.load import preparation_from
    from dlcluster.data.read import read_table

    values = np.random.default_rng(5).normal(50, 9, (60, 2)).cumsum(axis=0)
    path = csv(a=values[:, 0], b=values[:, 1])
    params = {"window": 4, "horizon": 3, "target": ["b"], "center": center, "denoise": denoise}
    prepared = load_data(data(path=path, params=params))
    assert prepared.preparation is not None
    preparation = preparation_from("series", json.loads(json.dumps(prepared.preparation.config())))
    assert preparation == prepared.preparation
    table = read_table(path)[48:]  # the test split
    x, y = prepared.splits["test"].gather(torch.arange(6))
    inputs = preparation.inputs(table)
    assert inputs.shape == (12 - 4 + 1, 4, 2)
    torch.testing.assert_close(inputs[:6], x)
    outputs = preparation.outputs(torch.cat([y, torch.zeros(3, 3, 1)]), table)
    assert [*outputs] == ["row", "step", "b"]
    assert outputs["row"].tolist() == [row for row in range(4, 13) for _ in range(3)]
    assert outputs["step"].tolist() == [1, 2, 3] * 9
    measured = [values[48 + row + step, 1] for row in range(3, 9) for step in range(1, 4)]
    np.testing.assert_allclose(outputs["b"][:18], measured, rtol=1e-5)
    assert prepared.unit_scale is not None
    assert (prepared.unit_shift is None) == (center == "last")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": [1.0, 2.0]}, "data: 2 rows are fewer than the 3 that the model reads"),
        ({"b": [1.0] * 5}, "data.params.columns: the table has no column 'a'; there is: b"),
        (
            {"a": [1.0, None, 2.0]},
            "data: column 'a' lacks 1 of its 3 values (the first at row 2)\n"
            "Say how to fill them: data.params.missing: interpolate | forward_fill | mean",
        ),
    ],
)
def test_later_steps_that_do_not_fit_are_refused(csv: Any, columns: Any, message: str) -> None:
    preparation = load_data(data(path=csv(a=np.arange(30.0)), params={"window": 3})).preparation
    assert preparation is not None
    with pytest.raises(DataError) as caught:
        preparation.inputs(pa.table(columns))
    assert str(caught.value) == message


def test_the_mean_that_fills_later_steps_is_that_of_train(csv: Any) -> None:
    params = {"window": 1, "missing": "mean", "scale": "none"}
    path = csv(a=[1.0, 2.0, 6.0, 1.0, 2.0, 6.0, *[50.0] * 4])
    preparation = load_data(data(path=path, params=params)).preparation
    assert preparation is not None
    assert preparation.inputs(pa.table({"a": [None, 7.0]})).tolist() == [[[3.0]], [[7.0]]]


def test_a_series_without_a_header_and_packed(tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "exchange.txt.gz"
    path.write_bytes(gzip.compress("".join(f"{i},{i * 10}\n" for i in range(30)).encode()))
    params = {"window": 2, "horizon": 1, "scale": "none", "header": False, "target": ["column_2"]}
    prepared = load_data(data(path=str(path), format="csv", params=params))
    x, y = prepared.splits["train"].gather(torch.tensor([0]))
    assert (x.tolist(), y.tolist()) == ([[[0.0, 0.0], [1.0, 10.0]]], [[[20.0]]])


def test_a_channel_without_a_value_in_train_is_refused(csv: Any) -> None:
    path = csv(v=np.arange(20.0), w=[None] * 12 + [1.0] * 8)
    with pytest.raises(DataError) as caught:
        load_data(data(path=path, params={"window": 2, "missing": "mean"}))
    assert str(caught.value) == "data: column 'w' has no value in the 12 steps of train"


def test_a_split_shorter_than_a_horizon_is_refused_even_when_looking_back(csv: Any) -> None:
    with pytest.raises(DataError) as caught:
        load_data(data(path=csv(v=range(20)), params={"window": 2, "horizon": 5, "look_back": True}))
    assert str(caught.value) == (
        "data.split.validation: 4 steps are fewer than a horizon of 5 (5 steps; the series has 20)\n"
        "Make the window or the horizon shorter, or this split larger."
    )
