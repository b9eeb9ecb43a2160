"""Predictions in this process: what is read, what is written, and what is refused."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import csv, parquet

import dlcluster
from dlcluster import api
from dlcluster.data.read import read_table
from dlcluster.errors import DlclusterError, ExitCode
from dlcluster.store.tables import table
from dlcluster.training.reload import load_model

CLASSES = np.array(["no", "yes"])


def rows(count: int, seed: int = 0) -> pa.Table:
    """Two numbers, a name and a class that the numbers tell."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(count, 2))
    return pa.table(
        {
            "a": x[:, 0],
            "b": x[:, 1],
            "colour": generator.choice(["red", "green", "blue"], count),
            "kind": CLASSES[(x.sum(axis=1) > 0).astype(int)],
        }
    )


def train(folder: Path, **job: Any) -> dlcluster.Run:
    run = dlcluster.submit(
        {"version": 1, "name": "tiny", "training": {"epochs": 1}, **job}, storage=str(folder / "results"), local=True
    )
    assert run.state == "SUCCEEDED"
    return run


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dlcluster.Run:
    """A classifier of rows."""
    folder = tmp_path_factory.mktemp("kinds")
    csv.write_csv(rows(300), folder / "train.csv")
    data = {"path": str(folder / "train.csv"), "task": "classification", "params": {"target": "kind"}}
    return train(folder, model={"name": "mlp", "params": {"hidden": [8]}}, data=data)


def bare(run: dlcluster.Run, data: pa.Table) -> dict[str, list[Any]]:
    """What the model itself says of a table, all at once."""
    stored = load_model(run.objects, run.run_id)
    assert stored.preparation is not None
    with torch.no_grad():
        found = stored.preparation.outputs(stored.model(stored.preparation.inputs(data)), data)
    return {name: values.tolist() for name, values in found.items()}


def predict(run: dlcluster.Run, data: Path | str, out: Path, **options: Any) -> pa.Table:
    made = api.predict(run.run_id, data=str(data), out=str(out), storage=run.objects.uri, local=True, **options)
    assert (made.state, made.view.exit_code) == ("SUCCEEDED", ExitCode.SUCCEEDED), made.view.reason
    assert (out / "_SUCCESS").read_text() == f"{made.run_id}\n"
    return written(out)


def written(out: Path) -> pa.Table:
    return pa.concat_tables([parquet.read_table(path) for path in sorted(out.glob("*.parquet"))])


def reason(run: dlcluster.Run, data: Path | str, out: Path, **options: Any) -> str:
    """Why a run failed, as its file's fault."""
    made = api.predict(run.run_id, data=str(data), out=str(out), storage=run.objects.uri, local=True, **options)
    assert (made.state, made.view.exit_code, made.view.sealed) == ("FAILED", ExitCode.USAGE, True)
    assert not (out / "_SUCCESS").exists()
    return str(made.view.reason)


def refusal(run: str, data: Path | str, out: Path | str, storage: str) -> str:
    with pytest.raises(DlclusterError) as caught:
        api.predict(run, data=str(data), out=str(out), storage=storage, local=True)
    assert caught.value.exit_code == ExitCode.USAGE
    return str(caught.value)


def same(found: pa.Table, data: pa.Table, predictions: dict[str, list[Any]]) -> None:
    """Columns of the data as they were, and the bare model's predictions beside them."""
    assert found.column_names == [*data.column_names, *predictions]
    assert found.select(data.column_names).to_pylist() == data.to_pylist()
    for name, values in predictions.items():
        if isinstance(values[0], float):
            assert found[name].to_pylist() == pytest.approx(values, rel=1e-5, abs=1e-6)
        else:
            assert found[name].to_pylist() == values


