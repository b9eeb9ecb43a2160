"""What a job file of kind ``predict`` says: which model, over which data, to where."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dlcluster.spec.fields import Filled
from dlcluster.spec.section import Section


class Predict(Section):
    """Which stored model predicts, over which data, and where its predictions go."""

    run: Filled = Field(
        description="The run whose model it is: its id, the beginning of one, latest, or a model's uri.",
        examples=["latest"],
    )
    data: Filled = Field(
        description="A file, folder or glob, local, s3:// or https://.", examples=["s3://bucket/new/*.parquet"]
    )
    format: Literal["csv", "parquet", "images", "text"] | None = Field(
        default=None, description="What the files are; default: by their ending."
    )
    out: Filled = Field(
        description="A folder or s3://bucket/prefix without files; it gets Parquet, and _SUCCESS once it is whole.",
        examples=["s3://bucket/predictions"],
    )
    batch_size: int = Field(default=1024, ge=1, description="Rows the model is given at once.")
