"""The network of atoms: what it does not feel, its derivatives, what it learns, and what it refuses."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from gradwire._errors import DataError, UsageError
from gradwire._package import sorted_distances
from gradwire_training import Samples, fit, hold_out, networks, with_dtype
from gradwire_training._fit.invariance import feels_distances_alone
from gradwire_training._models import IoBinding

ARGON = Path(__file__).parents[1] / "cases" / "atoms" / "six_atoms.npz"
GENERATOR = np.random.default_rng(7)
CLUSTER = 3 * np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1]]) + GENERATOR.normal(size=(20, 5, 3))
SPECIES = {"all alike": None, "two kinds": ["O", "H", "O", "H", "H"], "each its own": ["H", "C", "N", "O", "F"]}
# Places that keep the species of "two kinds".
RENUMBERED = [2, 4, 0, 1, 3]


def network(species=None, positions=CLUSTER, **options):
    """A network in float64 with weights far from the initial ones, so that every part counts."""
    samples = Samples({"positions": positions}, {"energy": np.arange(len(positions), dtype=float)})
    model = with_dtype(networks.atoms(samples, species=species, **options), "float64")
    generator = np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(weight + 0.3 * generator.normal(size=weight.shape))
    return model


def energy_and_forces(model, x):
    """By a tape."""
    points = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(points)
        energy = model(points)
    return energy.numpy(), -tape.gradient(energy, points).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECIES)
@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_it_feels_neither_place_nor_turn(name, count):
    """Energy is unchanged to 1e-10 of its spread, forces turn with the atoms; they push and turn none as a whole."""
    x = CLUSTER[:, :count]
    species = None if SPECIES[name] is None else SPECIES[name][:count]
    model = network(species, x)
    turn = np.linalg.qr(GENERATOR.standard_normal((3, 3)))[0]
    energy, forces = energy_and_forces(model, x)
    assert np.ptp(energy) > 1
    assert abs(forces).max() > 0.1
    scale = abs(forces).max()
    for move, turned in (
        (lambda x: x + np.array([3.0, -2.0, 0.5]), lambda f: f),
        (lambda x: x @ turn, lambda f: f @ turn),
        (lambda x: x * [1, 1, -1], lambda f: f * [1, 1, -1]),
    ):
        other, other_forces = energy_and_forces(model, move(x))
        np.testing.assert_allclose(other, energy, rtol=0, atol=1e-10 * np.ptp(energy))
        np.testing.assert_allclose(other_forces, turned(forces), rtol=0, atol=1e-10 * scale)
    np.testing.assert_allclose(forces.sum(axis=1), 0, atol=1e-12 * scale)
    np.testing.assert_allclose(np.cross(x, forces).sum(axis=1), 0, atol=1e-11 * scale)


@pytest.mark.parametrize(("name", "places", "same"), [
    ("all alike", RENUMBERED, True),
    ("all alike", [1, 0, 2, 3, 4], True),
    ("all alike", [1, 0, 2, 3], True),  # an even number has pairs halfway round
    ("two kinds", RENUMBERED, True),
    ("two kinds", [1, 0, 2, 3, 4], False),
    ("each its own", [1, 0, 2, 3, 4], False),
])  # fmt: skip
def test_like_atoms_are_interchangeable(name, places, same):
    """Their permutations permute the forces and leave the energy to 1e-10; atoms of two species are not alike."""
    x = CLUSTER[:, : len(places)]
    model = network(SPECIES[name], x)
    energy, forces = energy_and_forces(model, x)
    other, other_forces = energy_and_forces(model, x[:, places])
    if same:
        np.testing.assert_allclose(other, energy, rtol=0, atol=1e-10 * np.ptp(energy))
        np.testing.assert_allclose(other_forces, forces[:, places], rtol=0, atol=1e-10 * abs(forces).max())
    else:
        assert abs(other - energy).max() > 1e-3 * np.ptp(energy)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["anywhere", "equal distances", "in a plane", "in a line"])
def test_two_derivatives_are_right_everywhere(place):
    """Forces and second derivatives against eighth-order differences, with no kink where distances are equal."""
    line = np.arange(5)[:, None] * [3.0, 0, 0]
    octahedron = 3.0 * np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1]])
    places = {"anywhere": CLUSTER[0], "equal distances": octahedron, "in a line": line}
    x = places.get(place, CLUSTER[0] * [1, 1, 0])
    model = network(SPECIES["two kinds"])
    step, axes, weights = 3e-3, np.eye(15).reshape(15, 5, 3), {1: 4 / 5, 2: -1 / 5, 3: 4 / 105, 4: -1 / 280}

    def differences(function):
        return (
            sum(w * (function(x + k * step * axes) - function(x - k * step * axes)) for k, w in weights.items()) / step
        )

    _, forces = energy_and_forces(model, x[None])
    by_values = differences(lambda points: energy_and_forces(model, points)[0]).reshape(5, 3)
    np.testing.assert_allclose(-by_values, forces[0], rtol=0, atol=1e-8 * abs(forces).max())
    points = tf.constant(x[None])
    with tf.GradientTape(persistent=True) as outer:
        outer.watch(points)
        with tf.GradientTape() as inner:
            inner.watch(points)
            energy = model(points)
        gradient = tf.reshape(inner.gradient(energy, points), [-1])
    hessian = outer.jacobian(gradient, points, experimental_use_pfor=False).numpy().reshape(15, 15)
    by_forces = differences(lambda points: -energy_and_forces(model, points)[1]).reshape(15, 15)
    np.testing.assert_allclose(by_forces, hessian, rtol=0, atol=1e-8 * abs(hessian).max())
    np.testing.assert_allclose(hessian, hessian.T, rtol=0, atol=1e-12 * abs(hessian).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECIES)
def test_it_loads_in_safe_mode(tmp_path, name):
    """Layers and operations of Keras's own alone: no code of ours is needed."""
    model = network(SPECIES[name])
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(again(CLUSTER), model(CLUSTER))