def test_a_csv_and_the_same_rows_as_parquet_have_the_bare_models_predictions(
    kinds: dlcluster.Run, tmp_path: Path
) -> None:
    new = rows(1000, 1).drop_columns(["kind"])
    csv.write_csv(new, tmp_path / "new.csv")
    same(predict(kinds, tmp_path / "new.csv", tmp_path / "one", batch_size=7), new, bare(kinds, new))
    (tmp_path / "new").mkdir()
    for part in range(4):
        group = {0: 1, 1: 100, 2: 249, 3: 1000}[part]
        parquet.write_table(new.slice(part * 250, 250), tmp_path / f"new/{part}.parquet", row_group_size=group)
    same(predict(kinds, tmp_path / "new", tmp_path / "four"), new, bare(kinds, new))
    assert len(list((tmp_path / "four").glob("part-*.parquet"))) == 4
    (tmp_path / "new.csv.gz").write_bytes(gzip.compress((tmp_path / "new.csv").read_bytes()))
    same(predict(kinds, tmp_path / "new.csv.gz", tmp_path / "gz"), new, bare(kinds, new))


def test_the_run_is_one_like_others(kinds: dlcluster.Run, tmp_path: Path) -> None:
    csv.write_csv(rows(10), tmp_path / "new.csv")
    lines: list[str] = []
    storage, out = kinds.objects.uri, str(tmp_path / "out")
    made = api.predict(
        kinds.run_id, data=str(tmp_path / "new.csv"), out=out, storage=storage, local=True, say=lines.append
    )
    assert lines == [
        f"run {made.run_id} in this process",
        f"predicting 10 rows of 1 file, in 1 piece, into {out}",
        f"SUCCEEDED: 10 rows in {out}",
    ]
    row = made.view.run
    assert (row["kind"], row["name"], row["num_trials_expected"]) == ("predict", "predict-tiny", 0)
    (artifact,) = table(made.objects, "artifacts", made.run_id).to_pylist()
    assert (artifact["name"], artifact["uri"]) == ("predictions", out)
    # `latest` means the newest that trained: this one has no model.
    again = api.predict("latest", data=str(tmp_path / "new.csv"), out=f"{out}2", storage=storage, local=True)
    assert again.view.fence is not None
    assert again.view.fence.job["predict"]["run"] == kinds.run_id


def test_numbers_that_begin_whole_and_a_column_nobody_reads(kinds: dlcluster.Run, tmp_path: Path) -> None:
    lines = [f"{i if i < 20_000 else i + 0.5},{i % 3 - 1},red,{'' if i < 30_000 else 'x'}" for i in range(40_000)]
    (tmp_path / "new.csv").write_text("a,b,colour,note\n" + "\n".join(lines) + "\n")
    whole = read_table(str(tmp_path / "new.csv"))
    found = predict(kinds, tmp_path / "new.csv", tmp_path / "out")
    assert found.schema.types[:4] == [pa.float64(), pa.int64(), pa.string(), pa.string()]
    same(found, whole, bare(kinds, whole))


def test_a_models_uri_and_a_users_own_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_predicting.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self, input_shape):\n"
        "        super().__init__()\n"
        "        self.layer = torch.nn.Linear(input_shape[0], 1)\n"
        "    def forward(self, x):\n"
        "        if (x > 1e6).any():\n"
        "            raise KeyError('so large')\n"
        "        return self.layer(x)[:, 0]\n"
    )
    table_ = pa.table({"x": np.arange(60.0), "y": 3 * np.arange(60.0)})
    csv.write_csv(table_, "train.csv")
    data = {"path": "train.csv", "task": "regression", "params": {"target": "y"}}
    run = train(tmp_path, model={"name": "own_predicting:Net"}, data=data)
    new = pa.table({"x": [1.0, 2.5, 70.0]})
    csv.write_csv(new, "new.csv")
    same(predict(run, "new.csv", tmp_path / "out"), new, bare(run, new))
    uri = str(run.results["trials"][0]["model_uri"])
    elsewhere = api.predict(uri, data="new.csv", out="by-uri", storage=str(tmp_path / "elsewhere"), local=True)
    assert elsewhere.state == "SUCCEEDED", elsewhere.view.reason
    assert written(tmp_path / "by-uri").equals(written(tmp_path / "out"))
    csv.write_csv(pa.table({"x": [1.0, 1e30]}), "large.csv")
    failed = api.predict(run.run_id, data="large.csv", out="no", storage=run.objects.uri, local=True)
    assert (failed.state, failed.view.exit_code) == ("FAILED", ExitCode.FAILED)
    assert failed.view.reason == "own_predicting.py:8: KeyError: 'so large'"
    assert list((tmp_path / "no").iterdir()) == []


