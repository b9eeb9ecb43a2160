"""Rows of a table become samples: what train tells is all that is used, and bad data is refused in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.metrics import log_loss
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

from dlcluster.data.arrays import prepare_arrays
from dlcluster.data.load import load_data, preparation_from
from dlcluster.data.prepared import Prepared
from dlcluster.data.read import read_table
from dlcluster.data.tables import TablePreparation
from dlcluster.errors import DataError
from dlcluster.spec import job_from_dict
from dlcluster.spec.data import Data, Split

REAL = Path("../shared/data/uci-small")
IN_ORDER = {"train": 0.6, "validation": 0.2, "test": 0.2, "by": "time"}

Write = Callable[..., str]
CATEGORICAL_HINT = (
    "Correct it; leave it empty if it stands for a missing value; or list the column in data.params.categorical if its "
    "values are names."
)


def data(path: str, task: str = "classification", split: Any = IN_ORDER, **params: Any) -> Data:
    section = {"path": path, "task": task, "params": params, "split": split}
    job = {"version": 1, "name": "x", "model": {"name": "lstm"}, "checkpoint": {"metric": "train_loss"}}
    return job_from_dict({**job, "data": section}).data


def samples(prepared: Prepared, split: str) -> tuple[Any, Any]:
    part = prepared.splits[split]
    x, y = part.gather(torch.arange(len(part)))
    return x.tolist(), y.tolist()


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def put(name: str = "table.csv", text: str | None = None, **columns: Any) -> str:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        if text is not None:
            path.write_text(text)
        elif name.endswith(".csv"):
            pyarrow.csv.write_csv(pa.table(columns), path)
        else:
            pyarrow.parquet.write_table(pa.table(columns), path)
        return str(path)

    return put


def test_numbers_and_names_become_inputs_as_scikit_learn_makes_them(write: Write) -> None:
    rng = np.random.default_rng(0)
    size, train = 50, 30
    age, colour = rng.normal(40, 12, size), rng.choice(["red", "green", "blue"], size)
    paid, kind = rng.random(size) < 0.5, rng.choice([10, 2, 3], size)
    path = write(
        age=age,
        colour=colour,
        paid=paid,
        kind=kind,
        price=[Decimal(f"{value:.2f}") for value in age * 2],
        label=rng.choice(["no", "yes"], size),
    )
    prepared = load_data(data(path, target="label", categorical=["kind"]))
    x = np.concatenate([np.array(samples(prepared, name)[0]) for name in ("train", "validation", "test")])
    numbers = np.stack([age, paid, np.round(age * 2, 2)], axis=1)
    scaled = StandardScaler().fit(numbers[:train]).transform(numbers)
    colours = OneHotEncoder(sparse_output=False).fit_transform(colour[:, None])
    kinds = OneHotEncoder(sparse_output=False).fit_transform(kind[:, None])  # sorted as numbers: 2, 3, 10
    reference = np.concatenate([scaled[:, :1], colours, scaled[:, 1:2], kinds, scaled[:, 2:]], axis=1)
    np.testing.assert_allclose(x, reference, atol=1e-6)
    assert (prepared.input_shape, prepared.output_shape, prepared.num_classes) == ((9,), (2,), 2)
    assert isinstance(prepared.preparation, TablePreparation)
    assert [feature.categories for feature in prepared.preparation.features] == [
        None,
        ("blue", "green", "red"),
        None,
        ("2", "3", "10"),
        None,
    ]


@pytest.mark.parametrize("scale", ["standard", "minmax", "none"])
def test_scaling_is_fitted_on_train_alone(write: Write, scale: str) -> None:
    rng = np.random.default_rng(1)
    values, target = rng.normal(5, 3, (20, 1)), rng.normal(100, 30, 20)
    values[12:] *= 50
    target[12:] *= 50
    prepared = load_data(data(write(v=values[:, 0], y=target), "regression", target="y", scale=scale))
    scaler = {"standard": StandardScaler(), "minmax": MinMaxScaler(), "none": None}[scale]
    wanted = values if scaler is None else scaler.fit(values[:12]).transform(values)
    answers = target if scaler is None else scaler.fit(target[:12, None]).transform(target[:, None])[:, 0]
    x, y = samples(prepared, "test")
    np.testing.assert_allclose(x, wanted[16:], rtol=1e-5)
    np.testing.assert_allclose(y, answers[16:], rtol=1e-5)
    if scale == "none":
        assert (prepared.unit_scale, prepared.unit_shift) == (None, None)
    else:
        assert prepared.unit_scale is not None
        assert prepared.unit_shift is not None
        units = torch.tensor(y) * prepared.unit_scale + prepared.unit_shift
        np.testing.assert_allclose(units, target[16:], rtol=1e-5)
    assert (prepared.output_shape, prepared.num_classes, prepared.class_names) == ((), None, None)
    assert prepared.baseline is not None
    assert prepared.baseline_name == "mean of train"
    guess = prepared.baseline(torch.zeros(3, 1))
    np.testing.assert_allclose(guess, [answers[:12].mean()] * 3, atol=1e-6)
    assert isinstance(prepared.preparation, TablePreparation)
    outputs = prepared.preparation.outputs(guess, pa.table({}))
    np.testing.assert_allclose(outputs["prediction"], [target[:12].mean()] * 3, rtol=1e-5)


@pytest.mark.parametrize("rule", ["mean", "median", "most_frequent"])
def test_gaps_are_filled_as_scikit_learn_fills_them_from_train(write: Write, rule: str) -> None:
    values = [3.0, None, 1.0, 1.0, 3.0, 9.0, 100.0, 100.0, None, 100.0]
    path = write(v=values, y=[0, 1] * 5)
    prepared = load_data(data(path, target="y", missing=rule, scale="none"))
    column = np.array([[np.nan if value is None else value] for value in values])
    filled = SimpleImputer(strategy=rule).fit(column[:6]).transform(column)
    np.testing.assert_allclose(samples(prepared, "train")[0], filled[:6], rtol=1e-6)
    np.testing.assert_allclose(samples(prepared, "test")[0], filled[8:], rtol=1e-6)


@pytest.mark.parametrize(
    ("rule", "names", "second", "ninth"),
    [
        ("most_frequent", ("a", "b"), [0.0, 1.0], [0.0, 1.0]),
        ("mean", ("(missing)", "a", "b"), [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]),
        ("zero", ("(missing)", "a", "b"), [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]),
    ],
)
def test_a_missing_name_is_the_most_frequent_or_one_of_its_own(
    write: Write, rule: str, names: tuple[str, ...], second: list[float], ninth: list[float]
) -> None:
    path = write(c=["b", None, "b", "a", "b", "a", "a", "a", None, "a"], y=[0, 1] * 5)
    prepared = load_data(data(path, target="y", missing=rule))
    assert isinstance(prepared.preparation, TablePreparation)
    assert prepared.preparation.features[0].categories == names
    assert samples(prepared, "train")[0][1] == second
    assert samples(prepared, "test")[0][0] == ninth


def test_rows_that_lack_a_value_are_dropped_and_counted(write: Write) -> None:
    path = write(v=[1.0, None, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], c=["a"] * 7 + [None], y=["p", "q", None, *"pqpqp"])
    prepared = load_data(data(path, target="y", missing="drop", scale="none", columns=["v", "c"]))
    assert prepared.notes == (f"{path}: 3 of 8 rows lack a value and are dropped",)
    assert [samples(prepared, name) for name in ("train", "validation", "test")] == [
        ([[1.0, 1.0], [4.0, 1.0], [5.0, 1.0]], [0, 0, 1]),
        ([[6.0, 1.0]], [0]),
        ([[7.0, 1.0]], [1]),
    ]


def test_a_name_train_does_not_have_is_no_category_and_said_once(write: Write) -> None:
    path = write(c=["a", "b", "a", "b", "a", "b", "c", "a", "d", "c"], y=[0, 1] * 5)
    prepared = load_data(data(path, target="y"))
    assert samples(prepared, "validation")[0] == [[0.0, 0.0], [1.0, 0.0]]
    assert samples(prepared, "test")[0] == [[0.0, 0.0], [0.0, 0.0]]
    assert prepared.notes == (
        "column 'c': 3 rows of validation and test with a name that train does not have (such as 'c') count as none "
        "of its categories",
    )


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["yes", "no"], ("no", "yes")),
        ([10, 9], ("9", "10")),
        ([2.0, 1.0], ("1", "2")),
        ([0.5, -1.5], ("-1.5", "0.5")),
        ([True, False], ("false", "true")),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_classes_of_any_type_are_named_in_order(write: Write, labels: list[Any], names: Any, ending: str) -> None:
    path = write(f"t.{ending}", v=np.arange(10), y=labels * 5)
    prepared = load_data(data(path, target="y"))
    assert prepared.class_names == names
    assert samples(prepared, "train")[1] == [1, 0, 1, 0, 1, 0]


def test_the_baseline_is_scikit_learns_prior(write: Write) -> None:
    labels = ["a", "b", "b", "c", "b", "a", "c", "b", "c", "a"]
    prepared = load_data(data(write(v=np.arange(10), y=labels), target="y"))
    reference = DummyClassifier(strategy="prior").fit(np.zeros((6, 1)), labels[:6])
    assert prepared.baseline is not None
    assert prepared.baseline_name == "most frequent class of train"
    scores = prepared.baseline(torch.zeros(2, 1))
    assert scores.argmax(dim=-1).tolist() == [1, 1]
    loss = torch.nn.functional.cross_entropy(scores, torch.tensor([2, 0])).item()
    assert loss == pytest.approx(
        log_loss(["c", "a"], reference.predict_proba(np.zeros((2, 1))), labels=["a", "b", "c"])
    )


def test_a_users_own_arrays_get_the_same_baseline() -> None:
    x, y = np.arange(10.0)[:, None], np.array([0, 2, 2, 1, 2, 0, 1, 2, 1, 0], dtype=np.int32)
    split = Split.model_validate(IN_ORDER)
    for given in (
        (x, y),
        torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(y)),
        list(zip(x, y, strict=True)),
    ):
        prepared = prepare_arrays("classification", given, split)
        assert prepared.baseline is not None
        assert prepared.baseline_name == "most frequent class of train"
        scores = prepared.baseline(torch.zeros(1, 1))
        assert scores.exp().tolist() == [pytest.approx([2 / 6, 1 / 6, 3 / 6])]
    with pytest.raises(DataError) as caught:
        prepare_arrays("classification", (x, np.array(["a", "b"] * 5, dtype=object)), split)
    assert str(caught.value).startswith("data: data[1] cannot be made a tensor: ")


def test_later_rows_are_treated_as_train_was_and_predictions_named(write: Write) -> None:
    columns = {"c": ["a", "b", None, "b"] * 5, "v": [1.0, None, 3.0, 4.0] * 5, "y": ["p", "q"] * 10}
    path = write(**columns)
    prepared = load_data(data(path, target="y", missing="median"))
    stored = json.loads(json.dumps(prepared.preparation.config())) if prepared.preparation else {}
    again = preparation_from("table", stored)
    assert again == prepared.preparation
    table = read_table(path)
    x = torch.cat([torch.tensor(samples(prepared, name)[0]) for name in ("train", "validation", "test")])
    assert torch.equal(again.inputs(table.drop_columns(["y"])), x)
    strange = again.inputs(pa.table({"v": [3], "c": ["never seen"]})).tolist()
    assert strange == [pytest.approx([0.0, 0.0, 0.0, (3 - 2.75) / np.std([1, 3, 3, 4])])]
    outputs = again.outputs(torch.tensor([[0.0, 1.0], [3.0, 0.0]]), table)
    assert outputs["prediction"].tolist() == ["q", "p"]
    assert outputs["confidence"].tolist() == pytest.approx([1 / (1 + np.exp(-1)), 1 / (1 + np.exp(-3))])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"v": [1.0]}, "data: there is no column 'c' (which the model was trained on); there is: v"),
        (
            {"c": ["a", "b"], "v": ["1", "x"]},
            "data: column 'v' should hold numbers, but row 2 has 'x'\n" + CATEGORICAL_HINT,
        ),
        (
            {"c": ["a", None], "v": [1, 2]},
            "data: column 'c' lacks 1 of its 2 values (the first at row 2)\n"
            "The model was trained without a rule to fill them: fill them first, or train it again with "
            "data.params.missing: mean | median | most_frequent | zero",
        ),
        ({"c": ["a"], "v": [float("inf")]}, "data: column 'v' is infinite at row 1"),
    ],
)
def test_later_rows_that_do_not_fit_are_refused(write: Write, columns: Any, message: str) -> None:
    path = write(c=["a", "b"] * 5, v=np.arange(10), y=[0, 1] * 5)
    preparation = load_data(data(path, target="y")).preparation
    assert preparation is not None
    with pytest.raises(DataError) as caught:
        preparation.inputs(pa.table(columns))
    assert str(caught.value) == message


def test_validation_and_test_come_from_their_own_files(write: Write) -> None:
    main = write("train.csv", v=np.arange(10.0), c=["a", "b"] * 5, y=["p", "q"] * 5)
    test = write("test.parquet", y=["q", "p"], c=["a", "z"], v=[100, 200])  # its columns in any order
    split = {**IN_ORDER, "train": 0.7, "validation": 0.3, "test": 0.0, "files": {"test": test}}
    prepared = load_data(data(main, split=split, target="y", scale="none"))
    assert {name: len(part) for name, part in prepared.splits.items()} == {"train": 7, "validation": 3, "test": 2}
    assert samples(prepared, "test") == ([[100.0, 1.0, 0.0], [200.0, 0.0, 0.0]], [1, 0])


@pytest.mark.parametrize("name", ["NA", "", "n/a", "NULL"])
def test_what_stands_for_a_missing_value_in_a_csv(write: Write, name: str) -> None:
    path = write(text="v,c,y\n" + f"1,a,0\n{name},{name},1\n" * 5)
    prepared = load_data(data(path, target="y", missing="zero", scale="none"))
    assert samples(prepared, "train")[0] == [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]] * 3


def test_text_of_a_fixed_set_of_values_is_a_category_too(write: Write) -> None:
    coded = pa.chunked_array(
        [pa.array(["b", "a"] * 2).dictionary_encode(), pa.array(["a", "b"] * 3).dictionary_encode()]
    )
    path = write("t.parquet", c=coded, y=pa.array([0, 1] * 5, pa.int8()).dictionary_encode())
    prepared = load_data(data(path, target="y"))
    assert samples(prepared, "train") == ([[0.0, 1.0], [1.0, 0.0]] * 2 + [[1.0, 0.0], [0.0, 1.0]], [0, 1] * 3)
    assert prepared.class_names == ("0", "1")


def test_a_constant_column_stays_as_it_is(write: Write) -> None:
    for scale in ("standard", "minmax"):
        prepared = load_data(data(write(v=[7.0] * 10, y=[0, 1] * 5), target="y", scale=scale))
        assert samples(prepared, "test")[0] == [[0.0], [0.0]]


TEN = {"v": list(range(10)), "y": [0, 1] * 5}


@pytest.mark.parametrize(
    ("columns", "section", "message"),
    [
        (
            {"v": range(10), "y": [*"abababab", "c", "a"]},
            {},
            "data: class 'c' stands only in test (row 9 of {path}), never in train\n"
            "Leave its rows out, or write data.split.stratify: true.",
        ),
        (
            {"v": range(10), "y": ["setosa", "other", "setosa."] * 3 + ["other"]},
            {},
            "data.path: {path}: column 'y' has both 'setosa' (3 rows) and 'setosa.' (3 rows)\n"
            "These look like one class, spelt in two ways: write them alike.",
        ),
        (
            {"v": range(10), "y": [*["no", "yes"] * 4, " yes", "no"]},
            {},
            "data.path: {path}: column 'y' has both ' yes' (1 row) and 'yes' (4 rows)\n"
            "These look like one class, spelt in two ways: write them alike.",
        ),
        (
            {"v": range(10), "y": ["Yes", "yes"] * 5},
            {},
            "data.path: {path}: column 'y' has both 'Yes' (5 rows) and 'yes' (5 rows)\n"
            "These look like one class, spelt in two ways: write them alike.",
        ),
        (
            {**TEN, "w": ["12.5", "n/a?", *map(str, range(8))]},
            {},
            "data.path: {path}: column 'w' should hold numbers, but row 2 has 'n/a?'\n" + CATEGORICAL_HINT,
        ),
        (
            {**TEN, "v": [1.0, 2.0, float("inf"), *range(7)]},
            {},
            "data.path: {path}: column 'v' is infinite at row 3",
        ),
        (
            {**TEN, "v": [1.0, None, 2.0, None, *range(6)]},
            {},
            "data.path: {path}: column 'v' lacks 2 of its 10 values (the first at row 2)\n"
            "Say how to fill them: data.params.missing: mean | median | most_frequent | zero | drop",
        ),
        (
            {**TEN, "y": [0, 1, 0, None, *[1] * 6]},
            {"missing": "mean"},
            "data.path: {path}: column 'y' lacks 1 of its 10 values (the first at row 4)\n"
            "It is the target, so leave these rows out: data.params.missing: drop",
        ),
        (
            {"value": range(10), "label": [0, 1] * 5},
            {"target": "lable"},
            "data.path: {path}: there is no column 'lable' (data.params.target); did you mean label? (there is: label, "
            "value)",
        ),
        (
            TEN,
            {"columns": ["w"]},
            "data.path: {path}: there is no column 'w' (data.params.columns); there is: v, y",
        ),
        (TEN, {"columns": ["y"]}, "data.params.columns: 'y' is the target\nLeave it out of this list."),
        (TEN, {"columns": ["v", "v"]}, "data.params.columns: 'v' is in the list twice"),
        (TEN, {"categorical": ["y"]}, "data.params.categorical: 'y' is the target\nLeave it out of this list."),
        (
            {**TEN, "w": range(10)},
            {"columns": ["v"], "categorical": ["w"]},
            "data.params.categorical: 'w' is not among data.params.columns; there is: v",
        ),
        ({"y": [0, 1]}, {}, "data.path: {path}: there is no column but the target 'y'"),
        ({"v": pa.array([], pa.int64()), "y": pa.array([], pa.int64())}, {}, "data.path: {path}: has no rows"),
        ({"v": range(10), "y": ["a"] * 10}, {}, "data.path: {path}: column 'y' has one class only: 'a'"),
        (
            {"v": range(60), "y": np.arange(60) * 1.5},
            {},
            "data.path: {path}: column 'y' has 60 different values in 60 rows, too many to be classes\n"
            "For numbers to be predicted as such, write data.task: regression.",
        ),
        (
            {"v": range(10), "y": ["a", "b"] * 5},
            {"task": "regression"},
            "data.path: {path}: column 'y' should hold numbers, but row 1 has 'a'\n"
            "For classes to be told apart, write data.task: classification.",
        ),
        (
            {"v": range(3), "y": [0, 1, 0]},
            {},
            "data.split.validation: not one of the 3 rows of {path} falls to it\n"
            "Make this split larger, or give more rows.",
        ),
        (
            {"v": [None] * 6 + [1.0] * 4, "y": [0, 1] * 5},
            {"missing": "mean"},
            "data.path: {path}: column 'v' has no value in the 6 rows of train",
        ),
        (
            {"v": pa.array([0] * 10, pa.date32()), "y": [0, 1] * 5},
            {},
            "data.path: {path}: column 'v' should hold numbers, but holds dates or times (date32[day])\n"
            "Leave it out of data.params.columns, or make numbers of it first, such as year and month.",
        ),
        (
            {"v": [f"name {i}" for i in range(2000)], "y": [0, 1] * 1000},
            {},
            "data.path: {path}: column 'v' has 1,200 different names, more than the 1,000 that can have an input each\n"
            "Leave it out: name the columns the model reads in data.params.columns.",
        ),
        (
            {"v": [None, 1.0] * 5, "y": [0, None] * 5},
            {"missing": "drop"},
            "data.path: {path}: each row lacks a value, so missing: drop leaves none",
        ),
    ],
)
def test_data_that_cannot_be_used_is_refused_in_words(write: Write, columns: Any, section: Any, message: str) -> None:
    path = write(**{name: values if isinstance(values, pa.Array) else list(values) for name, values in columns.items()})
    with pytest.raises(DataError) as caught:
        load_data(data(path, **{"target": "y", **section}))
    assert str(caught.value) == message.replace("{path}", path)


@pytest.mark.parametrize(
    ("text", "params", "message"),
    [
        ("v,v,y\n1,2,0\n", {}, "data.path: {path}: several columns are called 'v'\nGive each column a name of its own, "
         "or write data.params.header: false if the first line is data."),
        ("1.5,2,0\n2.5,3,1\n", {"target": "column_3"}, "data.path: {path}: there is no column 'column_3' "
         "(data.params.target); there is: 0, 1.5, 2\nIs its first line data already? Then write data.params.header: "
         "false (column_1, column_2, ...)."),
        ("v,y\n1,0\n2,1\n", {"target": "column_2", "header": False}, "data.path: {path}: column 'column_1' should hold "
         "numbers, but row 1 has 'v'\nDoes its first line name the columns? Then leave out data.params.header: false."),
        ("v,y\n1,0\n2\n", {}, "data.path: {path}: cannot be read as csv: CSV parse error: Row #3: Expected 2 columns, "
         "got 1: 2"),
        ("", {}, "data.path: {path}: cannot be read as csv: Empty CSV file"),
    ],
)  # fmt: skip
def test_a_csv_that_cannot_be_used_is_refused_in_words(write: Write, text: str, params: Any, message: str) -> None:
    path = write(text=text)
    with pytest.raises(DataError) as caught:
        load_data(data(path, **{"target": "y", **params}))
    assert str(caught.value) == message.replace("{path}", path)


def test_lists_are_neither_numbers_nor_names(write: Write) -> None:
    path = write("t.parquet", v=[[1], [2]] * 5, y=[0, 1] * 5)
    for categorical, what in (([], "numbers"), (["v"], "names")):
        with pytest.raises(DataError) as caught:
            load_data(data(path, target="y", categorical=categorical))
        kind = pyarrow.parquet.read_schema(path).field("v").type
        assert str(caught.value) == (
            f"data.path: {path}: column 'v' should hold {what}, but holds {kind}\nLeave it out of data.params.columns."
        )


def test_a_test_file_is_named_when_it_is_what_is_wrong(write: Write) -> None:
    main = write("train.csv", v=range(10), y=[0, 1] * 5)
    wrong = write("test.csv", v=[1, 2, 3], y=[0, 1, 7])
    split = {**IN_ORDER, "files": {"test": wrong}}
    with pytest.raises(DataError) as caught:
        load_data(data(main, split=split, target="y"))
    assert str(caught.value) == (
        f"data: class '7' stands only in test (row 3 of {wrong}), never in train\nLeave its rows out."
    )
    write("test.csv", v=["1", "?", "3"], y=[0, 1, 0])
    with pytest.raises(DataError) as caught:
        load_data(data(main, split=split, target="y"))
    assert str(caught.value) == (
        f"data.path: {wrong}: column 'v' should hold numbers, but row 2 has '?'\n{CATEGORICAL_HINT}"
    )


@pytest.mark.skipif(not REAL.is_dir(), reason="the tables of the UCI repository are not here")
@pytest.mark.parametrize(
    ("name", "target", "inputs", "classes", "sizes"),
    [
        ("iris", "column_5", 4, ("Iris-setosa", "Iris-versicolor", "Iris-virginica"), [50, 50, 50]),
        ("wine", "column_14", 13, ("1", "2", "3"), [59, 71, 48]),
        ("banknote_authentication", "column_5", 4, ("0", "1"), [762, 610]),
    ],
)
def test_real_tables_without_a_header(name: str, target: str, inputs: int, classes: Any, sizes: list[int]) -> None:
    path = str(REAL / f"{name}.csv")
    tested = []
    for fold in range(5):
        split = {"folds": 5, "fold": fold, "stratify": True, "validation": 0.0, "train": 0.8, "test": 0.2}
        prepared = load_data(data(path, split=split, target=target, header=False))
        assert (prepared.input_shape, prepared.class_names) == ((inputs,), classes)
        x, _ = prepared.splits["train"].gather(torch.arange(len(prepared.splits["train"])))
        torch.testing.assert_close(x.mean(dim=0), torch.zeros(inputs), atol=1e-5, rtol=0)
        torch.testing.assert_close(x.std(dim=0, correction=0), torch.ones(inputs), atol=1e-5, rtol=0)
        tested += samples(prepared, "test")[1]
    assert np.bincount(tested).tolist() == sizes
