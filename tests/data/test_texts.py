"""Labelled texts become ids of one length: read as they lie there, fitted on train, refused where they are unclear."""

from __future__ import annotations

import gzip
import json
import math
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from dlcluster.data.load import load_data, preparation_from
from dlcluster.data.prepared import Prepared
from dlcluster.data.texts import TextPreparation
from dlcluster.errors import DataError
from dlcluster.spec import job_from_dict
from dlcluster.spec.data import Data

REVIEWS = Path("../shared/data/rt-polarity").absolute()
needs_reviews = pytest.mark.skipif(not REVIEWS.is_dir(), reason="rt-polarity is not on this machine")
HALVES = {"train": 0.5, "validation": 0, "test": 0.5, "by": "time"}


def data(path: Path | str, *, split: dict[str, Any] | None = None, **params: Any) -> Data:
    section = {"path": str(path), "format": "text", "task": "classification", "params": params}
    job = {
        "version": 1,
        "name": "x",
        "model": {"name": "lstm"},
        "data": {**section, "split": HALVES if split is None else split},
        "training": {"early_stopping": None},
        "checkpoint": {"metric": "train_loss"},
    }
    return job_from_dict(job).data


def texts_of(prepared: Prepared, split: str = "train") -> list[tuple[str, str]]:
    """Text and class of each sample, put together again from its ids."""
    assert isinstance(prepared.preparation, TextPreparation)
    assert prepared.class_names is not None
    samples, fitted = prepared.splits[split], prepared.preparation.fitted
    x, y = samples.gather(torch.arange(len(samples)))
    assert (x.dtype, y.dtype) == (torch.int64, torch.int64)
    return [
        (" ".join(fitted.text_of(id_) for id_ in row if id_), prepared.class_names[class_])
        for row, class_ in zip(x.tolist(), y.tolist(), strict=True)
    ]


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def refused(path: Path | str, **options: Any) -> str:
    with pytest.raises(DataError) as error:
        load_data(data(path, **options))
    return str(error.value)


@pytest.mark.parametrize(
    ("files", "pattern"),
    [
        ({"neg.txt": "bad\nso bad\n", "pos.txt": "good\nso good"}, ""),
        ({"reviews.neg": "bad\r\nso bad\r\n", "reviews.pos": "\ufeffgood\nso good\n"}, ""),
        ({"neg.txt.gz": gzip.compress(b"bad\nso bad"), "pos.txt.gz": gzip.compress(b"good\nso good")}, "/*.gz"),
        (
            {"neg/1.txt": "bad\n", "neg/x/2.txt": "so\nbad", "pos/a.txt": "good", "pos/b": "so good", ".hidden/a": ""},
            "",
        ),
        ({"a/neg/1.txt": "bad", "a/neg/2.txt": "so bad", "a/pos/3": "good", "a/pos/4": "so good"}, "/a/*/*"),
        ({"table.csv": 'label,text\nneg,bad\nneg,"so\nbad"\npos,good\npos,so good\n'}, "/table.csv"),
        ({"b.csv": "text,label\ngood,pos\nso good,pos\n", "a.csv": "text,label\nbad,neg\nso bad,neg\n"}, "/*.csv"),
    ],
)
def test_what_is_there_decides_how_it_is_read(tmp_path: Path, files: dict[str, str | bytes], pattern: str) -> None:
    write(tmp_path, files)
    write(tmp_path / "elsewhere", {"neg.txt": "bad awful", "pos.txt": "good fine"})
    (tmp_path / "elsewhere").rename(tmp_path.parent / f"{tmp_path.name}-test")
    split = {"train": 0.8, "validation": 0, "test": 0.2, "files": {"test": f"{tmp_path}-test"}}
    prepared = load_data(data(f"{tmp_path}{pattern}", split=split))
    assert texts_of(prepared) == [("bad", "neg"), ("so bad", "neg"), ("good", "pos"), ("so good", "pos")]
    assert texts_of(prepared, "test") == [("bad unknown token", "neg"), ("good unknown token", "pos")]
    assert len(prepared.splits["validation"]) == 0
    assert prepared.shapes.input_shape == (2,)
    assert prepared.shapes.output_shape == (2,)
    assert (prepared.num_classes, prepared.num_tokens, prepared.notes) == (2, 5, ())


