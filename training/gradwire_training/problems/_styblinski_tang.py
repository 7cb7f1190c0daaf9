"""The function of Styblinski and Tang in any number of dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gradwire_training._networks import mlp
from gradwire_training._samples import Samples
from gradwire_training._truth import Quantity, Truth
from gradwire_training.problems._problem import Problem

if TYPE_CHECKING:
    import keras

    from gradwire_training._truth import Derivatives, Table

DOMAIN: Final = (-5.0, 5.0)
LOWEST: Final = -2.9035340277711771  # where every number of the minimum lies: a root of 4x^3 - 32x + 5
ROWS_A_DIMENSION: Final = 50
WIDTHS: Final = (32, 32)


def styblinski_tang(dimensions: int, name: str) -> Problem:
    """Makes the problem: f = 1/2 sum over i of x[i]^4 - 16 x[i]^2 + 5 x[i].

    Its minimum is -39.16616570377142 a dimension.

    Args:
        dimensions: of x, 1 or more.
        name: by which it is known.
    """
    x = {"x": np.full((1, dimensions), LOWEST)}

    def network(seed: int, samples: Samples, **layers: Any) -> keras.Model:
        chosen = {"widths": WIDTHS, "activation": "tanh", **layers}
        return mlp(
            inputs={"x": dimensions},
            outputs={"f": 1},
            seed=seed,
            scale=samples,
            **chosen,
        )

    return Problem(
        truth=Truth(
            name=name,
            inputs=(Quantity("x", shape=(dimensions,)),),
            outputs=(Quantity("f"),),
            domain={"x": DOMAIN},
            f=_values,
            df=_derivatives,
            formula=f"Styblinski and Tang's function of {dimensions} numbers",
            derivative_formula="its gradient",
            source="Styblinski and Tang, Neural Networks 3, 1990; learnt with derivatives by Czarnecki et al., "
            "arXiv 1706.04859",
        ),
        count=ROWS_A_DIMENSION * dimensions,
        spacing="sobol",
        pins=Samples(x, _values(x)),
        build=network,
    )


def _values(x: Table) -> Table:
    point = x["x"]
    return {"f": (point**4 - 16 * point**2 + 5 * point).sum(axis=1, keepdims=True) / 2}


def _derivatives(x: Table) -> Derivatives:
    return {"f": {"x": 2 * x["x"] ** 3 - 16 * x["x"] + 2.5}}
