"""ASE over served models: energy, forces and vibrations of six argon atoms against ASE's own Lennard-Jones."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from dataclasses import replace
from functools import partial

import ase
import ase.units
import numpy as np
import pytest
import tensorflow as tf
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.lj import LennardJones
from ase.optimize import BFGS
from ase.vibrations import Vibrations, VibrationsData

import gradwire
import gradwire.ase
from gradwire.testing import RecordingTransport
from gradwire_export import export

EPSILON, SIGMA, ATOMS = 0.0104, 3.4, 6  # eV and Å, of argon
FIRST, SECOND = np.triu_indices(ATOMS, 1)
# Six atoms near an octahedron, the lowest energy of so many.
OCTAHEDRON = 2.65 * np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
SHAKEN = OCTAHEDRON + np.random.default_rng(0).normal(scale=0.08, size=(ATOMS, 3))


def lennard_jones(positions: tf.Tensor) -> tf.Tensor:
    """The energy in eV of positions in Å, ``(batch, 6, 3)``; every pair counts."""
    moves = tf.gather(positions, FIRST, axis=1) - tf.gather(positions, SECOND, axis=1)
    inverse = SIGMA**2 / tf.reduce_sum(moves * moves, -1)
    return 4 * EPSILON * tf.reduce_sum(inverse**6 - inverse**3, -1, keepdims=True)


def in_atomic_units(positions: tf.Tensor) -> tf.Tensor:
    """The same in hartree, of positions in bohr."""
    return lennard_jones(positions * ase.units.Bohr) / ase.units.Hartree


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """The same energy in Å and eV, in bohr and hartree, and without units."""
    root = tmp_path_factory.mktemp("ase")
    inputs = {"positions": tf.TensorSpec((None, ATOMS, 3), tf.float64)}
    for name, function, units in (
        ("argon", lennard_jones, {"positions": "Å", "energy": "eV"}),
        ("atomic", in_atomic_units, {"positions": "bohr", "energy": "hartree"}),
        ("bare", lennard_jones, {}),
    ):
        box = (OCTAHEDRON - 0.3, OCTAHEDRON + 0.3)
        scale = 1 / ase.units.Bohr if name == "atomic" else 1.0
        export(
            function, to=root / name, inputs=inputs, outputs=["energy"], units=units,
            domain={"positions": tuple(scale * bound for bound in box)}, signatures=["hvp", "hessian"],
        )  # fmt: skip
    return root


@pytest.fixture(scope="module")
def argon(packages):
    """The model in ASE's own units."""
    with gradwire.load(packages / "argon") as model:
        yield model


@pytest.fixture
def atoms():
    """Six argon atoms off their minimum."""
    return ase.Atoms(f"Ar{ATOMS}", positions=SHAKEN)


def theirs():
    """ASE's calculator of the same function: no cutoff comes near."""
    return LennardJones(epsilon=EPSILON, sigma=SIGMA, rc=1e3)


def counted(model, hidden=()):
    """The model without some of its signatures, and the list of its calls."""
    transport = RecordingTransport(model._transport, hidden=hidden)
    return gradwire.Model(transport), transport.calls


def stated(model, **changes):
    """The model with another card: the inputs and outputs have these changes."""
    functions = {name: partial(model.predict, name) for name in ("serving_default", "hvp")}
    return gradwire.Model(gradwire.FakeTransport(functions, card=replace(model.card, **changes)))


@pytest.mark.parametrize("name", ["argon", "atomic"])
def test_energy_and_forces_are_those_of_ases_own_calculator(packages, atoms, name):
    """In eV and eV/Å, whichever units the card has: those of hartree and bohr are converted."""
    atoms.calc = gradwire.ase.Calculator(packages / name)
    other = atoms.copy()
    other.calc = theirs()
    assert isinstance(atoms.get_potential_energy(), float)
    np.testing.assert_allclose(
        atoms.get_potential_energy(), other.get_potential_energy(), rtol=1e-7
    )  # rc shifts theirs
    np.testing.assert_allclose(atoms.get_forces(), other.get_forces(), rtol=0, atol=1e-10)
    np.testing.assert_allclose(atoms.get_forces().sum(axis=0), 0, atol=1e-13)


def test_a_point_is_one_call(argon, atoms):
    """Energy and forces come together; ASE remembers them until an atom moves."""
    model, calls = counted(argon)
    atoms.calc = gradwire.ase.Calculator(model)
    atoms.get_potential_energy()
    atoms.get_forces()
    assert calls == [("serving_default", 1)]
    atoms.positions[0, 0] += 0.01
    atoms.get_forces()
    assert calls == [("serving_default", 1)] * 2


def test_ases_optimiser_finds_the_minimum(argon, atoms):
    """BFGS by the model's forces ends at the octahedron, -12.712062 epsilon (Hoare and Pal 1971), as by ASE's own."""
    atoms.calc = gradwire.ase.Calculator(argon)
    assert BFGS(atoms, logfile=None).run(fmax=1e-7, steps=200)
    assert atoms.get_potential_energy() / EPSILON == pytest.approx(-12.712062, abs=1e-6)
    other = ase.Atoms(f"Ar{ATOMS}", positions=SHAKEN, calculator=theirs())
    assert BFGS(other, logfile=None).run(fmax=1e-7, steps=200)
    np.testing.assert_allclose(
        np.sort(atoms.get_all_distances(), axis=None), np.sort(other.get_all_distances(), axis=None), atol=1e-5
    )


