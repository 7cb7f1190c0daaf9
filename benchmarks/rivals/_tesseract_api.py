"""What Tesseract serves: log x and 1/x, as two outputs of one ``apply``."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel
from tesseract_core.runtime import Array, Float64


class InputSchema(BaseModel):
    x: Array[(None,), Float64]


class OutputSchema(BaseModel):
    f: Array[(None,), Float64]
    df_dx: Array[(None,), Float64]


def apply(inputs: InputSchema) -> OutputSchema:
    return OutputSchema(f=np.log(inputs.x), df_dx=1 / inputs.x)
