r"""A ridge against noise, estimated from the data.

Bayesian evidence (MacKay, Neural Computation 4 (1992) 415-447; with Levenberg-Marquardt, Foresee and Hagan, IJCNN 1997)
weighs the squares of m residuals, F, against the squares of the weights, :math:`|p|^2`, so that F has m minus gamma
degrees of freedom and :math:`|p|^2` has gamma:

.. math:: \gamma = \sum_i \frac{k_i}{k_i + \lambda}, \qquad \lambda = \frac{\gamma}{|p|^2} \cdot \frac{F}{m - \gamma},

with k the eigenvalues of :math:`J J^T`. Exact labels let F fall forever, and the ridge falls with it: on 19 exact
points of the logarithm it ends at 5e-17 and changes no significant digit. With noise F stops at the noise, and the
ridge restrains the weights that would fit it: with 1% on 100 points, the error is the same after 100 steps and after
1,000, where without it the error of the derivative has doubled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from gradwire_training.optimizers._damped import Damped

Array: TypeAlias = "NDArray[np.float64]"

# Steps in which F must have stopped falling before the first estimate: until then it says how far away the fit is, not
# how noisy the labels are. A plateau that a fit leaves again takes some 20 steps.
WINDOW: Final = 50
FALLING: Final = 0.8  # fraction of F a window ago: below it, F is still falling
EVERY: Final = 5  # steps at least from one estimate to the next
FAR: Final = (
    0.5  # fraction of F at the start: above it, a ridge could draw all weights to zero, where F / |p|^2 is infinite
)
GROWTH: Final = 0.1  # of the steps done, from one estimate to the next: eigenvalues take longer than a step
ROUNDS: Final = 3  # of the two equations in turn: they settle to a few percent
HALF: Final = 0.5  # of the residuals: gamma before the first estimate
LEAST: Final = 1e-3  # of the residuals: degrees of freedom that F keeps, though gamma may reach their number


@final
@dataclass(frozen=True, slots=True)
class Ridge:
    """The current ridge, and when it is estimated next."""

    value: float = 0.0  # lambda
    due: int = WINDOW
    seen: float = math.inf  # F a window ago; 0 once F has stopped falling

    def estimated(
        self, step: int, equations: Damped, loss: float, *, first: float, size: float, residuals: int
    ) -> Ridge:
        """Return a new estimate if it is due and F, the ``loss``, has stopped falling; ``size`` is |p|^2."""
        if step < self.due or not size:
            return self
        if loss > FAR * first or loss < FALLING * self.seen:
            return Ridge(0.0, step + WINDOW, loss)
        eigenvalues, value = equations.spectrum(), self.value
        for _ in range(ROUNDS):
            gamma = float(np.sum(eigenvalues / (eigenvalues + value))) if value else HALF * residuals
            value = gamma / size * loss / max(residuals - gamma, LEAST * residuals)
        return Ridge(value, step + max(EVERY, int(GROWTH * step)), 0.0)