def test_a_table_is_taken_as_it_is_written(tmp_path: Path) -> None:
    write(tmp_path, {"t.csv": "01,null\n1,NA\n01,12\n1,true\n"})
    prepared = load_data(data(tmp_path / "t.csv", header=False, text="column_2", target="column_1"))
    assert texts_of(prepared) == [("null", "01"), ("NA", "1")]
    table = pa.table({"review": ["x", "y", "z", "w"], "stars": [10, 9, 10, 9]})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    prepared = load_data(data(tmp_path / "t.parquet", text="review", target="stars"))
    assert texts_of(prepared) == [("x", "10"), ("y", "9")]
    assert prepared.class_names == ("9", "10")


def test_a_long_table_may_have_texts_of_many_lines(tmp_path: Path) -> None:
    text = "so\n" * 700  # 1,000 of them are 2 MB: pyarrow reads a megabyte at a time
    write(tmp_path, {"t.csv": "text,label\n" + f'"{text}",x\n"{text}",y\n' * 500})
    prepared = load_data(data(tmp_path / "t.csv", length=1))
    assert [len(prepared.splits[name]) for name in ("train", "test")] == [500, 500]
    assert prepared.num_tokens == 3


def test_texts_are_padded_at_the_end_and_cut_at_length(tmp_path: Path) -> None:
    write(tmp_path, {"t.csv": "text,label\nb b a c,x\na,y\nb a d c b,x\n...,y\n"})
    whole = load_data(data(tmp_path / "t.csv"))
    # ids: a 2 and b 3 (both twice), c 4; d and the dot only in test
    assert whole.splits["train"].gather(torch.arange(2))[0].tolist() == [[3, 3, 2, 4], [2, 0, 0, 0]]
    assert whole.splits["test"].gather(torch.arange(2))[0].tolist() == [[3, 2, 1, 4], [1, 1, 1, 0]]
    assert (whole.num_tokens, whole.notes) == (5, ("1 of 4 texts are longer than 4 tokens and are cut",))
    short = load_data(data(tmp_path / "t.csv", length=2))
    assert short.splits["test"].gather(torch.arange(2))[0].tolist() == [[3, 2], [1, 1]]
    assert (short.input_shape, short.notes) == ((2,), ("3 of 4 texts are longer than 2 tokens and are cut",))


def test_the_baseline_is_the_most_frequent_class_of_train(tmp_path: Path) -> None:
    write(tmp_path, {"t.csv": "text,label\n" + "a,x\na,y\na,y\na,z\na,y\n" * 2})
    prepared = load_data(data(tmp_path / "t.csv"))
    assert (prepared.baseline_name, prepared.class_names) == ("most frequent class of train", ("x", "y", "z"))
    assert prepared.baseline is not None
    x, y = prepared.splits["test"].gather(torch.arange(5))
    logits = prepared.baseline(x)
    assert logits.argmax(dim=-1).tolist() == [1] * 5
    entropy = -(3 / 5 * math.log(3 / 5) + 2 / 5 * math.log(1 / 5))
    assert F.cross_entropy(logits, y).item() == pytest.approx(entropy)


@pytest.mark.parametrize("tokenizer", ["words", "characters", "bpe"])
def test_a_stored_preparation_treats_later_texts_alike(tmp_path: Path, tokenizer: str) -> None:
    write(tmp_path, {"t.csv": "text,label\nGood film,pos\nbad Film,neg\ngood,pos\nbad,neg\n"})
    prepared = load_data(data(tmp_path / "t.csv", tokenizer={"name": tokenizer, "lowercase": True}))
    assert prepared.preparation is not None
    again = preparation_from("texts", json.loads(json.dumps(prepared.preparation.config())))
    assert again == prepared.preparation
    batch = pa.table({"id": [1, 2, 3], "text": ["good FILM", "bad film", " "]})
    x = again.inputs(batch)
    assert torch.equal(x[:2], prepared.splits["train"].gather(torch.arange(2))[0])
    assert x.dtype == torch.int64
    if tokenizer == "words":  # nothing to read is one unknown token, not nothing
        assert x[2].tolist() == [1, 0]
    logits = torch.log(torch.tensor([[0.25, 0.75], [0.9, 0.1], [0.5, 0.5]]))
    outputs = again.outputs(logits, batch)
    assert outputs["prediction"].tolist() == ["pos", "neg", "neg"]
    np.testing.assert_allclose(outputs["confidence"], [0.75, 0.9, 0.5], rtol=1e-6)


