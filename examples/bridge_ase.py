"""ASE finds the shape of three argon atoms and how they vibrate, by the energy, forces and Hessian of a served model.

python examples/bridge_ase.py [ADDRESS]      (after examples/bridge_server.py)
"""

from __future__ import annotations

import sys

import ase
import numpy as np
from ase.optimize import BFGS
from ase.vibrations import VibrationsData

import gradwire
import gradwire.ase


def main(address: str = "localhost:8500") -> None:
    """Relax the atoms, and print their distances and frequencies."""
    with gradwire.connect(address, "argon") as model:
        calculator = gradwire.ase.Calculator(model)
        atoms = ase.Atoms("Ar3", positions=[[0, 0, 0], [3.7, 0, 0], [0, 3.9, 0]], calculator=calculator)
        BFGS(atoms, logfile=None).run(fmax=1e-6)
        distances = atoms.get_all_distances()[np.triu_indices(3, 1)]
        print("energy", atoms.get_potential_energy(), "eV, distances", distances, "angstrom")
        np.testing.assert_allclose(distances, 2 ** (1 / 6) * 3.4, atol=1e-4)
        vibrations = VibrationsData(atoms, calculator.get_hessian(atoms))
        print("frequencies", vibrations.get_frequencies().real[6:], "1/cm")


if __name__ == "__main__":
    main(*sys.argv[1:])
