"""Tokenisers: what a token is, which id it has, and that the same text has the same ids everywhere."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from tokenizers import Tokenizer as LibraryTokenizer

from dlcluster.data.params import LanguageParams, TextParams, Tokenizer
from dlcluster.data.tokens import FittedTokenizer, fit, id_dtype
from dlcluster.errors import DataError


def tokens(fitted: FittedTokenizer) -> list[str]:
    assert sorted(fitted.vocabulary.values()) == list(range(fitted.num_tokens))
    return sorted(fitted.vocabulary, key=fitted.vocabulary.__getitem__)


def encoded(fitted: FittedTokenizer, *texts: str) -> list[list[int]]:
    ids, lengths = fitted.encode(texts)
    return [part.tolist() for part in np.split(ids, np.cumsum(lengths)[:-1])]


def words_of(text: str, **params: Any) -> list[str]:
    fitted = fit(Tokenizer(name="words", **params), [text], padding=False, unknown=True)
    return [fitted.text_of(id_) for id_ in encoded(fitted, text)[0]]


def test_words_are_split_as_kim_splits_them() -> None:
    # CNN_sentence, process_data.py: clean_str gives these, apart from what it throws away
    assert words_of(
        "It's GOOD (isn't it?), they've said; she'd \t we'll `re-do' 3.5 naïve café!\n", lowercase=True
    ) == [
        *["it", "'s", "good", "(", "is", "n't", "it", "?", ")", ",", "they", "'ve", "said", ";", "she", "'d"],
        *["we", "'ll", "`", "re", "-", "do", "'", "3", ".", "5", "naïve", "café", "!"],
    ]
    assert words_of("CAN'T don\u2019t He\u2019s n't") == ["CA", "N'T", "do", "n\u2019t", "He", "\u2019s", "n't"]


def test_words_come_in_the_order_of_their_frequency_then_of_their_text() -> None:
    texts = ["b a b c", "c a b Z d"]
    params = Tokenizer(name="words")
    assert tokens(fit(params, texts, padding=True, unknown=True)) == ["no token", "unknown token", *"bacZd"]
    cut = fit(Tokenizer(name="words", vocab_size=5), texts, padding=True, unknown=True)
    assert tokens(cut) == ["no token", "unknown token", *"bac"]
    assert encoded(cut, "d c a zzz", "", "b") == [[1, 4, 3, 1], [], [2]]


def test_characters_come_in_the_order_of_their_frequency_then_of_their_code_point() -> None:
    texts = ["héé", "\nb a\U0001f600"]
    fitted = fit(Tokenizer(name="characters"), texts, padding=False, unknown=False)
    assert tokens(fitted) == ["é", "\n", " ", "a", "b", "h", "\U0001f600"]
    assert encoded(fitted, "béh", "", "\U0001f600\n") == [[4, 0, 5], [], [6, 1]]
    cut = fit(Tokenizer(name="characters", vocab_size=3), texts, padding=False, unknown=True)
    assert tokens(cut) == ["unknown token", "é", "\n"]
    assert encoded(cut, "h\né\U0001f601") == [[0, 2, 1, 0]]


def test_a_character_without_an_id_is_named() -> None:
    fitted = fit(Tokenizer(name="characters"), ["abc"], padding=False, unknown=False)
    with pytest.raises(DataError) as error:
        fitted.encode(["ab", "c\u00c6"])
    assert str(error.value) == "the text holds the character 'Æ', which train never had"


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("name", ["characters", "words", "bpe"])
def test_the_library_alone_reads_the_json_and_gives_the_same_ids(name: Any, lowercase: bool) -> None:
    train = ["The quick BROWN fox isn't here.\nΣΔΣ İstanbul", "  no token  [PAD] unknown token"]
    later = ["The fox Σς", "quick \n\n brown", "", "no token unknown"]
    fitted = fit(Tokenizer(name=name, lowercase=lowercase), train, padding=True, unknown=True)
    theirs = LibraryTokenizer.from_str(fitted.json)
    expected = [theirs.encode(text).ids for text in [*train, *later]]
    assert encoded(fitted, *train, *later) == expected
    assert theirs.get_vocab_size() == fitted.num_tokens
    again = FittedTokenizer(fitted.params, json.loads(json.dumps(fitted.json)))
    assert encoded(again, *train, *later) == expected
    # Whatever a text says, it never means the two ids that stand for no text.
    assert not {0, 1} & {id_ for ids in expected[: len(train)] for id_ in ids}


def test_bpe_knows_every_text() -> None:
    fitted = fit(Tokenizer(name="bpe", vocab_size=300), ["low lower lowest " * 50], padding=True, unknown=True)
    text = "Lüge \U0001f600 \x00 低"
    ids = encoded(fitted, text)[0]
    assert 1 not in ids
    assert LibraryTokenizer.from_str(fitted.json).decode(ids) == text
    assert encoded(fitted, "low lowest") == [[fitted.vocabulary["low"], fitted.vocabulary["Ġlowest"]]]
    assert fitted.text_of(fitted.vocabulary["Ġlowest"]) == " lowest"
    # lo low, then with the space before it _low _lowe, st, _lower _lowest: there is nothing more to merge
    assert fitted.num_tokens == 256 + 2 + 7


@pytest.mark.parametrize("name", ["characters", "words", "bpe"])
def test_a_long_text_in_pieces_has_the_ids_of_the_whole(name: Any) -> None:
    draw = random.Random(0)
    text = "".join(draw.choices(["\n", "\n\n", " ", "\t", "a", "bc", "'s", "n't", "é", ".", "7"], k=60_000))
    fitted = fit(Tokenizer(name=name), [text], padding=False, unknown=name == "words", line_ends=True)
    assert fitted.encode_running(text).tolist() == LibraryTokenizer.from_str(fitted.json).encode(text).ids


def test_a_line_end_is_a_word_where_it_is_asked_for() -> None:
    texts = ["a\nb\n\na"]
    assert encoded(fit(Tokenizer(), texts, padding=False, unknown=True), *texts) == [[1, 2, 1]]
    fitted = fit(Tokenizer(), texts, padding=False, unknown=True, line_ends=True)
    assert tokens(fitted) == ["unknown token", "\n", "a", "b"]
    assert encoded(fitted, *texts) == [[2, 1, 3, 1, 1, 2]]


def test_words_are_counted_as_python_counts_them() -> None:
    draw = random.Random(1)
    texts = [" ".join(draw.choices([f"w{i}" for i in range(500)], k=20)) for _ in range(300)]
    counts = Counter(word for text in texts for word in text.split())
    expected = sorted(counts, key=lambda word: (-counts[word], word))
    fitted = fit(Tokenizer(vocab_size=102), texts, padding=True, unknown=True)
    assert tokens(fitted) == ["no token", "unknown token", *expected[:100]]


def test_ids_are_the_same_in_every_process() -> None:
    code = """