def test_later_texts_that_are_not_there_are_named(tmp_path: Path) -> None:
    write(tmp_path, {"t.csv": "text,label\na,x\nb,y\na,x\nb,y\n"})
    preparation = load_data(data(tmp_path / "t.csv")).preparation
    assert preparation is not None
    for batch, message in (
        ({"txt": ["a"]}, "the data has no column 'text' with the text; did you mean txt? (there is: txt)"),
        ({"text": ["a", None]}, "column 'text' lacks the text of row 2"),
        ({"text": [["a"]]}, "column 'text' holds list<item: string>, not text"),
    ):
        with pytest.raises(DataError) as error:
            preparation.inputs(pa.table(batch))
        assert str(error.value) == message


def test_empty_lines_are_skipped_and_noted(tmp_path: Path) -> None:
    lines = write(tmp_path / "lines", {"neg.txt": "bad\n\n  \nworse\n", "pos.txt": "good\nfine\n"})
    prepared = load_data(data(lines, split={"train": 0.8, "validation": 0, "test": 0.2, "by": "time"}))
    assert prepared.notes == (f"{lines}/neg.txt: 2 empty lines skipped (the first: 2)",)
    assert sum(len(part) for part in prepared.splits.values()) == 4


def test_empty_files_are_skipped_and_noted(tmp_path: Path) -> None:
    write(tmp_path, {"neg/1": "bad", "neg/2": " \n", "pos/1": "good", "pos/2": "fine", "pos/3": ""})
    assert load_data(data(tmp_path, split={"train": 0.9, "validation": 0, "test": 0.1})).notes == (
        f"2 empty files skipped (the first: {tmp_path}/neg/2)",
    )


def test_only_a_line_end_ends_a_text(tmp_path: Path) -> None:
    # \x85 is an ellipsis in what Windows writes; read as latin-1 it is a character that str.splitlines cuts at
    write(tmp_path, {"neg.txt": b"bad \x85 very\nworse", "pos.txt": b"good\x0cfine\ngreat"})
    prepared = load_data(data(tmp_path, encoding="latin-1", split={"train": 0.5, "validation": 0, "test": 0.5}))
    assert sum(len(part) for part in prepared.splits.values()) == 4


def test_a_file_in_another_encoding_is_named_with_its_place(tmp_path: Path) -> None:
    write(tmp_path, {"neg.txt": "schlecht\nübel\n".encode("latin-1"), "pos.txt": "gut"})
    assert refused(tmp_path) == (
        f"data.path: {tmp_path}/neg.txt: line 2, byte 1: 0xfc is not utf-8\n"
        "Say how the file writes its characters: data.params.encoding: latin-1 (of the west of Europe), cp1251 "
        "(Cyrillic), gb18030 (Chinese), ..."
    )
    write(tmp_path, {"neg.txt": "schlecht\nund übel\n"})
    assert refused(tmp_path, encoding="ascii") == (
        f"data.path: {tmp_path}/neg.txt: line 2, byte 5: 0xc3 is not ascii\n"
        "Say how the file writes its characters: data.params.encoding: utf-8"
    )
    write(tmp_path, {"neg.txt": "übel".encode("utf-16")})
    assert refused(tmp_path) == (
        f"data.path: {tmp_path}/neg.txt: line 1, byte 1: 0xff is not utf-8\n"
        "Say how the file writes its characters: data.params.encoding: utf-16"
    )
    write(tmp_path / "csv", {"t.csv": "text,label\ngut,x\nübel,y\n".encode("latin-1")})
    assert refused(tmp_path / "csv/t.csv").startswith(
        f"data.path: {tmp_path}/csv/t.csv: line 3, byte 1: 0xfc is not utf-8\n"
    )
    # Three values, and both classes: read as it is written, the table is whole.
    prepared = load_data(data(tmp_path / "csv/t.csv", encoding="latin-1", split={
        "train": 0.8, "validation": 0, "test": 0.2, "files": {"test": str(tmp_path / "csv/t.csv")}
    }))  # fmt: skip
    assert texts_of(prepared) == [("gut", "x"), ("übel", "y")]


