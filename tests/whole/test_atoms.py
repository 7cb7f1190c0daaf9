"""Atoms from a file to forces: `gradwire train FILE --network atoms`, export, and the package in a fresh Session."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import gradwire
from gradwire._cli.main import app

pytestmark = pytest.mark.slow  # fits and exports through the command

ARGON = Path(__file__).parents[1] / "cases" / "atoms" / "six_atoms.npz"
FORCES = ["--derivatives", "forces=-energy:positions", "--units", "positions=Å", "--units", "energy=eV"]


def run(*arguments):
    """The command in this process, which has to end well; what it printed."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_argon_from_a_file_to_forces(tmp_path):
    """Held-out forces to 1e-4 eV/Å; species and units are on the card, and the package feels no turn."""
    species = ["--species", "Ar,Ar,Ar,Ar,Ar,Ar"]
    fit = [ARGON, "--network", "atoms", *species, *FORCES, "--max-steps", "400", "--dtype", "float64"]
    printed = run("train", *fit, "--to", tmp_path / "fit")
    assert "not invariant" not in printed
    run("export", tmp_path / "fit", "--to", tmp_path / "argon")
    data = np.load(ARGON)
    with gradwire.load(tmp_path / "argon") as model:
        tensor = model.card.inputs[0]
        assert (tensor.species, tensor.unit, model.card.outputs[0].unit) == (("Ar",) * 6, "Å", "eV")
        energy, gradient = model.value_and_grad(data["positions"])
        assert np.sqrt(((gradient + data["forces"]) ** 2).mean()) <= 1e-4
        turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
        turned = model.value(data["positions"][:, [2, 0, 1, 5, 4, 3]] @ turn + [1.0, 2.0, 3.0])
        np.testing.assert_allclose(turned, energy, rtol=0, atol=1e-10)
        np.testing.assert_allclose(gradient.sum(axis=1), 0, atol=1e-12)
        errors = gradwire.evaluate(model, {"positions": data["positions"] @ turn, "energy": data["energy"]})
        assert errors["energy"].inside.labels > 0.7 * len(turned)  # those held out may reach beyond the others
        assert list(tensor.distances) == ["Ar-Ar"]
        assert len(tensor.distances["Ar-Ar"].lower) == 15


def test_a_perceptron_of_positions_says_what_it_is_not(tmp_path):
    """In its summary, with the network that would do."""
    printed = run("train", ARGON, *FORCES, "--network", "4", "--max-steps", "3", "--to", tmp_path / "fit")
    assert "not invariant under translations, rotations or permutations of them; --network atoms is" in printed