import random, hashlib
from dlcluster.data.params import Tokenizer
from dlcluster.data.tokens import fit
draw = random.Random(0)
texts = [" ".join("".join(draw.choices("abcde", k=3)) for _ in range(20)) for _ in range(500)]
for name, size in (("words", 60), ("characters", 5), ("bpe", 300)):
    print(hashlib.sha256(fit(Tokenizer(name=name, vocab_size=size), texts, padding=True, unknown=True).json.encode())
          .hexdigest())
"""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": str(seed), "RAYON_NUM_THREADS": str(seed)},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in (1, 2, 3)
    }
    assert len(outputs) == 1
    assert len(outputs.pop().split()) == 3


def test_ids_are_kept_in_the_smallest_type_that_torch_can_index_with() -> None:
    assert [id_dtype(n) for n in (2, 256, 257, 32_768, 32_769)] == [
        np.uint8, np.uint8, np.int16, np.int16, np.int32,
    ]  # fmt: skip
    fitted = fit(Tokenizer(name="characters"), ["".join(map(chr, range(33, 400)))], padding=False, unknown=False)
    ids, _ = fitted.encode([chr(33), chr(399)])
    assert ids.tolist() == [0, 366]
    assert ids.dtype == np.int16


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"tokenizer": {"name": "bpe", "vocab_size": 257}},
            "bpe begins with 256 bytes, padding and unknown: vocab_size must be at least 258 (got 257)",
        ),
        ({"tokenizer": {"vocab_size": 2}}, "Input should be greater than or equal to 3"),
        ({"encoding": "latin-99"}, "no encoding 'latin-99'; such as utf-8, latin-1, cp1252, utf-16"),
        ({"encoding": "base64"}, "no encoding 'base64'; such as utf-8, latin-1, cp1252, utf-16"),
    ],
)
@pytest.mark.parametrize("model", [TextParams, LanguageParams])
def test_bad_parameters_are_found_without_data(model: Any, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        model.model_validate(params)
    assert [found["msg"] for found in error.value.errors()] == [message]