def test_a_forecast_has_every_window_of_the_series(tmp_path: Path) -> None:
    series = pa.table({"t": np.sin(np.arange(200) / 5), "u": np.cos(np.arange(200) / 5)})
    csv.write_csv(series, tmp_path / "train.csv")
    params = {"window": 8, "horizon": 3, "target": ["u"]}
    data = {"path": str(tmp_path / "train.csv"), "task": "forecast", "params": params}
    run = train(tmp_path, model={"name": "lstm", "params": {"hidden_size": 4}}, data=data)
    new = series.slice(50, 30)
    parquet.write_table(new, tmp_path / "new.parquet")
    expected = bare(run, new)
    found = predict(run, tmp_path / "new.parquet", tmp_path / "out", batch_size=5)
    assert found.num_rows == (30 - 8 + 1) * 3
    assert (found["row"].to_pylist(), found["step"].to_pylist()) == (expected["row"], expected["step"])
    assert found["u"].to_pylist() == pytest.approx(expected["u"], rel=1e-5, abs=1e-6)


def test_pictures_are_named_by_their_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    generator = np.random.default_rng(0)
    for kind, level in (("dark", 40), ("light", 200)):
        (tmp_path / "train" / kind).mkdir(parents=True)
        for i in range(20):
            pixels = generator.integers(level - 30, level + 30, (8, 8)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "train" / kind / f"{i:02d}.png")
    data = {"path": str(tmp_path / "train"), "format": "images", "task": "classification"}
    run = train(tmp_path, model={"name": "mlp", "params": {"hidden": [8]}}, data=data)
    paths = sorted((tmp_path / "train").rglob("*.png"))
    pictures = pa.table({"image": [path.read_bytes() for path in paths]})
    found = predict(run, tmp_path / "train", tmp_path / "out", batch_size=16)
    same(found, pa.table({"path": [str(path) for path in paths]}), bare(run, pictures))
    bad = tmp_path / "train/light/10.png"
    bad.write_bytes(b"no picture")
    assert reason(run, tmp_path / "train", tmp_path / "no").startswith(f"{bad}: cannot be decoded: ")
    # A model whose training left such files out leaves them out here.
    params = {"bad_files": "skip"}
    lenient = train(tmp_path, model={"name": "mlp"}, data={**data, "params": params})
    found = predict(lenient, tmp_path / "train", tmp_path / "skip", batch_size=1)
    assert found["path"].to_pylist() == [str(path) for path in paths if path != bad]
    assert f"skipped {bad}: cannot be decoded: " in capsys.readouterr().out


def test_each_line_of_a_text_file_is_one_text(tmp_path: Path) -> None:
    texts = pa.table({"text": ["good film", "bad film"] * 30, "label": ["+", "-"] * 30})
    csv.write_csv(texts, tmp_path / "train.csv")
    data = {"path": str(tmp_path / "train.csv"), "format": "text", "task": "classification"}
    run = train(tmp_path, model={"name": "gru", "params": {"hidden_size": 4}}, data=data)
    (tmp_path / "new.txt").write_text("good\r\n\r\na bad film, größe\nlast line")
    new = pa.table({"text": ["good", "", "a bad film, größe", "last line"]})
    same(predict(run, tmp_path / "new.txt", tmp_path / "out"), new, bare(run, new))
    csv.write_csv(new, tmp_path / "new.csv")
    same(predict(run, tmp_path / "new.csv", tmp_path / "csv", format="csv"), new, bare(run, new))


