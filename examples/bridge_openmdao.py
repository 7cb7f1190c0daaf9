"""A served function as a component of an OpenMDAO problem, with units.

python examples/bridge_openmdao.py [ADDRESS]      (after examples/bridge_server.py)
"""

from __future__ import annotations

import sys

import openmdao.api as om

import gradwire
import gradwire.openmdao


def main(address: str = "localhost:8500") -> None:
    """Find the position with the largest force at one time."""
    with gradwire.connect(address, "curved") as model:
        problem = om.Problem(reports=False)
        problem.model.add_subsystem("force", gradwire.openmdao.Component(model), promotes=["*"])
        problem.model.add_design_var("x", lower=-100, upper=100, units="cm")
        problem.model.add_objective("f", scaler=-1)
        problem.driver = om.ScipyOptimizeDriver(optimizer="SLSQP", disp=False)
        problem.setup()
        problem.set_val("t", 1500, units="ms")
        problem.set_val("x", [0.5, 0.5, 0.5], units="m")
        problem.run_model()
        force = problem.get_val("f").copy()
        problem.run_driver()
        print("largest force:", problem.get_val("f", units="N")[0], "N at", problem.get_val("x", units="m"), "m")
        assert problem.get_val("f") > force


if __name__ == "__main__":
    main(*sys.argv[1:])
