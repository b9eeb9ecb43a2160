"""Text to token ids: files are decoded, a tokeniser is fitted on train and kept as its JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcluster.data.params import Tokenizer
from dlcluster.errors import DataError
from dlcluster.models.named import near

if TYPE_CHECKING:
    import pyarrow as pa

Ids = np.ndarray[Any, np.dtype[Any]]

# No tokeniser makes a token of several characters with a space in it: no text can mean these two.
PADDING = "no token"
"""Fills a text up to its length; id 0 where there is one."""
UNKNOWN = "unknown token"
"""Stands for what train did not have; the id after padding where there is one."""

# Kim 2014's clean_str, for any alphabet: he's -> he 's, can't -> ca n't, every other mark a token of its own.
_WORDS = r"(?i:\w+?(?=n['\u2019]t(?!\w))|n['\u2019]t(?!\w)|['\u2019](?:s|ve|re|d|ll)(?!\w)|\w+|[^\w\s])"
_ANY_CHARACTER = r"[\s\S]"
_BPE_TOKENS = 1000
_BATCH = 256
_PIECE = 2**14
# Here a running text can be cut without changing a token: GPT-2's pattern makes this line end a word of its own.
_CUT = re.compile(r"\n(?=\S)")


@dataclass(frozen=True)
class FittedTokenizer:
    """A tokeniser that knows its tokens.

    Attributes:
        params: What a token is.
        json: The tokeniser as the ``tokenizers`` library writes it; that library alone can read it again.
    """

    params: Tokenizer
    json: str

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """Id of each token."""
        return dict(json.loads(self.json)["model"]["vocab"])

    @property
    def num_tokens(self) -> int:
        """Number of ids, padding and unknown among them."""
        return len(self.vocabulary)

    @property
    def unknown(self) -> int | None:
        """Id of what train did not have; None where every text can be written without."""
        return self.vocabulary.get(UNKNOWN)

    def encode(self, texts: Sequence[str]) -> tuple[Ids, np.ndarray[Any, np.dtype[np.int64]]]:
        """Turns texts into ids.

        Args:
            texts: So many texts.

        Returns:
            The ids of all texts one after the other in `id_dtype`, and how many of them each text has, ``(texts,)``.

        Raises:
            DataError: When a character is not known and there is no id for unknown ones.
        """
        dtype = id_dtype(self.num_tokens)
        make = self._encode_characters if self.params.name == "characters" else self._encode_by_library
        ids: list[Ids] = [np.empty(0, dtype)]
        lengths: list[int] = []
        for start in range(0, len(texts), _BATCH):  # an encoding of the library is a hundred times its ids
            batch_ids, batch_lengths = make(texts[start : start + _BATCH])
            ids.append(batch_ids.astype(dtype))
            lengths += batch_lengths
        return np.concatenate(ids), np.array(lengths, dtype=np.int64)

    def encode_running(self, text: str) -> Ids:
        """Turns one long text into ids, ``(tokens,)``; as `encode` does, but in pieces."""
        return self.encode(list(_pieces(text)))[0]

    def text_of(self, token: int) -> str:
        """The text a token stands for; of one that is part of a character, U+FFFD."""
        if self.params.name == "bpe":
            return str(self._library.decode([token]))
        return self._tokens[token]

    @cached_property
    def _tokens(self) -> list[str]:
        return sorted(self.vocabulary, key=self.vocabulary.__getitem__)

    @cached_property
    def _library(self) -> Any:
        from tokenizers import Tokenizer as LibraryTokenizer

        return LibraryTokenizer.from_str(self.json)

    @cached_property
    def _by_code_point(self) -> np.ndarray[Any, np.dtype[np.int32]]:
        """Id by code point; the last entry is that of all code points from there on, -1 that there is none."""
        known = {ord(token): id_ for token, id_ in self.vocabulary.items() if len(token) == 1}
        unknown = -1 if self.unknown is None else self.unknown
        table = np.full(max(known, default=0) + 2, unknown, dtype=np.int32)
        table[list(known)] = list(known.values())
        return table

    def _encode_by_library(self, texts: Sequence[str]) -> tuple[Ids, list[int]]:
        encoded = [encoding.ids for encoding in self._library.encode_batch_fast(list(texts))]
        return np.array([id_ for ids in encoded for id_ in ids], dtype=np.int32), [len(ids) for ids in encoded]

    def _encode_characters(self, texts: Sequence[str]) -> tuple[Ids, list[int]]:
        # The library gives the same ids, but takes a second for a million characters; this, milliseconds.
        texts = [_lower(text) for text in texts] if self.params.lowercase else texts
        codes, table = _code_points("".join(texts)), self._by_code_point
        ids = table[np.minimum(codes, len(table) - 1)]
        if self.unknown is None and len(ids) and ids.min() < 0:
            strange = chr(int(codes[int(ids.argmin())]))
            raise DataError(f"the text holds the character {strange!r}, which train never had")
        return ids, [len(text) for text in texts]


def fit(
    params: Tokenizer, texts: Sequence[str], *, padding: bool, unknown: bool, line_ends: bool = False
) -> FittedTokenizer:
    """Fits a tokeniser on the texts of train.

    Padding and unknown come first, where they are asked for, then the tokens: the most frequent first, equally
    frequent ones in the order of their code points; of bpe the bytes, then the merges in the order they were found.
    So the same texts give the same ids on every machine.

    Args:
        params: What a token is, and how many there may be.
        texts: Of train only.
        padding: Whether there is an id for padding.
        unknown: Whether there is an id for tokens train did not have.
        line_ends: Whether the end of a line is a word.
    """
    specials = [PADDING] * padding + [UNKNOWN] * unknown
    if params.name == "characters":
        return FittedTokenizer(params, _fit_characters(params, texts, specials))
    return FittedTokenizer(params, _fit_by_library(params, texts, specials, line_ends))


def characters_of(params: Tokenizer, text: str) -> set[str]:
    """The characters a text is made of, as the tokeniser sees them."""
    found = set(text)
    return set(_lower("".join(found))) if params.lowercase else found


def id_dtype(num_tokens: int) -> type[np.integer[Any]]:
    """The smallest type that torch can index with and that holds every id."""
    if num_tokens <= 2**8:
        return np.uint8
    return np.int16 if num_tokens <= 2**15 else np.int32


def text_column(batch: pa.Table, column: str) -> list[str]:
    """Takes a column of texts.

    Raises:
        DataError: When it is not there, lacks a text or holds something else.
    """
    import pyarrow as pa

    if column not in batch.column_names:
        raise DataError(f"the data has no column {column!r} with the text; {near(column, batch.column_names)}")
    try:
        texts = batch[column].cast(pa.string()).to_pylist()
    except pa.ArrowException:
        raise DataError(f"column {column!r} holds {batch.schema.field(column).type}, not text") from None
    if None in texts:
        raise DataError(f"column {column!r} lacks the text of row {texts.index(None) + 1}")
    return texts  # type: ignore[no-any-return]


def _fit_characters(params: Tokenizer, texts: Sequence[str], specials: list[str]) -> str:
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import Split

    text = "".join(texts)
    codes, counts = np.unique(_code_points(_lower(text) if params.lowercase else text), return_counts=True)
    ordered = [chr(code) for code in codes[np.lexsort((codes, -counts))].tolist()]
    if params.vocab_size is not None:
        ordered = ordered[: params.vocab_size - len(specials)]
    return _word_level(params, [*specials, *ordered], Split(Regex(_ANY_CHARACTER), "isolated"))


def _fit_by_library(params: Tokenizer, texts: Sequence[str], specials: list[str], line_ends: bool) -> str:
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import ByteLevel, Split
    from tokenizers.trainers import BpeTrainer, WordLevelTrainer

    trainer: Any
    if params.name == "bpe":
        tokenizer = _library_bpe(params)
        trainer = BpeTrainer(
            vocab_size=params.vocab_size or _BPE_TOKENS,
            special_tokens=specials,
            initial_alphabet=sorted(ByteLevel.alphabet()),  # so that no text is ever unknown
            show_progress=False,
        )
    else:
        pattern = f"\\n|{_WORDS}" if line_ends else _WORDS
        tokenizer = _library_words(params, Split(Regex(pattern), "removed", invert=True))
        trainer = WordLevelTrainer(vocab_size=params.vocab_size or 2**31, special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator((piece for text in texts for piece in _pieces(text)), trainer)
    made = json.loads(tokenizer.to_str())
    made["added_tokens"] = []  # in the vocabulary they are; listed here, they would be looked for in every text
    return json.dumps(made, ensure_ascii=False)


def _library_bpe(params: Tokenizer) -> Any:
    from tokenizers import Tokenizer as LibraryTokenizer
    from tokenizers import decoders, models, normalizers, pre_tokenizers

    tokenizer = LibraryTokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if params.lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    return tokenizer


def _library_words(params: Tokenizer, split: Any, vocabulary: dict[str, int] | None = None) -> Any:
    from tokenizers import Tokenizer as LibraryTokenizer
    from tokenizers import models, normalizers

    tokenizer = LibraryTokenizer(models.WordLevel(vocabulary or {}, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = split
    if params.lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    return tokenizer


def _word_level(params: Tokenizer, tokens: Sequence[str], split: Any) -> str:
    return str(_library_words(params, split, {token: i for i, token in enumerate(tokens)}).to_str())


def _pieces(text: str) -> Iterator[str]:
    """Cuts a long text where no tokeniser would join the two sides."""
    start = 0
    while len(text) - start > _PIECE:
        found = _CUT.search(text, start + _PIECE)
        if found is None:
            break
        yield text[start : found.start()]
        start = found.start()
    yield text[start:]


def _code_points(text: str) -> np.ndarray[Any, np.dtype[np.uint32]]:
    return np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)


def _lower(text: str) -> str:
    """Small letters, each by itself as the library does: Python alone looks whether a sigma ends a word."""
    return text.replace("\u03a3", "\u03c3").lower()