def test_what_the_data_lacks_is_told_with_its_place(kinds: dlcluster.Run, tmp_path: Path) -> None:
    new = rows(100, 1).drop_columns(["kind"])
    csv.write_csv(new.drop_columns(["b"]), tmp_path / "short.csv")
    assert reason(kinds, tmp_path / "short.csv", tmp_path / "o1") == (
        f"{tmp_path}/short.csv: data: there is no column 'b' (which the model was trained on); there is: a, colour"
    )
    many = 70_000  # more than are prepared at once
    lines = [f"{'NA' if i == many - 3 else i},1,red" for i in range(many)]
    (tmp_path / "gap.csv").write_text("a,b,colour\n" + "\n".join(lines) + "\n")
    assert reason(kinds, tmp_path / "gap.csv", tmp_path / "o2") == (
        f"{tmp_path}/gap.csv, counted from row 65,537 on: data: column 'a' lacks 1 of its 4464 values (the first at "
        "row 4462)\nThe model was trained without a rule to fill them: fill them first, or train it again with "
        "data.params.missing: mean | median | most_frequent | zero"
    )
    (tmp_path / "words.csv").write_text("a,b,colour\nx,1,red\n")
    assert reason(kinds, tmp_path / "words.csv", tmp_path / "o3").startswith(
        f"{tmp_path}/words.csv: data: column 'a' should hold numbers, but row 1 has 'x'"
    )


def test_data_that_cannot_be_read_as_one(kinds: dlcluster.Run, tmp_path: Path) -> None:
    new = rows(10, 1).drop_columns(["kind"])
    folder = tmp_path / "two"
    folder.mkdir()
    parquet.write_table(new, folder / "a.parquet")
    parquet.write_table(new.drop_columns(["a"]), folder / "b.parquet")
    assert reason(kinds, folder, tmp_path / "o1") == (
        f"predict.data: {folder}/b.parquet has the columns b, colour, but {folder}/a.parquet has a, b, colour\n"
        "Files read as one need the same columns; a pattern picks some, such as folder/*.csv"
    )
    parquet.write_table(new.set_column(0, "a", pa.array(["x"] * 10)), folder / "b.parquet")
    assert reason(kinds, folder, tmp_path / "o2") == (
        f"predict.data: column 'a' holds double in {folder}/a.parquet, but string in {folder}/b.parquet"
    )
    csv.write_csv(new, folder / "b.csv")
    assert reason(kinds, folder, tmp_path / "o3") == (
        f"predict.data: {folder}: the files' names do not say what all of them are (such as b.csv)\n"
        "Say it: --format csv | parquet."
    )
    assert reason(kinds, folder, tmp_path / "o4", format="images") == (
        "predict.format: a model trained on tables cannot read images\nIt reads: csv, parquet."
    )
    assert reason(kinds, tmp_path / "none.csv", tmp_path / "o5") == (
        f"predict.data: {tmp_path}/none.csv: no such file; there is: two"
    )
    (tmp_path / "head.csv").write_text("a,b,colour\n")
    assert reason(kinds, tmp_path / "head.csv", tmp_path / "o6") == f"predict.data: {tmp_path}/head.csv has no rows"
    (tmp_path / "ragged.csv").write_text("a,b,colour\n1,2,red\n1,2\n")
    assert reason(kinds, tmp_path / "ragged.csv", tmp_path / "o7") == (
        f"predict.data: {tmp_path}/ragged.csv: cannot be read as csv: CSV parse error: Row #3: Expected 3 columns, "
        "got 2: 1,2"
    )
    (tmp_path / "latin.csv").write_bytes("a,b,colour\n1,2,größe\n".encode("latin-1"))
    assert reason(kinds, tmp_path / "latin.csv", tmp_path / "o8") == (
        f"predict.data: {tmp_path}/latin.csv: column 'colour' is not valid UTF-8, from row 1 on\n"
        "Save the file as UTF-8."
    )
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no more")
    assert reason(kinds, tmp_path / "bad.parquet", tmp_path / "o9").startswith(
        f"predict.data: {tmp_path}/bad.parquet: cannot be read as parquet: "
    )
    twice = new.append_column("prediction", pa.array([1] * 10))
    csv.write_csv(twice, tmp_path / "twice.csv")
    assert reason(kinds, tmp_path / "twice.csv", tmp_path / "o10") == (
        "predict.data: the data has a column 'prediction' already, as its predictions would\n"
        "Call it something else in the data."
    )


