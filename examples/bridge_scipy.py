"""SciPy minimises a served function with its exact gradient and Hessian.

python examples/bridge_scipy.py [ADDRESS]      (after examples/bridge_server.py)
"""

from __future__ import annotations

import sys

import numpy as np
from scipy import optimize

import gradwire
import gradwire.scipy


def main(address: str = "localhost:8500") -> None:
    """Find the minimum of Rosenbrock's function, and the x whose logarithm is 0.5."""
    with gradwire.connect(address, "rosenbrock") as model:
        f = gradwire.scipy.wrap(model)
        minimum = optimize.minimize(f.fun_and_jac, [-1.2, 1.0], jac=True, hessp=f.hessp, method="Newton-CG", tol=1e-10)
        print("minimum of Rosenbrock's function:", minimum.x, "after", minimum.nit, "iterations")
        np.testing.assert_allclose(minimum.x, 1.0, atol=1e-6)
    with gradwire.connect(address, "log") as model:
        log = gradwire.scipy.wrap(model)
        root = optimize.least_squares(lambda x: log.fun(x) - 0.5, [3.0], jac=log.jac)
        print("log x = 0.5 at x =", root.x[0], "after", root.nfev, "calls")
        np.testing.assert_allclose(root.x, np.exp(0.5), rtol=1e-6)


if __name__ == "__main__":
    main(*sys.argv[1:])