@pytest.mark.parametrize(
    ("files", "params", "message"),
    [
        ({"a.txt": "x\ny", "b.txt": "\n \n"}, {}, "data.path: {}/b.txt: class 'b' has no texts, the file is empty"),
        (
            {"a/1": "x", "a/2": "", "b/1": " ", "b/2": ""},
            {},
            "data.path: class 'b' has no texts, its files are empty (such as {}/b/1)",
        ),
        (
            {"a.txt": "x\ny"},
            {},
            "data: all 2 texts are of class 'a'; there must be two or more\n"
            "A class is a file with a text a line, a folder with a text a file, or a value of data.params.target.",
        ),
        ({"a.txt": "x", "b.txt": "y"}, {}, "data: each of the 2 texts has a class of its own (such as 'a')"),
        (
            {"a/1": "x", "b/1": "y", "README": "z"},
            {},
            "data.path: {}: README lies beside the folders of the classes\n"
            "Move it elsewhere, or name what is meant: data.path: {}/*/*",
        ),
        (
            {"a.neg": "x", "a.pos": "y", "b.pos": "z"},
            {},
            "data.path: a.neg and a.pos would both be class 'a'\n"
            "Name each file by its class, as in negative.txt and positive.txt.",
        ),
        ({"t.csv": "text,label\n"}, {}, "data.path: {}/t.csv: has no rows"),
        (
            {"t.csv": "txt,label\na,x\n"},
            {},
            "data.params.text: {}/t.csv has no column 'text'; did you mean txt? (there is: label, txt)",
        ),
        (
            {"t.csv": "text,labels\na,x\n"},
            {},
            "data.params.target: {}/t.csv has no column 'label'; did you mean labels? (there is: labels, text)",
        ),
        (
            {"t.csv": "text,text,label\na,b,x\n"},
            {},
            "data.params.text: {}/t.csv has several columns 'text'; rename all but one",
        ),
        (
            {"t.csv": "text,label\na,x\n,y\nb,x\n  ,y\n"},
            {},
            "data.path: {}/t.csv: column 'text' lacks 2 of its 4 values (the first at row 2)\n"
            "Take these rows out of the file, or fill them in.",
        ),
        (
            {"t.csv": "text,label\na,x\nb,y\nc,\n"},
            {},
            "data.path: {}/t.csv: column 'label' lacks 1 of its 3 values (the first at row 3)\n"
            "Take these rows out of the file, or fill them in.",
        ),
        (
            {"t.csv": "text,label\na,x,z\n"},
            {},
            "data.path: {}/t.csv: cannot be read as csv: CSV parse error: Expected 2 columns, got 3: a,x,z",
        ),
        (
            {"t.csv": "text,label\na,<=50K\nb,<=50K.\nc,>50K\nd,<=50K\n"},
            {},
            "data: classes '<=50K' (2 texts) and '<=50K.' (1 text) differ by capitals, a space or a dot at the end "
            "only\nWrite them alike.",
        ),
        (
            {"t.csv": "text,label\na,Ham\nb,ham \nc,spam\nd,spam\n"},
            {},
            "data: classes 'Ham' (1 text) and 'ham ' (1 text) differ by capitals, a space or a dot at the end "
            "only\nWrite them alike.",
        ),
        (
            {"t.csv": "text,label\na,x\nb,y\nc,y\nd,z\n"},
            {},
            "data: class 'z' stands only in test (1 text), never in train\n"
            "data.split.stratify: true gives each split its share of every class.",
        ),
        (
            {"a.txt.gz": b"\x1f\x8b", "b.txt": "y"},
            {},
            "data.path: {}/a.txt.gz: cannot be unpacked: Compressed file ended before the end-of-stream marker was "
            "reached",
        ),
    ],
)
def test_what_is_unclear_is_refused(
    tmp_path: Path, files: dict[str, str | bytes], params: dict[str, Any], message: str
) -> None:
    write(tmp_path, files)
    path = tmp_path / "t.csv" if "t.csv" in files else tmp_path
    assert refused(path, **params) == message.replace("{}", str(tmp_path))


