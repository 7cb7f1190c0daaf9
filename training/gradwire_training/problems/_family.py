"""What the problems of any number of dimensions have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gradwire_training._data import Quantity, Samples, Truth
from gradwire_training.problems._problem import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from gradwire_training._data import Derivatives, Table

ROWS_A_DIMENSION: Final = 50
CZARNECKI: Final = "learned with derivatives by Czarnecki et al., arXiv 1706.04859"


def member(
    name: str,
    dimensions: int,
    *,
    title: str,
    source: str,
    domain: tuple[float, float],
    lowest: NDArray[Any],
    f: Callable[[Table], Table],
    df: Callable[[Table], Derivatives],
) -> Problem:
    """Return the problem of a function f of one input x, in a number of dimensions.

    Args:
        name: of the problem.
        dimensions: of x.
        title: the function's, such as ``"Rosenbrock's function"``.
        source: where it was published.
        domain: bounds of every element of x.
        lowest: the point of the minimum, ``(1, dimensions)``, whose value is pinned.
        f: the values.
        df: the derivatives.
    """
    return Problem(
        truth=Truth(
            name=name,
            inputs=(Quantity("x", shape=(dimensions,)),),
            outputs=(Quantity("f"),),
            domain={"x": domain},
            f=f,
            df=df,
            formula=f"{title} in {dimensions} dimensions",
            derivative_formula="its gradient",
            source=f"{source}; {CZARNECKI}",
        ),
        count=ROWS_A_DIMENSION * dimensions,
        spacing="sobol",
        pins=Samples({"x": lowest}, f({"x": lowest})),
        activation="tanh",
    )
