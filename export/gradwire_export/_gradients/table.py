"""The table of TensorFlow's operations whose registered gradient is wrong or NaN at points that data hit.

Kinks are not in it: there the function itself has no derivative, and TensorFlow returns that of one side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from gradwire_export._gradients import determinants, means, powers, products, special, ties
from gradwire_export._gradients.registry import Replacement, replaced_gradients

# By operation: the gradient that is right, in place of TensorFlow's.
REPLACEMENTS: Final[Mapping[str, Replacement]] = {
    means.STOP: means.gradient_of_stop,  # second: the mean in a variance is held fixed
    "Prod": products.gradient_of_prod,  # second: wrong where a factor is 0
    "Cumprod": products.gradient_of_cumprod,  # first and second: wrong where a factor is 0
    "Pow": powers.gradient_of_pow,  # first: NaN at 0 for the exponent 0; second: for the exponent 1
    "MatrixDeterminant": determinants.gradient_of_determinant,  # first and second: fails for a singular matrix
    "Xlogy": special.gradient_of_xlogy,  # first and second: 0 where x is 0
    "Xlog1py": special.gradient_of_xlog1py,  # the same
    "Xdivy": special.gradient_of_xdivy,  # the same
    "BesselI1": special.gradient_of_bessel_i1,  # first: twice too large at 0; second: NaN
    "BesselI1e": special.gradient_of_bessel_i1e,  # second: NaN at 0
    "BesselJ1": special.gradient_of_bessel_j1,  # second: NaN at 0
    "TruncateMod": special.gradient_of_truncate_mod,  # first: missing
    "SoftsignGrad": special.gradient_of_softsign_grad,  # second: missing
    **ties.TIES,  # first and second: a mixture of both sides where several of them make up a smooth function
}


@contextmanager
def right_gradients() -> Iterator[None]:
    """Replace, in the block, the gradients of TensorFlow that are wrong; everything else keeps its gradient."""
    with replaced_gradients(REPLACEMENTS):
        yield