@pytest.mark.slow
def test_it_learns_argon_from_few_steps():
    """Held-out forces of six atoms to 1e-4 eV/Å, a four hundredth of their size, also nearer than any fitted pair."""
    data = np.load(ARGON)
    columns = data["positions"], data["energy"].reshape(-1, 1), -data["forces"]
    samples = Samples({"positions": columns[0]}, {"energy": columns[1]}, {"energy": {"positions": columns[2]}})
    rest, held_out = hold_out(samples, share=0.2, seed=0)
    result = fit(networks.atoms(rest), rest, optimizer="lbfgs", steps=500, validation=held_out)
    forces = result.comparison.tensors[1]
    assert forces.rmse <= 1e-4
    assert np.sqrt((held_out.dydx["energy"]["positions"] ** 2).mean()) > 400 * forces.rmse


@pytest.mark.slow
def test_it_learns_energies_of_three_that_are_no_sums_of_pairs():
    """Axilrod and Teller's energy of three atoms, whose sign is that of an angle, to a hundredth of its spread."""
    x = 1.3 * np.array([[1, 0, 0], [0, 1, 0], [-0.4, -0.4, 0.3]]) + GENERATOR.normal(scale=0.12, size=(300, 3, 3))
    points = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(points)
        sides = [points[:, i] - points[:, j] for i, j in combinations(range(3), 2)]
        a, b, c = sides[0], sides[2], -sides[1]
        cosines = [
            -tf.reduce_sum(p * q, -1) / (tf.norm(p, axis=-1) * tf.norm(q, axis=-1)) for p, q in ((a, b), (b, c), (c, a))
        ]
        lengths = tf.norm(a, axis=-1) * tf.norm(b, axis=-1) * tf.norm(c, axis=-1)
        energy = (1 + 3 * cosines[0] * cosines[1] * cosines[2]) / lengths**3
    gradient = tape.gradient(energy, points).numpy()
    samples = Samples({"positions": x}, {"energy": energy.numpy()[:, None]}, {"energy": {"positions": gradient}})
    rest, held_out = hold_out(samples, share=0.2, seed=0)
    result = fit(networks.atoms(rest), rest, optimizer="lbfgs", steps=600, validation=held_out)
    assert result.comparison.tensors[0].relative < 0.02


