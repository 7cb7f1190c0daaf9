"""The logarithm on [0.1, 1.9], with its derivative 1/x; network and samples are those of the reference blog post."""

from __future__ import annotations

from typing import Final

import numpy as np

from gradwire_training._data import Derivatives, Quantity, Samples, Table, Truth
from gradwire_training.problems._problem import Problem

WIDTHS: Final = (20, 20)  # Sequential 1-20-20-1, 481 parameters
ROWS: Final = 19  # arange(0.1, 2, 0.1)


def _values(x: Table) -> Table:
    return {"f": np.log(x["x"])}


def _derivatives(x: Table) -> Derivatives:
    return {"f": {"x": 1.0 / x["x"]}}


LOG: Final = Problem(
    truth=Truth(
        name="log",
        inputs=(Quantity("x"),),
        outputs=(Quantity("f"),),
        domain={"x": (0.1, 1.9)},
        f=_values,
        df=_derivatives,
        formula="log x",
        derivative_formula="1/x",
        source="a blog post on serving a network of log x: x = arange(0.1, 2, 0.1), SGD 0.1, 10,000 epochs",
    ),
    count=ROWS,
    pins=Samples([1.0], [0.0]),  # log 1 = 0
    widths=WIDTHS,
    activation="sigmoid",
    is_scaled=False,
)