def test_a_parquet_without_a_text_or_with_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(pa.table({"text": ["a", None, "c"], "label": ["x", "y", None]}), path)
    assert refused(path).splitlines()[0] == (
        f"data.path: {path}: column 'text' lacks 1 of its 3 values (the first at row 2)"
    )
    pyarrow.parquet.write_table(pa.table({"text": [["a"], ["b"]], "label": ["x", "y"]}), path)
    assert refused(path).splitlines()[0] == (
        f"data.params.text: {path}: column 'text' holds list<element: string>, not text"
    )
    path.write_bytes(b"PAR1")
    assert refused(path).startswith(f"data.path: {path}: cannot be read as parquet: ")


def test_a_class_that_only_the_test_files_have_is_refused(tmp_path: Path) -> None:
    train = write(tmp_path / "train", {"neg.txt": "bad\nworse", "pos.txt": "good\nbetter"})
    test = write(tmp_path / "test", {"neg.txt": "bad\n", "mixed.txt": "so\nso"})
    split = {"train": 0.9, "validation": 0, "test": 0.1, "files": {"test": str(test)}}
    assert refused(train, split=split) == (
        "data: class 'mixed' stands only in test (2 texts), never in train\n"
        "Take it out of data.split.files.test, or add such texts to train."
    )


def kim(text: str) -> list[str]:
    """clean_str of CNN_sentence's process_data.py, for texts without an apostrophe."""
    text = re.sub(r"[^A-Za-z0-9(),!?\'\`]", " ", text)
    return re.sub(r"([,!()?])", r" \1 ", text).lower().split()


@needs_reviews
def test_reviews_are_read_as_they_are_published() -> None:
    began = time.perf_counter()
    prepared = load_data(
        data(
            REVIEWS / "rt-polarity.*",
            encoding="latin-1",
            tokenizer={"name": "words", "lowercase": True},
            split={"folds": 10, "stratify": True, "validation": 0.1},
        )
    )
    took = time.perf_counter() - began
    assert took < 5, f"{took:.1f} s"  # 0.7 s when nothing else runs
    assert prepared.class_names == ("neg", "pos")
    sizes = {name: len(part) for name, part in prepared.splits.items()}
    assert sum(sizes.values()) == 2 * 5331
    assert sizes["test"] in (1066, 1067)
    for part in prepared.splits.values():
        _, y = part.gather(torch.arange(len(part)))
        assert abs(Counter(y.tolist())[0] - len(part) / 2) <= 1
    found = texts_of(prepared)
    lines = {
        " ".join(kim(line))
        for name in ("neg", "pos")
        for line in (REVIEWS / f"rt-polarity.{name}").read_bytes().decode("latin-1").split("\n")
        if line.isascii() and not set(line) & set("'`_")
    }
    kept = [" ".join(word for word in text.split() if kim(word)) for text, _ in found]
    assert sum(text in lines for text in kept) == pytest.approx(len(lines) * sizes["train"] / 10_662, rel=0.02)


@needs_reviews
def test_reviews_read_as_utf_8_say_where_they_are_not() -> None:
    assert refused(REVIEWS / "rt-polarity.*").splitlines()[0] == (
        f"data.path: {REVIEWS}/rt-polarity.neg: line 32, byte 17: 0xe9 is not utf-8"
    )
