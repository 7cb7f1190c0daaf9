"""Five Lennard-Jones atoms: the published minimum, and the invariances of the truth and of the network."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import gradwire
from gradwire_export import export
from gradwire_training import Sobolev, fit, networks, problems, with_dtype
from gradwire_training.problems._lennard_jones import MINIMUM

PUBLISHED = -9.103852  # Hoare and Pal 1971; the Cambridge cluster database


@pytest.fixture(scope="module")
def atoms():
    """The problem."""
    return problems.get("lennard-jones")


@pytest.fixture(scope="module")
def fitted(atoms):
    """A short fit, in float64."""
    samples = atoms.samples(40, seed=1)
    return fit(
        atoms.network(seed=1, samples=samples),
        samples,
        loss=Sobolev(),
        optimizer="lbfgs",
        steps=60,
        dtype="float64",
    )


@pytest.fixture(scope="module")
def package(fitted, tmp_path_factory):
    """Its package, in process."""
    place = tmp_path_factory.mktemp("atoms")
    export(fitted.save(place / "fit"), to=place / "models" / "atoms", signatures=())
    with gradwire.load(place / "models" / "atoms") as model:
        yield model


@pytest.fixture(scope="module")
def moves():
    """What a cluster's energy does not feel, by name: each takes (rows, 5, 3)."""
    generator = np.random.default_rng(3)
    turn = np.linalg.qr(generator.standard_normal((3, 3)))[0]
    return {
        "shifted": lambda x: x + np.array([3.0, -2.0, 0.5]),
        "turned": lambda x: x @ turn,
        "mirrored": lambda x: x * [1, 1, -1],
        "renumbered": lambda x: x[:, [3, 0, 4, 2, 1]],
    }


def test_the_minimum_is_the_published_one(atoms):
    """Its energy to the digits that are published, no force on any atom, and no sample below it."""
    rest = {"positions": MINIMUM[None]}
    assert atoms.truth.f(rest)["energy"].item() == pytest.approx(PUBLISHED, abs=5e-7)
    np.testing.assert_allclose(atoms.truth.df(rest)["energy"]["positions"], 0, atol=1e-12)
    assert atoms.samples(500, seed=2).y["energy"].min() > PUBLISHED


def test_two_atoms_far_from_the_others_have_the_pair_energy(atoms):
    """-1 at the distance 2^(1/6), 0 at 1, with the force of the derivative's formula."""
    far = np.array([[1e4, 0, 0], [0, 1e4, 0], [0, 0, 1e4]])
    for distance, energy in ((2 ** (1 / 6), -1.0), (1.0, 0.0), (1.5, 4 * (1.5**-12 - 1.5**-6))):
        x = {"positions": np.concatenate([np.zeros((1, 3)), [[distance, 0, 0]], far])[None]}
        assert atoms.truth.f(x)["energy"].item() == pytest.approx(energy, abs=1e-12)
        derivative = 4 * (6 * distance**-7 - 12 * distance**-13)
        assert atoms.truth.df(x)["energy"]["positions"][0, 1, 0] == pytest.approx(derivative, abs=1e-12)


def test_samples_are_clusters_that_hold_together(atoms):
    """Energies from near the minimum up to 0; each seed has its own, and sobol is possible, too."""
    for spacing in ("random", "sobol"):
        samples = atoms.samples(400, spacing=spacing, seed=5)
        energy = samples.y["energy"]
        assert samples.x["positions"].shape == (400, 5, 3)
        assert energy.max() <= 0
        assert energy.min() < -7.5
        assert abs(samples.x["positions"]).max() < 1.5
    assert not np.array_equal(atoms.samples(5, seed=1).y["energy"], atoms.samples(5, seed=2).y["energy"])


@pytest.mark.slow
@pytest.mark.parametrize("move", ["shifted", "turned", "mirrored", "renumbered"])
def test_neither_the_truth_nor_the_package_feels_where_a_cluster_lies(atoms, package, moves, move):
    """Energy is unchanged to rounding, for weights that were fitted."""
    x = atoms.samples(20, seed=9).x["positions"]
    np.testing.assert_allclose(
        atoms.truth.f({"positions": moves[move](x)})["energy"],
        atoms.truth.f({"positions": x})["energy"],
        atol=1e-12,
    )
    np.testing.assert_allclose(package.value(moves[move](x)), package.value(x), rtol=0, atol=1e-12)


@pytest.mark.slow
def test_forces_of_the_package_are_the_negative_gradient_of_its_energy(atoms, package):
    """Against eighth-order differences of the package's own energy; they push and turn no cluster as a whole."""
    x = atoms.samples(8, seed=4).x["positions"]
    _, derivative = package.value_and_grad(x)
    forces = -derivative
    step, numbers = 1.5e-3, np.eye(15).reshape(15, 1, 5, 3)
    weights = {1: 4 / 5, 2: -1 / 5, 3: 4 / 105, 4: -1 / 280}

    def energy(multiple):
        return package.value((x + multiple * step * numbers).reshape(-1, 5, 3)).reshape(15, 8)

    differences = sum(weight * (energy(k) - energy(-k)) for k, weight in weights.items()) / step
    scale = abs(forces).max()
    np.testing.assert_allclose(-differences.T.reshape(8, 5, 3), forces, rtol=0, atol=1e-11 * scale)
    np.testing.assert_allclose(forces.sum(axis=1), 0, atol=1e-13 * scale)
    np.testing.assert_allclose(np.cross(x, forces).sum(axis=1), 0, atol=1e-13 * scale)


@pytest.mark.slow
def test_forces_of_the_package_are_those_of_the_fitted_model(atoms, fitted, package):
    """Another path: Keras's own model under a tape."""
    import tensorflow as tf

    x = atoms.samples(8, seed=4).x["positions"]
    points = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(points)
        energy = fitted.model(points)
    np.testing.assert_allclose(package.value_and_grad(x)[1], tape.gradient(energy, points), rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_the_network_loads_in_safe_mode(atoms, fitted, tmp_path):
    """Plain layers and operations: no code is needed, and precision can be changed."""
    x = atoms.samples(3, seed=1).x["positions"]
    fitted.model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(again(x), fitted.model(x))
    np.testing.assert_allclose(with_dtype(again, "float32")(x), fitted.model(x), rtol=1e-4)


def test_a_seed_decides_the_weights_of_the_network(atoms):
    """One seed gives the same weights, another others; widths are free."""
    samples = atoms.samples(5)
    first, again, other = (networks.atoms(samples, powers=6, seed=seed) for seed in (1, 1, 2))
    for one, same, another in zip(*(model.get_weights() for model in (first, again, other)), strict=True):
        np.testing.assert_array_equal(one, same)
        assert one.ndim == 1 or not one.any() or not np.array_equal(one, another)  # what begins at zero does so always
