"""Running text becomes blocks: cut by position, each token foreseen once, nothing of a later split in train."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from dlcluster.data.language import BlockSamples, LanguagePreparation
from dlcluster.data.load import load_data, preparation_from
from dlcluster.data.prepared import Prepared
from dlcluster.errors import DataError
from dlcluster.spec import job_from_dict
from dlcluster.spec.data import Data

SHAKESPEARE = Path("../shared/data/tinyshakespeare/input.txt").absolute()
needs_shakespeare = pytest.mark.skipif(not SHAKESPEARE.is_file(), reason="tiny Shakespeare is not on this machine")


def data(path: Path | str, *, split: dict[str, Any] | None = None, **params: Any) -> Data:
    job = {
        "version": 1,
        "name": "x",
        "model": {"name": "lstm"},
        "data": {
            "path": str(path),
            "task": "language_model",
            "params": params,
            "split": split or {"train": 0.5, "validation": 0.25, "test": 0.25},
        },
        "training": {"early_stopping": None},
        "checkpoint": {"metric": "train_loss"},
    }
    return job_from_dict(job).data


def write(folder: Path, text: str, name: str = "text.txt") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def preparation_of(prepared: Prepared) -> LanguagePreparation:
    assert isinstance(prepared.preparation, LanguagePreparation)
    return prepared.preparation


def blocks(prepared: Prepared, split: str) -> list[tuple[str, str]]:
    """Text of x and of y of each sample."""
    text_of, samples = preparation_of(prepared).fitted.text_of, prepared.splits[split]
    x, y = samples.gather(torch.arange(len(samples)))
    assert (x.dtype, y.dtype) == (torch.int64, torch.int64)
    assert x.is_contiguous()
    assert y.is_contiguous()
    return [("".join(map(text_of, a)), "".join(map(text_of, b))) for a, b in zip(x.tolist(), y.tolist(), strict=True)]


def refused(path: Path | str, **options: Any) -> str:
    with pytest.raises(DataError) as error:
        load_data(data(path, **options))
    return str(error.value)


def test_every_token_starts_a_block_of_train_and_is_the_target_of_one_block_later(tmp_path: Path) -> None:
    prepared = load_data(data(write(tmp_path, "abcdabcdbacbacddcab\n"), block=2))  # 10, 5 and 5 characters
    assert blocks(prepared, "train") == [
        *[("ab", "bc"), ("bc", "cd"), ("cd", "da"), ("da", "ab"), ("ab", "bc"), ("bc", "cd"), ("cd", "db")],
        ("db", "ba"),
    ]
    assert blocks(prepared, "validation") == [("cb", "ba"), ("ac", "cd")]
    assert blocks(prepared, "test") == [("dc", "ca"), ("ab", "b" + "unknown token")]
    assert prepared.shapes.input_shape == (2,)
    assert prepared.shapes.output_shape == (2, 5)
    assert prepared.num_tokens == 5
    assert prepared.notes == ("test: 1 of 5 tokens are unknown ('\\n')",)


def test_there_is_an_unknown_token_only_where_one_is_needed(tmp_path: Path) -> None:
    known = load_data(data(write(tmp_path, "abba" * 5), block=2))
    assert preparation_of(known).fitted.vocabulary == {"a": 0, "b": 1}
    assert known.notes == ()
    cut = load_data(data(write(tmp_path, "aaabbcd" * 4), block=2, tokenizer={"name": "characters", "vocab_size": 3}))
    assert preparation_of(cut).fitted.vocabulary == {"unknown token": 0, "a": 1, "b": 2}
    assert cut.notes == (
        "train: 4 of 14 tokens are unknown ('c', 'd')",
        "validation: 2 of 7 tokens are unknown ('c', 'd')",
        "test: 2 of 7 tokens are unknown ('c', 'd')",
    )
    small = load_data(data(write(tmp_path, "abBA" * 5), block=2, tokenizer={"name": "characters", "lowercase": True}))
    assert preparation_of(small).fitted.vocabulary == {"a": 0, "b": 1}


@pytest.mark.parametrize("stride", [1, 7])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_blocks_are_those_of_a_plain_loop(stride: int, dtype: torch.dtype) -> None:
    tokens = torch.arange(100).to(dtype)
    samples = BlockSamples(tokens, block=7, stride=stride)
    starts = range(0, 100 - 7, stride)
    assert len(samples) == len(starts)
    index = torch.tensor([len(starts) - 1, 0, 3])
    x, y = samples.to(torch.device("cpu")).gather(index)
    picked = [starts[i] for i in index.tolist()]
    assert x.tolist() == [list(range(start, start + 7)) for start in picked]
    assert y.tolist() == [list(range(start + 1, start + 8)) for start in picked]
    # What is counted to see whether it fits on a GPU is the text, not the blocks that overlap.
    kept = [value for value in vars(samples).values() if isinstance(value, torch.Tensor)]
    assert [value.numel() for value in kept] == [100]


def test_splits_may_have_files_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    write(tmp_path / "train", "abcab", "1.txt")
    write(tmp_path / "train", "cabc\r\n", "2.txt")
    split = {
        "train": 0.7,
        "validation": 0.1,
        "test": 0.2,
        "files": {"validation": str(write(tmp_path, "cba", "v.txt")), "test": str(write(tmp_path, "bbb", "t.txt"))},
    }
    prepared = load_data(data(f"{tmp_path}/train/*.txt", block=2, split=split))
    assert [x for x, _ in blocks(prepared, "train")] == ["ab", "bc", "ca", "ab", "bc", "ca", "ab", "bc"]
    assert blocks(prepared, "train")[-1] == ("bc", "c\n")
    assert (blocks(prepared, "validation"), blocks(prepared, "test")) == ([("cb", "ba")], [("bb", "bb")])


def test_a_file_of_its_own_that_is_smaller_than_a_block_is_refused(tmp_path: Path) -> None:
    files = {"test": str(write(tmp_path, "ab", "t.txt"))}
    split = {"train": 0.8, "validation": 0, "test": 0.2, "files": files}
    assert refused(write(tmp_path, "abab"), block=2, split=split).splitlines()[0] == (
        "data.split.test: 2 tokens are fewer than one block of 2 and the token after it (3 tokens)"
    )


def test_a_split_without_a_share_is_empty(tmp_path: Path) -> None:
    split = {"train": 0.5, "validation": 0, "test": 0.5}
    prepared = load_data(data(write(tmp_path, "abcabc"), block=2, split=split))
    assert {name: len(part) for name, part in prepared.splits.items()} == {"train": 1, "validation": 0, "test": 1}


def test_the_baseline_is_how_often_tokens_stand_in_train(tmp_path: Path) -> None:
    prepared = load_data(data(write(tmp_path, "aaabbbbbbd" + "abzab" * 2), block=2))
    assert prepared.baseline_name == "token frequencies of train"
    assert prepared.baseline is not None
    x = prepared.splits["test"].gather(torch.arange(2))[0]
    logs = prepared.baseline(x)
    assert logs.shape == (2, 2, 4)
    # z is never in train: as if it were there once
    expected = {"a": 3, "b": 6, "d": 1, "unknown token": 1}
    shares = [expected[token] / 11 for token in preparation_of(prepared).fitted._tokens]
    torch.testing.assert_close(logs[1, 1].exp(), torch.tensor(shares))


@pytest.mark.parametrize("tokenizer", ["characters", "words", "bpe"])
def test_a_stored_preparation_goes_on_with_a_text(tmp_path: Path, tokenizer: str) -> None:
    text = "the cat saw the dog . the dog saw the cat .\n" * 20
    prepared = load_data(data(write(tmp_path, text), block=4, tokenizer={"name": tokenizer}))
    preparation = preparation_of(prepared)
    again = preparation_from("language", json.loads(json.dumps(preparation.config())))
    assert again == preparation
    batch = pa.table({"text": ["the cat saw the dog .", "t"]})
    x = again.inputs(batch)
    long = preparation.fitted.encode_running("the cat saw the dog .").tolist()
    first = preparation.fitted.encode_running("t").tolist()
    assert x.tolist() == [long[-4:], [*first, 0, 0, 0]]
    # A model that is sure of what was there, and then of token 1.
    logits = torch.zeros(2, 4, prepared.num_tokens or 0)
    logits[0, :3] = torch.log(F.one_hot(x[0, 1:], prepared.num_tokens or 0) * 0.5 + 1e-9)
    logits[0, 3, 1] = logits[1, 0, 1] = 50.0
    logits[1, 3, 2] = 99.0  # after the text: must not count
    outputs = again.outputs(logits, batch)
    assert outputs["prediction"].tolist() == [preparation.fitted.text_of(1)] * 2
    np.testing.assert_allclose(outputs["confidence"], [1, 1], atol=1e-6)
    np.testing.assert_allclose(outputs["nats_per_token"], [0, math.nan], atol=1e-5)


def test_a_text_that_cannot_be_gone_on_with_is_named(tmp_path: Path) -> None:
    preparation = preparation_of(load_data(data(write(tmp_path, "abba" * 5), block=2)))
    for batch, message in (
        ({"text": ["a", ""]}, "column 'text': row 2 has no text to go on with"),
        ({"text": ["a", "bc"]}, "the text holds the character 'c', which train never had"),
        ({"text": [None]}, "column 'text' lacks the text of row 1"),
        ({"words": ["a"]}, "the data has no column 'text' with the text; there is: words"),
    ):
        with pytest.raises(DataError) as error:
            preparation.inputs(pa.table(batch))
        assert str(error.value) == message


def test_words_that_train_never_had_are_unknown(tmp_path: Path) -> None:
    path = write(tmp_path, "one two\none two\nthree\n")
    split = {"train": 0.7, "validation": 0, "test": 0.3}  # 15 of 22 characters
    prepared = load_data(data(path, block=2, split=split, tokenizer={"name": "words"}))
    assert preparation_of(prepared).fitted.vocabulary == {"unknown token": 0, "one": 1, "two": 2, "\n": 3}
    assert [x for x, _ in blocks(prepared, "train")] == ["onetwo", "two\n", "\none"]
    assert blocks(prepared, "test") == [("\nunknown token", "unknown token\n")]
    assert prepared.notes == ("test: 1 of 3 tokens are unknown",)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (
            "abcd" * 5,
            {"block": 4, "split": {"train": 0.1, "validation": 0.4, "test": 0.5}},
            "data.split.train: 2 tokens are fewer than one block of 4 and the token after it (5 tokens)\n"
            "Make data.params.block shorter, or this split larger.",
        ),
        (
            "abcd" * 5,
            {"block": 4, "split": {"train": 0.8, "validation": 0.2, "test": 0}},
            "data.split.validation: 4 tokens are fewer than one block of 4 and the token after it (5 tokens)\n"
            "Make data.params.block shorter, or this split larger.",
        ),
        (" \n", {}, "data.path: {}: there is no text in it"),
        (
            "abcd" * 5,
            {"split": {"folds": 5}},
            "data.split.folds: a running text is cut at two places only, into train, validation and test\n"
            "Leave folds out, and give shares: data.split.train, validation and test.",
        ),
    ],
)
def test_what_cannot_be_cut_is_refused(tmp_path: Path, text: str, options: dict[str, Any], message: str) -> None:
    path = write(tmp_path, text)
    assert refused(path, **options) == message.replace("{}", str(path))


def test_a_file_in_another_encoding_is_named_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("eins\nzwölf\n".encode("latin-1"))
    assert refused(path).splitlines()[0] == f"data.path: {path}: line 2, byte 3: 0xf6 is not utf-8"
    prepared = load_data(data(path, block=2, encoding="latin-1", split={"train": 0.8, "validation": 0, "test": 0.2,
        "files": {"test": str(path)}}))  # fmt: skip
    assert "".join(x[0] for x, _ in blocks(prepared, "train")) == "eins\nzwöl"


@needs_shakespeare
def test_shakespeare_has_as_many_ids_as_characters() -> None:
    began = time.perf_counter()
    prepared = load_data(data(SHAKESPEARE, block=64, split={"train": 0.9, "validation": 0.1, "test": 0}))
    took = time.perf_counter() - began
    assert took < 2, f"{took:.1f} s"  # 0.1 s when nothing else runs
    text = SHAKESPEARE.read_text()
    assert (prepared.num_tokens, len(text), prepared.notes) == (65, 1_115_394, ())
    train, validation = prepared.splits["train"], prepared.splits["validation"]
    assert (len(train), len(validation)) == (1_003_855 - 64, (111_539 - 1) // 64)
    assert isinstance(train, BlockSamples)
    assert train.tokens.dtype == torch.uint8
    order = [character for character, _ in sorted(Counter(text[:1_003_855]).items(), key=lambda one: (-one[1], one[0]))]
    assert "".join(order[id_] for id_ in train.tokens.tolist()) == text[:1_003_855]
    x, y = validation.gather(torch.arange(len(validation)))
    assert "".join(order[id_] for id_ in y.flatten().tolist()) == text[1_003_855 + 1 :][: y.numel()]
    # The cross-entropy of validation under train's frequencies, in closed form.
    counts, seen = Counter(text[:1_003_855]), Counter(text[1_003_855 + 1 :][: y.numel()])
    nats = -sum(n * math.log(counts[token] / 1_003_855) for token, n in seen.items()) / y.numel()
    assert prepared.baseline is not None
    assert F.cross_entropy(prepared.baseline(x).flatten(0, 1), y.flatten()).item() == pytest.approx(nats, rel=1e-5)
