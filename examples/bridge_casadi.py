"""CasADi and IPOPT find the cheapest control of a system whose right-hand side is served, by exact derivatives.

python examples/bridge_casadi.py [ADDRESS]      (after examples/bridge_server.py)
"""

from __future__ import annotations

import sys

import casadi
import numpy as np

import gradwire
import gradwire.casadi

STEPS = 20
START, END = 2.0, 1.0


def main(address: str = "localhost:8500") -> None:
    """Steer x from 2 to 1 in one second against dx/dt = log x + u, with the least ∫ u² dt."""
    with gradwire.connect(address, "log") as model:
        drift = gradwire.casadi.wrap(model, rows=STEPS + 1)  # every node of the grid in one call
        opti, h = casadi.Opti(), 1 / STEPS
        x, u = opti.variable(1, STEPS + 1), opti.variable(1, STEPS)
        rate = drift(x)
        opti.minimize(h * casadi.sumsqr(u))
        opti.subject_to(x[1:] == x[:-1] + h * ((rate[:-1] + rate[1:]) / 2 + u))  # trapezoidal rule
        opti.subject_to(x[0] == START)
        opti.subject_to(x[-1] == END)
        opti.set_initial(x, np.linspace(START, END, STEPS + 1))
        opti.solver("ipopt", {"print_time": False}, {"print_level": 0, "sb": "yes"})
        solution = opti.solve()
    path, control = solution.value(x), solution.value(u)
    print(
        f"cost {solution.value(opti.f):.4f} after {solution.stats()['iter_count']} iterations; u from", control[[0, -1]]
    )
    # Along an optimal path the Hamiltonian u² / 2 + λ (log x + u), where λ = -u, does not change (Pontryagin).
    middle = (np.log(path[1:]) + np.log(path[:-1])) / 2
    np.testing.assert_allclose(
        control**2 / 2 + control * middle, control[0] ** 2 / 2 + control[0] * middle[0], rtol=5e-3
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
