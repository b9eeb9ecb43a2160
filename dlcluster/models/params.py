"""The parameters of each model: what ``model.params`` may say, known without importing torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

ActivationName: TypeAlias = Literal["relu", "tanh", "sigmoid", "leaky_relu", "gelu"]
Size: TypeAlias = Annotated[int, Field(ge=1)]

_CHANNEL_INDEPENDENT = "Predict each channel of a series from its own past alone, all with the same weights"
_EMBEDDING_SIZE = "Numbers that stand for a token; for texts only"


class Params(BaseModel):
    """Parameters of one model, as a job file's ``model.params`` gives them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class MlpParams(Params):
    """What a multilayer perceptron can be told."""

    hidden: list[Size] = Field([64, 64], description="Units of each hidden layer; [] is a linear model")
    activation: ActivationName = Field("relu", description="After each hidden layer")
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="Dropout after each hidden layer")
    batch_norm: bool = Field(False, description="Batch normalisation before each activation")
    embedding_size: int = Field(64, ge=1, description=_EMBEDDING_SIZE)
    channel_independent: bool = Field(False, description=_CHANNEL_INDEPENDENT)


class CnnParams(Params):
    """What a convolutional network can be told."""

    filters: list[Size] = Field([32, 64], min_length=1, description="Filters of each block: convolution, then pooling")
    kernel_size: int = Field(3, ge=1, description="Width of every filter")
    padding: Literal["valid", "same"] = Field(
        "valid", description="Zeros around what a convolution reads: none, or so many that its size stays"
    )
    pool: int = Field(2, ge=1, description="Width of the max-pooling after each convolution; 1 is none")
    dense: list[Size] = Field([64], description="Units of each dense layer after the blocks")
    activation: ActivationName = Field("relu", description="After each convolution and dense layer")
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="Dropout between the blocks and the dense layers")
    batch_norm: bool = Field(False, description="Batch normalisation before each activation of a block")

    @field_validator("padding")
    @classmethod
    def _odd_kernel(cls, padding: str, info: ValidationInfo) -> str:
        size = info.data.get("kernel_size", 1)
        if padding == "same" and size % 2 == 0:
            raise PydanticCustomError("odd", "same needs an odd kernel_size, such as {odd}", {"odd": size + 1})
        return padding


class TextCnnParams(Params):
    """What a convolutional network over texts can be told."""

    embedding_size: int = Field(128, ge=1, description="Numbers that stand for a token")
    widths: list[Size] = Field([3, 4, 5], min_length=1, description="Tokens that filters look at, side by side")
    filters: int = Field(100, ge=1, description="Filters of each width")
    dropout: float = Field(0.5, ge=0.0, lt=1.0, description="Dropout before the last layer")


class RecurrentParams(Params):
    """What a recurrent network can be told."""

    hidden_size: int = Field(50, ge=1, description="Units in each layer")
    num_layers: int = Field(1, ge=1, description="Layers on top of each other")
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="Dropout between layers and before the head")
    bidirectional: bool = Field(False, description="Read in both directions; not for a language model")
    embedding_size: int = Field(64, ge=1, description=_EMBEDDING_SIZE)
    channel_independent: bool = Field(False, description=_CHANNEL_INDEPENDENT)


class TransformerParams(Params):
    """What a transformer can be told."""

    embed_size: int = Field(32, ge=1, description="Numbers that stand for a step or a token")
    num_heads: int = Field(
        2, ge=1, validate_default=True, description="Heads of each attention; each has its share of embed_size"
    )
    feedforward_size: int = Field(32, ge=1, description="Units between the two layers after each attention")
    num_layers: int = Field(1, ge=1, description="Blocks of attention on top of each other")
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="Dropout of attention, of what each part adds, and of x")
    positions: Literal["learned", "sinusoidal"] = Field("learned", description="How a step knows where it stands")
    channel_independent: bool = Field(False, description=_CHANNEL_INDEPENDENT)

    @field_validator("num_heads")
    @classmethod
    def _shares(cls, heads: int, info: ValidationInfo) -> int:
        size: Any = info.data.get("embed_size", heads)
        if size % heads:
            raise PydanticCustomError(
                "shares", "must divide embed_size (got {heads} for {size})", {"heads": heads, "size": size}
            )
        return heads


class PersistenceParams(Params):
    """Persistence has nothing to be told."""