ENERGY = np.ones((2, 1))
MISTAKES = {
    "flat": ({"x": np.ones((2, 18))}, {"energy": ENERGY}, {}, DataError, r"takes one input of rows \(atoms, 3\)"),
    "one atom": ({"x": np.ones((2, 1, 3))}, {"energy": ENERGY}, {}, DataError, "two atoms or more"),
    "two inputs": ({"x": CLUSTER[:2], "q": ENERGY}, {"energy": ENERGY}, {}, DataError, "one input"),
    "no scalar": ({"x": CLUSTER[:2]}, {"dipole": np.ones((2, 3))}, {}, DataError, "one scalar output"),
    "one place": ({"x": np.ones((2, 4, 3))}, {"energy": ENERGY}, {}, DataError, "row 0: the atoms 0 and 1 are at one"),
    "species": ({"x": CLUSTER[:2]}, {"energy": ENERGY}, {"species": ["H"]}, UsageError, "1 species, and .* 5 atoms"),
    "powers": ({"x": CLUSTER[:2]}, {"energy": ENERGY}, {"powers": 0}, UsageError, "powers: size 0"),
    "width": ({"x": CLUSTER[:2]}, {"energy": ENERGY}, {"widths": [0]}, UsageError, "width 0: size 0"),
    "activation": ({"x": CLUSTER[:2]}, {"energy": ENERGY}, {"activation": "?"}, UsageError, "unknown to Keras"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_it_cannot_be_of_is_refused(name):
    """With what was got, and what was expected."""
    x, y, options, error, message = MISTAKES[name]
    with pytest.raises(error, match=message):
        networks.atoms(Samples(x, y), **options)


@pytest.mark.parametrize(("species", "felt"), [("all alike", True), ("two kinds", True), ("each its own", False)])
def test_a_model_that_feels_distances_alone_is_known_as_such(species, felt):
    """Atoms of one species are exchanged: where the network knows two kinds, and the samples one, it feels that."""
    samples = Samples({"positions": CLUSTER}, {"energy": np.arange(20.0)})
    model = network(SPECIES["two kinds"] if species != "all alike" else None)
    known = SPECIES["two kinds"] if species == "two kinds" else None
    binding = IoBinding.of(model, samples)
    assert feels_distances_alone(model, binding, samples.x, binding.inputs[0], known) == felt


def test_a_perceptron_of_positions_feels_more_than_distances():
    """Nor does one of the positions about their centre feel distances alone."""
    samples = Samples({"positions": CLUSTER}, {"energy": np.arange(20.0)})
    x = keras.Input((5, 3), name="positions")
    centred = x - keras.ops.mean(x, axis=1, keepdims=True)
    for start in (x, centred):
        model = keras.Model(x, keras.layers.Dense(1)(keras.layers.Flatten()(start)))
        binding = IoBinding.of(model, samples)
        assert not feels_distances_alone(model, binding, samples.x, binding.inputs[0], None)


def test_distances_are_sorted_by_pairs_of_species():
    """Each for itself: of water two of O and H, one of H and H."""
    water = np.array([[[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    by_pair = sorted_distances(water, ["O", "H", "H"])
    assert {pair: each.tolist() for pair, each in by_pair.items()} == {"H-O": [[1.0, 2.0]], "H-H": [[np.sqrt(5.0)]]}
    assert sorted_distances(water, None)["X-X"].tolist() == [[1.0, 2.0, np.sqrt(5.0)]]