def test_nothing_is_overwritten(kinds: dlcluster.Run, tmp_path: Path) -> None:
    csv.write_csv(rows(10), tmp_path / "new.csv")
    out = tmp_path / "out"
    (out / "deep").mkdir(parents=True)
    (out / "deep/theirs.txt").write_text("mine")
    words = (
        f"predict.out: {out} already holds deep/theirs.txt\n"
        "Nothing is overwritten: name a folder that is not there yet, or empty it first."
    )
    assert refusal(kinds.run_id, tmp_path / "new.csv", out, kinds.objects.uri) == words
    assert refusal(kinds.run_id, tmp_path / "new.csv", tmp_path / "new.csv", kinds.objects.uri) == (
        f"predict.out: {tmp_path}/new.csv is a file; name a folder"
    )
    assert refusal(kinds.run_id, tmp_path / "new.csv", "gs://b/c", kinds.objects.uri) == (
        "predict.out: gs://b/c: predictions go to a folder or to s3://bucket/prefix"
    )
    assert [path.name for path in out.rglob("*")] == ["deep", "theirs.txt"]


def test_a_run_without_a_model(kinds: dlcluster.Run, tmp_path: Path) -> None:
    csv.write_csv(rows(10), tmp_path / "new.csv")
    store = kinds.objects.uri
    made = api.predict(kinds.run_id, data=str(tmp_path / "new.csv"), out=str(tmp_path / "o"), storage=store, local=True)
    assert refusal(made.run_id, "new.csv", "out", store) == (
        f"predict.run: {made.run_id} is a run of kind predict: it has no model"
    )
    assert refusal("nothing", "new.csv", "out", store) == f"there is no run 'nothing' in {store}\ndlcluster list"
    assert refusal(f"{store}/v1/models/a/f1/b", "new.csv", "out", store) == (
        f"predict.run: {store}/v1/models/a/f1/b: there is no model"
    )
    assert refusal("some/where", "new.csv", "out", store) == (
        "predict.run: some/where is no model's uri\nGive a run's id, or the model of: dlcluster results RUN"
    )
    bad = {"path": str(tmp_path / "none.csv"), "task": "classification", "params": {"target": "kind"}}
    job = {"version": 1, "name": "bad", "model": {"name": "mlp"}, "data": bad}
    failed = dlcluster.submit(job, storage=store, local=True)
    assert refusal(failed.run_id, "new.csv", "out", store) == (
        f"predict.run: {failed.run_id} has no model: it has not ended well, or not yet\ndlcluster show {failed.run_id}"
    )


def test_a_model_of_ones_own_data_cannot_be_fed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_data_predicting.py").write_text(
        "import numpy as np\ndef points():\n    x = np.ones((50, 1), 'f4')\n    return x, x\n"
    )
    run = train(tmp_path, model={"name": "mlp"}, data={"name": "own_data_predicting:points", "task": "regression"})
    (tmp_path / "new.csv").write_text("x\n1\n")
    assert reason(run, "new.csv", tmp_path / "out") == (
        f"predict.run: {run.run_id} was trained on a data function of your own (own_data_predicting:points); how other "
        "data becomes its input is not known\nLoad its model in Python: dlcluster.training.reload.load_model."
    )