@pytest.mark.parametrize("name", ["argon", "atomic"])
def test_vibrations_are_those_of_finite_differences(packages, atoms, tmp_path, name):
    """The Hessian against ASE's differences of ASE's own forces, and against the energies of the vibrations."""
    atoms.calc = theirs()
    BFGS(atoms, logfile=None).run(fmax=1e-8, steps=300)
    vibrations = Vibrations(atoms, name=str(tmp_path / "vib"), delta=1e-4)
    vibrations.run()
    differences = vibrations.get_vibrations()
    hessian = gradwire.ase.Calculator(packages / name).get_hessian(atoms)
    assert hessian.shape == (ATOMS, 3, ATOMS, 3)
    scale = abs(hessian).max()
    np.testing.assert_allclose(hessian, differences.get_hessian(), rtol=0, atol=1e-6 * scale)
    square = hessian.reshape(3 * ATOMS, -1)
    np.testing.assert_allclose(square, square.T, rtol=0, atol=1e-12 * scale)
    np.testing.assert_allclose(hessian.sum(axis=0), 0, atol=1e-12 * scale)  # moving all at once costs nothing
    energies = VibrationsData(atoms, hessian).get_energies().real  # eV, three moves and three turns first
    np.testing.assert_allclose(energies[6:], differences.get_energies().real[6:], rtol=1e-5)


def test_the_hessian_is_the_same_by_the_signature_and_by_products(argon, atoms):
    """One row of `hessian`, or `hvp` along every coordinate."""
    matrices = []
    for hidden, call in (((), ("hessian", 1)), (("hessian",), ("hvp", 3 * ATOMS))):
        model, calls = counted(argon, hidden)
        matrices.append(gradwire.ase.Calculator(model).get_hessian(atoms))
        assert calls == [call]
    np.testing.assert_allclose(*matrices, rtol=0, atol=1e-12 * abs(matrices[0]).max())


def test_it_pickles_and_copies(packages, atoms):
    """As the directory that it was loaded from; a copy computes the same, here and in another process."""
    calculator = gradwire.ase.Calculator(packages / "argon")
    atoms.calc = calculator
    energy = atoms.get_potential_energy()
    for other in (copy.deepcopy(calculator), pickle.loads(pickle.dumps(calculator))):
        twin = ase.Atoms(f"Ar{ATOMS}", positions=SHAKEN, calculator=other)
        assert twin.get_potential_energy() == energy
    assert copy.deepcopy(atoms).get_potential_energy() == energy
    text = f"import pickle; print(repr(pickle.loads({pickle.dumps(atoms)!r}).get_potential_energy()))"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=200, check=True)
    assert float(done.stdout.split()[-1]) == energy


def test_an_address_will_do(address, served):
    """A model on a server by its address and name; one that is no energy of atoms is refused by its inputs."""
    with pytest.raises(gradwire.UsageError, match=r"has the inputs \{'x': \(3,\), 't': \(1,\)\}, expected one"):
        gradwire.ase.Calculator(address, "curved")
    with pytest.raises(gradwire.UsageError, match="give the model's name too"):
        gradwire.ase.Calculator(address)
    with pytest.raises(gradwire.UsageError, match="leave it out"):
        gradwire.ase.Calculator(served("curved")[0], "curved")


def test_units_are_the_cards_or_stated(packages, argon, atoms):
    """A unit that the card lacks is to be stated; one that it has cannot be overruled; an unknown one is refused."""
    with pytest.raises(gradwire.UsageError, match="no unit of 'positions': state it, length_unit='Å'"):
        gradwire.ase.Calculator(packages / "bare")
    atoms.calc = gradwire.ase.Calculator(packages / "bare", length_unit="Å", energy_unit="eV")
    energy = atoms.get_potential_energy()
    assert energy == ase.Atoms(atoms, calculator=gradwire.ase.Calculator(argon)).get_potential_energy()
    with pytest.raises(gradwire.UsageError, match="length_unit='bohr', and on the card 'positions' has the unit 'Å'"):
        gradwire.ase.Calculator(argon, length_unit="bohr")
    strange = stated(argon, outputs=(replace(argon.card.outputs[0], unit="epsilon"),))
    with pytest.raises(gradwire.UsageError, match="'energy' has the unit 'epsilon', expected one of eV"):
        gradwire.ase.Calculator(strange)


MISTAKES = {
    "fewer atoms": (ase.Atoms("Ar5", positions=SHAKEN[:5]), gradwire.ShapeError, "5 atoms, and .* takes 6"),
    "a cell": (ase.Atoms("Ar6", positions=SHAKEN, cell=[20] * 3, pbc=True), gradwire.UsageError, "periodic cell"),
    "other atoms": (ase.Atoms("Ar5Kr", positions=SHAKEN), gradwire.UsageError, "trained on Kr Ar Ar Ar Ar Ar"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_atoms_that_the_model_does_not_know_are_refused(argon, name):
    """By forces and Hessian alike: another number of atoms, a periodic cell, species in another order."""
    atoms, error, message = MISTAKES[name]
    species = ("Kr", "Ar", "Ar", "Ar", "Ar", "Ar")
    model = stated(argon, inputs=(replace(argon.card.inputs[0], species=species),))
    calculator = gradwire.ase.Calculator(model)
    with pytest.raises(error, match=message):
        calculator.get_forces(atoms)
    with pytest.raises(error, match=message):
        calculator.get_hessian(atoms)


def test_what_the_model_lacks_is_refused(argon, atoms):
    """ASE's own error for a stress, and a plain one for a Hessian of nothing."""
    atoms.calc = gradwire.ase.Calculator(argon)
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()
    with pytest.raises(gradwire.UsageError, match="no atoms were given"):
        gradwire.ase.Calculator(argon).get_hessian()
