"""The parameters of each kind of data: what ``data.params`` may say, known without importing torch."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

Missing: TypeAlias = Literal["mean", "median", "most_frequent", "zero", "drop"]


class DataParams(BaseModel):
    """Parameters of one kind of data, as a job file's ``data.params`` gives them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Denoise(DataParams):
    """Smoothing of a series before it is cut into windows; each value from itself and those before it."""

    name: Literal["moving_average", "median"] = Field(description="How")
    width: int = Field(3, ge=2, description="Steps that go into each value")


class ForecastParams(DataParams):
    """How a series becomes windows: ``data.params`` of a forecast."""

    window: int = Field(ge=1, description="Steps the model reads")
    horizon: int = Field(1, ge=1, description="Steps ahead the model predicts")
    header: bool = Field(
        True, description="Whether a CSV's first line names the columns; else they are column_1, column_2, ..."
    )
    rows: int | None = Field(None, ge=1, description="Use only so many rows from the start; default all")
    columns: list[str] | None = Field(None, description="Columns the model reads; default all numeric ones")
    target: list[str] | None = Field(None, description="Columns it predicts; default all that it reads")
    time_column: str | None = Field(None, description="Column with the time; default a first column of dates")
    missing: Literal["interpolate", "forward_fill", "mean"] | None = Field(
        None, description="How missing values are filled, within each split; without a rule they are an error"
    )
    denoise: Denoise | None = Field(None, description="Smoothing of what the model reads; what it predicts stays")
    scale: Literal["standard", "minmax", "none"] = Field("standard", description="Scaling, fitted on train only")
    center: Literal["last"] | None = Field(
        None,
        description="last: subtract each window's last value, so that a trend does not leave the range seen",
    )
    look_back: bool = Field(
        False, description="Whether the first windows of validation and test may read the end of the split before"
    )


class TableParams(DataParams):
    """How the rows of a table become samples."""

    target: str = Field(description="Column that is predicted")
    columns: list[str] | None = Field(None, description="Columns the model reads; default all but the target")
    categorical: list[str] | None = Field(
        None, description="Columns whose values are names, one input each; default those that hold text"
    )
    header: bool = Field(
        True, description="Whether a CSV's first line names the columns; else they are column_1, column_2, ..."
    )
    missing: Missing | None = Field(
        None, description="How missing values are filled (fitted on train), or drop the row; without a rule an error"
    )
    scale: Literal["standard", "minmax", "none"] = Field(
        "standard", description="Scaling of numeric columns (and of a regression's target), fitted on train only"
    )


class Augment(DataParams):
    """Random changes to each training picture; validation and test stay as they are."""

    rotation: float = Field(0.0, ge=0, le=180, description="Largest turn in degrees, either way")
    shift: float = Field(0.0, ge=0, lt=1, description="Largest move, as a share of the picture's size")
    shear: float = Field(0.0, ge=0, lt=90, description="Largest shear in degrees, either way")
    zoom: float = Field(0.0, ge=0, lt=1, description="Largest change of size: 0.1 is 90 % to 110 %")
    flip: bool = Field(False, description="Mirror every other picture, left to right")


class ImageParams(DataParams):
    """How pictures become samples."""

    size: list[int] | None = Field(
        None, min_length=2, max_length=2, description="[height, width] every picture is resized to; default as they are"
    )
    channels: Literal[1, 3] | None = Field(None, description="1 grey, 3 colour; default as they are")
    scale: Literal["minmax", "standard", "none"] = Field(
        "minmax", description="minmax: to [0, 1]; standard: by mean and deviation of train, per channel"
    )
    augment: Augment | None = Field(None, description="Random changes to training pictures")
    bad_files: Literal["refuse", "skip"] = Field(
        "refuse", description="What to do with a file that is no picture: refuse the job, or skip it and say so"
    )
    x: str = Field("x", description="For npz: name of the array with the samples; x_train and x_test go before it")
    y: str = Field("y", description="For npz: name of the array with the targets")


class Tokenizer(DataParams):
    """How text becomes numbers; fitted on train only."""

    name: Literal["characters", "words", "bpe"] = Field("words", description="What a token is")
    vocab_size: int | None = Field(
        None, ge=3, description="Most tokens (padding and unknown are two), the most frequent; default all (bpe: 1000)"
    )
    lowercase: bool = Field(False, description="Whether capitals are made small first")

    @model_validator(mode="after")
    def _room_for_bytes(self) -> Tokenizer:
        if self.name == "bpe" and self.vocab_size is not None and self.vocab_size < 258:
            raise PydanticCustomError(
                "vocab_size",
                "bpe begins with 256 bytes, padding and unknown: vocab_size must be at least 258 (got {got})",
                {"got": self.vocab_size},
            )
        return self


def _known_encoding(name: str) -> str:
    try:
        "a".encode(name)
    except LookupError:
        raise PydanticCustomError(
            "encoding", "no encoding {name}; such as utf-8, latin-1, cp1252, utf-16", {"name": repr(name)}
        ) from None
    return name


Encoding = Annotated[str, AfterValidator(_known_encoding)]


class TextParams(DataParams):
    """How labelled texts become samples."""

    text: str = Field("text", description="For a table: column with the text")
    target: str = Field("label", description="For a table: column with the class")
    length: int | None = Field(
        None, ge=1, description="Tokens a text is cut or padded to; default the longest of train"
    )
    tokenizer: Tokenizer = Field(default_factory=Tokenizer, description="How text becomes numbers")
    encoding: Encoding = Field("utf-8", description="How the files write their characters")
    header: bool = Field(True, description="Whether a CSV's first line names the columns")


class LanguageParams(DataParams):
    """How running text becomes samples."""

    block: int = Field(64, ge=2, description="Tokens the model reads at once")
    tokenizer: Tokenizer = Field(
        default_factory=lambda: Tokenizer(name="characters"), description="How text becomes numbers"
    )
    encoding: Encoding = Field("utf-8", description="How the files write their characters")
